import Addresses
import CDataPath
import Testing

@testable import DataPath

/// Each command as the C core reads it. Pointers are valid during the call only, so everything is looked at inside it.
@Suite struct CommandTests {
    let v4 = IPAddress("192.0.2.7")!
    let v6 = IPAddress("2001:db8::9")!

    func bytes<T>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
    func address(_ native: cw_address) -> IPAddress? { IPAddress(native) }

    @Test func addressesOfBothFamilies() {
        let four = cw_address(v4)
        #expect(four.family == 4)
        #expect(bytes(four.bytes) == [192, 0, 2, 7] + [UInt8](repeating: 0, count: 12))
        let six = cw_address(v6)
        #expect(six.family == 6)
        #expect(bytes(six.bytes) == v6.bytes)
        #expect(IPAddress(four) == v4)
        #expect(IPAddress(six) == v6)
        #expect(IPAddress(cw_address()) == nil)
        let prefix = cw_prefix(IPPrefix("10.8.0.0/29")!)
        #expect(prefix.length == 29)
        #expect(IPAddress(prefix.address) == IPAddress("10.8.0.0"))
    }

    @Test func open() {
        let parameters = SessionParameters(
            localCallID: 0xABCD, peerCallID: 0, localAddress: v4, peerAddress: IPAddress("198.51.100.1")!,
            flags: [.requireEncryption, .sendPFC])
        Command(0x1_0000_0001, .open(parameters)).withNative { native in
            #expect(native.type == .CW_OPEN)
            #expect(native.session == 0x1_0000_0001)
            #expect(native.open.local_call_id == 0xABCD)
            #expect(native.open.peer_call_id == 0)
            #expect(native.open.flags == UInt32(CW_REQUIRE_ENCRYPTION | CW_SEND_PFC))
            #expect(address(native.open.local_address) == v4)
            #expect(address(native.open.peer_address) == IPAddress("198.51.100.1"))
        }
    }

    @Test func flagsAreThoseOfTheCore() {
        #expect(SessionFlags.allowAddressChange.rawValue == UInt32(CW_ALLOW_ADDRESS_CHANGE))
        #expect(SessionFlags.requireEncryption.rawValue == UInt32(CW_REQUIRE_ENCRYPTION))
        #expect(SessionFlags.sendACFC.rawValue == UInt32(CW_SEND_ACFC))
        #expect(SessionFlags.sendPFC.rawValue == UInt32(CW_SEND_PFC))
        #expect(SessionFlags.sendSequenceZero.rawValue == UInt32(CW_SEND_SEQUENCE_ZERO))
    }

    /// What is nil is not in the mask, so it stays as it is.
    @Test func updatesNameOnlyWhatChanges() {
        Command(1, .update(SessionUpdate())).withNative { #expect($0.type == .CW_UPDATE && $0.update.mask == 0) }
        Command(1, .update(SessionUpdate(flags: [.sendACFC]))).withNative {
            #expect($0.update.mask == UInt32(CW_UPDATE_FLAGS))
            #expect($0.update.flags == UInt32(CW_SEND_ACFC))
        }
        Command(1, .update(SessionUpdate(mtu: 1300))).withNative {
            #expect($0.update.mask == UInt32(CW_UPDATE_MTU))
            #expect($0.update.mtu == 1300)
        }
        Command(1, .update(SessionUpdate(peerAddress: v4))).withNative {
            #expect($0.update.mask == UInt32(CW_UPDATE_PEER_ADDRESS))
            #expect(address($0.update.peer_address) == v4)
        }
        Command(1, .update(SessionUpdate(rateBitsPerSecond: 1 << 40))).withNative {
            #expect($0.update.mask == UInt32(CW_UPDATE_RATE))
            #expect($0.update.rate_bits_per_second == 1 << 40)
        }
        let all = SessionUpdate(flags: [], mtu: 68, peerAddress: v4, rateBitsPerSecond: 0)
        Command(1, .update(all)).withNative {
            #expect($0.update.mask == UInt32(CW_UPDATE_FLAGS | CW_UPDATE_MTU | CW_UPDATE_PEER_ADDRESS | CW_UPDATE_RATE))
            #expect($0.update.flags == 0)
        }
    }

    @Test func keys() {
        let key = (1...16).map(UInt8.init)
        Command(1, .rekey(.receive, Encryption(keyBits: 128, stateless: true, startKey: key))).withNative {
            #expect($0.type == .CW_REKEY)
            #expect($0.rekey.direction == .CW_RECEIVE)
            #expect($0.rekey.key_bits == 128)
            #expect($0.rekey.flags == UInt32(CW_MPPE_STATELESS))
            #expect(bytes($0.rekey.start_key) == key)
        }
        Command(1, .rekey(.transmit, Encryption(keyBits: 40, stateless: false, startKey: Array(key.prefix(8))))).withNative {
            #expect($0.rekey.direction == .CW_TRANSMIT)
            #expect($0.rekey.key_bits == 40)
            #expect($0.rekey.flags == 0)
            #expect(bytes($0.rekey.start_key) == Array(key.prefix(8)) + [UInt8](repeating: 0, count: 8))
        }
        Command(1, .rekey(.transmit, nil)).withNative {
            #expect($0.rekey.direction == .CW_TRANSMIT)
            #expect($0.rekey.key_bits == 0)
            #expect(bytes($0.rekey.start_key) == [UInt8](repeating: 0, count: 16))
        }
    }

    @Test func bindings() {
        let prefixes = ["10.8.0.9/32", "192.168.5.0/24", "2001:db8:1::/48"].map { IPPrefix($0)! }
        Command(7, .bind(Binding(gatewayAddress: v4, tunnel: 3, mtu: 1396, prefixes: prefixes))).withNative { native in
            #expect(native.type == .CW_BIND)
            #expect(address(native.bind.gateway_address) == v4)
            #expect(native.bind.tunnel == 3)
            #expect(native.bind.mtu == 1396)
            #expect(native.bind.prefix_count == 3)
            withUnsafeBytes(of: native.bind.prefixes) { bytes in
                let slots = bytes.bindMemory(to: cw_prefix.self)
                #expect(slots.prefix(3).map { address($0.address) } == prefixes.map(\.address))
                #expect(slots.prefix(3).map { Int($0.length) } == prefixes.map(\.length))
                #expect(slots[3].address.family == 0)
            }
        }
    }

    /// As many as there are room for; one more is counted, so that the core refuses it, and not written.
    @Test(arguments: [32, 33, 70_000]) func manyPrefixes(_ count: Int) {
        let prefixes = (0..<count).map { IPPrefix(IPAddress("10.0.0.0")!.advanced(by: $0)!) }
        Command(7, .bind(Binding(gatewayAddress: v4, tunnel: 0, mtu: 1396, prefixes: prefixes))).withNative { native in
            #expect(Int(native.bind.prefix_count) == min(count, 65_535))
            withUnsafeBytes(of: native.bind.prefixes) { bytes in
                #expect(address(bytes.bindMemory(to: cw_prefix.self)[31].address) == IPAddress("10.0.0.31"))
            }
        }
    }

    @Test func frames() {
        let payload: [UInt8] = [1, 2, 0, 4]
        Command(1, .inject(protocol: 0xC021, payload: payload)).withNative { native in
            #expect(native.type == .CW_INJECT)
            #expect(native.inject.protocol == 0xC021)
            #expect(Array(UnsafeBufferPointer(start: native.inject.payload, count: Int(native.inject.length))) == payload)
        }
        Command(1, .inject(protocol: 0x80FD, payload: [])).withNative { #expect($0.inject.length == 0) }
        // Too long for the core, and not cut to what would fit.
        Command(1, .inject(protocol: 1, payload: [UInt8](repeating: 0, count: 70_000))).withNative { #expect($0.inject.length == .max) }
    }

    @Test func states() {
        let state = [UInt8](repeating: 9, count: 300)
        Command(1, .importState(state)).withNative { native in
            #expect(native.type == .CW_IMPORT)
            #expect(Array(UnsafeBufferPointer(start: native.import_state.state, count: Int(native.import_state.length))) == state)
        }
    }

    @Test func tunnelsAndOwnAddresses() {
        Command(0, .tunnel(index: 2, mtu: 1420, up: true)).withNative {
            #expect($0.type == .CW_TUNNEL)
            #expect($0.session == 0)
            #expect($0.tunnel.index == 2)
            #expect($0.tunnel.mtu == 1420)
            #expect($0.tunnel.up)
        }
        Command(0, .tunnel(index: 0, mtu: 68, up: false)).withNative { #expect(!$0.tunnel.up) }
        Command(0, .localAddresses([v4, v6])).withNative { native in
            #expect(native.type == .CW_LOCAL_ADDRESSES)
            let list = UnsafeBufferPointer(start: native.local_addresses.addresses, count: Int(native.local_addresses.count))
            #expect(list.map(address) == [v4, v6])
        }
        Command(0, .localAddresses([])).withNative { #expect($0.local_addresses.count == 0) }
    }

    @Test func sources() {
        let networks = [IPPrefix("192.0.2.0/24")!, IPPrefix("198.51.100.7/32")!, IPPrefix("10.0.0.0/8")!]
        Command(0, .sources(allowed: Array(networks.prefix(2)), blocked: [networks[2]])).withNative { native in
            #expect(native.type == .CW_SOURCES)
            let allowed = UnsafeBufferPointer(start: native.sources.allowed, count: Int(native.sources.allowed_count))
            let blocked = UnsafeBufferPointer(start: native.sources.blocked, count: Int(native.sources.blocked_count))
            #expect(allowed.map { address($0.address) } == [networks[0].address, networks[1].address])
            #expect(allowed.map(\.length) == [24, 32])
            #expect(blocked.map { address($0.address) } == [networks[2].address])
        }
        Command(0, .sources(allowed: [], blocked: [])).withNative { #expect($0.sources.allowed_count == 0 && $0.sources.blocked_count == 0) }
    }

    @Test func commandsWithoutArguments() {
        for (kind, type): (Command.Kind, cw_command_type) in [(.unbind, .CW_UNBIND), (.close, .CW_CLOSE), (.export, .CW_EXPORT)] {
            Command(5, kind).withNative { native in
                #expect(native.type == type)
                #expect(native.session == 5)
            }
        }
    }
}
