import Addresses
import Authentication

/// What is wrong with a configuration that a hub is said to have.
public struct HubConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    public struct Issue: Sendable, Equatable {
        public var line: Int
        public var message: String
    }

    public var issues: [Issue]

    /// `LINE: what`, one line for each.
    public var description: String { issues.map { "\($0.line): \($0.message)" }.joined(separator: "\n") }
}

/// A hub's WireGuard as `wg showconf` prints it, or as somebody wrote it for wg(8) or wg-quick(8).
public struct HubConfiguration: Sendable, Equatable {
    /// The lines of its `[Interface]` section, with the header, as they came. They hold the hub's private key.
    public var interface: [String] = []
    /// In their order. A network that two of them claim belongs to the last, as in WireGuard.
    public var peers: [HubPeer] = []

    /// The `[Interface]` section without the empty lines and comments behind it.
    public var interfaceText: String {
        var lines = interface[...]
        while let last = lines.last, last.utf8.first(where: { $0 != 32 && $0 != 9 && $0 != 13 }).map({ $0 == UInt8(ascii: "#") }) ?? true {
            lines.removeLast()
        }
        return lines.map { $0 + "\n" }.joined()
    }

    /// Tolerant of what does not matter here (keys that are not known, wg-quick's keys, the case of words); what names a peer, a
    /// network or a key has to be right.
    public init(_ text: String) throws(HubConfigurationError) {
        var parser = Parser()
        var number = 0
        // By bytes, as wg(8) does it: no character beyond ASCII ends a line or a comment.
        for line in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            parser.line(Substring(line), number)
        }
        parser.endSection()
        guard parser.issues.isEmpty else { throw HubConfigurationError(issues: parser.issues) }
        interface = parser.interface
        peers = parser.merged()
    }

    private struct Parser {
        enum Section { case none, interface, peer, other }

        var section = Section.none
        var sectionLine = 0
        var interface: [String] = []
        var issues: [HubConfigurationError.Issue] = []
        private var peers: [HubPeer] = []
        private var publicKey: String?
        private var allowedIPs: [IPPrefix] = []
        private var presharedKey: Secret?
        private var hasFailed = false

        mutating func line(_ line: Substring, _ number: Int) {
            let content = Substring(line.utf8.prefix { $0 != UInt8(ascii: "#") }).trimmed
            if content.hasPrefix("[") {
                endSection()
                begin(content, number)
            } else if !content.isEmpty {
                member(content, number)
            }
            if section == .interface { interface.append(String(line)) }
        }

        private mutating func begin(_ header: Substring, _ number: Int) {
            sectionLine = number
            switch header.lowercased() {
            case "[interface]": section = .interface
            case "[peer]": section = .peer
            default:
                section = .other
                fail("expected [Interface] or [Peer]", number)
            }
        }

        private mutating func member(_ content: Substring, _ number: Int) {
            guard let equals = content.utf8.firstIndex(of: UInt8(ascii: "=")) else { return fail("expected NAME = VALUE", number) }
            let name = content[..<equals].trimmed.lowercased()
            let value = content[content.utf8.index(after: equals)...].trimmed
            switch section {
            case .none: fail("expected [Interface] or [Peer] first", number)
            case .interface, .other: break
            case .peer: peer(name, value, number)
            }
        }

        private mutating func peer(_ name: String, _ value: Substring, _ number: Int) {
            switch name {
            case "publickey":
                publicKey = WireGuardKey.canonical(String(value))
                if publicKey == nil { fail("expected a public key: 44 characters of base64", number) }
            case "presharedkey":
                guard value.lowercased() != "(none)" else { return presharedKey = nil }
                let key = WireGuardKey.decode(String(value))
                if key == nil { fail("expected a preshared key: 44 characters of base64", number) }
                // All zeros is how the kernel says that there is none.
                presharedKey = key == Secret(count: WireGuardKey.length) { _ in } ? nil : key
            case "allowedips":
                guard !value.isEmpty, value.lowercased() != "(none)" else { return }
                for word in value.split(separator: ",", omittingEmptySubsequences: false) {
                    guard let network = Self.network(word.trimmed) else { return fail("expected networks such as 10.8.0.10/32", number) }
                    allowedIPs.append(network)
                }
            default: break
            }
        }

        /// Host bits are cleared, as WireGuard does it.
        private static func network(_ text: Substring) -> IPPrefix? {
            let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
            guard parts.count == 2 else { return IPPrefix(address) }
            guard let length = Int(parts[1]), String(length) == parts[1] else { return nil }
            return IPPrefix(containing: address, length: length)
        }

        mutating func endSection() {
            defer {
                (publicKey, presharedKey, allowedIPs, hasFailed) = (nil, nil, [], false)
                section = .none
            }
            guard section == .peer, !hasFailed else { return }
            guard let publicKey else { return fail("this [Peer] has no PublicKey", sectionLine) }
            peers.append(HubPeer(publicKey: publicKey, allowedIPs: Set(allowedIPs), presharedKey: presharedKey))
        }

        private mutating func fail(_ message: String, _ line: Int) {
            hasFailed = true
            issues.append(.init(line: line, message: message))
        }

        /// One peer for each key, one key for each network: what comes later counts.
        func merged() -> [HubPeer] {
            let last = Dictionary(peers.enumerated().map { ($1.publicKey, $0) }, uniquingKeysWith: { $1 })
            var owners: [IPPrefix: String] = [:]
            for peer in peers { for network in peer.allowedIPs { owners[network] = peer.publicKey } }
            return peers.enumerated().filter { last[$1.publicKey] == $0 }.map { _, peer in
                var peer = peer
                peer.allowedIPs = peer.allowedIPs.filter { owners[$0] == peer.publicKey }
                return peer
            }
        }
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = self
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }
}
