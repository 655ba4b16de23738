import Addresses
import Authentication
import Settings
import WireGuard

/// A new key of an identity.
struct KeyPair {
    let privateKey: Secret
    let publicKey: PublicKey

    /// A random one.
    init() {
        let key = PrivateKey()
        privateKey = key.withBytes { Secret($0) }
        publicKey = key.publicKey
    }
}

/// Brings identities in line with a plan. A value: the same plan twice changes nothing the second time.
struct Provisioning {
    private let plan: IdentityPlan
    private let now: Int64
    private var change = IdentityChange()
    private var owners: [IPAddress: Identity.ID] = [:]
    private var cursors: [String: PoolCursor] = [:]
    private var problems: [String] = []
    private var withoutAddress: [String: [Identity.ID]] = [:]

    /// Throws without having changed anything.
    static func carryOut(
        _ plan: IdentityPlan, on identities: inout [Identity.ID: Identity], now: Int64, makeKey: () -> KeyPair
    ) throws(IdentityError) -> IdentityChange {
        var work = Provisioning(plan, now)
        var result = identities
        work.keepAddresses(&result)
        work.serve(&result, makeKey)
        work.retire(&result)
        try work.complain()
        let changed = Set(work.change.readdressed + work.change.revived + work.change.retired)
        work.change.before = changed.sorted().compactMap { identities[$0] }
        identities = result
        return work.change
    }

    private init(_ plan: IdentityPlan, _ now: Int64) {
        self.plan = plan
        self.now = now
    }

    // ---- Addresses ----

    /// Who has an address that still is right keeps it; the others let go before anybody is given one.
    private mutating func keepAddresses(_ identities: inout [Identity.ID: Identity]) {
        let needs = Dictionary(plan.needs.map { ($0.id, $0.address) }, uniquingKeysWith: { first, _ in first })
        for (id, identity) in identities {
            // One that its user holds cannot be told of another address.
            if let source = needs[id], !identity.isHandedOver, !mayKeep(identity, source) { continue }
            for address in identity.addresses { owners[address] = id }
        }
    }

    private func mayKeep(_ identity: Identity, _ source: IdentityPlan.Source) -> Bool {
        switch source {
        case .none: return identity.addresses.isEmpty
        case .fixed(let address): return identity.addresses == [address]
        case .pools(let names, let networks):
            guard identity.addresses.count == 1, let address = identity.addresses.first else { return false }
            return names.contains { plan.pools[$0]?.contains { $0.contains(address) } ?? false }
                && (networks?.contains { $0.contains(address) } ?? true)
                && (plan.reserved[address] ?? identity.id.name) == identity.id.name
        }
    }

    private mutating func addresses(for need: IdentityPlan.Need, _ identities: [Identity.ID: Identity]) -> [IPAddress]? {
        switch need.address {
        case .none: return []
        case .fixed(let address):
            if let other = owners[address], other != need.id {
                let retired = identities[other]?.isRetired == true
                problems.append(
                    "\(address) of \(need.id) belongs to \(other) for good"
                        + (retired ? ", which is not in the configuration any more; run: causeway hub prune" : "; choose another address"))
                return nil
            }
            return [address]
        case .pools(let names, let networks):
            for name in names {
                if let address = lease(from: name, within: networks, for: need.id) { return [address] }
            }
            withoutAddress[names.joined(separator: "\", \""), default: []].append(need.id)
            return nil
        }
    }

    private mutating func lease(from pool: String, within networks: [IPPrefix]?, for id: Identity.ID) -> IPAddress? {
        let owners = owners, reserved = plan.reserved
        let isFree = { (address: IPAddress) in owners[address] == nil && (reserved[address] ?? id.name) == id.name }
        guard let networks else {
            var cursor = cursors[pool] ?? PoolCursor(plan.pools[pool] ?? [])
            defer { cursors[pool] = cursor }
            return cursor.next(where: isFree)
        }
        var cursor = PoolCursor((plan.pools[pool] ?? []).flatMap { range in networks.compactMap(range.part(in:)) })
        return cursor.next(where: isFree)
    }

    // ---- Identities ----

    private mutating func serve(_ identities: inout [Identity.ID: Identity], _ makeKey: () -> KeyPair) {
        // Fixed addresses first: nobody is leased one that another user of this very plan has been promised.
        let order = plan.needs.filter { if case .fixed = $0.address { true } else { false } }
            + plan.needs.filter { if case .fixed = $0.address { false } else { true } }
        for need in order {
            if identities[need.id]?.isRetired == true {
                identities[need.id]?.retiredAt = nil
                change.revived.append(need.id)
            }
            if let identity = identities[need.id], identity.isHandedOver || mayKeep(identity, need.address) { continue }
            guard let addresses = addresses(for: need, identities) else { continue }
            for address in addresses { owners[address] = need.id }
            if identities[need.id] != nil {
                identities[need.id]!.addresses = addresses
                identities[need.id]!.generation += 1
                change.readdressed.append(need.id)
            } else {
                let key = makeKey()
                identities[need.id] = Identity(
                    id: need.id, publicKey: key.publicKey, privateKey: key.privateKey, addresses: addresses, createdAt: now)
                change.created.append(need.id)
            }
        }
    }

    private mutating func retire(_ identities: inout [Identity.ID: Identity]) {
        let needed = Set(plan.needs.map(\.id))
        for id in identities.keys.sorted() where identities[id]?.isRetired == false && !needed.contains(id) {
            identities[id]?.retiredAt = now
            change.retired.append(id)
        }
    }

    private func complain() throws(IdentityError) {
        let exhausted = withoutAddress.sorted { $0.key < $1.key }.map { pools, ids in
            let others = ids.count > 1 ? " and \(ids.count - 1) more" : ""
            guard !pools.isEmpty else {
                return "\(ids[0])\(others): there is no pool to take an address from; set an address, or pool in a [[user]]"
            }
            return "pool \"\(pools)\" has no free address left for \(ids[0])\(others): add a range to it"
        }
        let all = problems + exhausted
        guard !all.isEmpty else { return }
        let shown = all.prefix(20) + (all.count > 20 ? ["and \(all.count - 20) more like these"] : [])
        throw IdentityError(shown.joined(separator: "\n"))
    }
}

/// Counts through the addresses of a pool once.
private struct PoolCursor {
    private var ranges: ArraySlice<AddressRange>
    private var position: IPAddress?

    init(_ ranges: [AddressRange]) {
        self.ranges = ranges[...]
        position = ranges.first?.first
    }

    mutating func next(where isFree: (IPAddress) -> Bool) -> IPAddress? {
        while let range = ranges.first {
            while let address = position, address <= range.last {
                position = address.advanced(by: 1)
                if isFree(address) { return address }
            }
            ranges.removeFirst()
            position = ranges.first?.first
        }
        return nil
    }
}

extension AddressRange {
    /// What of it lies in a network.
    fileprivate func part(in network: IPPrefix) -> AddressRange? {
        guard overlaps(network) else { return nil }
        return AddressRange(first: max(first, network.first), last: min(last, network.last))
    }
}
