import Addresses
import Dispatch
import Netlink

/// Tells of changes in the host's interfaces and addresses, as they happen.
final class HostMonitor: Sendable {
    // Dispatch sources may be used from any thread; the type does not say so.
    let events: AsyncStream<RouteEvent>
    private let continuation: AsyncStream<RouteEvent>.Continuation
    private nonisolated(unsafe) let source: any DispatchSourceRead

    init() throws {
        let (events, continuation) = AsyncStream.makeStream(of: RouteEvent.self, bufferingPolicy: .bufferingNewest(4096))
        self.events = events
        self.continuation = continuation
        let monitor = try RouteMonitor()
        let queue = DispatchQueue(label: "causeway.host-monitor")
        source = DispatchSource.makeReadSource(fileDescriptor: monitor.descriptor, queue: queue)
        // The monitor is used on this queue only, and lives until the source has let go of its descriptor.
        nonisolated(unsafe) let owned = monitor
        source.setEventHandler {
            guard let events = try? owned.read() else { return continuation.yield(.overrun).forget() }
            for event in events { continuation.yield(event).forget() }
        }
        source.setCancelHandler { withExtendedLifetime(owned) { continuation.finish() } }
        source.resume()
    }

    func stop() { source.cancel() }

    static func interfaceAddresses() throws -> [Netlink.InterfaceAddress] { try NetlinkSocket(.route).addresses() }

    /// Every address on which this host listens now: its own, and the broadcast address of each network that it is in.
    static func addresses() throws -> Set<IPAddress> {
        var found: Set<IPAddress> = []
        for entry in try interfaceAddresses() {
            found.insert(entry.address)
            guard entry.address.family == .v4, entry.prefixLength <= 30,
                let network = IPPrefix(containing: entry.address, length: entry.prefixLength)
            else { continue }
            found.formUnion([network.first, network.last])
        }
        return found
    }
}

extension AsyncStream.Continuation.YieldResult {
    fileprivate func forget() {}
}
