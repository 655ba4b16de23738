import Addresses

/// The addresses that sessions may be given. A user gets the address of the last time again while it is free; otherwise the
/// one that has been free for longest, so that a late packet for an old session does not reach a new one.
public struct AddressPool: Sendable {
    public let name: String
    /// Our end of every link in this pool; never handed out.
    public let gateway: IPAddress
    public let ranges: [ClosedRange<IPAddress>]
    private var free: FreeQueue
    private var lastOf: [String: IPAddress] = [:]
    private var lastUser: [IPAddress: String] = [:]

    public init(name: String, gateway: IPAddress, ranges: [ClosedRange<IPAddress>]) {
        self.name = name
        self.gateway = gateway
        self.ranges = ranges
        free = FreeQueue(ranges: ranges, excluding: gateway)
    }

    public var freeCount: Int { free.count }
    public func contains(_ address: IPAddress) -> Bool { ranges.contains { $0.contains(address) } }

    /// nil if the pool is exhausted. `usable` refuses addresses that are taken otherwise (static addresses, users' prefixes).
    public mutating func take(for user: String, where usable: (IPAddress) -> Bool) -> IPAddress? {
        if let last = lastOf[user], usable(last), free.remove(last) { return last }
        guard let address = free.take(where: usable) else { return nil }
        if let previous = lastUser[address] { lastOf[previous] = nil }
        if let old = lastOf[user] { lastUser[old] = nil }
        lastOf[user] = address
        lastUser[address] = user
        return address
    }

    /// Users' addresses of an earlier life, as far as they are in this pool and nobody has had them since. Nobody else gets one of them
    /// while there are others.
    public mutating func prime(_ addresses: [String: IPAddress]) {
        let known = addresses.filter { contains($0.value) && $0.value != gateway && lastOf[$0.key] == nil && lastUser[$0.value] == nil }
        free.markUsed(known.values.sorted())
        for (user, address) in known where lastUser[address] == nil {
            lastOf[user] = address
            lastUser[address] = user
        }
    }

    public mutating func give(_ address: IPAddress) {
        guard contains(address), address != gateway else { return }
        free.append(address)
    }
}

/// Free addresses in the order in which they became free. Ranges are not expanded: an address that was never used is
/// counted up from its range, so a /8 costs nothing.
struct FreeQueue: Sendable {
    private var fresh: [ClosedRange<IPAddress>]
    private let gateway: IPAddress
    /// Returned addresses, a list in the order of their return: any of them can be taken out without a look at the others.
    private var returned: [IPAddress: Neighbours] = [:]
    private var oldest: IPAddress?
    private var newest: IPAddress?
    private(set) var count: Int

    private struct Neighbours {
        var older: IPAddress?
        var newer: IPAddress?
    }

    init(ranges: [ClosedRange<IPAddress>], excluding gateway: IPAddress) {
        fresh = ranges.reversed()
        self.gateway = gateway
        count = ranges.reduce(0) { $0 + Self.size($1) } - (ranges.contains { $0.contains(gateway) } ? 1 : 0)
    }

    mutating func append(_ address: IPAddress) {
        guard returned[address] == nil else { return }
        returned[address] = Neighbours(older: newest)
        if let newest { returned[newest]?.newer = address } else { oldest = address }
        newest = address
        count += 1
    }

    /// Takes this address if it was returned before (an unused one of a fresh range is not looked for).
    mutating func remove(_ address: IPAddress) -> Bool {
        guard let place = returned.removeValue(forKey: address) else { return false }
        if let older = place.older { returned[older]?.newer = place.newer } else { oldest = place.newer }
        if let newer = place.newer { returned[newer]?.older = place.older } else { newest = place.older }
        count -= 1
        return true
    }

    /// Takes these, in ascending order, out of the ranges that were never used and puts them behind all others.
    mutating func markUsed(_ addresses: [IPAddress]) {
        var marked: [IPAddress] = []
        fresh = fresh.flatMap { range in
            var rest: ClosedRange<IPAddress>? = range, pieces: [ClosedRange<IPAddress>] = []
            // The first of them that may lie in this range.
            var index = addresses.partitioningIndex { $0 >= range.lowerBound }
            while let open = rest, index < addresses.count, addresses[index] <= range.upperBound {
                let address = addresses[index]
                index += 1
                guard open.contains(address) else { continue }
                if open.lowerBound < address, let last = address.advanced(by: -1) { pieces.append(open.lowerBound...last) }
                rest = address < open.upperBound ? address.advanced(by: 1).map { $0...open.upperBound } : nil
                marked.append(address)
            }
            // The next one to be used is the last of the list.
            return (pieces + (rest.map { [$0] } ?? [])).reversed()
        }
        count -= marked.count
        for address in marked { append(address) }
    }

    mutating func take(where usable: (IPAddress) -> Bool) -> IPAddress? {
        while let address = nextFresh() {
            count -= 1
            if usable(address) { return address }
            append(address)
        }
        var candidate = oldest
        while let address = candidate {
            if usable(address) {
                _ = remove(address)
                return address
            }
            candidate = returned[address]?.newer
        }
        return nil
    }

    private mutating func nextFresh() -> IPAddress? {
        while let range = fresh.popLast() {
            if range.lowerBound < range.upperBound, let following = range.lowerBound.advanced(by: 1) {
                fresh.append(following...range.upperBound)
            }
            if range.lowerBound != gateway { return range.lowerBound }
        }
        return nil
    }

    private static func size(_ range: ClosedRange<IPAddress>) -> Int {
        guard let low = range.lowerBound.v4, let high = range.upperBound.v4 else {
            return range.lowerBound == range.upperBound ? 1 : Int.max / 4
        }
        return Int(high - low) + 1
    }
}

extension Array {
    /// Of the first element for which it holds, in an array in which it holds from some element on.
    fileprivate func partitioningIndex(where holds: (Element) -> Bool) -> Int {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if holds(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
