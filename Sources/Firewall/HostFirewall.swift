import CLinux

/// The rules in this host's kernel.
public struct HostFirewall: Sendable {
    public let plan: FirewallPlan
    private var rules: NftablesRules { NftablesRules(plan) }

    public init(_ plan: FirewallPlan) { self.plan = plan }

    /// Our table as the kernel has it, without counters and callers; nil: there is none.
    public func current() throws(FirewallError) -> String? {
        let nft = try Nftables()
        // Of a table that is missing nft says the same as of a file.
        guard try nft.run("list tables inet").split(separator: "\n").contains("table inet \(plan.table)") else { return nil }
        return Self.withoutCallers(try nft.run("list table inet \(plan.table)"))
    }

    /// Our rules in the words the kernel would have for them: they are loaded into a network namespace that nobody is in.
    public func wanted() throws(FirewallError) -> String {
        let trial = Trial(rules: rules.table, table: plan.table)
        let error = clinux_in_new_namespace({ Unmanaged<Trial>.fromOpaque($0!).takeUnretainedValue().run() }, Unmanaged.passUnretained(trial).toOpaque())
        guard error == 0 else { throw error == -1 ? .notPermitted : .unavailable("no network namespace can be made to try the rules in (error \(-error))") }
        return Self.withoutCallers(try trial.result!.get())
    }

    /// Lines that apply would remove ("-") and add ("+"), in the order of the table; empty: nothing would change.
    public func difference() throws(FirewallError) -> [String] {
        let old = try current()?.split(separator: "\n").map(String.init) ?? []
        let new = try wanted().split(separator: "\n").map(String.init)
        return Difference.lines(from: old, to: new)
    }

    /// Makes the kernel's table what the plan says; whether anything had to change.
    public func apply() throws(FirewallError) -> Bool {
        guard try !difference().isEmpty else { return false }
        _ = try Nftables().run(rules.replacement)
        return true
    }

    /// Whether there was anything.
    public func remove() throws(FirewallError) -> Bool {
        guard try current() != nil else { return false }
        _ = try Nftables().run(rules.removal)
        return true
    }

    /// What other tables do that ours cannot mend.
    public func obstacles() throws(FirewallError) -> [Obstacle] {
        let nft = try Nftables()
        var obstacles: [Obstacle] = []
        for chain in Obstacle.chains(inRuleset: try nft.run("list chains", json: true)) where (chain.family, chain.table) != ("inet", plan.table) {
            let rules = try nft.run("list chain \(chain.family) \(chain.table) \(chain.name)")
            if let obstacle = Obstacle(chain: chain, rules: rules, plan: plan) { obstacles.append(obstacle) }
        }
        return obstacles
    }

    /// The addresses of a dynamic set are no rules: `elements = { … }`, which nft spreads over several lines.
    static func withoutCallers(_ listing: String) -> String {
        var lines: [Substring] = []
        var inCallers = false, inElements = false
        for line in listing.split(separator: "\n", omittingEmptySubsequences: false) {
            let words = line.drop { $0 == "\t" || $0 == " " }
            if words.hasPrefix("set ") { inCallers = words.hasPrefix("set callers ") }
            if inCallers, words.hasPrefix("elements = ") { inElements = true }
            if !inElements { lines.append(line) }
            if words.hasSuffix("}") { inElements = false }
        }
        return lines.joined(separator: "\n")
    }
}

/// Carries rules into the thread of another namespace, and their listing back.
private final class Trial {
    let rules: String
    let table: String
    private(set) var result: Result<String, FirewallError>?

    init(rules: String, table: String) {
        self.rules = rules
        self.table = table
    }

    func run() {
        do throws(FirewallError) {
            let nft = try Nftables()
            // In one transaction the listing would be of the time before it.
            _ = try nft.run(rules)
            result = .success(try nft.run("list table inet \(table)"))
        } catch {
            result = .failure(error)
        }
    }
}

enum Difference {
    /// Every line that differs, with its sign, in the order of reading.
    static func lines(from old: [String], to new: [String]) -> [String] {
        let difference = new.difference(from: old)
        var removed: Set<Int> = [], added: Set<Int> = []
        for change in difference {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): added.insert(offset)
            }
        }
        var lines: [String] = [], i = 0, j = 0
        while i < old.count || j < new.count {
            if i < old.count, removed.contains(i) {
                lines.append("-" + old[i])
                i += 1
            } else if j < new.count, added.contains(j) {
                lines.append("+" + new[j])
                j += 1
            } else {
                i += 1
                j += 1
            }
        }
        return lines
    }
}
