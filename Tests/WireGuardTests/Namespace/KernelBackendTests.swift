import Addresses
import Foundation
import Netlink
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// The kernel's WireGuard; in a guest where the machine's own kernel has none (CAUSEWAY_KERNEL_WIREGUARD=1 says that it must be there).
    @Suite(.enabled(if: !Stage.isUnprivileged)) struct KernelBackendTests {
        let mark = InstanceMark(instance: "test")!

        static var isAvailable: Bool { (try? BackendProbe.kernelWireGuard()) == .available }

        @Test func theProbeLeavesNothingBehind() throws {
            let socket = try NetlinkSocket(.route)
            let before = try socket.links().count
            let result = try BackendProbe.kernelWireGuard()
            if Stage.expectsKernelWireGuard {
                #expect(result == .available)
            } else if case .unavailable(let reason) = result {
                #expect(!reason.isEmpty)
            }
            #expect(try socket.links().count == before)
        }

        @Test(.enabled(if: Stage.expectsKernelWireGuard || isAvailable), .timeLimit(.minutes(2))) func thousandsOfAllowedIPs()
            async throws
        {
            let backend = KernelBackend(interfaceName: "cwewg", mark: mark)
            _ = try await backend.create()
            let tunnel = BigTunnel("cwewg", peers: 300, prefixesEach: 7)
            try await tunnel.run(on: backend)
            // A single peer with more than fits one message, and wg(8) as the witness.
            var one = tunnel.configuration
            one.peers = [
                PeerConfiguration(
                    publicKey: PrivateKey().publicKey, allowedIPs: Set(tunnel.configuration.peers.flatMap(\.allowedIPs)))
            ]
            _ = try await backend.apply(one, endpoints: [:])
            #expect(try await backend.status().peers.first?.allowedIPs.count == 2100)
            let words = try sh("wg show cwewg allowed-ips").split(whereSeparator: \.isWhitespace)
            #expect(Set(words.dropFirst().map(String.init)) == Set(one.peers[0].allowedIPs.map(\.description)))
            #expect(try sh("wg show cwewg public-key") == "\(one.privateKey.publicKey)\n")
            // Somebody else's interface can be read as well, and only read.
            let reader = try InterfaceReader(interfaceName: "cwewg")
            #expect(try reader.peers() == (await backend.status().peers))
            #expect(try sh("wg show cwewg private-key") == one.privateKey.exportBase64() + "\n")
            try await backend.remove()
            #expect(try NetlinkSocket(.route).link(named: "cwewg") == nil)
            #expect(throws: TunnelError.self) { try reader.peers() }
        }

        @Test(.enabled(if: Stage.expectsKernelWireGuard || isAvailable), .timeLimit(.minutes(1))) func twoEndsExchangePackets()
            async throws
        {
            let pair = TunnelPair(
                left: KernelBackend(interfaceName: "cweleft", mark: mark),
                right: KernelBackend(interfaceName: "cweright", mark: mark))
            try await pair.exchangePackets()
        }

        @Test(.enabled(if: Stage.expectsKernelWireGuard || isAvailable)) func whatACrashLeftIsAdopted() async throws {
            let crashed = KernelBackend(interfaceName: "cwewg", mark: mark)
            let index = try await crashed.create()
            let configuration = BigTunnel("cwewg", peers: 5, prefixesEach: 2).configuration
            _ = try await crashed.apply(configuration, endpoints: [:])
            let next = KernelBackend(interfaceName: "cwewg", mark: mark)
            #expect(try await next.create() == index)
            #expect(try await next.apply(configuration, endpoints: [:]).isEmpty)
            let other = KernelBackend(interfaceName: "cwewg", mark: InstanceMark(instance: "other")!)
            await #expect(throws: TunnelError.foreignInterface("cwewg", kind: "wireguard")) { try await other.create() }
            try await other.remove()
            #expect(try NetlinkSocket(.route).link(named: "cwewg") != nil)
            try await next.remove()
        }

        @Test(.enabled(if: Stage.expectsKernelWireGuard || isAvailable)) func aDeletedInterfaceIsReported() async throws {
            let backend = KernelBackend(interfaceName: "cwewg", mark: mark)
            _ = try await backend.create()
            try sh("ip link delete cwewg")
            await #expect(throws: TunnelError.self) { try await backend.status() }
            _ = try await backend.create()
            #expect(try await backend.status().peers.isEmpty)
            try await backend.remove()
        }
    }
}
