import Addresses
import Testing

@testable import Doctor

@Suite struct ListeningPortsTests {
    static let some = ListeningPorts(
        procNetTCP: """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 0100007F:06BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
               1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
               2: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
               3: nonsense
            """)

    @Test(arguments: [
        ("127.0.0.1", 1723, true), ("127.0.0.2", 1723, false), ("0.0.0.0", 1723, true), ("192.0.2.1", 22, true), ("0.0.0.0", 22, true),
        ("127.0.0.1", 8080, false), ("127.0.0.1", 0, false),
    ]) func holds(_ address: String, _ port: UInt16, _ expected: Bool) {
        #expect(Self.some.holds(IPAddress(address)!, port) == expected)
    }
}
