import Foundation
import Logging
import Testing

@testable import causeway

@Suite struct WireGuardEnvironmentTests {
    @Test func theVariablesOfWireGuardGo() throws {
        let none = WireGuardEnvironment([:])
        #expect(!none.isForeground && none.ready == nil && none.logLevel == .error)
        #expect(try none.descriptor(WireGuardEnvironment.tun) == nil)
        #expect(WireGuardEnvironment(["WG_PROCESS_FOREGROUND": "1"]).isForeground)
        #expect(!WireGuardEnvironment(["WG_PROCESS_FOREGROUND": "0"]).isForeground)
        for (text, level) in [("verbose", Logger.Level.debug), ("debug", .debug), ("error", .error), ("", .error), ("other", .error)] {
            #expect(WireGuardEnvironment(["LOG_LEVEL": text]).logLevel == level)
        }
        #expect(WireGuardEnvironment(["LOG_LEVEL": "silent"]).logLevel == nil)
    }

    @Test func descriptorsHaveToBeOpen() throws {
        let file = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { close(file) }
        #expect(try WireGuardEnvironment(["WG_TUN_FD": "\(file)"]).descriptor(WireGuardEnvironment.tun) == file)
        #expect(try WireGuardEnvironment(["WG_UAPI_FD": ""]).descriptor(WireGuardEnvironment.listener) == nil)
        for wrong in ["x", "-1", "99999", " 1", "1.0"] {
            #expect(throws: WireGuardEnvironment.NotADescriptor.self) {
                try WireGuardEnvironment(["WG_UAPI_FD": wrong]).descriptor(WireGuardEnvironment.listener)
            }
        }
    }

    /// What the two processes say to each other.
    @Test func theOneInTheBackgroundReports() throws {
        for (report, expected) in [
            ({ (environment: WireGuardEnvironment) in environment.reportReady() }, [UInt8(0)]),
            ({ _ = $0.report(failure: "no TUN") }, Array("no TUN".utf8)),
        ] {
            var ends: [Int32] = [-1, -1]
            try #require(pipe(&ends) == 0)
            defer { close(ends[0]) }
            report(WireGuardEnvironment(["CAUSEWAY_READY_FD": "\(ends[1])"]))
            var bytes = [UInt8](repeating: 0, count: 64)
            let count = read(ends[0], &bytes, bytes.count)
            #expect(Array(bytes.prefix(max(0, count))) == expected)
            #expect(read(ends[0], &bytes, bytes.count) == 0)
        }
        #expect(!WireGuardEnvironment([:]).report(failure: "nobody waits"))
    }
}
