import Addresses
import Foundation
import Netlink
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// The ways a user's packet could leave by another road than its tunnel, each tried with real packets. The host is a
    /// router in every other respect: it forwards, and main has a default route to the LAN.
    @Suite(.enabled(if: !Stage.isUnprivileged)) final class PolicyRoutingKernelTests {
        let socket: NetlinkSocket
        let tun: TestTun
        var tunnel: TestTun
        let lan: TestTun
        /// Another one in each test: the kernel limits its ICMP errors for each address that they go to.
        let user = "10.9.\(UInt8.random(in: 10...249)).\(UInt8.random(in: 1...254))"
        let world = "198.51.100.7"
        let pool = IPPrefix("10.9.0.0/16")!

        init() throws {
            socket = try NetlinkSocket(.route)
            lan = try TestTun("cwelan", socket)
            tun = try TestTun("cwetun", socket)
            tunnel = try TestTun("cwewg", socket)
            try sh(
                """
                echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
                for i in all default cwelan; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done
                ip addr add 192.0.2.1/24 dev cwelan; ip route add default dev cwelan
                ip addr add 2001:db8:1::1/64 dev cwelan nodad; ip -6 route add default dev cwelan
                """)
        }

        deinit {
            try? PolicyRouting.removeLeftovers(socket, tables: [70001, 70002, 70003], basePriority: 1000)
        }

        func policy(extra prefixes: [IPPrefix] = []) throws -> PolicyRouting {
            try PolicyRouting(
                tunName: "cwetun", tunIndex: tun.index,
                tunnels: [.init(interfaceName: "cwewg", interfaceIndex: tunnel.index, table: 70001, prefixes: [pool] + prefixes)],
                returnTable: 70002)
        }

        @Test func bothWaysThroughTheTunnel() throws {
            let change = try policy().apply(socket)
            #expect(change.added > 0)
            #expect(change.warnings.isEmpty)
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
            try tunnel.write(Packet(world, user).bytes)
            #expect(tun.read() == [Packet(world, user)])
            #expect(lan.read() == [])
            // A second time nothing is left to do.
            #expect(try policy().apply(socket) == PolicyRoutingChange())
        }

        @Test func onlyOurInterfacesForward() throws {
            try sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
            _ = try policy().apply(socket)
            for (name, expected) in [("cwetun", "1"), ("cwewg", "1"), ("cwelan", "0"), ("all", "0"), ("default", "0")] {
                #expect(try sh("cat /proc/sys/net/ipv4/conf/\(name)/forwarding") == "\(expected)\n", "\(name)")
            }
            #expect(try sh("cat /proc/sys/net/ipv4/ip_forward") == "0\n")
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
            try tunnel.write(Packet(world, user).bytes)
            #expect(tun.read() == [Packet(world, user)])
        }

        @Test func tunnelDown() throws {
            _ = try policy().apply(socket)
            try socket.perform(LinkRequest.change(index: tunnel.index, name: "cwewg", LinkChange(up: false)))
            try tun.write(Packet(user, world).bytes)
            #expect(lan.read() == [])
            // The user is told, and that too takes no other way.
            #expect(tun.read().map { [$0.destination.description, "\($0.kind)"] } == [[user, "1"]])
            try socket.perform(LinkRequest.change(index: tunnel.index, name: "cwewg", LinkChange(up: true)))
            #expect(try policy().apply(socket).added == 1)
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
        }

        @Test func aTunnelThatIsDownAtTheStartIsClosed() throws {
            try socket.perform(LinkRequest.change(index: tunnel.index, name: "cwewg", LinkChange(up: false)))
            let change = try policy(extra: [IPPrefix("fd09::/64")!]).apply(socket)
            #expect(change.closed == ["cwewg"])
            try tun.write(Packet(user, world).bytes)
            try tun.write(Packet("fd09::5", "2001:db8:99::1").bytes)
            #expect(lan.read().filter { $0.kind == 17 } == [])
            #expect(tun.read().map(\.kind).sorted() == [1, 58])
            // Gone altogether: the same, and the other tunnels and rules are made all the same.
            try PolicyRouting.removeLeftovers(socket, tables: [70001, 70002], basePriority: 1000)
            let gone = try policy()
            tunnel.close()
            #expect(try gone.apply(socket).closed == ["cwewg"])
            try tun.write(Packet("10.9.0.77", world).bytes)
            #expect(lan.read() == [])
            #expect(tun.read().map(\.kind) == [1])
            tunnel = try TestTun("cwewg", socket)
            #expect(try policy().apply(socket).closed == [])
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
        }

        @Test func tunnelDeletedAndMadeAgain() throws {
            _ = try policy().apply(socket)
            tunnel.close()
            try tun.write(Packet(user, world).bytes)
            #expect(lan.read() == [])
            #expect(tun.read().map(\.kind) == [1])
            tunnel = try TestTun("cwewg", socket)
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [], "there is no route into it before it is applied")
            #expect(try policy().apply(socket).added == 1)
            try tun.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
            #expect(lan.read() == [])
        }

        @Test func processKilled() throws {
            _ = try policy().apply(socket)
            tun.close()
            tunnel.close()
            // Somebody's packet with an inner address, whatever it comes from, finds a closed door.
            try lan.write(Packet(user, world).bytes)
            try lan.write(Packet("192.0.2.9", user).bytes)
            let again = try TestTun("cwetun", socket)
            try again.write(Packet(user, world).bytes)
            #expect(lan.read().filter { $0.kind != 1 } == [])
            // The next start adopts the rules and adds what the interfaces took with them.
            let newTunnel = try TestTun("cwewg", socket)
            let next = try PolicyRouting(
                tunName: "cwetun", tunIndex: again.index,
                tunnels: [.init(interfaceName: "cwewg", interfaceIndex: newTunnel.index, table: 70001, prefixes: [pool])],
                returnTable: 70002)
            let change = try next.apply(socket)
            #expect(change.added == 2)
            #expect(change.removed == 0)
            try again.write(Packet(user, world).bytes)
            #expect(newTunnel.read() == [Packet(user, world)])
        }

        @Test func theLANDoesNotReachUsers() throws {
            _ = try policy().apply(socket)
            try lan.write(Packet("192.0.2.9", user).bytes)
            #expect(tun.read() == [])
            #expect(tunnel.read() == [])
            // Not even back to where it came from, as a router with a default route would send it.
            #expect(lan.read().filter { $0.kind != 1 } == [])
        }

        @Test func theLANDoesNotEnterTheTunnel() throws {
            _ = try policy().apply(socket)
            try lan.write(Packet(user, world).bytes)
            #expect(tunnel.read() == [])
            #expect(tun.read() == [])
            #expect(lan.read() == [])
        }

        @Test func aUserHasOnlyInnerAddresses() throws {
            _ = try policy().apply(socket)
            try tun.write(Packet("10.10.0.5", world).bytes)
            try tun.write(Packet("192.0.2.9", world).bytes)
            #expect(tunnel.read() == [])
            // Not even an ICMP error to the forged source, with the head of the packet in it.
            #expect(lan.read() == [])
        }

        @Test func theHubReachesNothingButUsers() throws {
            _ = try policy().apply(socket)
            try tunnel.write(Packet(world, "192.0.2.9").bytes)
            try tunnel.write(Packet(world, "203.0.113.1").bytes)
            #expect(lan.read() == [])
            #expect(tun.read() == [])
        }

        @Test func theGatewaysOwnPacketsFollow() throws {
            _ = try policy(extra: [IPPrefix("10.77.0.1/32")!]).apply(socket)
            try sh("ip addr add 10.77.0.1/32 dev cwewg noprefixroute")
            // To a user: by the TUN. From an inner address to the world: by the tunnel.
            try sh("echo x | timeout 2 bash -c 'cat > /dev/udp/\(user)/9'")
            #expect(tun.read().map(\.destination) == [IPAddress(user)!])
            _ = try run(["timeout", "2", "ping", "-c", "1", "-W", "1", "-I", "10.77.0.1", world])
            #expect(tunnel.read() == [Packet("10.77.0.1", world, kind: 1)])
            #expect(lan.read() == [])
        }

        @Test func iPv6StaysInside() throws {
            _ = try policy().apply(socket)
            try tun.write(Packet("2001:db8:2::5", "2001:db8:99::1").bytes)
            try tunnel.write(Packet("2001:db8:2::5", "2001:db8:99::1").bytes)
            #expect(lan.read().filter { $0.kind == 17 } == [])
            #expect(tunnel.read() == [])
            _ = try policy(extra: [IPPrefix("fd09::/64")!]).apply(socket)
            try tun.write(Packet("fd09::5", "2001:db8:99::1").bytes)
            #expect(tunnel.read() == [Packet("fd09::5", "2001:db8:99::1")])
            try tunnel.write(Packet("2001:db8:99::1", "fd09::5").bytes)
            #expect(tun.read() == [Packet("2001:db8:99::1", "fd09::5")])
            tunnel.close()
            try tun.write(Packet("fd09::5", "2001:db8:99::1").bytes)
            #expect(lan.read().filter { $0.kind == 17 } == [])
        }

        @Test func routerAdvertisementsAreRefused() throws {
            for name in ["cwetun", "cwewg"] { try sh("echo 1 > /proc/sys/net/ipv6/conf/\(name)/accept_ra") }
            #expect(try policy().apply(socket).warnings == [])
            for name in ["cwetun", "cwewg"] { #expect(try sh("cat /proc/sys/net/ipv6/conf/\(name)/accept_ra") == "0\n") }
            #expect(try sh("cat /proc/sys/net/ipv6/conf/cwelan/accept_ra") == "1\n")
        }

        @Test func twoTunnelsStayApart() throws {
            let second = try TestTun("cwewg2", socket)
            let both = try PolicyRouting(
                tunName: "cwetun", tunIndex: tun.index,
                tunnels: [
                    .init(interfaceName: "cwewg", interfaceIndex: tunnel.index, table: 70001, prefixes: [pool]),
                    .init(
                        interfaceName: "cwewg2", interfaceIndex: second.index, table: 70003, prefixes: [IPPrefix("10.10.0.0/16")!]
                    ),
                ], returnTable: 70002)
            _ = try both.apply(socket)
            try tun.write(Packet(user, world).bytes)
            try tun.write(Packet("10.10.0.5", world).bytes)
            #expect(tunnel.read() == [Packet(user, world)])
            #expect(second.read() == [Packet("10.10.0.5", world)])
            // A hub does not reach the users of the other.
            try tunnel.write(Packet(world, "10.10.0.5").bytes)
            #expect(tun.read() == [])
            // Less is removed, the rest untouched.
            let change = try policy().apply(socket)
            #expect(change.added == 0)
            #expect(change.removed > 0)
            try tun.write(Packet("10.10.0.5", world).bytes)
            #expect(second.read() == [])
            #expect(lan.read() == [])
            try PolicyRouting.removeLeftovers(socket, tables: [70003], basePriority: 1000)
        }

        @Test func nothingOfOthersIsTouched() throws {
            try sh("ip rule add pref 500 from 172.16.0.0/12 lookup 4000; ip route add 172.16.0.0/12 dev cwelan table 4000")
            defer {
                _ = try? sh(
                    "ip rule delete pref 500; ip route flush table 4000; ip route flush table 70001; ip rule delete pref 1003")
            }
            let rules = try sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | grep -v cwe")
            let change = try policy().apply(socket)
            #expect(change.warnings.count == 1)
            #expect(change.warnings.first?.contains("500: from 172.16.0.0/12 lookup 4000") == true)
            try policy().remove(socket)
            #expect(try sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | grep -v cwe") == rules)
            // A stranger in our table or among our rules is reported and stays.
            try sh("ip route add 10.1.0.0/16 dev cwelan table 70001")
            #expect(throws: PolicyRoutingError.self) { try policy().apply(socket) }
            try sh("ip route flush table 70001; ip rule add pref 1003 from 10.1.0.0/16 lookup main")
            #expect(throws: PolicyRoutingError.self) { try policy().apply(socket) }
            #expect(try sh("ip rule").contains("1003:"))
        }

        @Test func aGlobalReversePathFilterIsNamed() throws {
            try sh("echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter")
            defer { _ = try? sh("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter") }
            #expect(throws: PolicyRoutingError.reversePathFilter(value: 2)) { try policy().apply(socket) }
            #expect("\(PolicyRoutingError.reversePathFilter(value: 2))".contains("sysctl -w net.ipv4.conf.all.rp_filter=0"))
        }
    }
}
