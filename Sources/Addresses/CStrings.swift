#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A NULL-terminated array of C strings, as exec and its like take it, for the duration of the call.
public func withCStrings<Result>(_ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result {
    let copies = strings.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return (copies + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
}
