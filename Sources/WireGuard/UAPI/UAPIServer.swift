import CLinux
import Logging
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Answers the sockets of interfaces, on a thread of its own, so that `wg show`, `wg set` and others work with them.
public final class UAPIServer: Sendable {
    private struct Door {
        let listener: UAPIListener
        let interface: any WireGuardInterface
    }
    /// Changed from anywhere; the thread looks at them each time it wakes.
    private let doors: Mutex<[Door]>
    /// The first one, if somebody wants to know that its file is taken away.
    private let watched: UAPIListener?
    private let logger: Logger?
    private let removed: (@Sendable () -> Void)?
    private let requestPatience: Duration
    private let idlePatience: Duration
    private let wake: Int32
    private let thread: Mutex<pthread_t?>
    private let stopping = Atomic<Bool>(false)

    /// Opens the socket of `interfaceName` and serves it. `removed` is called once if its file is taken away.
    public convenience init(
        interfaceName: String, interface: any WireGuardInterface, logger: Logger? = nil, removed: (@Sendable () -> Void)? = nil
    ) throws {
        try self.init(
            listener: UAPIListener(interfaceName: interfaceName), interface: interface, logger: logger, removed: removed)
    }

    /// Serves a socket that is open already.
    public convenience init(
        listener: UAPIListener, interface: any WireGuardInterface, logger: Logger? = nil, removed: (@Sendable () -> Void)? = nil
    ) throws {
        try self.init(
            listener: listener, interface: interface, logger: logger, removed: removed, requestPatience: .seconds(30),
            idlePatience: .seconds(600))
    }

    /// The last two are limits of ours: for one request with its answer, and for the pause between two.
    init(
        listener: UAPIListener, interface: any WireGuardInterface, logger: Logger? = nil, removed: (@Sendable () -> Void)? = nil,
        requestPatience: Duration, idlePatience: Duration
    ) throws {
        self.requestPatience = requestPatience
        self.idlePatience = idlePatience
        doors = Mutex([Door(listener: listener, interface: interface)])
        watched = removed == nil ? nil : listener
        self.logger = logger
        self.removed = removed
        wake = clinux_eventfd()
        thread = Mutex(nil)
        guard wake >= 0 else {
            throw TunnelError.device(interface: listener.interfaceName, reason: "eventfd: \(String(cString: strerror(-wake)))")
        }
        var handle = pthread_t()
        let me = Unmanaged.passRetained(self)
        let result = pthread_create(
            &handle, nil,
            { argument in
                Unmanaged<UAPIServer>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, me.toOpaque())
        guard result == 0 else {
            me.release()
            throw TunnelError.device(interface: listener.interfaceName, reason: "no thread: \(String(cString: strerror(result)))")
        }
        thread.withLock { $0 = handle }
    }

    deinit { if wake >= 0 { close(wake) } }

    /// Serves one more socket, that of `interfaceName`.
    public func serve(_ interfaceName: String, _ interface: any WireGuardInterface) throws {
        try serve(UAPIListener(interfaceName: interfaceName), interface)
    }

    func serve(_ listener: UAPIListener, _ interface: any WireGuardInterface) {
        doors.withLock { $0.append(Door(listener: listener, interface: interface)) }
        nudge()
    }

    /// Closes a socket and its connections and removes its file. A call of its interface may still be under way.
    public func withdraw(_ interfaceName: String) {
        let withdrawn = doors.withLock { doors in
            let withdrawn = doors.filter { $0.listener.interfaceName == interfaceName }
            doors.removeAll { $0.listener.interfaceName == interfaceName }
            return withdrawn
        }
        for door in withdrawn { door.listener.remove() }
        nudge()
    }

    /// Closes all sockets and connections and removes their files. Waits until the last call of an interface has returned. Not to be
    /// called from within one.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        nudge()
        guard let handle = thread.withLock({ handle in defer { handle = nil }; return handle }) else { return }
        pthread_join(handle, nil)
        for door in doors.withLock({ $0 }) { door.listener.remove() }
    }

    private func nudge() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
    }

    // MARK: The thread

    /// A limit of ours; who comes later waits for the others to be done.
    static let mostConnections = 32

    private func run() {
        var connections: [UAPIConnection] = []
        let watch = watched.flatMap { DirectoryWatch(path: $0.path) }
        var isWatching = watch != nil
        while !stopping.load(ordering: .acquiring) {
            if isWatching, !watched!.isInPlace {
                isWatching = false
                removed?()
            }
            let doors = doors.withLock { $0 }
            var waiting = [
                pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
                pollfd(fd: isWatching ? watch!.descriptor : -1, events: Int16(POLLIN), revents: 0),
            ]
            waiting += connections.map { pollfd(fd: $0.descriptor, events: $0.awaited, revents: 0) }
            let firstDoor = waiting.count
            let isFull = connections.count >= Self.mostConnections
            waiting += doors.map { pollfd(fd: isFull ? -1 : $0.listener.descriptor, events: Int16(POLLIN), revents: 0) }
            let now = ContinuousClock.now
            let patience = connections.map { $0.deadline - now }.min().map { max(0, Int32($0 / .milliseconds(1)) + 1) } ?? -1
            guard poll(&waiting, nfds_t(waiting.count), patience) >= 0 else { continue }
            if waiting[0].revents != 0 { quieten() }
            if waiting[1].revents != 0 { watch?.drain() }
            for index in connections.indices { connections[index].proceed(ready: waiting[2 + index].revents, logger) }
            end(&connections)
            for (index, door) in doors.enumerated() where waiting[firstDoor + index].revents != 0 { accept(from: door, into: &connections) }
        }
        for connection in connections { connection.end() }
    }

    private func quieten() {
        var count: UInt64 = 0
        _ = read(wake, &count, 8)
    }

    /// Lets go of those who are done or too slow, and of those whose interface is not served any more.
    private func end(_ connections: inout [UAPIConnection]) {
        let open = Set(doors.withLock { $0.map { ObjectIdentifier($0.listener) } })
        connections.removeAll { connection in
            guard connection.isOver || connection.deadline <= .now || !open.contains(ObjectIdentifier(connection.listener)) else { return false }
            connection.end()
            return true
        }
    }

    private func accept(from door: Door, into connections: inout [UAPIConnection]) {
        while connections.count < Self.mostConnections {
            let descriptor = Glibc.accept(door.listener.descriptor, nil, nil)
            guard descriptor >= 0 else {
                // Out of descriptors or memory: not at once again, somebody else may let go of some.
                if ![EAGAIN, EINTR, ECONNABORTED].contains(errno) {
                    logger?.warning("the UAPI socket does not accept", metadata: ["error": "\(String(cString: strerror(errno)))"])
                    usleep(100_000)
                }
                return
            }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
            connections.append(UAPIConnection(descriptor, door.listener, door.interface, requestPatience, idlePatience))
        }
    }
}

/// One client of a socket.
private final class UAPIConnection {
    let descriptor: Int32
    let listener: UAPIListener
    private let interface: any WireGuardInterface
    private var conversation = UAPIConversation()
    private var answer: [UInt8] = []
    private var sent = 0
    private(set) var isOver = false
    private(set) var deadline: ContinuousClock.Instant
    private let requestPatience: Duration
    private let idlePatience: Duration

    init(
        _ descriptor: Int32, _ listener: UAPIListener, _ interface: any WireGuardInterface, _ requestPatience: Duration, _ idlePatience: Duration
    ) {
        self.descriptor = descriptor
        self.listener = listener
        self.interface = interface
        self.requestPatience = requestPatience
        self.idlePatience = idlePatience
        deadline = .now + idlePatience
    }

    /// What poll should wait for. Nothing is read while an answer has not been taken.
    var awaited: Int16 { Int16(answer.isEmpty ? POLLIN : POLLOUT) }

    func proceed(ready: Int16, _ logger: Logger?) {
        guard ready != 0 else { return }
        let wasIdle = conversation.isIdle && answer.isEmpty
        if answer.isEmpty { read() }
        repeat {
            send()
        } while !isOver && answer.isEmpty && prepareAnswer(logger)
        if conversation.hasEnded, answer.isEmpty { isOver = true }
        let isIdle = conversation.isIdle && answer.isEmpty
        // A request is not given more time for arriving byte by byte.
        if isIdle { deadline = .now + idlePatience } else if wasIdle { deadline = .now + requestPatience }
    }

    func end() {
        conversation.wipe()
        answer.wipe()
        close(descriptor)
    }

    private func read() {
        withUnsafeTemporaryAllocation(byteCount: UAPIConversation.chunk, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress!, buffer.count, 0)
            if count > 0 {
                conversation.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                explicit_bzero(buffer.baseAddress!, count)
            } else if count == 0 || ![EAGAIN, EINTR].contains(errno) {
                isOver = true
            }
        }
    }

    private func send() {
        while sent < answer.count {
            let count = answer.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL)) }
            if count > 0 {
                sent += count
            } else {
                if errno == EINTR { continue }
                if errno != EAGAIN { isOver = true }
                return
            }
        }
        answer.wipe()
        sent = 0
    }

    /// Carries out the next request that has arrived in full; false if there is none.
    private func prepareAnswer(_ logger: Logger?) -> Bool {
        guard let action = conversation.next() else { return false }
        do {
            switch action {
            case .list: answer = UAPIAnswer.listing(try interface.list())
            case .apply(let change):
                try interface.apply(change)
                answer = UAPIAnswer.result()
            case .refuse(let refusal): throw refusal
            case .end: return false
            }
        } catch {
            logger?.error("a request on the UAPI socket was not carried out", metadata: ["error": "\(error)"])
            answer = UAPIAnswer.result(error as? UAPIRefusal ?? .unknown)
        }
        return true
    }
}

/// Says that something in the folder of a file has changed (inotify(7)).
private final class DirectoryWatch {
    let descriptor: Int32

    init?(path: String) {
        descriptor = inotify_init1(Int32(IN_CLOEXEC) | Int32(IN_NONBLOCK))
        guard descriptor >= 0 else { return nil }
        let folder = String(path[..<path.lastIndex(of: "/")!])
        let events = UInt32(IN_DELETE | IN_DELETE_SELF | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_ATTRIB)
        guard inotify_add_watch(descriptor, folder, events) >= 0 else {
            close(descriptor)
            return nil
        }
    }

    deinit { close(descriptor) }

    func drain() {
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
            while read(descriptor, buffer.baseAddress!, buffer.count) > 0 {}
        }
    }
}
