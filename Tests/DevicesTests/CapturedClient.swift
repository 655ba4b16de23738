import Foundation

@testable import Devices
@testable import PPP
@testable import PPTP

/// A client's own packets in one of the recorded sessions of `Tests/Captures` (pcap, Ethernet, IPv4, the client at 10.0.1.2).
struct CapturedClient {
    private(set) var fingerprint = DeviceFingerprint()

    init(_ name: String) throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Captures")
        let file = [UInt8](try Data(contentsOf: folder.appendingPathComponent("\(name).pcap")))
        var control = ServerConnection(now: .now)
        var at = 24
        while at + 16 <= file.count {
            let length = (0..<4).reduce(0) { $0 | Int(file[at + 8 + $1]) << (8 * $1) }
            take(packet: file[(at + 16)..<(at + 16 + length)].dropFirst(14), &control)
            at += 16 + length
        }
    }

    private mutating func take(packet: ArraySlice<UInt8>, _ control: inout ServerConnection) {
        let ip = Array(packet)
        guard ip.count >= 20, ip[0] >> 4 == 4, Array(ip[12..<16]) == [10, 0, 1, 2] else { return }
        let inner = Array(ip[(Int(ip[0] & 15) * 4)..<(Int(ip[2]) << 8 | Int(ip[3]))])
        switch ip[9] {
        case 6:
            let payload = inner.dropFirst(Int(inner[12] >> 4) * 4)
            // The gateway's own state machine says what was asked of it.
            for action in control.receive(payload, now: .now) {
                switch action {
                case .started(let peer): fingerprint.start = peer
                case .openCall(_, let request): fingerprint.call = request
                case .linkInfo: fingerprint.setsLinkInfo = true
                default: break
                }
            }
        case 47:
            // RFC 2637 section 4.1: with a sequence number there is a payload; 4 more bytes with an acknowledgement.
            guard inner[0] & 0x10 != 0 else { return }
            var frame = inner.dropFirst(inner[1] & 0x80 != 0 ? 16 : 12)
            if frame.starts(with: [0xFF, 3]) { frame = frame.dropFirst(2) }
            guard frame.count >= 6 else { return }
            let number = frame.prefix(2).reduce(UInt16(0)) { $0 << 8 | UInt16($1) }
            guard [PPPProtocol.lcp, PPPProtocol.ccp, PPPProtocol.ipcp, PPPProtocol.ipv6cp].contains(number),
                let packet = ControlPacket(Array(frame.dropFirst(2))), packet.code == 1, let options = ConfigurationOption.parse(packet.data)
            else { return }
            fingerprint.note(.peerAsks(protocol: number, options: options))
        default: break
        }
    }
}
