import Addresses
import Testing

@testable import SessionMapper

private func address(_ text: String) -> IPAddress { IPAddress(text)! }
private func prefix(_ text: String) -> IPPrefix { IPPrefix(text)! }

private func pool(_ first: String, _ last: String, gateway: String = "10.8.0.1") -> AddressPool {
    AddressPool(name: "office", gateway: address(gateway), ranges: [address(first)...address(last)])
}

private func mapper(_ pool: AddressPool = pool("10.8.0.10", "10.8.0.12"), reservations: [Reservation] = []) -> SessionMapper {
    SessionMapper(pools: [pool], tunnels: ["hub"], reservations: reservations)
}

private func login(_ user: String, address: String? = nil, prefixes: [String] = []) -> Login {
    Login(
        user: user, pool: "office", tunnel: "hub", staticAddress: address.map { IPAddress($0)! }, prefixes: prefixes.map { IPPrefix($0)! })
}

@Suite struct SessionMapperTests {
    @Test func addressesComeFromThePoolAndGoBack() throws {
        var mapper = mapper()
        #expect(try mapper.admit(login("a"), session: 1).get().address == address("10.8.0.10"))
        #expect(try mapper.admit(login("b"), session: 2).get().address == address("10.8.0.11"))
        #expect(try mapper.admit(login("c"), session: 3).get().address == address("10.8.0.12"))
        #expect(mapper.admit(login("d"), session: 4) == .failure(.poolExhausted("office")))
        mapper.release(2)
        #expect(try mapper.admit(login("d"), session: 5).get().address == address("10.8.0.11"))
        #expect(mapper.sessionCount == 3)
    }

    @Test func aUserGetsTheLastAddressAgain() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a"), session: 1).get()
        _ = try mapper.admit(login("b"), session: 2).get()
        mapper.release(1)
        mapper.release(2)
        #expect(try mapper.admit(login("b"), session: 3).get().address == address("10.8.0.11"))
        #expect(try mapper.admit(login("a"), session: 4).get().address == address("10.8.0.10"))
    }

    @Test func theLongestFreeAddressIsReusedFirst() throws {
        var mapper = mapper()
        for session in 1...3 { _ = try mapper.admit(login("user\(session)"), session: UInt64(session)).get() }
        for session in [3, 1, 2] { mapper.release(UInt64(session)) }
        #expect(try mapper.admit(login("new"), session: 9).get().address == address("10.8.0.12"))
    }

    // MARK: An earlier life

    @Test func addressesOfAnEarlierLifeAreTheirUsersAgain() throws {
        var mapper = mapper(pool("10.8.0.10", "10.8.0.14"))
        mapper.prime(["office": ["b": address("10.8.0.12"), "a": address("10.8.0.10"), "z": address("10.9.0.1")], "other": ["a": address("10.8.0.13")]])
        #expect(mapper.freeAddresses(in: "office") == 5)
        // Others get what nobody had, from the first on; then what has been free for longest.
        #expect(try mapper.admit(login("n1"), session: 1).get().address == address("10.8.0.11"))
        #expect(try mapper.admit(login("b"), session: 2).get().address == address("10.8.0.12"))
        #expect(try mapper.admit(login("n2"), session: 3).get().address == address("10.8.0.13"))
        #expect(try mapper.admit(login("n3"), session: 4).get().address == address("10.8.0.14"))
        #expect(try mapper.admit(login("n4"), session: 5).get().address == address("10.8.0.10"))
        #expect(mapper.admit(login("a"), session: 6) == .failure(.poolExhausted("office")))
        #expect(mapper.freeAddresses(in: "office") == 0)
    }

    /// What was learned since counts more.
    @Test func primingAgainChangesNothingForThoseWhoWereHere() throws {
        var mapper = mapper()
        #expect(try mapper.admit(login("a"), session: 1).get().address == address("10.8.0.10"))
        mapper.release(1)
        mapper.prime(["office": ["a": address("10.8.0.12"), "b": address("10.8.0.10")]])
        #expect(try mapper.admit(login("a"), session: 2).get().address == address("10.8.0.10"))
        #expect(mapper.freeAddresses(in: "office") == 2)
    }

    @Test func everyAddressOfAPrimedPoolIsHandedOutOnce() throws {
        var mapper = mapper(pool("10.8.0.2", "10.8.0.200"))
        mapper.prime(["office": Dictionary(uniqueKeysWithValues: (2...200).filter { $0 % 3 == 0 }.map { ("u\($0)", address("10.8.0.\($0)")) })])
        var seen: Set<IPAddress> = []
        for session in 1...199 { seen.insert(try mapper.admit(login("n\(session)"), session: UInt64(session)).get().address) }
        #expect(seen.count == 199 && mapper.freeAddresses(in: "office") == 0)
    }

    @Test func anAddressThatIsSomebodyElsesIsNotTriedAgain() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a"), session: 1).get()
        mapper.release(1)
        var second = login("a")
        second.refused = [address("10.8.0.10"), address("10.8.0.11")]
        #expect(try mapper.admit(second, session: 2).get().address == address("10.8.0.12"))
    }

    @Test func anAddressIsKeptInMindForAUser() throws {
        var mapper = mapper(reservations: [Reservation(user: "x", prefixes: [prefix("10.8.0.10/32")])])
        #expect(mapper.remember("a", in: "office") == address("10.8.0.11"))
        #expect(mapper.remember("a", in: "office") == address("10.8.0.11"))
        #expect(mapper.freeAddresses(in: "office") == 3)
        #expect(try mapper.admit(login("a"), session: 1).get().address == address("10.8.0.11"))
        #expect(mapper.remember("a", in: "nowhere") == nil)
    }

    @Test func theGatewaysOwnAddressIsNeverHandedOut() throws {
        var mapper = mapper(pool("10.8.0.1", "10.8.0.2"))
        #expect(mapper.freeAddresses(in: "office") == 1)
        #expect(try mapper.admit(login("a"), session: 1).get().address == address("10.8.0.2"))
        #expect(mapper.admit(login("b"), session: 2) == .failure(.poolExhausted("office")))
    }

    @Test func aStaticAddressIsTakenOnce() throws {
        var mapper = mapper()
        #expect(try mapper.admit(login("a", address: "10.8.0.11"), session: 1).get().pool == nil)
        #expect(mapper.admit(login("a", address: "10.8.0.11"), session: 2) == .failure(.taken(prefix("10.8.0.11/32"), by: "a")))
        #expect(try mapper.admit(login("b"), session: 3).get().address == address("10.8.0.10"))
        #expect(try mapper.admit(login("c"), session: 4).get().address == address("10.8.0.12"))
        mapper.release(1)
        #expect(try mapper.admit(login("a", address: "10.8.0.11"), session: 5).get().address == address("10.8.0.11"))
    }

    @Test func aReservedAddressIsKeptForItsUser() throws {
        var mapper = mapper(reservations: [Reservation(user: "till", prefixes: [prefix("10.8.0.10/32")])])
        #expect(try mapper.admit(login("a"), session: 1).get().address == address("10.8.0.11"))
        #expect(try mapper.admit(login("till", address: "10.8.0.10"), session: 2).get().address == address("10.8.0.10"))
    }

    @Test func prefixesComeWithTheAddressAndMayNotOverlap() throws {
        var mapper = mapper()
        let site = try mapper.admit(login("site", prefixes: ["192.168.7.0/24"]), session: 1).get()
        #expect(site.prefixes == [prefix("10.8.0.10/32"), prefix("192.168.7.0/24")])
        #expect(
            mapper.admit(login("other", prefixes: ["192.168.0.0/16"]), session: 2) == .failure(.taken(prefix("192.168.0.0/16"), by: "site")))
        #expect(
            mapper.admit(login("third", address: "192.168.7.9"), session: 3) == .failure(.taken(prefix("192.168.7.9/32"), by: "site")))
        mapper.release(1)
        _ = try mapper.admit(login("other", prefixes: ["192.168.0.0/16"]), session: 4).get()
    }

    @Test func aPrefixOverAPoolAddressInUseIsRefused() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a"), session: 1).get()
        #expect(mapper.admit(login("b", prefixes: ["10.8.0.0/28"]), session: 2) == .failure(.taken(prefix("10.8.0.0/28"), by: "a")))
    }

    @Test func aRefusedLoginOccupiesNothing() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a", prefixes: ["192.168.1.0/24"]), session: 1).get()
        let free = mapper.freeAddresses(in: "office")
        #expect(throws: Refusal.self) { try mapper.admit(login("b", prefixes: ["192.168.2.0/24", "192.168.1.0/24"]), session: 2).get() }
        #expect(mapper.freeAddresses(in: "office") == free)
        _ = try mapper.admit(login("c", prefixes: ["192.168.2.0/24"]), session: 3).get()
    }

    @Test func otherPoolsAreTakenWhileSessionsLive() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a"), session: 1).get()
        mapper.replace(pools: [pool("10.8.0.10", "10.8.0.11")])
        #expect(try mapper.admit(login("b"), session: 2).get().address == address("10.8.0.11"))
        #expect(mapper.admit(login("c"), session: 3) == .failure(.poolExhausted("office")))
        mapper.release(1)
        #expect(try mapper.admit(login("c"), session: 4).get().address == address("10.8.0.10"))
        #expect(mapper.admit(login("d"), session: 5) == .failure(.poolExhausted("office")))
    }

    @Test func anEntryMayAllowOnlyPartOfAPool() throws {
        var mapper = mapper()
        var login = login("a")
        login.allowed = [prefix("10.8.0.12/32")]
        #expect(try mapper.admit(login, session: 1).get().address == address("10.8.0.12"))
        login.allowed = [prefix("172.16.0.0/12")]
        #expect(mapper.admit(login, session: 2) == .failure(.poolExhausted("office")))
    }

    @Test func unknownNamesAreNamed() {
        var mapper = mapper()
        #expect(mapper.admit(Login(user: "a", pool: "x", tunnel: "hub"), session: 1) == .failure(.unknownPool("x")))
        #expect(mapper.admit(Login(user: "a", pool: "office", tunnel: "y"), session: 1) == .failure(.unknownTunnel("y")))
    }

    @Test func sessionsOfAUserAreListedOldestFirst() throws {
        var mapper = mapper()
        _ = try mapper.admit(login("a"), session: 7).get()
        _ = try mapper.admit(login("a"), session: 3).get()
        #expect(mapper.sessions(of: "a") == [3, 7])
        mapper.release(3)
        #expect(mapper.sessions(of: "a") == [7])
        mapper.release(7)
        #expect(mapper.sessions(of: "a") == [])
    }

    @Test func aHugePoolCostsNothingAndCyclesThroughItself() throws {
        var pool = AddressPool(name: "big", gateway: address("10.0.0.1"), ranges: [address("10.0.0.0")...address("10.255.255.255")])
        #expect(pool.freeCount == (1 << 24) - 1)
        #expect(pool.take(for: "a", where: { _ in true }) == address("10.0.0.0"))
        #expect(pool.take(for: "b", where: { _ in true }) == address("10.0.0.2"))
    }

    @Test func everyAddressOfAPoolIsHandedOutExactlyOnce() {
        var pool = pool("10.8.0.0", "10.8.3.255")
        var seen: Set<IPAddress> = []
        while let next = pool.take(for: "user\(seen.count)", where: { _ in true }) { #expect(seen.insert(next).inserted) }
        #expect(seen.count == 1023)
        #expect(pool.freeCount == 0)
        for address in seen { pool.give(address) }
        #expect(pool.freeCount == 1023)
    }

    /// Taken out anywhere of the list of those that came back, the rest keeps its order.
    @Test func whoComesBackLeavesNoHoleInTheOrder() {
        var pool = pool("10.8.0.2", "10.8.0.7")
        func take(_ user: String) -> IPAddress? { pool.take(for: user, where: { _ in true }) }
        let users = ["a", "b", "c", "d", "e", "f"]
        let first = users.map { take($0)! }
        for address in first { pool.give(address) }
        // The middle, the oldest and the newest.
        for index in [2, 0, 5] { #expect(take(users[index]) == first[index]) }
        #expect(pool.freeCount == 3)
        pool.give(first[2])
        #expect(pool.take(for: "x", where: { $0 != first[1] }) == first[3], "the oldest that may be had")
        #expect(["u", "v", "w"].map(take) == [first[1], first[4], first[2]])
        #expect(take("y") == nil)
        #expect(pool.freeCount == 0)
    }

    @Test func aLongListOfFreeAddressesIsNotWalkedThrough() {
        var pool = pool("10.8.0.2", "10.8.255.254")
        var addresses: [IPAddress] = []
        while let address = pool.take(for: "user\(addresses.count)", where: { _ in true }) { addresses.append(address) }
        for address in addresses { pool.give(address) }
        // Everybody but the first comes back: behind the oldest one there are only holes.
        for number in addresses.indices.dropFirst() { _ = pool.take(for: "user\(number)", where: { _ in true }) }
        let begun = ContinuousClock.now
        for number in addresses.indices.dropFirst().suffix(20_000) {
            pool.give(addresses[number])
            #expect(pool.take(for: "stranger\(number)", where: { $0 != addresses[0] }) == addresses[number])
        }
        // 20,000 times past 65,000 holes would take a minute.
        #expect(begun.duration(to: .now) < .seconds(10))
    }
}
