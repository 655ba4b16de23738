import Addresses
import Authentication
import Testing

@testable import Hub

@Suite struct HubDifferenceTests {
    private let ann = Sample.peer(0, "10.8.0.10/32", comment: "user ann")
    private let bob = Sample.peer(1, "10.8.0.11/32", "192.168.7.0/24", comment: "user bob")

    @Test func theSame() throws {
        #expect(HubDifference(from: [], to: []).isEmpty)
        // Neither the order nor a comment nor what is the hub's own business counts.
        let hub = try HubConfiguration([bob, ann].sections.replacing("AllowedIPs", with: "Endpoint = 192.0.2.1:1\nAllowedIPs"))
        let difference = HubDifference(from: hub.peers, to: [ann, bob])
        #expect(difference.isEmpty && difference.commands(interface: "wg0") == "")
    }

    @Test func added() {
        let difference = HubDifference(from: [ann], to: [ann, bob])
        #expect(difference.added == [bob] && difference.changed.isEmpty && difference.removed.isEmpty)
        #expect(
            difference.commands(interface: "wg7")
                == "# add user bob\nwg set wg7 peer \(Sample.keys[1]) allowed-ips \"10.8.0.11/32,192.168.7.0/24\"\n")
    }

    @Test func removed() {
        let difference = HubDifference(from: [ann, bob], to: [ann])
        #expect(difference.removed == [bob])
        #expect(difference.commands(interface: "wg0") == "# remove\nwg set wg0 peer \(Sample.keys[1]) remove\n")
        #expect(HubDifference(from: [ann, bob], to: [ann], keepsOthers: true).isEmpty)
    }

    @Test func changedNetworks() {
        let moved = Sample.peer(0, "10.8.0.12/32", comment: "user ann")
        let difference = HubDifference(from: [ann, bob], to: [moved, bob], keepsOthers: true)
        #expect(difference.changed == [moved])
        #expect(
            difference.commands(interface: "wg0")
                == "# change user ann\nwg set wg0 peer \(Sample.keys[0]) allowed-ips \"10.8.0.12/32\" preshared-key /dev/null\n")
    }

    @Test func changedPresharedKeys() {
        let secured = Sample.peer(0, "10.8.0.10/32", comment: "user ann", psk: Sample.psk)
        for (from, to) in [(ann, secured), (secured, ann), (secured, Sample.peer(0, "10.8.0.10/32", psk: Secret([UInt8](repeating: 1, count: 32))))] {
            #expect(HubDifference(from: [from], to: [to]).changed == [to])
        }
        #expect(
            HubDifference(from: [ann], to: [secured]).commands(interface: "wg0")
                == "# change user ann\nwg set wg0 peer \(Sample.keys[0]) allowed-ips \"10.8.0.10/32\" preshared-key /dev/stdin <<< '\(Sample.keys[0])'\n")
    }

    @Test func removalsComeFirst() {
        let difference = HubDifference(from: [bob], to: [Sample.peer(0, "10.8.0.11/32")])
        let lines = difference.commands(interface: "wg0").split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count == 2 && lines[0].hasSuffix(" remove") && lines[1].contains("allowed-ips \"10.8.0.11/32\""))
    }

    @Test func aCommentIsNoCommand() {
        let nasty = Sample.peer(0, "10.8.0.11/32", comment: "user x\nreboot")
        #expect(HubDifference(from: [], to: [nasty]).commands(interface: "wg0").split(separator: "\n").count == 2)
    }
}
