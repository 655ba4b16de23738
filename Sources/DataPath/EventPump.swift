import CLinux
import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A thread that waits for the engine's event descriptor and calls `deliver` once for each wake-up, then waits until the
/// consumer says `drained`: the control loop is never flooded with wake-ups and never polls.
public final class EventPump: Sendable {
    private let descriptor: Int32
    private let wake: Int32
    private let thread: Mutex<pthread_t?>
    private let stopping = Atomic<Bool>(false)
    private let deliver: @Sendable () -> Void

    /// `deliver` is called on the pump's thread. nil if the system has no descriptor or thread left.
    public init?(watching descriptor: Int32, deliver: @escaping @Sendable () -> Void) {
        self.descriptor = descriptor
        self.deliver = deliver
        wake = clinux_eventfd()
        thread = Mutex(nil)
        guard wake >= 0 else { return nil }
    }

    deinit { if wake >= 0 { close(wake) } }

    public func start() -> Bool {
        var handle = pthread_t()
        let me = Unmanaged.passRetained(self)
        let result = pthread_create(&handle, nil, { argument in
            Unmanaged<EventPump>.fromOpaque(argument!).takeRetainedValue().run()
            return nil
        }, me.toOpaque())
        guard result == 0 else {
            me.release()
            return false
        }
        thread.withLock { $0 = handle }
        return true
    }

    /// The consumer has taken all events: watch again.
    public func drained() { signal() }

    /// Ends the thread and waits for it.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        signal()
        if let handle = thread.withLock({ handle in defer { handle = nil }; return handle }) { pthread_join(handle, nil) }
    }

    private func signal() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
    }

    private func run() {
        var waitsForConsumer = false
        while !stopping.load(ordering: .acquiring) {
            var watched = [
                pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
                pollfd(fd: waitsForConsumer ? -1 : descriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&watched, 2, -1) > 0 else { continue }
            if watched[0].revents != 0 {
                var count: UInt64 = 0
                _ = read(wake, &count, 8)
                waitsForConsumer = false
            } else if watched[1].revents != 0 {
                waitsForConsumer = true
                deliver()
            }
        }
    }
}
