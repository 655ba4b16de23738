import Addresses
import Testing

@testable import Netlink

@Suite struct RulesTests {
    let pool = IPPrefix("10.8.0.0/16")!

    @Test func fromAPoolIntoATable() {
        let request = RuleRequest.add(Rule(.v4, priority: 1002, from: pool, inputInterface: "tun0", .lookup(table: 51820)))
        #expect(request.type == 32)
        #expect(request.flags == 0x600)
        #expect(
            request.payload
                == hex(
                    """
                    02 00 10 00 00 00 00 01 00000000
                    0800 0600 ea030000  0500 1500 ca000000  0800 0200 0a080000  0900 0300 74756e3000 000000  0800 0f00 6cca0000
                    """))
        #expect(request.operation == "add v4 rule 1002: from 10.8.0.0/16 iif tun0 lookup 51820")
    }

    @Test func unreachable() {
        let request = RuleRequest.delete(Rule(.v4, priority: 1005, to: pool, .unreachable))
        #expect(request.type == 33)
        #expect(
            request.payload == hex("02 10 00 00 00 00 00 07 00000000  0800 0600 ed030000  0500 1500 ca000000  0800 0100 0a080000")
        )
        #expect(
            RuleRequest.add(Rule(.v6, priority: 6, inputInterface: "t", .unreachable)).payload
                == hex("0a 00 00 00 00 00 00 07 00000000  0800 0600 06000000  0500 1500 ca000000  0600 0300 74000000"))
        #expect(
            RuleRequest.add(Rule(.v4, priority: 6, .blackhole)).payload
                == hex("02 00 00 00 00 00 00 06 00000000  0800 0600 06000000  0500 1500 ca000000"))
    }

    @Test func dump() {
        #expect(RuleRequest.dump(.v6).payload == hex("0a 00 00 00 00 00 00 00 00000000"))
    }

    @Test(arguments: [
        Rule(
            .v4, priority: 1, from: IPPrefix("10.0.0.0/8")!, to: IPPrefix("10.1.0.0/16")!, inputInterface: "lo",
            .lookup(table: 100)),
        Rule(.v6, priority: 2, from: IPPrefix("fd00::/8")!, .unreachable),
        Rule(.v4, priority: 3, .other(3), origin: 3),
    ])
    func whatIsWrittenIsReadBack(_ rule: Rule) throws {
        #expect(try Rule(message(32, RuleRequest.add(rule).payload)) == rule)
    }

    @Test func conditionsThatAreNotHeldAreNoticed() throws {
        // FRA_FWMARK 1, then FIB_RULE_INVERT, then the suppressor that every rule of the kernel's carries.
        #expect(try Rule(message(32, hex("02 00 00 00 fe 00 00 01 00000000 0800 0a00 01000000")))?.hasOtherConditions == true)
        #expect(try Rule(message(32, hex("02 00 00 00 fe 00 00 01 02000000")))?.hasOtherConditions == true)
        #expect(try Rule(message(32, hex("02 00 00 00 fe 00 00 01 00000000 0800 0e00 ffffffff")))?.hasOtherConditions == false)
    }
}
