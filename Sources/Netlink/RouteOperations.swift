import Addresses

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

// What the messages are used for, on a socket of the route family.
extension NetlinkSocket {
    public func links() throws -> [Link] {
        try dump(LinkRequest.dump()).compactMap { try Link($0) }
    }

    /// nil if there is none.
    public func link(named name: String) throws -> Link? {
        // A longer name would be refused as malformed; there cannot be such an interface.
        guard (1...LinkRequest.longestName).contains(name.utf8.count) else { return nil }
        return try absent(ENODEV) { try Link(get(LinkRequest.get(name: name))) }
    }

    public func link(index: UInt32) throws -> Link? {
        try absent(ENODEV) { try Link(get(LinkRequest.get(index: index))) }
    }

    public func addresses(index: UInt32? = nil) throws -> [InterfaceAddress] {
        try dump(AddressRequest.dump()).compactMap { try InterfaceAddress($0) }.filter { index == nil || $0.index == index }
    }

    public func routes(_ family: IPAddress.Family, table: UInt32) throws -> [Route] {
        // A table that never had a route does not exist, which strict checking reports as an error.
        try absent(ENOENT) {
            try dump(RouteRequest.dump(family, table: table)).compactMap { try Route($0) }.filter { $0.table == table }
        } ?? []
    }

    public func rules(_ family: IPAddress.Family) throws -> [Rule] {
        try dump(RuleRequest.dump(family)).compactMap { try Rule($0) }
    }

    private func absent<Value>(_ code: Int32, _ body: () throws -> Value?) throws -> Value? {
        do {
            return try body()
        } catch let error as NetlinkError where error.code == code {
            return nil
        }
    }

    /// Performs a deletion; what is gone already is fine.
    public func delete(_ request: NetlinkRequest) throws {
        do {
            try perform(request)
        } catch let error as NetlinkError where [ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL].contains(error.code) {}
    }

    /// Performs an addition; what is there already is fine.
    public func add(_ request: NetlinkRequest) throws {
        do {
            try perform(request)
        } catch let error as NetlinkError where error.code == EEXIST {}
    }
}

// On a socket of the generic family.
extension NetlinkSocket {
    /// The number of a generic netlink family; nil if this kernel does not have it.
    public func familyID(_ name: String) throws -> UInt16? {
        if let known = families[name] { return known }
        guard let id = try absent(ENOENT, { try GenericNetlink.familyID(get(GenericNetlink.resolve(name))) }) else { return nil }
        families[name] = id
        return id
    }
}
