import Addresses

/// What the workers tell the control loop.
public enum Event: Sendable {
    /// A PPP control frame arrived.
    case control(session: UInt64, protocol: UInt16, payload: [UInt8])
    /// MPPE receive state cannot be recovered: CCP has to be negotiated again.
    case decryptionLost(session: UInt64)
    case addressChanged(session: UInt64, IPAddress)
    /// After `close`: the last counters.
    case closed(session: UInt64, Counters)
    case exported(session: UInt64, state: [UInt8])
    case refused(session: UInt64, command: UInt32, reason: String)
    case workerFailed(worker: Int, errno: Int32)
    /// GRE for no session; only a few a second are told.
    case unknownCall(source: IPAddress, callID: UInt16)
}
