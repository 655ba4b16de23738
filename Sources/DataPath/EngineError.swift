import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A call into the data path failed.
public struct EngineError: Error, CustomStringConvertible, Equatable {
    public let description: String

    static func check(_ status: cw_status, _ operation: @autoclosure () -> String) throws(EngineError) {
        guard status != .CW_OK else { return }
        let cause = status == .CW_SYSTEM ? String(cString: strerror(errno)) : String(cString: cw_status_text(status))
        throw EngineError(description: "cannot \(operation()): \(cause)")
    }
}

func closeDescriptor(_ descriptor: Int32) { close(descriptor) }
