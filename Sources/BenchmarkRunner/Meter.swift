import Foundation

/// What the kernel says that processes took and lost.
enum Meter {
    /// Processes in the network namespace of this path.
    static func processes(inNamespace path: String) -> [Int32] {
        var status = stat()
        guard stat(path, &status) == 0 else { return [] }
        let wanted = "net:[\(status.st_ino)]"
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { Int32($0) }.filter { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\($0)/ns/net")) == wanted }
    }

    /// User and system time of all threads, those that have ended included.
    static func cpuSeconds(_ processes: [Int32]) -> Double {
        let ticks = processes.reduce(0) { sum, process in
            guard let line = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return sum }
            return sum + cpuTicks(stat: line)
        }
        return Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// proc_pid_stat(5): utime and stime are fields 14 and 15; the name before may contain anything.
    static func cpuTicks(stat line: String) -> Int {
        guard let name = line.lastIndex(of: ")") else { return 0 }
        let fields = line[line.index(after: name)...].split(separator: " ")
        guard fields.count > 12 else { return 0 }
        return (Int(fields[11]) ?? 0) + (Int(fields[12]) ?? 0)
    }

    static func residentBytes(_ processes: [Int32]) -> UInt64 {
        processes.reduce(0) { sum, process in
            let status = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            return sum + (line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) } ?? 0) * 1024
        }
    }

    /// Packets that the network namespace of a process dropped before a program could have them: receive buffers of UDP and raw
    /// sockets, and the queues of its TUN and veth interfaces.
    static func drops(of process: String) -> UInt64 {
        func read(_ name: String) -> String { (try? String(contentsOfFile: "/proc/\(process)/net/\(name)", encoding: .utf8)) ?? "" }
        return udpDrops(snmp: read("snmp")) + rawDrops(read("raw")) + interfaceDrops(read("dev"))
    }

    static func udpDrops(snmp: String) -> UInt64 {
        let lines = snmp.split(separator: "\n").filter { $0.hasPrefix("Udp:") }.map { $0.split(separator: " ") }
        guard lines.count == 2, let column = lines[0].firstIndex(of: "RcvbufErrors"), column < lines[1].count else { return 0 }
        return UInt64(lines[1][column]) ?? 0
    }

    /// The last column is `drops`.
    static func rawDrops(_ raw: String) -> UInt64 {
        raw.split(separator: "\n").dropFirst().reduce(0) { $0 + ($1.split(separator: " ").last.flatMap { UInt64($0) } ?? 0) }
    }

    /// Receive and transmit columns `drop`.
    static func interfaceDrops(_ dev: String) -> UInt64 {
        dev.split(separator: "\n").dropFirst(2).reduce(0) { sum, line in
            let fields = line.split(separator: ":").last?.split(separator: " ") ?? []
            guard fields.count > 11 else { return sum }
            return sum + (UInt64(fields[3]) ?? 0) + (UInt64(fields[11]) ?? 0)
        }
    }
}
