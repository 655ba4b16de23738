import Addresses

/// Prefixes that do not overlap one another, each with its holder. Hosts, the many, are found by hash; networks behind users'
/// routers are few and are walked.
struct PrefixTable: Sendable {
    private var hosts: [IPAddress: String] = [:]
    private var networks: [(prefix: IPPrefix, holder: String)] = []

    /// The holder of a prefix that shares an address with this one.
    func overlap(with prefix: IPPrefix) -> String? {
        if prefix.isHost, let holder = hosts[prefix.address] { return holder }
        if let holder = networks.first(where: { $0.prefix.overlaps(prefix) })?.holder { return holder }
        if !prefix.isHost, let entry = hosts.first(where: { prefix.contains($0.key) }) { return entry.value }
        return nil
    }

    mutating func trim() { hosts.shrinkIfSparse() }

    mutating func insert(_ prefix: IPPrefix, holder: String) {
        if prefix.isHost { hosts[prefix.address] = holder } else { networks.append((prefix, holder)) }
    }

    mutating func remove(_ prefix: IPPrefix) {
        if prefix.isHost { hosts[prefix.address] = nil } else { networks.removeAll { $0.prefix == prefix } }
    }
}
