import Addresses
import CDataPath
import Testing

@testable import DataPath

/// Values as the C core reads and writes them.
@Suite struct WireGuardValuesTests {
    let key = (1...32).map(UInt8.init)

    func bytes<T>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    @Test func defaultsAreTheCores() {
        var core = cw_wg_config()
        cw_wg_config_defaults(&core)
        let ours = WireGuardConfiguration().native
        #expect(ours.identity_capacity == core.identity_capacity)
        #expect(ours.peer_capacity == core.peer_capacity)
        #expect(ours.staged_packets == core.staged_packets)
        #expect(ours.outstanding == core.outstanding)
        #expect(ours.scan_budget == core.scan_budget)
    }

    @Test func configurations() {
        var configuration = EngineConfiguration(role: .gateway, interface: nil)
        #expect(!configuration.native.wireguard)
        configuration.wireGuard = WireGuardConfiguration()
        configuration.wireGuard?.identityCapacity = 7
        configuration.wireGuard?.peerCapacity = -1
        configuration.wireGuard?.outstanding = 5
        #expect(configuration.native.wireguard)
        #expect(configuration.native.wireguard_config.identity_capacity == 7)
        #expect(configuration.native.wireguard_config.peer_capacity == 0) // refused by the core
        #expect(configuration.native.wireguard_config.outstanding == 5)
    }

    @Test func whatIsNilStaysAsItIs() {
        let change = WireGuardEngine.PeerChange(publicKey: key).native
        #expect(bytes(change.public_key) == key)
        #expect(change.mask == 0)
        #expect(change.endpoint.address.family == 0)
    }

    @Test func everyPartHasItsBit() {
        typealias Change = WireGuardEngine.PeerChange
        #expect(Change(publicKey: key, operation: .remove).native.mask == UInt32(CW_WG_PEER_REMOVE))
        #expect(Change(publicKey: key, operation: .update).native.mask == UInt32(CW_WG_PEER_UPDATE_ONLY))
        #expect(Change(publicKey: key, replacesAllowedIPs: true).native.mask == UInt32(CW_WG_PEER_REPLACE_ALLOWED_IPS))
        let keepalive = Change(publicKey: key, keepaliveSeconds: 0).native
        #expect(keepalive.mask == UInt32(CW_WG_PEER_KEEPALIVE) && keepalive.keepalive_seconds == 0)
        let preshared = Change(publicKey: key, presharedKey: WireGuardSecret(copying: key.reversed())).native
        #expect(preshared.mask == UInt32(CW_WG_PEER_PRESHARED_KEY))
        #expect(bytes(preshared.preshared_key) == key.reversed())
        #expect(bytes(Change(publicKey: key, presharedKey: WireGuardSecret.none).native.preshared_key) == [UInt8](repeating: 0, count: 32))
    }

    @Test func endpointsOfBothFamilies() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:1"] {
            var change = WireGuardEngine.PeerChange(publicKey: key, endpoint: Endpoint(text)!)
            change.endpointScope = 9
            #expect(change.native.mask == UInt32(CW_WG_PEER_ENDPOINT))
            #expect(Endpoint(change.native.endpoint) == Endpoint(text))
            #expect(change.native.endpoint.scope == 9)
        }
        #expect(Endpoint(cw_wg_endpoint()) == nil)
    }

    @Test func activityAsItIsRead() {
        var native = cw_wg_activity()
        withUnsafeMutableBytes(of: &native.public_key) { $0.copyBytes(from: key) }
        var activity = WireGuardEngine.PeerActivity(native)
        #expect(activity.publicKey == key)
        #expect(activity.endpoint == nil && activity.lastHandshake == nil && activity.receivedAt == nil && activity.dataReceivedAt == nil)
        #expect(activity.lost == .init())
        native.identity = 4
        native.endpoint.address = cw_address(IPAddress("198.51.100.7")!)
        native.endpoint.port = 7
        native.keepalive_seconds = 25
        native.handshake_unix_nanoseconds = 1_700_000_000_123_456_789
        (native.received_bytes, native.sent_bytes, native.initiations_sent, native.given_up) = (11, 12, 13, 14)
        (native.received_at, native.data_received_at, native.unanswered_packets) = (15, 16, 17)
        (native.lost_unanswered, native.lost_staged, native.lost_no_endpoint, native.lost_refused) = (1, 20, 300, 4000)
        activity = WireGuardEngine.PeerActivity(native)
        #expect(activity.identity == .init(handle: 4) && activity.endpoint == Endpoint("198.51.100.7:7") && activity.keepaliveSeconds == 25)
        #expect(activity.lastHandshake == 1_700_000_000_123_456_789)
        #expect(activity.receivedBytes == 11 && activity.sentBytes == 12 && activity.initiationsSent == 13 && activity.handshakesGivenUp == 14)
        #expect(activity.receivedAt == 15 && activity.dataReceivedAt == 16 && activity.unansweredPackets == 17)
        let lost = activity.lost
        #expect(lost.unanswered == 1 && lost.staged == 20 && lost.withoutEndpoint == 300 && lost.refused == 4000 && lost.total == 4321)
    }

    @Test func peersAsTheyAreRead() {
        var native = cw_wg_peer_info()
        withUnsafeMutableBytes(of: &native.public_key) { $0.copyBytes(from: key) }
        var info = WireGuardEngine.PeerInfo(native)
        #expect(info.publicKey == key)
        #expect(info.presharedKey == nil && info.endpoint == nil && info.lastHandshake == nil)
        withUnsafeMutableBytes(of: &native.preshared_key) { $0[5] = 1 }
        native.endpoint.address = cw_address(IPAddress("198.51.100.7")!)
        native.endpoint.port = 7
        native.keepalive_seconds = 25
        native.allowed_ip_count = 3
        native.handshake_unix_nanoseconds = 1_700_000_000_123_456_789
        native.received_bytes = 11
        native.sent_bytes = 12
        native.initiations_sent = 13
        info = WireGuardEngine.PeerInfo(native)
        #expect(info.presharedKey?.withBytes { $0[5] } == 1)
        #expect(info.endpoint == Endpoint("198.51.100.7:7"))
        #expect(info.keepaliveSeconds == 25)
        #expect(info.allowedIPCount == 3)
        #expect(info.lastHandshake == 1_700_000_000_123_456_789)
        #expect([info.receivedBytes, info.sentBytes, info.initiationsSent] == [11, 12, 13])
    }

    @Test func identitiesAsTheyAreRead() {
        var native = cw_wg_identity_info()
        #expect(WireGuardEngine.IdentityInfo(native).privateKey == nil)
        native.has_key = true
        withUnsafeMutableBytes(of: &native.private_key) { $0.copyBytes(from: key) }
        native.port = 2
        native.listen_port = 51820
        native.up = true
        native.fwmark = 3
        native.peer_count = 4
        let info = WireGuardEngine.IdentityInfo(native)
        #expect(info.privateKey == WireGuardSecret(copying: key))
        #expect(info.port == WireGuardEngine.Port(number: 2))
        #expect(info.listenPort == 51820 && info.isUp && info.firewallMark == 3 && info.peerCount == 4)
    }

    @Test func everyCounterHasItsOwn() {
        var native = cw_wg_counters()
        withUnsafeMutableBytes(of: &native) { bytes in
            let words = bytes.bindMemory(to: UInt64.self)
            for index in 0..<15 { words[index] = UInt64(index + 1) }
        }
        let counters = WireGuardEngine.Counters(native)
        #expect(
            [
                counters.packetsIn, counters.bytesIn, counters.packetsOut, counters.bytesOut, counters.keepalivesIn, counters.keepalivesOut,
                counters.initiationsIn, counters.initiationsOut, counters.responsesIn, counters.responsesOut, counters.cookiesIn,
                counters.cookiesOut, counters.handshakes, counters.waiting, counters.outstanding,
            ] == Array(1...15))
        #expect(counters.drops.isEmpty)
        var names: Set<String> = []
        for cause in 0..<Int(cw_wg_drop.CW_WG_DROP_WG_COUNT.rawValue) {
            var native = cw_wg_counters()
            withUnsafeMutableBytes(of: &native.drops) { $0.bindMemory(to: UInt64.self)[cause] = UInt64(cause) + 1 }
            let drops = WireGuardEngine.Counters(native).drops
            #expect(drops.values.map { $0 } == [UInt64(cause) + 1])
            names.formUnion(drops.keys)
        }
        #expect(names.count == Int(cw_wg_drop.CW_WG_DROP_WG_COUNT.rawValue))
        #expect(names.isSuperset(of: ["allowed-ip", "replay", "no-peer"]))
    }

    @Test func nativeSessions() {
        let identity = WireGuardEngine.Identity(handle: 77)
        Command(5, .openNative(NativeParameters(identity: identity, peer: key))).withNative { native in
            #expect(native.type == .CW_OPEN_NATIVE)
            #expect(native.open_native.identity == 77)
            #expect(bytes(native.open_native.peer) == key)
        }
        // A key of another length becomes a command that the core refuses.
        Command(5, .openNative(NativeParameters(identity: identity, peer: Array(key.dropLast())))).withNative {
            #expect($0.open_native.identity == 0)
        }
    }

    @Test func bindingsAndImportsNameTheirUplink() {
        let identity = WireGuardEngine.Identity(handle: 77)
        var binding = Binding(gatewayAddress: IPAddress("10.0.0.1")!, tunnel: 0, mtu: 1400, prefixes: [IPPrefix("10.0.0.2/32")!])
        Command(5, .bind(binding)).withNative { #expect($0.bind.identity == 0) }
        binding.identity = identity
        Command(5, .bind(binding)).withNative { #expect($0.bind.identity == 77) }
        Command(5, .importState([1])).withNative { #expect($0.import_state.identity == 0) }
        Command(5, .importState([1], identity: identity)).withNative { #expect($0.import_state.identity == 77) }
    }
}
