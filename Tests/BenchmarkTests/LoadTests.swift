import CLoad
import Foundation
import Testing

/// The generator over the loopback interface; its socket buffers want root.
@Suite(.serialized, .enabled(if: geteuid() == 0)) struct LoadTests {
    private static let loopback: UInt32 = 127 << 24

    private func flow(_ send: Int32, _ receive: Int32, port: UInt16, sources: UnsafePointer<UInt32>, destinations: UnsafePointer<UInt32>) -> cload_flow {
        var flow = cload_flow()
        (flow.send_fd, flow.receive_fd, flow.port, flow.session_count) = (send, receive, port, 3)
        (flow.sources, flow.destinations) = (sources, destinations)
        (flow.sizes.0, flow.sizes.1, flow.size_count) = (64, 128, 2)
        flow.rate = 3000
        return flow
    }

    @Test func datagramsAreSentOnceAndCountedOnce() throws {
        let sender = cload_udp_open(nil, 0, 0), receiver = cload_udp_open(nil, 0, 29_871)
        try #require(sender >= 0 && receiver >= 0)
        defer { for socket in [sender, receiver] { close(socket) } }
        let sources = (1...3).map { Self.loopback + UInt32($0) }, destinations = (11...13).map { Self.loopback + UInt32($0) }
        let result = UnsafeMutablePointer<cload_udp_result>.allocate(capacity: 1)
        defer { result.deallocate() }
        var flow = flow(sender, receiver, port: 29_871, sources: sources, destinations: destinations)
        #expect(cload_udp_run(&flow, 1, 0.3, 0.3, result) == 0)
        let offered = result.pointee.offered, sent = result.pointee.sent, received = result.pointee.received
        #expect(offered == 900 && sent > 0 && sent <= offered && received == sent)
        #expect(result.pointee.duplicates == 0 && result.pointee.reordered == 0 && result.pointee.strangers == 0)
        // Both sizes in turn.
        #expect(result.pointee.sent_bytes == result.pointee.received_bytes)
        #expect((sent * 64 + 1..<sent * 128).contains(result.pointee.received_bytes))
        // A second run does not count the first one's packets, nor anybody else's.
        let stranger = [UInt8](repeating: 7, count: 40)
        var to = sockaddr_in()
        to.sin_family = sa_family_t(AF_INET)
        to.sin_port = UInt16(29_871).bigEndian
        to.sin_addr.s_addr = (Self.loopback + 1).bigEndian
        let written = withUnsafePointer(to: &to) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(sender, stranger, stranger.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        #expect(written == stranger.count)
        #expect(cload_udp_run(&flow, 1, 0.1, 0.3, result) == 0)
        #expect(result.pointee.strangers == 1 && result.pointee.received == result.pointee.sent)
    }

    @Test func whatCannotBeRunIsRefused() {
        let address = Self.loopback + 1
        withUnsafePointer(to: address) { address in
            let good = flow(0, 0, port: 1, sources: address, destinations: address)
            let changes: [(inout cload_flow) -> Void] = [
                { $0.rate = 0 }, { $0.rate = .nan }, { $0.session_count = 0 }, { $0.size_count = 0 }, { $0.size_count = UInt16(CLOAD_MAX_SIZES) + 1 },
                { $0.sizes.0 = UInt16(CLOAD_LEAST_PACKET) - 1 }, { $0.sizes.1 = UInt16(CLOAD_MAX_PACKET) + 1 },
            ]
            let result = UnsafeMutablePointer<cload_udp_result>.allocate(capacity: 1)
            defer { result.deallocate() }
            for (number, change) in changes.enumerated() {
                var bad = good
                change(&bad)
                #expect(cload_udp_run(&bad, 1, 0.1, 0, result) == -EINVAL, "change \(number)")
            }
            var flow = good
            #expect(cload_udp_run(&flow, 0, 0.1, 0, result) == -EINVAL && cload_udp_run(&flow, 3, 0.1, 0, result) == -EINVAL)
            #expect(cload_udp_run(&flow, 1, 0, 0, result) == -EINVAL)
        }
    }

    @Test(arguments: [(true, false), (false, true), (true, true)])
    func connectionsCarryBytesWhereTheyAreAskedTo(toHub: Bool, fromHub: Bool) throws {
        let sources = (1...3).map { Self.loopback + UInt32($0) }
        var tcp: OpaquePointer?
        try #require(cload_tcp_open(nil, Self.loopback + 9, 29_872, sources, 3, &tcp) == 0)
        defer { cload_tcp_close(tcp) }
        #expect(cload_tcp_start(tcp, toHub, fromHub) == 0)
        var hub: UInt64 = 0, clients: UInt64 = 0
        let deadline = ContinuousClock.now + .seconds(10)
        repeat {
            usleep(10_000)
            cload_tcp_received(tcp, &hub, &clients)
        } while ((toHub && hub == 0) || (fromHub && clients == 0)) && ContinuousClock.now < deadline
        #expect((hub > 0) == toHub && (clients > 0) == fromHub)
    }

    @Test func noListenerNoConnection() {
        var tcp: OpaquePointer?
        var source = Self.loopback + 1
        // 192.0.2.1 is nobody's here.
        #expect(cload_tcp_open(nil, 0xC000_0201, 29_873, &source, 1, &tcp) < 0 && tcp == nil)
        #expect(cload_interface_mtu("lo") > 0 && cload_interface_mtu("an-interface-name-too-long") == -EINVAL && cload_interface_mtu("none0") < 0)
    }
}
