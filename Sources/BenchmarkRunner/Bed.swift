import Benchmark
import CLoad
import Foundation

/// One gateway with clients on one side and a hub on the other: the clients are in the namespace of this process, gateway and hub have
/// one each. It goes with the room.
final class Bed {
    let contender: BenchPlan.Contender
    let configuration: BedConfiguration
    private let plan: BenchPlan
    private let gatewayProcessors: String?
    private(set) var description: BenchReport.Contender
    private var gateway: Command?
    private var hub: Command?
    private var clients: Command?
    private var wire: OpaquePointer?
    private var sockets: (client: Int32, hub: Int32) = (-1, -1)
    private(set) var innerMTU = 0

    init(_ contender: BenchPlan.Contender, number: Int, plan: BenchPlan, gatewayProcessors: String?) {
        self.contender = contender
        self.plan = plan
        self.gatewayProcessors = gatewayProcessors
        configuration = BedConfiguration(
            number: number, clients: plan.clients, workers: contender.workers, backend: contender.backend, io: contender.io)
        description = BenchReport.Contender(
            name: contender.name, program: contender.program, version: "", tunnelBackend: contender.backend, ioBackend: contender.io ?? "not told",
            kernels: "not told", setupSeconds: 0, setupsPerSecond: 0, residentBytes: 0)
    }

    // ---- set-up ----

    func open() throws {
        try FileManager.default.createDirectory(atPath: configuration.folder, withIntermediateDirectories: true)
        description.version = try Command.run([contender.program, "--version"])
        try makeNetwork()
        try startHub()
        try startGateway()
        try startClients()
        try openSockets()
        try setFaults(true)
        description.residentBytes = Meter.residentBytes(gatewayProcesses)
    }

    private func makeNetwork() throws {
        let bed = configuration
        for (space, peer, link, addresses) in [
            (bed.gatewaySpace, bed.clientLink, "wan", (bed.clientAddress, bed.gatewayAddress)),
            (bed.hubSpace, "uplink", "eth0", (bed.gatewayUplinkAddress, bed.hubAddress)),
        ] {
            let outside = space == bed.hubSpace ? ["-n", bed.gatewaySpace] : []
            let home = space == bed.hubSpace ? bed.gatewaySpace : nil
            try Command.run(["ip", "netns", "add", space])
            // No router solicitations; and every route of the hub and the clients is meant.
            try Command.run(
                ["ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"])
            if space == bed.gatewaySpace, plan.faults != nil {
                try makeWire(from: peer, to: link, in: space)
            } else {
                try Command.run(["ip"] + outside + ["link", "add", peer, "type", "veth", "peer", "name", link, "netns", space])
            }
            try prepare(peer, in: home, address: addresses.0)
            try prepare(link, in: space, address: addresses.1)
        }
        if plan.faults != nil { try openWire() }
        try Command.run(["ip", "-n", bed.gatewaySpace, "link", "set", "lo", "up"])
        try Command.run(["ip", "-n", bed.hubSpace, "link", "set", "lo", "up"])
    }

    /// Two links with a namespace between them instead of one.
    private func makeWire(from near: String, to far: String, in space: String) throws {
        let wire = configuration.wireSpace, ends = BedConfiguration.wireEnds
        try Command.run(["ip", "netns", "add", wire])
        try Command.run(["ip", "netns", "exec", wire, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
        try Command.run(["ip", "link", "add", near, "type", "veth", "peer", "name", ends.near, "netns", wire])
        try Command.run(["ip", "-n", space, "link", "add", far, "type", "veth", "peer", "name", ends.far, "netns", wire])
        for end in [ends.near, ends.far] { try Command.run(["ip", "-n", wire, "link", "set", end, "up"]) }
    }

    private func openWire() throws {
        let ends = BedConfiguration.wireEnds, space = BedConfiguration.path(ofSpace: configuration.wireSpace)
        let status = cload_wire_open(space, ends.near, ends.far, cload_wire_link(), UInt64.random(in: 0...UInt64.max), &wire)
        guard status == 0 else { throw BenchError.errno(status, "the wire between clients and gateway") }
    }

    /// Whether the wire has its faults from now on; without a bad wire there are none.
    func setFaults(_ on: Bool) throws {
        guard let wire, let faults = plan.faults else { return }
        let status = cload_wire_set(
            wire, on ? cload_wire_faults(loss: faults.loss / 100, reorder: faults.reorder / 100, places: UInt32(faults.places)) : cload_wire_faults(loss: 0, reorder: 0, places: 1))
        guard status == 0 else { throw BenchError.errno(status, "the wire between clients and gateway") }
    }

    private func prepare(_ link: String, in space: String?, address: String) throws {
        let ip = ["ip"] + (space.map { ["-n", $0] } ?? [])
        let inside = space.map { ["ip", "netns", "exec", $0] } ?? []
        // Left to itself a veth hands super-packets over without anybody ever cutting them.
        try Command.run(inside + ["ethtool", "-K", link, "tx", "off", "tx-udp-segmentation", "off", "tso", "off"])
        try Command.run(ip + ["address", "add", "\(address)/24", "dev", link])
        try Command.run(ip + ["link", "set", link, "up"])
    }

    private func startHub() throws {
        let bed = configuration
        let log = "\(bed.folder)/hub.log"
        let hub = try Command.start(
            ["ip", "netns", "exec", bed.hubSpace, plan.program, "wireguard", "--foreground", "--workers", "\(plan.workers)", bed.hubInterface], log: log)
        self.hub = hub
        let socket = "/var/run/wireguard/\(bed.hubInterface).sock"
        var answer = [CChar](repeating: 0, count: 256)
        try wait(.seconds(10), "the hub does not start: \(hub.lastWords)") {
            guard hub.isRunning else { throw BenchError.failed("the hub has ended: \(hub.lastWords)") }
            return cload_unix_request(socket, bed.hubRequest, &answer, Int32(answer.count)) > 0
        }
        let said = String(decoding: answer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard said.hasPrefix("errno=0") else { throw BenchError.failed("the hub refuses its configuration: \(said)") }
        let ip = ["ip", "-n", bed.hubSpace]
        try Command.run(ip + ["address", "add", "\(bed.hubInner)/32", "dev", bed.hubInterface])
        try Command.run(ip + ["link", "set", bed.hubInterface, "mtu", "1420", "txqueuelen", "10000", "up"])
        try Command.run(ip + ["route", "add", bed.userNetwork, "dev", bed.hubInterface])
    }

    private func startGateway() throws {
        let bed = configuration
        try write(bed.secrets, "chap-secrets", mode: 0o600)
        try write(bed.gatewayKey.exportBase64() + "\n", "gateway.key", mode: 0o600)
        try write(bed.configuration, "causeway.toml", mode: 0o600)
        let (status, said) = try Command.status(of: [contender.program, "check", "--config", "\(bed.folder)/causeway.toml"])
        guard status == 0 else { throw BenchError.unavailable("\(contender.name) refuses its configuration: \(said)") }
        let bound = gatewayProcessors.map { ["taskset", "-c", $0] } ?? []
        let gateway = try Command.start(
            ["ip", "netns", "exec", bed.gatewaySpace] + bound + [contender.program, "serve", "--config", "\(bed.folder)/causeway.toml"],
            log: "\(bed.folder)/gateway.log", environment: contender.isa.map { ["CAUSEWAY_ISA": $0] } ?? [:])
        self.gateway = gateway
        try wait(.seconds(20), "\(contender.name) does not start: \(gateway.lastWords)") {
            guard gateway.isRunning else { throw BenchError.unavailable("\(contender.name) has ended: \(gateway.lastWords)") }
            return try Command.status(of: [contender.program, "sessions", "--json", "--socket", "\(bed.folder)/control.sock"]).0 == 0
        }
        let log = gateway.said
        if let kernels = Self.kernels(log: log) { description.kernels = kernels }
        if let io = Self.io(log: log) { description.ioBackend = io }
    }

    /// From the line `data path started: 1 workers, avx512 kernels`.
    static func kernels(log: String) -> String? {
        guard let line = log.split(separator: "\n").first(where: { $0.contains("data path started:") && $0.hasSuffix(" kernels") }),
            let comma = line.lastIndex(of: ",")
        else { return nil }
        return String(line[line.index(comma, offsetBy: 2)...].dropLast(" kernels".count))
    }

    /// From the line `GRE comes in through packet rings for 1 address, raw sockets for the rest`.
    static func io(log: String) -> String? {
        guard let begin = log.range(of: "GRE comes in through ")?.upperBound else { return nil }
        return log[begin...].prefix { $0 != "\n" && $0 != "," }.split(separator: " ").prefix(2).joined(separator: " ")
    }

    private func startClients() throws {
        let bed = configuration
        try write(bed.password + "\n", "password", mode: 0o600)
        let begun = ContinuousClock.now
        let clients = try Command.start(
            [
                plan.program, "dial", "--server", bed.gatewayAddress, "--user", "load%d", "--count", "\(plan.clients)", "--concurrency", "64",
                "--password-file", "\(bed.folder)/password", "--profile", plan.profile, "--no-delay", "--interface", bed.clientInterface,
                "--workers", "\(plan.workers)", "--route", bed.hubNetwork,
            ], log: "\(bed.folder)/clients.log")
        self.clients = clients
        let limit = Duration.seconds(30 + plan.clients / 20)
        try wait(limit, "the clients' sessions do not open: \(clients.lastWords)") {
            guard clients.isRunning else {
                throw BenchError.failed("the clients have ended: \(clients.lastWords); the gateway: \(gateway?.lastWords ?? "")")
            }
            return clients.said.split(separator: "\n").contains("ready")
        }
        description.setupSeconds = (ContinuousClock.now - begun) / .seconds(1)
        description.setupsPerSecond = Double(plan.clients) / description.setupSeconds
        try Command.run(["ip", "link", "set", bed.clientInterface, "txqueuelen", "10000"])
        innerMTU = Int(cload_interface_mtu(bed.clientInterface))
        guard innerMTU > 0 else { throw BenchError.failed("\(bed.clientInterface) has no MTU") }
    }

    private func openSockets() throws {
        let client = cload_udp_open(nil, 0, BedConfiguration.loadPort + UInt16(configuration.number))
        guard client >= 0 else { throw BenchError.errno(client, "the clients' socket") }
        sockets.client = client
        let hub = cload_udp_open(BedConfiguration.path(ofSpace: configuration.hubSpace), configuration.hubInnerAddress, BedConfiguration.loadPort)
        guard hub >= 0 else { throw BenchError.errno(hub, "the hub's socket") }
        sockets.hub = hub
    }

    private func write(_ text: String, _ name: String, mode: Int) throws {
        let path = "\(configuration.folder)/\(name)"
        guard FileManager.default.createFile(atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: mode]) else {
            throw BenchError.unavailable("cannot write \(path)")
        }
    }

    func close() {
        description.residentBytesAtEnd = Meter.residentBytes(gatewayProcesses)
        for socket in [sockets.client, sockets.hub] where socket >= 0 { _ = Foundation.close(socket) }
        clients?.end()
        gateway?.end()
        hub?.end()
        if let wire { cload_wire_close(wire) }
        wire = nil
    }

    // ---- measuring ----

    var residentBytes: UInt64 { Meter.residentBytes(gatewayProcesses) }

    /// What the gateway says that it dropped since its start, for whatever cause; nil: it does not say.
    func gatewayDrops() throws -> UInt64? {
        guard let text = try? Command.run([contender.program, "status", "--json", "--socket", "\(configuration.folder)/control.sock"]) else { return nil }
        return Self.drops(status: text)
    }

    static func drops(status text: String) -> UInt64? {
        struct Status: Decodable { var drops: [String: UInt64] }
        return (try? JSONDecoder().decode(Status.self, from: Data(text.utf8)))?.drops.values.reduce(0, +)
    }

    /// Packets that the gateway's host dropped before the gateway could have them.
    var hostDrops: UInt64 { Meter.drops(of: "\(gateway?.id ?? 0)") }

    /// Packets with a payload that the wire took until now, towards the hub and back.
    private var takenByWire: (toHub: UInt64, fromHub: UInt64) {
        guard let wire else { return (0, 0) }
        var counts = [cload_wire_counts](repeating: cload_wire_counts(), count: 2)
        cload_wire_read(wire, &counts)
        return (counts[0].lost_data, counts[1].lost_data)
    }

    private var gatewayProcesses: [Int32] { Meter.processes(inNamespace: BedConfiguration.path(ofSpace: configuration.gatewaySpace)) }

    private func checkThatAllLive() throws {
        for (what, command) in [("the gateway", gateway), ("the clients", clients), ("the hub", hub)] {
            guard let command, !command.isRunning else { continue }
            throw BenchError.failed("\(contender.name): \(what) ended during a measurement: \(command.lastWords)")
        }
    }

    private var generatorDrops: UInt64 { Meter.drops(of: "self") + Meter.drops(of: "\(hub?.id ?? 0)") }
    private var generatorProcesses: [Int32] { [getpid()] + [clients, hub].compactMap { $0?.id } }

    /// Runs `body` between two readings of what everybody took.
    private func measured(_ sample: inout BenchReport.Sample, _ direction: Direction, _ body: (inout BenchReport.Sample) throws -> Void) throws {
        let taken = takenByWire
        let (drops, gateway, generator) = (generatorDrops, Meter.cpuSeconds(gatewayProcesses), Meter.cpuSeconds(generatorProcesses))
        try body(&sample)
        sample.gatewayCPUSeconds = Meter.cpuSeconds(gatewayProcesses) - gateway
        sample.generatorCPUSeconds = Meter.cpuSeconds(generatorProcesses) - generator
        // Of TCP nothing is lost in the end.
        guard sample.rate != nil else { return try checkThatAllLive() }
        let now = takenByWire
        sample.lostByWire = min(sample.lost, (direction != .fromHub ? now.toHub - taken.toHub : 0) + (direction != .toHub ? now.fromHub - taken.fromHub : 0))
        sample.lostByGenerator = min(sample.lost - sample.lostByWire, generatorDrops - drops)
        try checkThatAllLive()
    }

    /// What is on its way when the last packet leaves has this long.
    private static let drain = 0.25

    /// Packets per second in all, in both directions half of them each.
    func udp(_ mix: PacketMix, _ direction: Direction, rate: Double, seconds: Double) throws -> BenchReport.Sample {
        let addresses = (0..<plan.clients).map { configuration.userAddress($0) }
        let hubs = Array(repeating: configuration.hubInnerAddress, count: plan.clients)
        var sample = BenchReport.Sample(rate: rate, seconds: seconds)
        var latencies = Histogram()
        try measured(&sample, direction) { sample in
            try addresses.withUnsafeBufferPointer { addresses in
                try hubs.withUnsafeBufferPointer { hubs in
                    let share = direction == .both ? rate / 2 : rate
                    var flows: [cload_flow] = []
                    if direction != .fromHub { flows.append(flow(mix, rate: share, toHub: true, sources: addresses, destinations: hubs)) }
                    if direction != .toHub { flows.append(flow(mix, rate: share, toHub: false, sources: nil, destinations: addresses)) }
                    let results = UnsafeMutablePointer<cload_udp_result>.allocate(capacity: flows.count)
                    defer { results.deallocate() }
                    let status = cload_udp_run(flows, UInt32(flows.count), seconds, Self.drain, results)
                    guard status == 0 else { throw BenchError.errno(status, "the generator") }
                    for index in flows.indices { latencies.add(Self.add(results + index, to: &sample)) }
                }
            }
        }
        sample.latency = BenchReport.Latency(latencies)
        return sample
    }

    private func flow(
        _ mix: PacketMix, rate: Double, toHub: Bool, sources: UnsafeBufferPointer<UInt32>?, destinations: UnsafeBufferPointer<UInt32>
    ) -> cload_flow {
        var flow = cload_flow()
        (flow.send_fd, flow.receive_fd) = toHub ? (sockets.client, sockets.hub) : (sockets.hub, sockets.client)
        flow.session_count = UInt32(destinations.count)
        flow.sources = sources?.baseAddress
        flow.destinations = destinations.baseAddress
        flow.port = BedConfiguration.loadPort + (toHub ? 0 : UInt16(configuration.number))
        flow.size_count = UInt16(mix.sizes.count)
        withUnsafeMutableBytes(of: &flow.sizes) { target in mix.sizes.withUnsafeBytes { target.copyMemory(from: $0) } }
        flow.rate = rate
        return flow
    }

    /// The result is large: it is read where it lies.
    private static func add(_ result: UnsafeMutablePointer<cload_udp_result>, to sample: inout BenchReport.Sample) -> Histogram {
        sample.offered += result.pointee.offered
        sample.sent += result.pointee.sent
        sample.received += result.pointee.received
        sample.lost += result.pointee.sent - result.pointee.received
        sample.duplicates += result.pointee.duplicates
        sample.reordered += result.pointee.reordered
        sample.receivedBytes += result.pointee.received_bytes
        let offset = MemoryLayout<cload_udp_result>.offset(of: \.latencies)!
        let buckets = (UnsafeRawPointer(result) + offset).assumingMemoryBound(to: UInt64.self)
        return Histogram(counts: UnsafeBufferPointer(start: buckets, count: Int(CLOAD_BUCKETS)))
    }

    /// More connections say no more about a gateway, but take the generator's time.
    private static let mostConnections = 64
    private static let warmUp = 0.5

    func tcp(_ direction: Direction, seconds: Double) throws -> BenchReport.Sample {
        let sources = (0..<min(plan.clients, Self.mostConnections)).map { configuration.userAddress($0) }
        var tcp: OpaquePointer?
        let port = BedConfiguration.loadPort + 1
        let status = cload_tcp_open(
            BedConfiguration.path(ofSpace: configuration.hubSpace), configuration.hubInnerAddress, port, sources, UInt32(sources.count), &tcp)
        guard status == 0, let tcp else { throw BenchError.errno(status, "\(contender.name): TCP through the gateway") }
        defer { cload_tcp_close(tcp) }
        let started = cload_tcp_start(tcp, direction != .fromHub, direction != .toHub)
        guard started == 0 else { throw BenchError.errno(started, "the generator") }
        usleep(UInt32(Self.warmUp * 1e6))
        func received() -> UInt64 {
            var hub: UInt64 = 0, clients: UInt64 = 0
            cload_tcp_received(tcp, &hub, &clients)
            return hub + clients
        }
        var sample = BenchReport.Sample(rate: nil, seconds: seconds)
        try measured(&sample, direction) { sample in
            let before = received(), begun = ContinuousClock.now
            usleep(UInt32(seconds * 1e6))
            sample.receivedBytes = received() - before
            sample.seconds = (ContinuousClock.now - begun) / .seconds(1)
        }
        guard sample.receivedBytes > 0 else { throw BenchError.failed("\(contender.name): no TCP arrives") }
        return sample
    }
}
