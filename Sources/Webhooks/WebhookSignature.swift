import Authentication
import CSodium
import Migration

/// Proof that a message is ours and of now: `t=SECONDS,v1=HEX`, the HMAC-SHA256 (RFC 2104) of `SECONDS.BODY` with the secret that both
/// sides know. The time is part of it, so that a recorded message is worth nothing later.
public enum WebhookSignature {
    public static let header = "Causeway-Signature"

    public static func text(of body: [UInt8], secret: Secret, at now: UnixTime) -> String {
        "t=\(now),v1=" + mac(body, secret, now).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    /// What a receiver does. `tolerance`: seconds that the clocks may differ, and the way may take.
    public static func isValid(_ text: String, of body: [UInt8], secret: Secret, at now: UnixTime, tolerance: UnixTime = 300) -> Bool {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].hasPrefix("t="), parts[1].hasPrefix("v1="), let sent = UnixTime(parts[0].dropFirst(2)),
            sent > now - tolerance, sent < now + tolerance
        else { return false }
        return constantTimeEqual(Array(text.utf8), Array(self.text(of: body, secret: secret, at: sent).utf8))
    }

    private static func mac(_ body: [UInt8], _ secret: Secret, _ time: UnixTime) -> [UInt8] {
        let message = Array("\(time).".utf8) + body
        var result = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        var state = crypto_auth_hmacsha256_state()
        secret.withUnsafeBytes { key in
            _ = crypto_auth_hmacsha256_init(&state, key.baseAddress!.assumingMemoryBound(to: UInt8.self), key.count)
        }
        crypto_auth_hmacsha256_update(&state, message, UInt64(message.count))
        crypto_auth_hmacsha256_final(&state, &result)
        withUnsafeMutableBytes(of: &state) { sodium_memzero($0.baseAddress!, $0.count) }
        return result
    }
}
