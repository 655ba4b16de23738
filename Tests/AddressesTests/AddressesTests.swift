import Testing

@testable import Addresses

@Suite struct AddressesTests {
    @Test(arguments: ["0.0.0.0", "10.8.0.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::b159:d083:d6fa:22ed"])
    func textGoesInAndOut(_ text: String) { #expect(IPAddress(text)?.description == text) }

    @Test(arguments: ["", "10.8.0", "10.8.0.256", "10.8.0.1 ", "010.8.0.1.2", "::g", "fe80::1%eth0", "10.8.0.1/32"])
    func badTextIsRefused(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func bytesAreInNetworkOrder() {
        #expect(IPAddress("10.8.0.1")?.bytes == [10, 8, 0, 1])
        #expect(IPAddress(bytes: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])?.description == "2001:db8::1")
        #expect(IPAddress(bytes: [1, 2, 3]) == nil)
    }

    @Test func steppingStopsAtTheEnds() {
        #expect(IPAddress("10.8.0.255")?.advanced(by: 1)?.description == "10.8.1.0")
        #expect(IPAddress("255.255.255.255")?.advanced(by: 1) == nil)
        #expect(IPAddress("0.0.0.0")?.advanced(by: -1) == nil)
    }

    @Test func classes() {
        #expect(IPAddress("127.9.9.9")!.isLoopback && IPAddress("::1")!.isLoopback)
        #expect(IPAddress("224.0.0.1")!.isMulticast && IPAddress("239.1.1.1")!.isMulticast && IPAddress("ff02::1")!.isMulticast)
        #expect(!IPAddress("240.0.0.1")!.isMulticast && !IPAddress("223.255.255.255")!.isMulticast)
        #expect(IPAddress("169.254.1.1")!.isLinkLocal && IPAddress("fe80::1")!.isLinkLocal && IPAddress("febf::1")!.isLinkLocal)
        #expect(!IPAddress("fec0::1")!.isLinkLocal)
    }

    @Test(arguments: ["10.8.0.0/24", "0.0.0.0/0", "10.8.0.1/32", "::/0", "2001:db8::/32"])
    func prefixTextGoesInAndOut(_ text: String) { #expect(IPPrefix(text)?.description == text) }

    @Test(arguments: ["10.8.0.1/24", "10.8.0.0/33", "10.8.0.0/-1", "10.8.0.0/", "10.8.0.0/024", "2001:db8::1/32", "x/8"])
    func badPrefixesAreRefused(_ text: String) { #expect(IPPrefix(text) == nil) }

    @Test func aBareAddressIsAHostPrefix() {
        #expect(IPPrefix("10.8.0.1") == IPPrefix("10.8.0.1/32"))
        #expect(IPPrefix("::1")?.isHost == true)
    }

    @Test func overlapIsContainmentOneWayOrTheOther() {
        let wide = IPPrefix("10.8.0.0/16")!, narrow = IPPrefix("10.8.3.0/24")!
        #expect(wide.overlaps(narrow) && narrow.overlaps(wide))
        #expect(!narrow.overlaps(IPPrefix("10.8.4.0/24")!))
        #expect(!wide.overlaps(IPPrefix("::/0")!))
        #expect(narrow.first.description == "10.8.3.0" && narrow.last.description == "10.8.3.255")
    }

    @Test func endpoints() {
        #expect(Endpoint("192.0.2.1:51820")?.description == "192.0.2.1:51820")
        #expect(Endpoint("[2001:db8::1]:51820")?.description == "[2001:db8::1]:51820")
        for bad in ["192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "2001:db8::1:1", "[192.0.2.1]:1", ":1", "host:1"] {
            #expect(Endpoint(bad) == nil, "\(bad)")
        }
    }
}
