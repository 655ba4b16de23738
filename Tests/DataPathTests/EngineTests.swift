import Addresses
import CDataPath
import Foundation
import Synchronization
import Testing

@testable import DataPath

/// The owner of the C core with real sockets and a real TUN, each test in a network namespace of its own: that of its thread.
@Suite(.enabled(if: getuid() == 0, "namespaces need root"), .timeLimit(.minutes(1))) struct EngineTests {
    static func configuration(_ change: (inout EngineConfiguration) -> Void = { _ in }) -> EngineConfiguration {
        var configuration = EngineConfiguration(role: .gateway, interface: "cwt0")
        change(&configuration)
        return configuration
    }

    static func open(_ session: UInt64, callID: UInt16) -> Command {
        Command(
            session,
            .open(
                SessionParameters(
                    localCallID: callID, peerCallID: 1, localAddress: IPAddress("127.0.0.1")!, peerAddress: IPAddress("127.0.0.2")!, flags: [])))
    }

    /// Waits for the event descriptor and takes what is there, until `count` events have come.
    static func events(_ engine: borrowing Engine, _ count: Int) -> [Event] {
        var found: [Event] = []
        let deadline = ContinuousClock.now + .seconds(10)
        while found.count < count, ContinuousClock.now < deadline {
            var waiting = pollfd(fd: engine.eventDescriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 1000) > 0 else { continue }
            found += engine.poll()
        }
        return found
    }

    @Test func theInterfaceLivesAsLongAsTheEngine() async throws {
        try await apart {
            do {
                let engine = try Engine(Self.configuration { $0.workers = 4 })
                #expect(if_nametoindex("cwt0") != 0)
                #expect(!engine.instructionSet.isEmpty)
                #expect(engine.waiting == 0)
                #expect(engine.poll().isEmpty)
                try engine.start()
                engine.stop()
            }
            #expect(if_nametoindex("cwt0") == 0)
        }
    }

    // MARK: GRE

    private static func rings(_ interface: String = "cwdummy0") -> GRERings {
        GRERings(addresses: [.init(interface: if_nametoindex(interface), address: IPAddress("10.70.0.1")!)], table: "causeway-tests")
    }

    private static func reason(_ backend: GREBackend) -> String {
        if case .raw(let reason?) = backend { reason } else { "none: \(backend)" }
    }

    /// A TAP is an Ethernet interface.
    private static func withEthernet(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await apart {
            let tap = try Tap("cwdummy0")
            defer { tap.end() }
            try body()
        }
    }

    @Test func ringsWhereTheyCanBeHad() async throws {
        try await Self.withEthernet {
            let engine = try Engine(Self.configuration {
                $0.workers = 2
                $0.gre = .rings(Self.rings(), required: true)
            })
            #expect(engine.gre == .packet(addresses: 1))
            #expect(engine.gre.description == "packet rings for 1 address, raw sockets for the rest")
            // The table is ours while the engine lives, and whoever does not insist does without.
            let second = try Engine(Self.configuration {
                $0.interface = "cwt1"
                $0.gre = .rings(Self.rings(), required: false)
            })
            let reason = Self.reason(second.gre)
            #expect(reason.contains("nftables table causeway-tests"))
            try engine.start()
            engine.stop()
        }
    }

    /// A TAP has no memory of its own for XDP: the kernel's serves.
    @Test func xdpWhereItCanBeHad() async throws {
        try await Self.withEthernet {
            let engine = try Engine(Self.configuration {
                $0.workers = 2
                $0.gre = .xdp(Self.rings())
            })
            guard case .xdp(let interfaces, packetAddresses: 0) = engine.gre, let one = interfaces.first, interfaces.count == 1 else {
                Issue.record("\(engine.gre), \(engine.greRefusals)")
                return
            }
            #expect(one.name == "cwdummy0" && !one.zeroCopy && one.queues == 1 && one.memory == 5 << 20)
            #expect(engine.greRefusals == [])
            // The interface is the first engine's; rings can be had.
            let second = try Engine(Self.configuration {
                $0.interface = "cwt1"
                $0.workers = 2
                $0.gre = .xdp(Self.rings())
            })
            #expect(second.gre == .packet(addresses: 1))
            #expect(second.greRefusals.count == 1 && second.greRefusals[0].hasPrefix("no XDP program at cwdummy0: cannot "))
            try engine.start()
            engine.stop()
        }
    }

    @Test func xdpForSomeInterfacesOnly() async throws {
        try await Self.withEthernet {
            let other = try Tap("cwdummy1")
            defer { other.end() }
            let taken = try Engine(Self.configuration {
                $0.interface = "cwt1"
                $0.gre = .xdp(Self.rings("cwdummy1"))
            })
            var both = Self.rings()
            both.addresses += Self.rings("cwdummy1").addresses + Self.rings("lo").addresses
            let engine = try Engine(Self.configuration { [both] in $0.gre = .xdp(both) })
            let description = engine.gre.description
            #expect(description.hasPrefix("XDP programs at cwdummy0 (") && description.hasSuffix(", packet rings for 1 address, raw sockets for the rest"))
            #expect(engine.greRefusals.count == 1 && engine.greRefusals[0].contains("cwdummy1"))
            #expect(taken.greRefusals == [])
            let lo = try Engine(Self.configuration {
                $0.interface = "cwt2"
                $0.gre = .xdp(Self.rings("lo"))
            })
            let reason = Self.reason(lo.gre)
            #expect(reason.contains("no listening address is on an Ethernet interface"))
        }
    }

    @Test func howXDPIsDescribed() {
        let eth0 = XDPInterface(name: "eth0", native: true, zeroCopy: true, queues: 4, memory: 20 << 20)
        let eth1 = XDPInterface(name: "eth1", native: false, zeroCopy: false, queues: 1, memory: 5 << 20)
        #expect(
            GREBackend.xdp([eth0, eth1], packetAddresses: 2).description
                == "XDP programs at eth0 (the driver's, zero-copy, 4 queues, 20 MiB) and eth1 (the kernel's, copying, 1 queue, 5 MiB), "
                + "packet rings for 2 addresses, raw sockets for the rest")
    }

    @Test func rawSocketsWhereThereIsNoEthernet() async throws {
        try await apart {
            let lo = GRERings(addresses: [.init(interface: if_nametoindex("lo"), address: IPAddress("127.0.0.1")!)], table: "causeway-tests")
            let engine = try Engine(Self.configuration { $0.gre = .rings(lo, required: false) })
            let reason = Self.reason(engine.gre)
            #expect(reason.contains("no listening address is on an Ethernet interface"))
            #expect(try Engine(Self.configuration { $0.interface = nil }).gre == .raw(because: nil))
            do {
                _ = try Engine(Self.configuration { $0.gre = .rings(lo, required: true) })
                Issue.record("rings on the loopback interface")
            } catch {
                #expect("\(error)".contains("no listening address is on an Ethernet interface"))
            }
        }
    }

    @Test func notForMoreAddressesThanThereIsRoomFor() async throws {
        try await Self.withEthernet {
            var many = Self.rings()
            many.addresses = (1...33).map { .init(interface: many.addresses[0].interface, address: IPAddress("10.70.0.\($0)")!) }
            let engine = try Engine(Self.configuration { [many] in $0.gre = .rings(many, required: false) })
            let reason = Self.reason(engine.gre)
            #expect(reason.contains("33 addresses (32 at most)"))
            many.addresses.removeLast()
            let fitting = try Engine(Self.configuration { [many] in
                $0.interface = "cwt1"
                $0.gre = .rings(many, required: false)
            })
            #expect(fitting.gre == .packet(addresses: 32))
        }
    }

    @Test func whatCannotBeMadeIsSaid() async throws {
        try await apart {
            do {
                _ = try Engine(Self.configuration { $0.interface = "a-name-that-is-too-long" })
                Issue.record("a name of 23 bytes passed")
            } catch {
                #expect("\(error)".hasPrefix("cannot create the TUN interface a-name-that-is-too-long"))
            }
            do {
                _ = try Engine(Self.configuration { $0.sessionCapacity = 0 })
                Issue.record("no sessions passed")
            } catch {
                #expect("\(error)" == "cannot create the data path: an argument is out of range")
            }
            // Whatever failed has let go of its descriptors: the name is free.
            #expect(if_nametoindex("cwt0") == 0)
            _ = try Engine(Self.configuration())
        }
    }

    @Test func invalidCommandsAreNamedAndTheOthersGoOn() async throws {
        try await apart {
            var engine = try Engine(Self.configuration())
            try engine.start()
            let tooMany = (0..<33).map { IPPrefix(IPAddress("10.0.0.0")!.advanced(by: $0)!) }
            let wrong: [(Command, String)] = [
                (Self.open(0, callID: 1), "open for session 0"),
                (Command(9, .inject(protocol: 0xC021, payload: [UInt8](repeating: 0, count: 1601))), "inject for session 9"),
                (Command(9, .rekey(.receive, Encryption(keyBits: 64, stateless: true, startKey: []))), "rekey for session 9"),
                (Command(9, .update(SessionUpdate(mtu: 67))), "update for session 9"),
                (
                    Command(9, .bind(Binding(gatewayAddress: IPAddress("10.1.0.1")!, tunnel: 0, mtu: 1400, prefixes: tooMany))),
                    "bind for session 9"
                ),
                (Command(9, .bind(Binding(gatewayAddress: IPAddress("10.1.0.1")!, tunnel: 0, mtu: 1400, prefixes: []))), "bind for session 9"),
                (Command(0, .tunnel(index: 256, mtu: 1420, up: true)), "tunnel for session 0"),
                (Command(9, .importState([])), "import for session 9"),
                (Command(0, .localAddresses(Array(repeating: IPAddress("10.0.0.1")!, count: 1025))), "local addresses for session 0"),
                (Command(0, .unbind), "unbind for session 0"), (Command(0, .close), "close for session 0"),
                (Command(0, .export), "export for session 0"),
            ]
            for (index, (command, name)) in wrong.enumerated() {
                let good = Self.open(UInt64(100 + index), callID: UInt16(100 + index))
                do {
                    try engine.submit([command, good])
                    Issue.record("\(name) passed")
                } catch {
                    #expect("\(error)" == "cannot \(name): an argument is out of range")
                }
                // The one behind it is not lost; it follows with the next flush.
                #expect(engine.waiting == 1)
                try engine.flush()
                #expect(engine.waiting == 0)
            }
            let ids = wrong.indices.map { UInt64(100 + $0) }
            for id in ids { try engine.submit(Command(id, .close)) }
            let closed = Self.events(engine, ids.count).compactMap { if case .closed(let id, _) = $0 { id } else { nil } }
            #expect(closed.sorted() == ids)
            engine.stop()
        }
    }

    @Test func theCoresRefusalsCarryTheCommand() async throws {
        try await apart {
            var engine = try Engine(Self.configuration { $0.sessionCapacity = 8 })
            try engine.start()
            // Two sessions of one call ID; nothing is known of the third.
            try engine.submit([Self.open(1, callID: 5), Self.open(2, callID: 5), Command(3, .unbind)])
            let events = Self.events(engine, 2)
            let refused = events.compactMap { event -> String? in
                guard case .refused(let session, let command, let reason) = event else { return nil }
                return "\(session) \(command) \(reason)"
            }
            #expect(
                refused.sorted() == [
                    "2 \(cw_command_type.CW_OPEN.rawValue) an argument is out of range",
                    "3 \(cw_command_type.CW_UNBIND.rawValue) no such session",
                ])
            engine.stop()
        }
    }

    @Test func countersOfKnownSessionsOnly() async throws {
        try await apart {
            var engine = try Engine(Self.configuration())
            try engine.start()
            try engine.submit([Self.open(7, callID: 7), Command(7, .inject(protocol: 0xC021, payload: [9, 1, 0, 8, 0, 0, 0, 0]))])
            let deadline = ContinuousClock.now + .seconds(10)
            while engine.counters(of: [7])[0] == nil, ContinuousClock.now < deadline { usleep(1000) }
            let read = engine.counters(of: [6, 7, 8])
            #expect(read.map { $0 != nil } == [false, true, false])
            #expect(engine.counters(of: []).isEmpty)
            try engine.submit(Command(7, .close))
            guard case .closed(let id, let last)? = Self.events(engine, 1).first else {
                Issue.record("no last word")
                return
            }
            #expect(id == 7)
            // lo is down here: the frame was handed to the kernel and went nowhere, or could not be sent; it is counted either way.
            #expect(last.controlOut + (last.drops["send-failed"] ?? 0) >= 1)
            #expect(engine.counters(of: [7])[0] == nil)
            engine.stop()
        }
    }

    /// What the ring has no room for waits here, in order, and none is lost.
    @Test func aFullRing() async throws {
        try await apart {
            var engine = try Engine(Self.configuration())
            // The workers do not run yet, so nothing is taken out.
            try engine.submit((1...4000).map { Self.open(UInt64($0), callID: UInt16($0)) })
            #expect(engine.waiting > 0)
            let waiting = engine.waiting
            try engine.submit(Command(1, .close))
            #expect(engine.waiting == waiting + 1)
            try engine.start()
            let deadline = ContinuousClock.now + .seconds(10)
            while engine.waiting > 0, ContinuousClock.now < deadline {
                try engine.flush()
                usleep(500)
            }
            #expect(engine.waiting == 0)
            var closed = Self.events(engine, 1)
            #expect(closed.count == 1)
            for id in 2...4000 { try engine.submit(Command(UInt64(id), .close)) }
            while closed.count < 4000, ContinuousClock.now < deadline {
                try engine.flush()
                closed += engine.poll()
            }
            #expect(closed.allSatisfy { if case .closed = $0 { true } else { false } })
            #expect(Set(closed.compactMap { if case .closed(let id, _) = $0 { id } else { nil } }).count == 4000)
            engine.stop()
        }
    }
}
