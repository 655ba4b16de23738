import Addresses
import Testing

@testable import Netlink

@Suite struct RouteMonitorTests {
    @Test func eventsOfOneDatagram() throws {
        let address = InterfaceAddress(index: 3, address: IPAddress("10.8.0.1")!, prefixLength: 24)
        var added = AddressRequest.add(address, interface: "x")
        let first = added.encoded(sequence: 0)
        added.type = 21
        let link = NetlinkRequest(type: 17, flags: 0, payload: LinkRequest.get(name: "wg0").payload, operation: "").encoded(
            sequence: 0)
        // A route in between is of no interest.
        let route = NetlinkRequest(type: 24, flags: 0, payload: RouteRequest.dump(.v4, table: 1).payload, operation: "").encoded(
            sequence: 0)
        let events = try RouteEvent.parse(first + route + added.encoded(sequence: 0) + link)
        #expect(events.prefix(2) == [.addressAdded(address), .addressRemoved(address)])
        guard case .linkRemoved(let gone)? = events.last else {
            Issue.record("no link was removed")
            return
        }
        #expect(gone.name == "wg0")
        #expect(events.count == 3)
    }

    @Test func onlyRulesAndRoutesOfOursCount() throws {
        let prefix = IPPrefix("10.8.0.0/24")!
        func datagram(origin: UInt8) -> [UInt8] {
            let rule = Rule(.v4, priority: 1000, from: prefix, to: nil, inputInterface: nil, .unreachable, origin: origin)
            let route = Route(prefix, table: 51_999, to: .unreachable, metric: 100, origin: origin)
            return RuleRequest.delete(rule).encoded(sequence: 0) + RouteRequest.delete(route).encoded(sequence: 0)
        }
        let ours = try RouteEvent.parse(datagram(origin: RouteOrigin.causeway))
        guard case .ruleRemoved(let rule)? = ours.first, rule.priority == 1000 else {
            Issue.record("no rule was removed: \(ours)")
            return
        }
        #expect(try RouteEvent.parse(datagram(origin: 3)).isEmpty)
    }
}
