import Addresses
import DataPath
import Foundation
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// What the socket's requests do to an identity of a real engine.
    @Suite(.enabled(if: !Stage.isUnprivileged), .timeLimit(.minutes(1))) struct EngineInterfaceTests {
        private func withInterface(_ body: (EngineInterface) throws -> Void) async throws {
            try await EmbeddedBackendTests.withEngine { try body(EngineInterface(newIn: $0)) }
        }

        private func change(_ edit: (inout InterfaceChange) -> Void) -> InterfaceChange {
            var change = InterfaceChange()
            edit(&change)
            return change
        }

        private func peer(_ key: UInt8, _ edit: (inout InterfaceChange.Peer) -> Void = { _ in }) -> InterfaceChange {
            var peer = InterfaceChange.Peer(publicKey: publicKey(key))
            edit(&peer)
            return change { $0.peers = [peer] }
        }

        /// Holds a UDP port of all addresses; nil if somebody else has it.
        private func hold(_ port: UInt16) -> Int32? {
            let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if bound == 0 { return descriptor }
            close(descriptor)
            return nil
        }

        private func isFree(_ port: UInt16) -> Bool {
            guard let descriptor = hold(port) else { return false }
            close(descriptor)
            return true
        }

        @Test func aNewOneHasNothing() async throws {
            try await withInterface { interface in
                let listing = try interface.list()
                #expect(listing == InterfaceListing())
            }
        }

        @Test func thePortIsHeldWhileTheInterfaceIsUp() async throws {
            try await withInterface { interface in
                try interface.apply(change { $0.listenPort = 40_021; $0.fwmark = 7; $0.privateKey = .set(privateKey(0x40)) })
                #expect(isFree(40_021))
                try interface.setUp(true)
                try interface.setUp(true)
                #expect(!isFree(40_021))
                try interface.apply(change { $0.listenPort = 40_022; $0.fwmark = 8 })
                #expect(isFree(40_021) && !isFree(40_022))
                try interface.setUp(false)
                #expect(isFree(40_022))
                let listing = try interface.list()
                #expect(listing.listenPort == 40_022 && listing.fwmark == 8 && listing.privateKey == privateKey(0x40))
            }
        }

        @Test func anyPortIsChosenOnceAndKept() async throws {
            try await withInterface { interface in
                #expect(try interface.list().listenPort == 0)
                try interface.setUp(true)
                let port = try interface.list().listenPort
                #expect(port != 0 && !isFree(port))
                try interface.setUp(false)
                #expect(isFree(port))
                try interface.setUp(true)
                #expect(try interface.list().listenPort == port)
                // The kernel chooses anew when it is told to.
                try interface.apply(change { $0.listenPort = 0 })
                #expect(try interface.list().listenPort != 0)
            }
        }

        @Test func aPortThatSomebodyHasChangesNothing() async throws {
            let held = try #require(hold(40_023))
            defer { close(held) }
            try await withInterface { interface in
                try interface.apply(change { $0.listenPort = 40_024 })
                try interface.setUp(true)
                #expect(throws: UAPIRefusal.portInUse) {
                    try interface.apply(change { $0.listenPort = 40_023; $0.privateKey = .set(privateKey(0x40)); $0.replacesPeers = true })
                }
                let listing = try interface.list()
                #expect(listing.listenPort == 40_024 && listing.privateKey == nil && !isFree(40_024))
                // Down, it is found out later.
                try interface.setUp(false)
                try interface.apply(change { $0.listenPort = 40_023 })
                #expect(throws: EngineError.self) { try interface.setUp(true) }
                try interface.apply(change { $0.listenPort = 40_025 })
                try interface.setUp(true)
                #expect(!isFree(40_025))
            }
        }

        @Test func everyFieldOfAPeerIsToldAgain() async throws {
            try await withInterface { interface in
                let endpoint = PeerAddress(endpoint("[fe80::1]:5"), zone: "lo")
                try interface.apply(
                    peer(2) {
                        $0.preshared = .set(presharedKey(9))
                        $0.endpoint = endpoint
                        $0.keepalive = 25
                        $0.allowedIPs = [prefix("10.0.0.0/8"), prefix("fd00::/8")]
                    })
                let told = try #require(try interface.list().peers.first)
                #expect(told.publicKey == publicKey(2) && told.presharedKey == presharedKey(9) && told.keepalive == 25)
                #expect(told.endpoint == PeerAddress(endpoint.endpoint, zone: "1"))
                #expect(Set(told.allowedIPs) == [prefix("10.0.0.0/8"), prefix("fd00::/8")])
                #expect(told.latestHandshake == nil && told.sentBytes == 0 && told.receivedBytes == 0)
                try interface.apply(peer(2) { $0.preshared = .remove; $0.keepalive = 0 })
                let changed = try #require(try interface.list().peers.first)
                #expect(changed.presharedKey == nil && changed.keepalive == 0 && changed.endpoint == told.endpoint)
            }
        }

        @Test func aZoneThatIsNoneChangesNothing() async throws {
            try await withInterface { interface in
                var request = peer(2) { $0.endpoint = PeerAddress(endpoint("[fe80::1]:5"), zone: "nosuch0") }
                request.privateKey = .set(privateKey(0x40))
                #expect(throws: UAPIRefusal.invalid) { try interface.apply(request) }
                let listing = try interface.list()
                #expect(listing == InterfaceListing())
            }
        }

        @Test func peersComeChangeAndGo() async throws {
            try await withInterface { interface in
                func keys() throws -> [PublicKey] { try interface.list().peers.map(\.publicKey) }
                try interface.apply(peer(2) { $0.updatesOnly = true })
                #expect(try keys().isEmpty)
                for key: UInt8 in [2, 3, 4] { try interface.apply(peer(key)) }
                #expect(try keys() == [publicKey(2), publicKey(3), publicKey(4)])
                try interface.apply(peer(3) { $0.isRemoved = true })
                try interface.apply(peer(9) { $0.isRemoved = true })
                #expect(try keys() == [publicKey(2), publicKey(4)])
                var request = peer(5)
                request.replacesPeers = true
                try interface.apply(request)
                #expect(try keys() == [publicKey(5)])
                // Our own key is passed over, whether it was ours before or becomes ours now.
                let own = privateKey(0x40)
                try interface.apply(change { $0.peers = [.init(publicKey: own.publicKey)] })
                #expect(try keys().count == 2)
                try interface.apply(change { $0.privateKey = .set(own); $0.peers = [.init(publicKey: own.publicKey)] })
                #expect(try keys() == [publicKey(5)])
            }
        }

        @Test func allowedIPsAreAddedReplacedMovedAndTakenAway() async throws {
            try await withInterface { interface in
                func allowed() throws -> [Set<IPPrefix>] { try interface.list().peers.map { Set($0.allowedIPs) } }
                func set(_ texts: String...) -> Set<IPPrefix> { Set(texts.map { prefix($0) }) }
                try interface.apply(peer(2) { $0.allowedIPs = [prefix("10.0.0.0/8")] })
                try interface.apply(peer(2) { $0.allowedIPs = [prefix("10.1.0.0/16"), prefix("::/0")] })
                try interface.apply(peer(3) { $0.allowedIPs = [prefix("10.1.0.0/16")] })
                #expect(try allowed() == [set("10.0.0.0/8", "::/0"), set("10.1.0.0/16")])
                try interface.apply(
                    peer(2) { $0.removedAllowedIPs = [prefix("::/0"), prefix("10.1.0.0/16")]; $0.allowedIPs = [prefix("10.2.0.0/16")] })
                #expect(try allowed() == [set("10.0.0.0/8", "10.2.0.0/16"), set("10.1.0.0/16")])
                try interface.apply(peer(2) { $0.replacesAllowedIPs = true })
                #expect(try allowed() == [[], set("10.1.0.0/16")])
            }
        }

        /// An identity of the gateway: its port is others' too.
        @Test func aSharedPortIsNotChanged() async throws {
            try await EmbeddedBackendTests.withEngine { engine in
                let port = try engine.openPort(.init(port: 40_026, firewallMark: 5))
                let identity = try engine.addIdentity(on: port, privateKey: privateKey(0x40).engineKey)
                let interface = EngineInterface(engine: engine, identity: identity)
                let listing = try interface.list()
                #expect(listing.listenPort == 40_026 && listing.fwmark == 5 && listing.privateKey == privateKey(0x40))
                #expect(throws: UAPIRefusal.invalid) { try interface.apply(change { $0.listenPort = 40_027; $0.privateKey = .remove }) }
                #expect(throws: UAPIRefusal.invalid) { try interface.apply(change { $0.fwmark = 0 }) }
                #expect(try interface.list() == listing)
                var same = peer(2)
                same.listenPort = 40_026
                same.fwmark = 5
                same.privateKey = .remove
                try interface.apply(same)
                #expect(try interface.list().privateKey == nil)
                #expect(try interface.list().peers.map(\.publicKey) == [publicKey(2)])
            }
        }
    }
}
