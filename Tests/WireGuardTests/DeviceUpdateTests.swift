import Addresses
import Testing

@testable import WireGuard

@Suite struct DeviceUpdateTests {
    let configuration = TunnelConfiguration(
        interfaceName: "wg0", privateKey: privateKey(1), listenPort: 51820, fwmark: 7,
        peers: [
            PeerConfiguration(
                publicKey: publicKey(2), allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")], presharedKey: presharedKey(9),
                keepalive: 25),
            PeerConfiguration(publicKey: publicKey(3), allowedIPs: []),
        ])
    let hub = endpoint("192.0.2.1:51820")
    let elsewhere = endpoint("192.0.2.2:51820")

    /// The device after the configuration was applied.
    var applied: DeviceState {
        DeviceState(
            privateKey: privateKey(1), listenPort: 51820, fwmark: 7,
            peers: [
                publicKey(2): .init(
                    presharedKey: presharedKey(9), endpoint: hub, keepalive: 25,
                    allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")]),
                publicKey(3): .init(),
            ])
    }

    func update(
        from state: DeviceState, endpoint: Endpoint? = nil, _ change: (inout TunnelConfiguration) -> Void = { _ in }
    ) -> DeviceUpdate {
        var configuration = configuration
        change(&configuration)
        return DeviceUpdate(
            from: state, to: configuration, endpoints: [publicKey(2): endpoint ?? hub], appliedEndpoints: [publicKey(2): hub])
    }

    @Test func aNewDeviceGetsEverything() {
        let update = update(from: DeviceState())
        #expect(update.privateKey == privateKey(1))
        #expect(update.listenPort == 51820)
        #expect(update.fwmark == 7)
        #expect(
            update.peers == [
                .init(
                    publicKey: publicKey(2), kind: .add, preshared: .set(presharedKey(9)), endpoint: hub, keepalive: 25,
                    replacesAllowedIPs: true,
                    allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")]),
                .init(publicKey: publicKey(3), kind: .add, replacesAllowedIPs: true),
            ])
        #expect(update.change == TunnelChange(peersAdded: 2, interfaceChanged: true))
    }

    @Test func nothingChangedIsNothingToDo() {
        #expect(update(from: applied).isEmpty)
        #expect(update(from: applied).change.isEmpty)
    }

    @Test func theDevicesChoiceOfPortIsKept() {
        #expect(update(from: applied) { $0.listenPort = nil }.isEmpty)
        #expect(update(from: applied) { $0.listenPort = 5 } == DeviceUpdate(listenPort: 5))
        #expect(update(from: applied) { $0.fwmark = 0 } == DeviceUpdate(fwmark: 0))
        #expect(update(from: applied) { $0.privateKey = privateKey(5) } == DeviceUpdate(privateKey: privateKey(5)))
    }

    @Test func onePeerChanges() {
        let key = publicKey(2)
        #expect(update(from: applied) { $0.peers[0].keepalive = 0 }.peers == [.init(publicKey: key, kind: .change, keepalive: 0)])
        #expect(
            update(from: applied) { $0.peers[0].presharedKey = nil }.peers == [
                .init(publicKey: key, kind: .change, preshared: .remove)
            ])
        #expect(
            update(from: applied) { $0.peers[0].presharedKey = presharedKey(8) }.peers
                == [.init(publicKey: key, kind: .change, preshared: .set(presharedKey(8)))])
        // More is added; less means the whole list.
        #expect(
            update(from: applied) { $0.peers[0].allowedIPs.insert(prefix("11.0.0.0/8")) }.peers
                == [.init(publicKey: key, kind: .change, allowedIPs: [prefix("11.0.0.0/8")])])
        #expect(
            update(from: applied) { $0.peers[0].allowedIPs.remove(prefix("fd00::/8")) }.peers
                == [.init(publicKey: key, kind: .change, replacesAllowedIPs: true, allowedIPs: [prefix("10.0.0.0/8")])])
    }

    @Test func removalsComeFirst() {
        let update = update(from: applied) {
            $0.peers.removeFirst()
            $0.peers.append(PeerConfiguration(publicKey: publicKey(4), allowedIPs: [prefix("10.0.0.0/8")]))
        }
        #expect(update.peers.map(\.publicKey) == [publicKey(2), publicKey(4)])
        #expect(update.peers.map(\.kind) == [.remove, .add])
        #expect(update.change == TunnelChange(peersAdded: 1, peersRemoved: 1))
    }

    @Test func roamingIsLeftAloneUntilTheConfigurationMoves() {
        var roamed = applied
        roamed.peers[publicKey(2)]!.endpoint = elsewhere
        #expect(update(from: roamed).isEmpty)
        #expect(update(from: roamed, endpoint: endpoint("192.0.2.3:1")).peers.map(\.endpoint) == [endpoint("192.0.2.3:1")])
        roamed.peers[publicKey(2)]!.endpoint = nil
        #expect(update(from: roamed).peers.map(\.endpoint) == [hub])
    }
}
