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
}
