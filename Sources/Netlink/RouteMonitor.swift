import Addresses
import CMnl

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// What changed in the host's interfaces and addresses.
public enum RouteEvent: Equatable, Sendable {
    case linkChanged(Link)
    case linkRemoved(Link)
    case addressAdded(InterfaceAddress)
    case addressRemoved(InterfaceAddress)
    /// A policy rule or a route that carries our mark is gone: we took it away, or somebody else did, or its interface went.
    case ruleRemoved(Rule)
    case routeRemoved(Route)
    /// Notifications were lost (the socket's buffer was full): read everything again.
    case overrun

    /// The events of one datagram; what is of no interest is left out.
    public static func parse(_ datagram: [UInt8]) throws -> [RouteEvent] {
        try NetlinkMessage.parse(datagram).compactMap { message in
            switch message.type {
            case RouteMessageType.newLink: try Link(message).map { .linkChanged($0) }
            case RouteMessageType.deleteLink: try Link(message).map { .linkRemoved($0) }
            case RouteMessageType.newAddress: try InterfaceAddress(message).map { .addressAdded($0) }
            case RouteMessageType.deleteAddress: try InterfaceAddress(message).map { .addressRemoved($0) }
            case RouteMessageType.deleteRule:
                // Others' rules and routes may be of kinds that we do not read: they are not our concern.
                (try? Rule(message)).flatMap { $0.origin == RouteOrigin.causeway ? .ruleRemoved($0) : nil }
            case RouteMessageType.deleteRoute:
                (try? Route(message)).flatMap { $0.origin == RouteOrigin.causeway ? .routeRemoved($0) : nil }
            default: nil
            }
        }
    }
}

/// A non-blocking socket that hears of links and addresses. The owner's event loop waits for `descriptor` to be readable,
/// then calls `read`. Open it before reading the present state, so that nothing is missed in between.
public final class RouteMonitor {
    private let handle: OpaquePointer
    private let buffer: UnsafeMutableRawBufferPointer

    /// RTMGRP_LINK; RTMGRP_IPV4_IFADDR, _ROUTE, _RULE; RTMGRP_IPV6_IFADDR, _ROUTE, and RTNLGRP_IPV6_RULE (group 19).
    private static let groups: UInt32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18

    public var descriptor: Int32 { mnl_socket_get_fd(handle) }

    public init() throws {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let operation = "watch the interfaces"
        guard let handle = mnl_socket_open2(NetlinkSocket.Family.route.rawValue, flags) else {
            throw NetlinkError(operation: operation, code: errno)
        }
        guard mnl_socket_bind(handle, Self.groups, 0) == 0 else {
            let code = errno
            mnl_socket_close(handle)
            throw NetlinkError(operation: operation, code: code)
        }
        self.handle = handle
        buffer = .allocate(byteCount: 65536, alignment: 8)
    }

    deinit {
        buffer.deallocate()
        mnl_socket_close(handle)
    }

    /// Everything that has arrived; empty if nothing has.
    public func read() throws -> [RouteEvent] {
        var events: [RouteEvent] = []
        while true {
            let count = mnl_socket_recvfrom(handle, buffer.baseAddress!, buffer.count)
            guard count >= 0 else {
                switch errno {
                case EAGAIN: return events
                case EINTR: continue
                case ENOBUFS: events.append(.overrun)
                default: throw NetlinkError(operation: "watch the interfaces", code: errno)
                }
                continue
            }
            events += try RouteEvent.parse(Array(buffer.prefix(count)))
        }
    }
}
