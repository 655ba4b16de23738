/// How one family of clients behaves on the control connection: what it announces and how it says goodbye.
public struct ClientProfile: Sendable, Codable {
    public enum HangUp: Sendable, Codable {
        /// Call-Clear-Request, wait for the Call-Disconnect-Notify, Stop-Request, wait for its reply.
        case polite
        /// Call-Clear-Request and close, possibly in one segment.
        case clearAndClose
    }

    public struct LinkInfo: Hashable, Sendable, Codable {
        public var sendACCM: UInt32
        public var receiveACCM: UInt32
        public init(sendACCM: UInt32, receiveACCM: UInt32) {
            self.sendACCM = sendACCM
            self.receiveACCM = receiveACCM
        }
    }

    public var hostName: String
    public var vendor: String
    public var firmware: UInt16
    public var framing: Framing
    public var bearer: Bearer
    public var maximumChannels: UInt16
    public var minimumBPS: UInt32
    public var maximumBPS: UInt32
    public var callBearer = Bearer.either
    public var callFraming = Framing.either
    public var receiveWindow: UInt16
    /// Counted up by one for each call.
    public var firstSerial: UInt16
    /// From the Start-Control-Connection-Reply to the first Outgoing-Call-Request.
    public var delayBeforeCall = Duration.zero
    /// Sent as soon as a call is connected.
    public var linkInfo: LinkInfo?
    public var hangUp: HangUp
    /// pptp-linux confirms our Call-Disconnect-Notify with a Call-Clear-Request.
    public var clearsAfterNotify = false
    /// Zero: never asks.
    public var echoInterval = Duration.seconds(60)
    public var echoTimeout = Duration.seconds(60)
    public var replyTimeout = Duration.seconds(30)

    /// Windows' built-in client.
    public static let windows = ClientProfile(
        hostName: "", vendor: "Microsoft", firmware: 0, framing: .asynchronous, bearer: .analog, maximumChannels: 0,
        minimumBPS: 300, maximumBPS: 100_000_000, receiveWindow: 64, firstSerial: 1,
        linkInfo: LinkInfo(sendACCM: WireFacts.defaultACCM, receiveACCM: WireFacts.defaultACCM), hangUp: .polite)

    /// pptp-linux with pppd, the GRE packets in user space.
    public static let pptpLinux = ClientProfile(
        hostName: "local", vendor: "cananian", firmware: 1, framing: .either, bearer: .either, maximumChannels: .max,
        minimumBPS: 2_400, maximumBPS: 10_000_000, receiveWindow: 3, firstSerial: 0, delayBeforeCall: .seconds(1),
        hangUp: .clearAndClose, clearsAfterNotify: true)

    /// accel-ppp's pppd plug-in over the kernel's PPTP channel, as many routers have it.
    public static let embedded = ClientProfile(
        hostName: "kpptp", vendor: "", firmware: 0, framing: .either, bearer: .either, maximumChannels: 0,
        minimumBPS: 2_400, maximumBPS: 1_000_000_000, receiveWindow: 32, firstSerial: 1, hangUp: .polite,
        echoInterval: .zero)
}
