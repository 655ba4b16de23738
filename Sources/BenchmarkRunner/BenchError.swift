/// Why there is no measurement.
public enum BenchError: Error, CustomStringConvertible {
    /// Something that this host lacks or refused.
    case unavailable(String)
    /// A gateway, the clients or the hub did not do what they should.
    case failed(String)

    public var description: String {
        switch self {
        case .unavailable(let text), .failed(let text): text
        }
    }

    static func errno(_ code: Int32, _ what: String) -> BenchError { .unavailable("\(what): \(String(cString: strerror(abs(code))))") }
}

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif
