import Addresses
import Foundation
import Testing

@testable import Netlink

extension PrivateNamespace {
    /// The netlink module against the running kernel, with ip(8) as the witness.
    @Suite(.enabled(if: !Stage.isUnprivileged)) struct NetlinkKernelTests {
        let socket: NetlinkSocket

        init() throws { socket = try NetlinkSocket(.route) }

        @Test func linksAreCreatedChangedAndDeleted() throws {
            try sh("ip link add cwe0 type veth peer name cwe1")
            defer { _ = try? sh("ip link delete cwe0") }
            let link = try #require(try socket.link(named: "cwe0"))
            #expect(link.kind == "veth")
            #expect(!link.isUp)
            try socket.perform(
                LinkRequest.change(index: link.index, name: "cwe0", LinkChange(up: true, mtu: 1400, alias: "causeway:test")))
            let changed = try #require(try socket.link(index: link.index))
            #expect(changed.isUp)
            #expect(changed.mtu == 1400)
            #expect(changed.alias == "causeway:test")
            #expect(try sh("ip link show cwe0").contains("alias causeway:test"))
            #expect(try socket.links().contains(changed))
            try socket.perform(LinkRequest.change(index: link.index, name: "cwe0", LinkChange(up: false)))
            #expect(try socket.link(index: link.index)?.isUp == false)
            try socket.perform(LinkRequest.delete(index: link.index, name: "cwe0"))
            #expect(try socket.link(named: "cwe0") == nil)
            #expect(try socket.link(index: link.index) == nil)
            try socket.delete(LinkRequest.delete(index: link.index, name: "cwe0"))
        }

        @Test func settingsAreWhatProcShows() throws {
            let tun = try TestTun("cwe0", socket)
            func setting(_ name: String) throws -> String {
                try String(contentsOfFile: "/proc/sys/net/ipv4/conf/cwe0/\(name)", encoding: .utf8).trimmingCharacters(
                    in: .newlines)
            }
            let names: [IPv4InterfaceSetting: String] = [
                .forwarding: "forwarding", .acceptRedirects: "accept_redirects", .secureRedirects: "secure_redirects",
                .sendRedirects: "send_redirects", .rpFilter: "rp_filter",
            ]
            #expect(Set(names.keys) == Set(IPv4InterfaceSetting.allCases))
            let everywhere = try sh("cat /proc/sys/net/ipv4/ip_forward")
            for (setting_, name) in names {
                for value: UInt32 in [1, 0] {
                    try socket.perform(LinkRequest.change(index: tun.index, name: "cwe0", LinkChange(ipv4: [setting_: value])))
                    #expect(try setting(name) == "\(value)", "\(name)")
                }
            }
            #expect(try sh("cat /proc/sys/net/ipv4/ip_forward") == everywhere)
        }

        @Test func addressesHaveNoPrefixRoute() throws {
            let tun = try TestTun("cwe0", socket)
            let wanted = [
                InterfaceAddress(index: tun.index, address: IPAddress("10.9.0.1")!, prefixLength: 24),
                InterfaceAddress(index: tun.index, address: IPAddress("fd09::1")!, prefixLength: 64),
            ]
            for address in wanted { try socket.perform(AddressRequest.add(address, interface: "cwe0")) }
            #expect(Set(try socket.addresses(index: tun.index)) == Set(wanted))
            #expect(try sh("ip route show; ip -6 route show").contains("10.9.0.0/24") == false)
            #expect(throws: NetlinkError.self) { try socket.perform(AddressRequest.add(wanted[0], interface: "cwe0")) }
            try socket.add(AddressRequest.add(wanted[0], interface: "cwe0"))
            for address in wanted { try socket.perform(AddressRequest.delete(address, interface: "cwe0")) }
            #expect(try socket.addresses(index: tun.index).isEmpty)
            try socket.delete(AddressRequest.delete(wanted[0], interface: "cwe0"))
        }

        @Test func routesInATableOfOurOwn() throws {
            let tun = try TestTun("cwe0", socket)
            #expect(try socket.routes(.v4, table: 70001).isEmpty)
            let wanted = [
                Route(IPPrefix("0.0.0.0/0")!, table: 70001, to: .interface(index: tun.index), metric: 100),
                Route(IPPrefix("0.0.0.0/0")!, table: 70001, to: .unreachable, metric: .max),
                Route(IPPrefix("10.9.0.0/16")!, table: 70001, to: .interface(index: tun.index), metric: 100),
                Route(IPPrefix("::/0")!, table: 70001, to: .unreachable, metric: .max),
                Route(IPPrefix("fd09::/32")!, table: 70001, to: .interface(index: tun.index), metric: 100),
            ]
            for route in wanted { try socket.perform(RouteRequest.add(route)) }
            #expect(Set(try socket.routes(.v4, table: 70001)) == Set(wanted.filter { $0.destination.family == .v4 }))
            #expect(Set(try socket.routes(.v6, table: 70001)) == Set(wanted.filter { $0.destination.family == .v6 }))
            #expect(try sh("ip route show table 70001").contains("unreachable default proto 202 metric 4294967295"))
            // What goes with the interface and what stays.
            try socket.perform(LinkRequest.change(index: tun.index, name: "cwe0", LinkChange(up: false)))
            #expect(try socket.routes(.v4, table: 70001).map(\.target) == [.unreachable])
            for route in wanted { try socket.delete(RouteRequest.delete(route)) }
            #expect(try socket.routes(.v4, table: 70001).isEmpty)
            #expect(try socket.routes(.v6, table: 70001).isEmpty)
        }

        @Test func rulesOfOurOwn() throws {
            let wanted = [
                Rule(.v4, priority: 900, from: IPPrefix("10.9.0.0/16")!, inputInterface: "cwe0", .lookup(table: 70001)),
                Rule(.v4, priority: 901, to: IPPrefix("10.9.0.0/16")!, .unreachable),
                Rule(.v6, priority: 902, inputInterface: "cwe0", .unreachable),
            ]
            for rule in wanted { try socket.perform(RuleRequest.add(rule)) }
            #expect(Set(try (socket.rules(.v4) + socket.rules(.v6)).filter { $0.origin == RouteOrigin.causeway }) == Set(wanted))
            #expect(try sh("ip rule").contains("900:\tfrom 10.9.0.0/16 iif cwe0 [detached] lookup 70001 proto 202"))
            #expect(throws: NetlinkError.self) { try socket.perform(RuleRequest.add(wanted[0])) }
            for rule in wanted { try socket.perform(RuleRequest.delete(rule)) }
            #expect(try (socket.rules(.v4) + socket.rules(.v6)).allSatisfy { $0.origin != RouteOrigin.causeway })
            try socket.delete(RuleRequest.delete(wanted[0]))
        }

        @Test func theKernelExplainsItself() throws {
            do {
                try socket.perform(LinkRequest.create("cwe0", kind: "no-such-kind"))
                Issue.record("an unknown kind was accepted")
            } catch let error as NetlinkError {
                #expect(error.code == EOPNOTSUPP)
                #expect(error.message == "Unknown device type")
                #expect(error.description.hasPrefix("cannot create interface cwe0 (no-such-kind): "))
            }
        }

        @Test func theMonitorHearsOfLinksAndAddresses() throws {
            let monitor = try RouteMonitor()
            #expect(try monitor.read().isEmpty)
            let tun = try TestTun("cwe0", socket)
            let address = InterfaceAddress(index: tun.index, address: IPAddress("10.9.0.1")!, prefixLength: 32)
            try socket.perform(AddressRequest.add(address, interface: "cwe0"))
            try socket.perform(AddressRequest.delete(address, interface: "cwe0"))
            tun.close()
            var events: [RouteEvent] = []
            for _ in 0..<50 where !events.contains(where: { if case .linkRemoved = $0 { true } else { false } }) {
                var waiting = pollfd(fd: monitor.descriptor, events: Int16(POLLIN), revents: 0)
                poll(&waiting, 1, 100)
                events += try monitor.read()
            }
            #expect(events.contains { if case .linkChanged(let link) = $0 { link.name == "cwe0" && link.isUp } else { false } })
            #expect(events.contains(.addressAdded(address)))
            #expect(events.contains(.addressRemoved(address)))
            #expect(events.contains { if case .linkRemoved(let link) = $0 { link.name == "cwe0" } else { false } })
        }
    }
}
