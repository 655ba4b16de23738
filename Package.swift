// swift-tools-version: 6.2
import PackageDescription

let strictC: [CSetting] = [.enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error), .headerSearchPath(".")]
let coreLibraries: [LinkerSetting] = [.linkedLibrary("sodium"), .linkedLibrary("crypto"), .linkedLibrary("b2")]
// Tests read internals in the release build too, so one build serves the product, the tests and the real-peer runs.
let strictSwift: [SwiftSetting] = [.treatAllWarnings(as: .error), .unsafeFlags(["-enable-testing"], .when(configuration: .release))]

func module(_ name: String, _ dependencies: [Target.Dependency] = [], path: String? = nil) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strictSwift)
}
func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource]? = nil) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, resources: resources, swiftSettings: strictSwift)
}

let nio: [Target.Dependency] = [.product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")]
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
    name: "causeway",
    products: [.executable(name: "causeway", targets: ["causeway"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.30.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // Each packet: C.
        .target(name: "CDataPath", cSettings: strictC + [.headerSearchPath("wireguard")], linkerSettings: coreLibraries),
        .target(name: "CLinux", cSettings: strictC),
        .systemLibrary(name: "CMnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle", providers: [.apt(["nettle-dev"])]),
        .systemLibrary(name: "CNftables", pkgConfig: "libnftables", providers: [.apt(["libnftables-dev"])]),
        .systemLibrary(name: "CQRencode", pkgConfig: "libqrencode", providers: [.apt(["libqrencode-dev"])]),
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),

        // Wire codecs and state machines: values, no sockets.
        module("Addresses"),
        module("Timers", [.product(name: "NIOCore", package: "swift-nio")]),
        module("PPTP", ["Addresses"]),
        module("PPP", ["Addresses"]),
        module("Authentication", ["Addresses", "Documents", "CNettle"]),
        module("Devices", ["PPTP", "PPP"]),
        module("Diagnosis", ["Addresses"]),
        module("Doctor", ["Addresses"]),

        // Session, mapper, tunnel.
        module("DataPath", ["CDataPath", "CLinux", "Addresses"]),
        module("Netlink", ["CMnl", "Addresses"]),
        module("WireGuard", ["DataPath", "Netlink", "CSodium", "CLinux", "Addresses", logging]),
        module("StandaloneWireGuard", ["WireGuard", "DataPath", "Netlink", "CLinux", logging]),
        module("SessionMapper", ["Addresses"]),
        module("Migration"),
        module("Store", ["Migration", "Addresses", .product(name: "GRDB", package: "GRDB.swift")]),
        module("MigrationTracker", ["Store", "Migration", "Addresses", logging]),
        module("Settings", ["Addresses", "Authentication", "Webhooks", .product(name: "TOMLKit", package: "TOMLKit")], path: "Sources/Configuration"),
        module("Webhooks", ["Authentication", "Migration", "CSodium", logging]),
        module("WebhooksHTTP", [
            "Webhooks", .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
        ]),
        module("HubObserver", ["WireGuard", "Migration"]),
        module("MigrationReport", ["Devices", "Documents", "Migration", "Store"]),
        module("Hub", ["Addresses", "Authentication"]),
        module("Firewall", ["Addresses", "Settings", "CNftables", "CLinux"]),
        module("Invitation", ["Addresses", "Authentication", "CQRencode"]),
        module("Identities", ["Addresses", "Authentication", "Settings", "WireGuard", "Hub"]),
        module("Tokens", ["Identities", "Authentication", "CSodium"]),
        module("Gateway", [
            "Devices", "Diagnosis", "Identities", "Hub", "Addresses", "PPTP", "PPP", "Authentication", "DataPath", "Netlink", "WireGuard", "SessionMapper", "Settings", "Timers", "CLinux",
            "HubObserver", "Migration", "MigrationReport", "MigrationTracker", "Store", "Tokens", "Webhooks", "WebhooksHTTP",
            logging,
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            .product(name: "Hummingbird", package: "hummingbird"), .product(name: "HummingbirdCore", package: "hummingbird"),
            .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
        ] + nio),
        module("LegacyClient", ["Addresses", "PPTP", "PPP", "Authentication", "DataPath", "Netlink", "Timers", "CLinux", logging] + nio),
        // The users' benchmark.
        .target(name: "CLoad", cSettings: strictC),
        module("Documents"),
        module("Benchmark", ["CLoad", "Documents"]),
        module("BenchmarkRunner", ["Benchmark", "CLoad", "WireGuard"]),
        .executableTarget(
            name: "causeway",
            dependencies: [
                "Benchmark", "BenchmarkRunner",
                "Addresses", "Authentication", "DataPath", "Diagnosis", "Doctor", "Documents", "Firewall", "Gateway", "Hub", "HubObserver", "Identities", "Invitation", "LegacyClient", "Settings", "StandaloneWireGuard", "Tokens", "WireGuard", "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                logging,
            ] + nio,
            swiftSettings: strictSwift),

        tests("AddressesTests", ["Addresses"]),
        tests("TimersTests", ["Timers", .product(name: "NIOEmbedded", package: "swift-nio")]),
        tests("PPTPTests", ["PPTP", "Addresses"]),
        tests("PPPTests", ["PPP", "Addresses"]),
        tests("DevicesTests", ["Devices", "PPTP", "PPP", "Addresses"]),
        tests("DiagnosisTests", ["Diagnosis", "Addresses"]),
        tests("DoctorTests", ["Doctor", "Addresses"]),
        tests("AuthenticationTests", ["Authentication", "Addresses"]),
        tests("ConfigurationTests", ["Settings", "Webhooks", "Authentication", "Addresses"]),
        tests("FirewallTests", ["Firewall", "Settings", "Addresses"]),
        tests("HubTests", ["Hub", "Authentication", "Addresses"]),
        tests("WebhooksTests", ["Webhooks", "Authentication", "Migration"]),
        tests("TokensTests", ["Tokens", "Identities"]),
        tests("DocumentsTests", ["Documents"]),
        tests("MigrationReportTests", ["MigrationReport", "Devices", "Migration", "Store"]),
        tests("WebhooksHTTPTests", ["WebhooksHTTP", "Webhooks", "Authentication", "Migration", logging]),
        tests("HubObserverTests", ["HubObserver", "WireGuard", "Migration", "Addresses"]),
        tests("InvitationTests", ["Invitation", "Authentication", "Addresses"]),
        tests("IdentitiesTests", ["Identities", "Hub", "Settings", "WireGuard", "Authentication", "Addresses"]),
        tests("NetlinkTests", ["Netlink", "Addresses"]),
        tests("WireGuardTests", ["WireGuard", "StandaloneWireGuard", "DataPath", "Netlink", "Addresses", "CLinux", logging]),
        tests("MigrationTests", ["Migration"]),
        tests("StoreTests", ["Store", "Migration", "Addresses", .product(name: "GRDB", package: "GRDB.swift")]),
        tests("MigrationTrackerTests", [
            "MigrationTracker", "Store", "Migration", "Addresses", logging, .product(name: "GRDB", package: "GRDB.swift"),
        ]),
        tests("SessionMapperTests", ["SessionMapper", "Addresses"]),
        tests("DataPathTests", ["DataPath", "CDataPath", "Addresses"]),
        tests("GatewayTests", [
            "Gateway", "Devices", "Diagnosis", "Hub", "Identities", "LegacyClient", "Settings", "SessionMapper", "Authentication", "DataPath", "Netlink", "WireGuard", "PPTP", "PPP", "Addresses", logging,
            "HubObserver", "Migration", "MigrationReport", "MigrationTracker", "Store", "Tokens", "Webhooks", "WebhooksHTTP",
            .product(name: "Hummingbird", package: "hummingbird"), .product(name: "NIOEmbedded", package: "swift-nio"),
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        ] + nio),
        tests("BenchmarkTests", ["Benchmark", "BenchmarkRunner", "CLoad"]),
        tests("CommandTests", ["causeway", "Addresses", "Diagnosis", "Doctor", "Gateway", logging, .product(name: "ArgumentParser", package: "swift-argument-parser")], exclude: ["Help"]),
        tests("LegacyClientTests", ["LegacyClient", "PPP", "PPTP", "Authentication", "DataPath", "Addresses"]),
    ],
    swiftLanguageModes: [.v6]
)
