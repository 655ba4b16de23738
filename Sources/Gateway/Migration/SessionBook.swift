import DataPath
import Devices
import Migration
import MigrationTracker
import Store

/// Where sessions are written down, and who says which log-ins are still wanted. Calls may take as long as a disk does.
protocol SessionBook: Sendable {
    /// Of a user who has shown the right password.
    func verdict(of user: String) async -> LoginVerdict
    /// Until this has returned `admitted`, the address is not the session's.
    func open(_ handle: MigrationTracker.Handle, _ opening: SessionOpening) async -> MigrationTracker.Admission
    /// Of one that is not open: nothing.
    func close(_ handle: MigrationTracker.Handle, cause: String, total: Traffic) async
    func refused(_ refusal: RefusedLogIn) async
}

extension MigrationTracker: SessionBook {
    func view() -> StoreView { StoreView(problem: trouble, waiting: waiting, setAside: setAside) }
}

extension DeviceGuess {
    init(_ fingerprint: DeviceFingerprint) {
        let device = fingerprint.recognised
        self.init(kind: device.kind.rawValue, fingerprint: fingerprint.text, evidence: device.evidenceLines.joined(separator: "; "))
    }
}

extension Traffic {
    init(_ counters: Counters?) {
        self.init(
            packetsIn: Int64(clamping: counters?.packetsIn ?? 0), packetsOut: Int64(clamping: counters?.packetsOut ?? 0),
            bytesIn: Int64(clamping: counters?.bytesIn ?? 0), bytesOut: Int64(clamping: counters?.bytesOut ?? 0))
    }
}
