import CLinux
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The interface of an open TUN queue, wherever it goes: its state as the kernel last told it.
struct FollowedLink: ~Copyable {
    private let queue: Int32
    private var monitor: RouteMonitor
    private var index: UInt32
    private(set) var isUp: Bool
    private(set) var mtu: UInt32

    /// Readable when there is something to `read`.
    var descriptor: Int32 { monitor.descriptor }

    /// - Parameter mtu: is set first.
    init(of queue: Int32, named name: String, mtu: UInt32) throws {
        self.queue = queue
        let found = try Self.find(queue) { socket in
            guard let link = try socket.link(named: name) else { return nil }
            try socket.perform(LinkRequest.change(index: link.index, name: name, LinkChange(mtu: mtu)))
            return try socket.link(index: link.index)
        }
        guard let found else { throw NetlinkError(operation: "find interface \(name)", code: ENODEV) }
        (monitor, index, isUp, self.mtu) = (found.monitor, found.link.index, found.link.isUp, found.link.mtu ?? mtu)
    }

    /// Takes in what has happened; false: the interface is gone.
    mutating func read() throws -> Bool {
        for event in try monitor.read() {
            switch event {
            case .linkChanged(let link) where link.index == index: take(link)
            case .linkRemoved(let link) where link.index == index: return try lookAgain()
            case .overrun: return try lookAgain()
            default: break
            }
        }
        return true
    }

    private mutating func take(_ link: Link) {
        isUp = link.isUp
        mtu = link.mtu ?? mtu
    }

    /// It was removed here, which is also what a move to another network namespace looks like; its number may be another one there.
    private mutating func lookAgain() throws -> Bool {
        guard let name = Self.name(of: queue), let found = try Self.find(queue, { try $0.link(named: name) }) else { return false }
        monitor = found.monitor
        index = found.link.index
        take(found.link)
        return true
    }

    private final class Search {
        let look: (NetlinkSocket) throws -> Link?
        var result: Result<(monitor: RouteMonitor, link: Link)?, any Error> = .success(nil)
        init(_ look: @escaping (NetlinkSocket) throws -> Link?) { self.look = look }
    }

    /// Looks where the interface is. nil: there is none any more.
    private static func find(_ queue: Int32, _ look: @escaping (NetlinkSocket) throws -> Link?) throws
        -> (monitor: RouteMonitor, link: Link)?
    {
        let search = Search(look)
        let code = clinux_in_namespace_of(
            queue,
            { context in
                let search = Unmanaged<Search>.fromOpaque(context!).takeUnretainedValue()
                search.result = Result {
                    // The monitor first: what changes while the present state is read is told again.
                    let monitor = try RouteMonitor()
                    return try search.look(NetlinkSocket(.route)).map { (monitor, $0) }
                }
            }, Unmanaged.passUnretained(search).toOpaque())
        switch code {
        case 0: return try search.result.get()
        case -EBADFD, -ENODEV: return nil
        default: throw NetlinkError(operation: "enter the interface's network namespace", code: -code)
        }
    }

    /// The present name, which may not be the first.
    private static func name(of queue: Int32) -> String? {
        var name = [CChar](repeating: 0, count: 16)
        guard clinux_tun_name(queue, &name) == 0 else { return nil }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
