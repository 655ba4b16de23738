import Addresses
import Foundation
import Netlink

/// A TUN that the test holds: it stands for the data path's TUN, for a tunnel or for the LAN. What is written enters the
/// kernel as if it had arrived there; what the kernel sends out there is read.
final class TestTun {
    let name: String
    private(set) var descriptor: Int32
    let index: UInt32

    init(_ name: String, _ socket: NetlinkSocket) throws {
        self.name = name
        descriptor = Self.open(name)
        guard descriptor >= 0, let link = try socket.link(named: name) else {
            throw CommandFailed(description: "no TUN \(name): \(String(cString: strerror(errno)))")
        }
        index = link.index
        // Before it is up: later the kernel has already made a link-local address.
        try socket.perform(
            LinkRequest.change(index: index, name: name, LinkChange(ipv6AddressGeneration: IPv6AddressGeneration.none)))
        try socket.perform(LinkRequest.change(index: index, name: name, LinkChange(up: true)))
    }

    /// Attaches to the TUN, which is made unless it exists (linux/if_tun.h).
    private static func open(_ name: String) -> Int32 {
        let (setInterface, tun, noPacketInformation): (UInt, Int16, Int16) = (0x4004_54CA, 0x0001, 0x1000)
        var request = ifreq()
        withUnsafeMutableBytes(of: &request.ifr_ifrn) { $0.copyBytes(from: name.utf8.prefix(Int(IFNAMSIZ) - 1)) }
        request.ifr_ifru.ifru_flags = tun | noPacketInformation
        let descriptor = Glibc.open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return -1 }
        if ioctl(descriptor, setInterface, &request) == 0 { return descriptor }
        Glibc.close(descriptor)
        return -1
    }

    /// The interface goes with it.
    func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    deinit { close() }

    func write(_ packet: [UInt8]) throws {
        let count = packet.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) }
        guard count == packet.count else {
            throw CommandFailed(description: "write to \(name): \(String(cString: strerror(errno)))")
        }
    }

    /// All packets until nothing has come for `quiet`.
    func read(quiet: Int32 = 150) -> [Packet] {
        var packets: [Packet] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, quiet) == 1 else { return packets }
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return packets }
            if let packet = Packet(Array(buffer.prefix(count))) { packets.append(packet) }
        }
    }
}

/// As much of an IP packet as the tests look at.
struct Packet: Equatable, CustomStringConvertible {
    var source: IPAddress
    var destination: IPAddress
    /// 1 ICMP, 17 UDP, 58 ICMPv6
    var kind: UInt8

    init(_ source: String, _ destination: String, kind: UInt8 = 17) {
        self.source = IPAddress(source)!
        self.destination = IPAddress(destination)!
        self.kind = kind
    }

    /// nil for what the kernel says by itself on any interface: multicast.
    init?(_ bytes: [UInt8]) {
        switch bytes[0] >> 4 {
        case 4: (source, destination, kind) = (IPAddress(bytes: bytes[12..<16])!, IPAddress(bytes: bytes[16..<20])!, bytes[9])
        case 6: (source, destination, kind) = (IPAddress(bytes: bytes[8..<24])!, IPAddress(bytes: bytes[24..<40])!, bytes[6])
        default: return nil
        }
        if destination.isMulticast { return nil }
    }

    var description: String { "\(source) > \(destination) (\(kind))" }

    /// A UDP datagram of eight bytes from port 7 to port 9.
    var bytes: [UInt8] {
        let payload: [UInt8] = [0, 7, 0, 9, 0, 16, 0, 0] + Array("causeway".utf8)
        guard source.family == .v4 else {
            // The checksum is not optional in IPv6, but only the receiver would look at it.
            return [0x60, 0, 0, 0, 0, UInt8(payload.count), kind, 64] + source.bytes + destination.bytes + payload
        }
        var header: [UInt8] =
            [0x45, 0, 0, UInt8(20 + payload.count), 0, 1, 0, 0, 64, kind, 0, 0] + source.bytes + destination.bytes
        var sum = stride(from: 0, to: 20, by: 2).reduce(UInt32(0)) { $0 + UInt32(header[$1]) << 8 + UInt32(header[$1 + 1]) }
        while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
        header[10] = UInt8(~sum >> 8 & 0xFF)
        header[11] = UInt8(~sum & 0xFF)
        return header + payload
    }
}
