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

    /// Every address of this host now.
    static func addresses() throws -> Set<IPAddress> {
        Set(try NetlinkSocket(.route).addresses().map(\.address))
    }
}

extension AsyncStream.Continuation.YieldResult {
    fileprivate func forget() {}
}
