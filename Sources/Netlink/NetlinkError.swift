#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// What the kernel refused, in words for an administrator.
public struct NetlinkError: Error, Equatable, CustomStringConvertible {
    /// What was attempted, such as "create interface wg0 (wireguard)".
    public var operation: String
    /// errno
    public var code: Int32
    /// The kernel's own explanation (NLMSGERR_ATTR_MSG), when it gave one.
    public var message: String?

    public init(operation: String, code: Int32, message: String? = nil) {
        self.operation = operation
        self.code = code
        self.message = message
    }

    public var description: String {
        let reason = String(cString: strerror(code))
        let hint = code == EPERM ? " (this needs CAP_NET_ADMIN)" : ""
        guard let message, !message.isEmpty else { return "cannot \(operation): \(reason)\(hint)" }
        return "cannot \(operation): \(reason): \(message)\(hint)"
    }
}
