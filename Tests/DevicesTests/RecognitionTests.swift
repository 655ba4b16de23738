import Testing

@testable import Devices
@testable import PPP
@testable import PPTP

/// What a client says in a published log or in its published source, with the fields that matter.
private func fingerprint(
    host: String = "", vendor: String = "", firmware: UInt16 = 0, framing: Framing = .either, bearer: Bearer = .either, channels: UInt16 = 0,
    bps: (UInt32, UInt32)? = nil, window: UInt16 = 64, lcp: [ConfigurationOption] = [], ipcp: [UInt8] = [], identifications: [[UInt8]] = [],
    linkInfo: Bool = false
) -> DeviceFingerprint {
    var result = DeviceFingerprint(
        start: PeerIdentity(
            hostName: host, vendor: vendor, firmware: firmware, protocolVersion: 0x0100, framing: framing, bearer: bearer, maximumChannels: channels))
    if let bps {
        result.call = OutgoingCallRequest(
            callID: 7, serial: 1, minimumBPS: bps.0, maximumBPS: bps.1, bearer: .either, framing: .either, receiveWindow: window, processingDelay: 0,
            phoneNumberLength: 0, phoneNumber: FixedText("", width: 64), subaddress: FixedText("", width: 64))
    }
    if !lcp.isEmpty { result.note(.peerAsks(protocol: PPPProtocol.lcp, options: lcp)) }
    if !ipcp.isEmpty { result.note(.peerAsks(protocol: PPPProtocol.ipcp, options: ipcp.map { ConfigurationOption(type: $0, data: [0, 0, 0, 0]) })) }
    for bytes in identifications { result.note(.identification(bytes)) }
    result.setsLinkInfo = linkInfo
    return result
}

private let windowsLCP = [
    ConfigurationOption(type: 1, UInt16(1400)), ConfigurationOption(type: 5, UInt32(0x142785A)), ConfigurationOption(type: 7),
    ConfigurationOption(type: 8), ConfigurationOption(type: 13, data: [6]),
]
private let msras = [Array("MSRASV5.20".utf8), Array("MSRAS-0-MSEDGEWIN10".utf8)]

@Suite struct RecognitionTests {
    // MARK: Recorded sessions

    @Test(arguments: ["accel-echo", "accel-stateless", "pptpd-echo", "pptpd-stateless"])
    func `a recorded pptp-linux is known for certain`(session: String) throws {
        let device = try CapturedClient(session).fingerprint.recognised
        #expect(device.kind == .pppd)
        #expect(device.confidence == .high)
        #expect(device.evidence.allSatisfy { $0.source == .capture })
        #expect(device.evidenceLines.first == "vendor \"cananian\" is pptp-linux (seen in a capture)")
        #expect(device.evidence.count == 4)
    }

    /// Another control client in front of the same pppd: only PPP gives it away.
    @Test(arguments: ["accel-kernel", "accel-stateful-ask", "pptpd-kernel", "pptpd-stateful-loss"])
    func `pppd behind another control client is a guess of medium confidence`(session: String) throws {
        let device = try CapturedClient(session).fingerprint.recognised
        #expect(device.kind == .pppd)
        #expect(device.confidence == .medium)
        #expect(!device.evidenceLines.contains { $0.contains("cananian") })
    }

    @Test func `the same device has the same text in every session`() throws {
        let texts = try ["accel-echo", "accel-stateless", "pptpd-echo", "pptpd-stateless"].map { try CapturedClient($0).fingerprint.text }
        #expect(Set(texts.map { $0.split(separator: " 8021").first! }).count == 1)
        #expect(texts[0].hasPrefix("host=local vendor=cananian firmware=1 framing=3 bearer=3 channels=65535 bps=2400-10000000 window=3 delay=0 "))
        #expect(texts[0].contains(" c021=1:0578,2:00000000,5,7,8"))
    }

    // MARK: Published ones

    @Test func `Windows 10 in accel-ppp's log`() {
        let device = fingerprint(
            vendor: "Microsoft", framing: .asynchronous, bearer: .analog, bps: (300, 100_000_000), lcp: windowsLCP, ipcp: [3, 129, 130, 131, 132],
            identifications: msras + [[0x55, 0xD4, 10, 0xE8, 0x4D, 0x72, 0xC0, 0x4B, 0xAB, 0xE4, 0x75, 0x6B, 0xFB, 0x81, 0xBC, 0x99]], linkInfo: true
        ).recognised
        #expect(device.kind == .windows)
        #expect(device.confidence == .medium)  // The family is certain, the version is not.
        #expect(device.evidence.allSatisfy { $0.source != .capture })
    }

    @Test(arguments: [(UInt16(10_240), "Windows 10"), (19_045, "Windows 10"), (22_000, "Windows 11"), (26_100, "Windows 11")])
    func `the build number tells Windows 10 and 11`(build: UInt16, name: String) {
        let device = fingerprint(vendor: "Microsoft", firmware: build, framing: .asynchronous, bearer: .analog, lcp: windowsLCP).recognised
        #expect(device.kind == .windows)
        #expect(device.confidence == .high)
        #expect(device.evidence.contains { $0.text.hasSuffix("build number of \(name)") })
    }

    @Test(arguments: [(UInt16(2600), "Windows XP"), (7601, "Windows 7 or Server 2008 R2"), (9600, "Windows 8.1 or Server 2012 R2")])
    func `the build number tells older Windows`(build: UInt16, name: String) {
        let device = fingerprint(
            vendor: "Microsoft Windows NT", firmware: build, framing: .asynchronous, bearer: .analog, bps: (300, 100_000_000), lcp: windowsLCP
        ).recognised
        #expect(device.kind == .olderWindows)
        #expect(device.confidence == .high)
        #expect(device.evidence.contains { $0.text.hasSuffix("build number of \(name)") })
    }

    @Test func `our own client that behaves like Windows is taken for one`() {
        // It has no build number; multilink is what older ones ask for.
        let lcp = windowsLCP + [ConfigurationOption(type: 17, UInt16(1614)), ConfigurationOption(type: 19, data: [1, 65])]
        let device = fingerprint(vendor: "Microsoft", lcp: lcp, identifications: msras, linkInfo: true).recognised
        #expect(device.kind == .olderWindows)
    }

    @Test func `Apple's client has no name and only asynchronous framing`() {
        let device = fingerprint(framing: .asynchronous, bearer: .analog, bps: (300, 100_000_000), linkInfo: true).recognised
        #expect(device.kind == .apple)
        #expect(device.confidence == .high)
    }

    @Test func `Android's client is anonymous`() {
        let device = fingerprint(host: "anonymous", channels: 1, bps: (1000, 100_000_000), window: 8192).recognised
        #expect(device.kind == .android)
        #expect(device.confidence == .high)
        #expect(device.evidence.allSatisfy { $0.source == .document("the source of Android's mtpd") })
    }

    @Test func `RouterOS names its maker`() {
        let device = fingerprint(
            host: "shop-4", vendor: "MikroTik", firmware: 1, framing: .synchronous, bearer: [], lcp: [ConfigurationOption(type: 1, UInt16(1450))]
        ).recognised
        #expect(device.kind == .routerOS)
        #expect(device.confidence == .high)
    }

    @Test func `mpd5 names itself`() {
        #expect(fingerprint(host: "gw", vendor: "MPD: Multi-link PPP daemon", firmware: 0x0101).recognised.kind == .mpd)
    }

    @Test(arguments: ["DrayTek", "ZyXEL ZyWALL", "TP-LINK"]) func `makers of small devices`(vendor: String) {
        let device = fingerprint(vendor: vendor).recognised
        #expect(device.kind == .embedded)
        #expect(device.evidence == [RecognisedDevice.Evidence(text: "vendor \"\(vendor)\" makes devices", source: .inference)])
    }

    @Test func `an LCP that asks for an MRU only is a small implementation`() {
        #expect(fingerprint(host: "kpptp", lcp: [ConfigurationOption(type: 1, UInt16(1460))]).recognised.kind == .embedded)
    }

    // MARK: What is not known

    @Test func `nothing said, nothing guessed`() {
        #expect(DeviceFingerprint().recognised == RecognisedDevice(kind: .unknown, confidence: .none, evidence: []))
        #expect(fingerprint(host: "x", vendor: "Acme").recognised.kind == .unknown)
    }

    /// Somebody who says "Microsoft" but asks as pppd does.
    @Test func `contradictions make it less sure`() {
        let pppd = [
            ConfigurationOption(type: 1, UInt16(1400)), ConfigurationOption(type: 2, UInt32(0)), ConfigurationOption(type: 5, UInt32(9)),
            ConfigurationOption(type: 7), ConfigurationOption(type: 8),
        ]
        #expect(fingerprint(vendor: "Microsoft", lcp: pppd).recognised.confidence == .low)
    }

    @Test func `every kind says whether it can move and what to do`() {
        #expect(DeviceKind.allCases.filter { $0.wireGuard == .yes } == [.windows, .android, .pppd, .mpd])
        #expect(DeviceKind.allCases.filter { $0.wireGuard == .no } == [.embedded])
        #expect(DeviceKind.allCases.allSatisfy { !$0.advice.isEmpty })
    }

    // MARK: A stranger who talks too much

    @Test func `only the first request and a few identifications are kept`() {
        var print = DeviceFingerprint()
        print.note(.peerAsks(protocol: PPPProtocol.lcp, options: Array(repeating: ConfigurationOption(type: 3, data: [1]), count: 700)))
        print.note(.peerAsks(protocol: PPPProtocol.lcp, options: [ConfigurationOption(type: 1)]))
        for number in 0..<100 { print.note(.peerAsks(protocol: UInt16(number), options: [])) }
        for byte in 0..<100 { print.note(.identification([UInt8(byte)])) }
        #expect(print.requests[PPPProtocol.lcp]?.count == 32)
        #expect(print.requests.count == 8)
        #expect(print.identifications.count == 4)
        #expect(print.text.utf8.count < 600)
    }

    @Test func `what changes from call to call is not in the text`() {
        let one = fingerprint(lcp: windowsLCP, identifications: msras + [Array(repeating: 1, count: 16)]).text
        var lcp = windowsLCP
        lcp[1].data = [9, 9, 9, 9]
        #expect(fingerprint(lcp: lcp, identifications: msras + [Array(repeating: 2, count: 16)]).text == one)
        #expect(one.hasSuffix(" c021=1:0578,5,7,8,13:06 id=MSRASV5.20 id=MSRAS-0-MSEDGEWIN10 id=16-bytes"))
    }
}
