/// The bodies of CHAP packets: RFC 1994 section 4, with the values of MS-CHAP version 2 (RFC 2759) and 1 (RFC 2433).
enum CHAPMessage {
    /// A challenge, or a response: one length byte, the value, then the name up to the end.
    static func parseValue(_ data: ArraySlice<UInt8>) -> (value: [UInt8], name: [UInt8])? {
        guard let size = data.first, data.count > Int(size) else { return nil }
        let rest = data.dropFirst()
        return (Array(rest.prefix(Int(size))), Array(rest.dropFirst(Int(size))))
    }

    static func value(_ value: [UInt8], name: [UInt8]) -> [UInt8] {
        [UInt8(truncatingIfNeeded: value.count)] + value + name
    }

    static func challengeLength(_ method: AuthenticationMethod) -> Int { method == .msCHAPv1 ? 8 : 16 }

    /// Peer challenge 16, reserved 8, NT response 24, flags 1. What is reserved should be zero; some clients fill it.
    static func msCHAPv2(_ packet: ControlPacket, challenge: [UInt8]) -> MSCHAPv2Response? {
        guard let (value, name) = parseValue(packet.data), value.count == 49, name.count <= Limit.notedBytes else { return nil }
        return MSCHAPv2Response(
            identifier: packet.identifier, authenticatorChallenge: challenge, peerChallenge: Array(value[0..<16]),
            ntResponse: Array(value[24..<48]), userName: name)
    }

    static func msCHAPv2Value(peerChallenge: [UInt8], ntResponse: [UInt8]) -> [UInt8] {
        peerChallenge + [UInt8](repeating: 0, count: 8) + ntResponse + [0]
    }

    /// LM response 24, NT response 24, "use the NT response" 1.
    static func msCHAPv1(_ packet: ControlPacket, challenge: [UInt8]) -> MSCHAPv1Response? {
        guard let (value, name) = parseValue(packet.data), value.count == 49, name.count <= Limit.notedBytes else { return nil }
        return MSCHAPv1Response(
            identifier: packet.identifier, challenge: challenge, lmResponse: Array(value[0..<24]),
            ntResponse: Array(value[24..<48]), usesNTResponse: value[48] != 0, userName: name)
    }

    /// RFC 2759 section 5.
    static func success(authenticatorResponse: String, message: String) -> [UInt8] {
        guard !authenticatorResponse.isEmpty else { return Array(message.utf8) }
        return Array("\(authenticatorResponse) M=\(message)".utf8)
    }

    /// RFC 2759 section 6. Version 1 has no V and no M there (RFC 2433 section 6), and its challenge is half as long.
    static func failure(method: AuthenticationMethod, code: Int, retry: Bool, challenge: [UInt8], message: String) -> [UInt8] {
        let head = "E=\(code) R=\(retry ? 1 : 0) C=\(hexadecimal(challenge))"
        return Array((method == .msCHAPv1 ? "\(head) V=2" : "\(head) V=3 M=\(message)").utf8)
    }

    struct Failure: Equatable {
        var code = 0
        var retry = false
        var challenge: [UInt8]?
    }

    /// What a client understands of a failure message; fields may be missing.
    static func parseFailure(_ data: ArraySlice<UInt8>) -> Failure {
        var failure = Failure()
        for word in data.prefix(while: { $0 != UInt8(ascii: "M") }).split(separator: UInt8(ascii: " ")) {
            let value = word.dropFirst(2)
            switch word.prefix(2) {
            case [UInt8(ascii: "E"), UInt8(ascii: "=")]: failure.code = Int(text(value)) ?? 0
            case [UInt8(ascii: "R"), UInt8(ascii: "=")]: failure.retry = value.elementsEqual([UInt8(ascii: "1")])
            case [UInt8(ascii: "C"), UInt8(ascii: "=")]: failure.challenge = bytes(hexadecimal: value)
            default: break
            }
        }
        return failure
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789ABCDEF")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    private static func bytes(hexadecimal digits: ArraySlice<UInt8>) -> [UInt8]? {
        guard digits.count == 32 else { return nil }
        let values = digits.compactMap { Character(UnicodeScalar($0)).hexDigitValue.map(UInt8.init) }
        guard values.count == 32 else { return nil }
        return stride(from: 0, to: 32, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }
}
