import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A call into the data path failed.
public struct EngineError: Error, CustomStringConvertible, Equatable {
    public enum Cause: Sendable, Equatable {
        case invalid, noMemory, full, notFound, version
        /// With the errno.
        case system(Int32)
        /// The engine is gone.
        case ended

        fileprivate var text: String {
            switch self {
            case .invalid: String(cString: cw_status_text(.CW_INVALID))
            case .noMemory: String(cString: cw_status_text(.CW_NO_MEMORY))
            case .full: String(cString: cw_status_text(.CW_FULL))
            case .notFound: String(cString: cw_status_text(.CW_NOT_FOUND))
            case .version: String(cString: cw_status_text(.CW_VERSION))
            case .system(let code): String(cString: strerror(code))
            case .ended: "the data path has ended"
            }
        }
    }

    public let cause: Cause
    public let description: String

    init(_ cause: Cause, _ operation: String) {
        self.cause = cause
        description = "cannot \(operation): \(cause.text)"
    }

    static func check(_ status: cw_status, _ operation: @autoclosure () -> String) throws(EngineError) {
        switch status {
        case .CW_OK: return
        case .CW_INVALID: throw EngineError(.invalid, operation())
        case .CW_NO_MEMORY: throw EngineError(.noMemory, operation())
        case .CW_FULL: throw EngineError(.full, operation())
        case .CW_NOT_FOUND: throw EngineError(.notFound, operation())
        case .CW_SYSTEM: throw EngineError(.system(errno), operation())
        case .CW_VERSION: throw EngineError(.version, operation())
        }
    }
}

func closeDescriptor(_ descriptor: Int32) { close(descriptor) }
