import PPP
import PPTP

/// One sign of a kind of device. `weight` is how much it says: 1 a hint, 6 that hardly anything else does it.
struct Signature: Sendable {
    var kind: DeviceKind
    var weight: Int
    var source: RecognisedDevice.Source
    /// What was found, in words; nil: not there.
    var find: @Sendable (DeviceFingerprint) -> String?
}

extension DeviceFingerprint {
    /// The kind that most speaks for. Two kinds with nearly the same weight make the answer less sure.
    public var recognised: RecognisedDevice {
        var scores: [DeviceKind: Int] = [:]
        var evidence: [DeviceKind: [RecognisedDevice.Evidence]] = [:]
        for signature in Signature.all {
            guard let text = signature.find(self) else { continue }
            scores[signature.kind, default: 0] += signature.weight
            evidence[signature.kind, default: []].append(RecognisedDevice.Evidence(text: text, source: signature.source))
        }
        // Of two with the same weight the one that comes first in `DeviceKind`.
        guard let best = DeviceKind.allCases.reversed().max(by: { scores[$0, default: 0] < scores[$1, default: 0] }), let score = scores[best] else {
            return RecognisedDevice(kind: .unknown, confidence: .none, evidence: [])
        }
        let lead = score - (scores.filter { $0.key != best }.values.max() ?? 0)
        let confidence: RecognisedDevice.Confidence = score >= 6 && lead >= 3 ? .high : score >= 4 && lead >= 2 ? .medium : .low
        return RecognisedDevice(kind: best, confidence: confidence, evidence: evidence[best] ?? [])
    }

    /// - Parameter name: in small ASCII letters. Octet by octet: two dozen are looked for in each log-in, and `String` takes its time.
    fileprivate func vendorContains(_ name: StaticString) -> Bool {
        guard let vendor = start?.vendor.utf8, vendor.count >= name.utf8CodeUnitCount else { return false }
        let octets = vendor.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        return name.withUTF8Buffer { name in octets.indices.dropLast(name.count - 1).contains { octets[$0...].starts(with: name) } }
    }
    fileprivate func types(_ number: UInt16) -> [UInt8]? { requests[number]?.map(\.type) }
    fileprivate func calls(_ minimum: UInt32, _ maximum: UInt32) -> Bool { call?.minimumBPS == minimum && call?.maximumBPS == maximum }

    /// Windows' driver announces the build number of the system as its firmware revision.
    fileprivate var windowsBuild: UInt16? {
        guard let start, start.vendor.hasPrefix("Microsoft"), start.firmware >= 1381 else { return nil }
        return start.firmware
    }

    fileprivate var looksLikeWindows: Bool {
        vendorContains("microsoft") || identifications.contains { $0.starts(with: Array("MSRAS".utf8)) }
    }
}

extension Signature {
    static let all = windows + apple + android + routerOS + pppd + mpd + embedded

    private static let pptpdLog = RecognisedDevice.Source.document("published logs of servers with Windows clients")

    private static let windows: [Signature] = {
        // The two kinds share most signs; only the build number and a few habits tell them apart.
        let shared: [(Int, RecognisedDevice.Source, @Sendable (DeviceFingerprint) -> String?)] = [
            (4, .document("a published RouterOS log"), { $0.vendorContains("microsoft") ? "vendor \"\($0.start?.vendor ?? "")\"" : nil }),
            (4, pptpdLog, { print in
                print.identifications.contains(Array("MSRASV5.20".utf8)) ? "LCP Identification \"MSRASV5.20\"" : nil
            }),
            (3, pptpdLog, { print in
                guard let types = print.types(PPPProtocol.lcp), types.drop(while: { $0 == 1 }).starts(with: [5, 7, 8, 13]) else { return nil }
                return "LCP asks for magic number, both compressions and callback, in this order"
            }),
            (2, pptpdLog, { print in
                guard let types = print.types(PPPProtocol.ipcp), types.filter({ $0 != 2 }) == [3, 129, 130, 131, 132] else { return nil }
                return "IPCP asks for the address, two DNS and two WINS servers"
            }),
            (1, pptpdLog, { $0.setsLinkInfo && $0.looksLikeWindows ? "Set-Link-Info is sent" : nil }),
            (1, .inference, { $0.namesDomain ? "the user name carries a domain" : nil }),
        ]
        return shared.flatMap { weight, source, find in
            [DeviceKind.windows, .olderWindows].map { Signature(kind: $0, weight: weight, source: source, find: find) }
        } + [
            Signature(kind: .windows, weight: 3, source: .document("the published driver headers (firmware is the build number)")) { print in
                print.windowsBuild.flatMap { $0 >= 10_240 ? "firmware \($0) is a build number of Windows \($0 >= 22_000 ? "11" : "10")" : nil }
            },
            Signature(kind: .olderWindows, weight: 3, source: .document("a published RouterOS log (Windows XP announces 2600)")) { print in
                print.windowsBuild.flatMap { $0 < 10_240 ? "firmware \($0) is the build number of \(windowsName(build: $0))" : nil }
            },
            Signature(kind: .windows, weight: 2, source: .document("a published accel-ppp log with Windows 10")) { print in
                print.identifications.count >= 3 && print.looksLikeWindows ? "a third LCP Identification (the log-in's correlation number)" : nil
            },
            // Windows 10 does not bundle by itself any more.
            Signature(kind: .olderWindows, weight: 2, source: pptpdLog) { print in
                guard print.looksLikeWindows, let types = print.types(PPPProtocol.lcp), types.contains(17) else { return nil }
                return "LCP asks for multilink"
            },
        ]
    }()

    static func windowsName(build: UInt16) -> String {
        switch build {
        case ..<2195: "Windows NT 4"
        case 2195: "Windows 2000"
        case 2600: "Windows XP"
        case 3790: "Windows XP x64 or Server 2003"
        case 6000...6003: "Windows Vista or Server 2008"
        case 7600...7601: "Windows 7 or Server 2008 R2"
        case 9200: "Windows 8 or Server 2012"
        case 9600: "Windows 8.1 or Server 2012 R2"
        default: "a Windows before 10"
        }
    }

    private static let apple: [Signature] = {
        let source = RecognisedDevice.Source.document("Apple's published PPTP client")
        return [
            Signature(kind: .apple, weight: 4, source: source) { print in
                guard let start = print.start, start.vendor.isEmpty, start.hostName.isEmpty, start.firmware == 0, start.maximumChannels == 0,
                    start.framing == .asynchronous, start.bearer == .analog
                else { return nil }
                return "no name at all, asynchronous framing and analog bearer only"
            },
            Signature(kind: .apple, weight: 2, source: source) { print in
                print.start?.vendor.isEmpty == true && print.calls(300, 100_000_000) ? "call of 300 to 100,000,000 bit/s from a client without a name" : nil
            },
            Signature(kind: .apple, weight: 1, source: source) { print in
                print.setsLinkInfo && print.start?.vendor.isEmpty == true ? "Set-Link-Info is sent" : nil
            },
        ]
    }()

    private static let android: [Signature] = {
        let source = RecognisedDevice.Source.document("the source of Android's mtpd")
        return [
            Signature(kind: .android, weight: 4, source: source) { print in
                print.start?.hostName == "anonymous" && print.start?.vendor.isEmpty == true ? "host name \"anonymous\", no vendor" : nil
            },
            Signature(kind: .android, weight: 3, source: source) { print in
                print.calls(1000, 100_000_000) && print.call?.receiveWindow == 8192 ? "call of 1,000 to 100,000,000 bit/s, window 8192" : nil
            },
        ]
    }()

    private static let routerOS: [Signature] = [
        Signature(kind: .routerOS, weight: 6, source: .document("a published RouterOS log")) { $0.vendorContains("mikrotik") ? "vendor \"MikroTik\"" : nil },
        Signature(kind: .routerOS, weight: 2, source: .document("a published RouterOS log")) { print in
            print.start?.framing == .synchronous && print.start?.bearer == [] ? "synchronous framing only, no bearer" : nil
        },
        Signature(kind: .routerOS, weight: 1, source: .document("MikroTik's manual (default of max-mru)")) { print in
            let mru = print.requests[PPPProtocol.lcp]?.first { $0.type == Option.mru }
            return mru?.data == [0x05, 0xAA] ? "MRU 1450" : nil
        },
    ]

    private static let pppd: [Signature] = [
        Signature(kind: .pppd, weight: 5, source: .capture) { $0.vendorContains("cananian") ? "vendor \"cananian\" is pptp-linux" : nil },
        Signature(kind: .pppd, weight: 2, source: .capture) { print in
            print.calls(2400, 10_000_000) && print.call?.receiveWindow == 3 ? "call of 2,400 to 10,000,000 bit/s, window 3" : nil
        },
        Signature(kind: .pppd, weight: 3, source: .capture) { print in
            guard let options = print.requests[PPPProtocol.lcp], options.map(\.type) == [1, 2, 5, 7, 8] || options.map(\.type) == [2, 5, 7, 8],
                options.first(where: { $0.type == 2 })?.data == [0, 0, 0, 0]
            else { return nil }
            return "LCP asks for an ACCM of zero, magic number and both compressions, in pppd's order"
        },
        Signature(kind: .pppd, weight: 1, source: .capture) { $0.requests[PPPProtocol.ipv6cp] == nil ? nil : "IPV6CP is tried" },
    ]

    private static let mpd: [Signature] = {
        let source = RecognisedDevice.Source.document("the source of mpd")
        return [
            Signature(kind: .mpd, weight: 6, source: source) { print in
                print.vendorContains("multi-link ppp daemon") || print.start?.vendor.hasPrefix("MPD") == true ? "vendor \"\(print.start?.vendor ?? "")\"" : nil
            },
            Signature(kind: .mpd, weight: 2, source: source) { print in
                print.start?.firmware == 0x0101 && print.start?.framing == .either ? "firmware 257" : nil
            },
        ]
    }()

    /// Makers of routers and small devices whose name shows in the vendor field.
    private static let makers: [StaticString] = [
        "draytek", "vigor", "zyxel", "tp-link", "d-link", "dlink", "linksys", "netgear", "huawei", "cisco", "yamaha", "fortinet", "fritz", "lancom",
        "siemens", "moxa", "wago", "beckhoff",
    ]

    private static let embedded: [Signature] = [
        Signature(kind: .embedded, weight: 4, source: .inference) { print in
            makers.first(where: print.vendorContains).map { _ in "vendor \"\(print.start?.vendor ?? "")\" makes devices" }
        },
        Signature(kind: .embedded, weight: 4, source: .inference) { print in
            print.types(PPPProtocol.lcp).map { Set($0).isSubset(of: [1, 2]) } == true ? "LCP asks for next to nothing: a small implementation" : nil
        },
    ]
}
