import Addresses
import Foundation
import GRDB
import Migration

@testable import Store

let day: UnixTime = 86_400
let rules = MigrationRules(quietDays: 14)
let ann = Actor(name: "ann", source: "socket")

/// A store in a folder of its own, which goes away with it.
final class TemporaryStore {
    let folder: URL
    var store: SQLiteStore

    var path: String { folder.appendingPathComponent("causeway.db").path }

    init(gateway: String = "gw1", now: UnixTime = 0) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        store = try SQLiteStore(path: folder.appendingPathComponent("causeway.db").path, gateway: gateway, now: now)
    }

    deinit {
        try? store.close()
        try? FileManager.default.removeItem(at: folder)
    }

    /// As a new process would find it; the old one did not close anything.
    func reopen(gateway: String = "gw1", now: UnixTime) throws {
        try store.close()
        store = try SQLiteStore(path: path, gateway: gateway, now: now)
    }
}

extension SQLiteStore {
    /// Open at once.
    init(path: String, gateway: String, now: UnixTime, patience: Double = 5, opened: @escaping @Sendable (Int) -> Void = { _ in }) throws(StoreError) {
        self.init(path: path, gateway: gateway, patience: patience, clock: { now }, opened: opened)
        _ = try file.open()
    }

    var pool: DatabasePool { file.current!.pool }
}

/// Somebody else who can hold the database.
func stranger(_ path: String) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.allowsUnsafeTransactions = true
    return try DatabaseQueue(path: path, configuration: configuration)
}

func inner(_ number: Int) -> IPAddress { IPAddress(v4: 0x0A08_0000 + UInt32(number)) }

func opening(
    _ user: String, _ address: Int, at now: UnixTime, kind: AccessKind = .pptp, pool: String? = "default", isOnly: Bool = false,
    device: DeviceGuess? = nil
) -> SessionOpening {
    SessionOpening(
        kind: kind, user: user, at: now, clientAddress: IPAddress("192.0.2.7"), address: inner(address), pool: pool, tunnel: "hub", isOnly: isOnly,
        device: device)
}

/// The same numbers in each run.
struct Dice: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 2 &+ 1 }
    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
