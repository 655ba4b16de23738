import CLinux
import Foundation
import Logging
import Netlink
import StandaloneWireGuard
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// A device over a TUN of its own, from its making to each of its ends.
    @Suite(.enabled(if: !Stage.isUnprivileged), .timeLimit(.minutes(1))) struct StandaloneDeviceTests {
        static let name = "cwsd0"
        private let route = try! NetlinkSocket(.route)
        private let end = clinux_eventfd()

        /// Runs a device on a thread; `body` has to end it. How it ended.
        private func whileRunning(workers: Int = 2, _ body: () throws -> Void) throws -> StandaloneDevice.End? {
            let over = DispatchSemaphore(value: 0)
            nonisolated(unsafe) var result: StandaloneDevice.End?
            let (ready, end) = (DispatchSemaphore(value: 0), end)
            Thread.detachNewThread {
                defer {
                    ready.signal()
                    over.signal()
                }
                guard
                    var device = try? StandaloneDevice(
                        .init(interfaceName: Self.name, workers: workers), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                else { return }
                ready.signal()
                result = device.run(until: end)
                device.end()
            }
            ready.wait()
            do { try body() } catch { Issue.record(error) }
            #expect(over.wait(timeout: .now() + 10) == .success)
            return result
        }

        private func ask() {
            var one: UInt64 = 1
            _ = write(end, &one, 8)
        }

        private func wg(_ arguments: String) throws -> String { try sh("wg \(arguments)").trimmingCharacters(in: .whitespacesAndNewlines) }
        private func isFree(_ port: Int) throws -> Bool { try sh("ss -Hlnu 'sport = \(port)'").isEmpty }
        private func eventually(_ condition: () throws -> Bool) throws -> Bool {
            for _ in 0..<200 {
                if try condition() { return true }
                usleep(10_000)
            }
            return false
        }
        private func nothingIsLeft() throws {
            #expect(try route.link(named: Self.name) == nil)
            #expect(!FileManager.default.fileExists(atPath: UAPIListener.path(Self.name)))
        }

        @Test func itFollowsItsInterface() throws {
            let how = try whileRunning {
                defer { ask() }
                let link = try #require(try route.link(named: Self.name))
                #expect(link.mtu == 1420 && !link.isUp && link.kind == "tun" && link.tunVirtioHeader == true)
                _ = try wg("set \(Self.name) listen-port 40031")
                #expect(try isFree(40031))
                try sh("ip link set \(Self.name) up mtu 1300")
                #expect(try eventually { try !isFree(40031) })
                try sh("ip link set \(Self.name) down")
                #expect(try eventually { try isFree(40031) })
                // Under another name it is still the same.
                try sh("ip link set \(Self.name) name cwsd1; ip link set cwsd1 up")
                #expect(try eventually { try !isFree(40031) })
                try sh("ip link set cwsd1 down; ip link set cwsd1 name \(Self.name)")
            }
            #expect(how == .asked)
            try nothingIsLeft()
        }

        @Test func itEndsWithItsInterface() throws {
            #expect(try whileRunning { try sh("ip link del \(Self.name)") } == .interfaceGone)
            try nothingIsLeft()
        }

        @Test func itEndsWithItsSocket() throws {
            #expect(try whileRunning { unlink(UAPIListener.path(Self.name)) } == .socketRemoved)
            try nothingIsLeft()
        }

        @Test func itFollowsItsInterfaceToAnotherNamespace() throws {
            try sh("ip netns add cwsd")
            defer { _ = try? sh("ip netns del cwsd") }
            let how = try whileRunning {
                _ = try wg("set \(Self.name) listen-port 40032")
                try sh("ip link set \(Self.name) netns cwsd && ip -n cwsd link set \(Self.name) up")
                // The port is where the device was started.
                #expect(try eventually { try !isFree(40032) })
                try sh("ip -n cwsd link del \(Self.name)")
            }
            #expect(how == .interfaceGone)
            try nothingIsLeft()
        }

        /// One that cannot be made leaves what is there alone.
        @Test func aNameThatIsTaken() throws {
            let how = try whileRunning {
                defer { ask() }
                #expect(throws: (any Error).self) {
                    let device = try StandaloneDevice(.init(interfaceName: Self.name, workers: 2), logger: Logger(label: "test"))
                    device.end()
                }
                let port = try wg("show \(Self.name) listen-port")
                #expect(port == "0")
            }
            #expect(how == .asked)
            try nothingIsLeft()
        }
    }
}
