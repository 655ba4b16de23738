import CNftables

/// One conversation with nf_tables through libnftables: a buffer of commands is one transaction, done as a whole or not at all.
struct Nftables: ~Copyable {
    private let context: OpaquePointer

    init() throws(FirewallError) {
        guard let context = nft_ctx_new(UInt32(NFT_CTX_DEFAULT)) else { throw .unavailable("libnftables could not be started: is there memory?") }
        self.context = context
        nft_ctx_buffer_output(context)
        nft_ctx_buffer_error(context)
    }

    deinit { nft_ctx_free(context) }

    /// What nft(8) would print.
    func run(_ commands: String, json: Bool = false) throws(FirewallError) -> String {
        // Counters change by themselves, and addresses of callers come and go: rules are compared without.
        nft_ctx_output_set_flags(context, UInt32(NFT_CTX_OUTPUT_STATELESS | (json ? NFT_CTX_OUTPUT_JSON : 0)))
        guard nft_run_cmd_from_buffer(context, commands) == 0 else {
            throw FirewallError(nft: String(cString: nft_ctx_get_error_buffer(context)))
        }
        return String(cString: nft_ctx_get_output_buffer(context))
    }
}

public enum FirewallError: Error, Equatable, CustomStringConvertible {
    case notPermitted
    /// The kernel lacks something: nf_tables itself, or a module that the rules need.
    case unavailable(String)
    case refused(String)
    /// What was asked about is not there.
    case absent

    /// From what nft(8) says, in the words of its first line.
    init(nft text: String) {
        let first = text.split(separator: "\n").first.map(String.init) ?? "no reason was given"
        let words = first.lowercased()
        if words.contains("operation not permitted") || words.contains("permission denied") {
            self = .notPermitted
        } else if words.contains("no such file or directory") {
            self = .absent
        } else if words.contains("not supported") || words.contains("protocol wrong type") {
            self = .unavailable(first)
        } else {
            self = .refused(first)
        }
    }

    public var description: String {
        switch self {
        case .notPermitted: "only root (or CAP_NET_ADMIN) may read and change the packet filter: use sudo"
        case .unavailable(let text): "this kernel's packet filter cannot do it: \(text)"
        case .refused(let text): "the packet filter refused the rules, and nothing was changed: \(text)"
        case .absent: "something that the rules need is missing in this kernel, and nothing was changed; for pptp-helper: modprobe nf_conntrack_pptp nf_nat_pptp"
        }
    }
}
