// How living clients negotiate, for tests and load: what each asks for, and in which order.
extension PPPConfiguration {
    /// Windows: callback and multilink are tried and given up, Identifications, CCP and IPCP at once, name servers asked for.
    public static func windowsClient(hostName: String = "WORKSTATION") -> PPPConfiguration {
        var configuration = PPPConfiguration(role: .client)
        configuration.lcp.mru = 1400
        configuration.lcp.others = [
            ConfigurationOption(type: LCPOption.callback, data: [6]),
            ConfigurationOption(type: LCPOption.multilinkMRRU, UInt16(1614)),
            ConfigurationOption(type: LCPOption.endpointDiscriminator, data: [1] + Array(hostName.utf8.prefix(20))),
        ]
        configuration.identifications = ["MSRASV5.20", "MSRAS-0-\(hostName)"]
        configuration.negotiatesInParallel = true
        configuration.requestsNameServers = true
        configuration.echoInterval = nil
        return configuration
    }

    /// pppd: an ACCM of zero, IPCP only after CCP, IPV6CP and Van Jacobson compression tried.
    public static func pppdClient() -> PPPConfiguration {
        var configuration = PPPConfiguration(role: .client)
        configuration.lcp.mru = 1400
        configuration.lcp.accm = 0
        configuration.requestsHeaderCompression = true
        configuration.probesIPv6 = true
        configuration.echoInterval = .seconds(30)
        return configuration
    }

    /// A small device: no compression of any field, no magic number, an MRU only, everything at once.
    public static func embeddedClient() -> PPPConfiguration {
        var configuration = PPPConfiguration(role: .client)
        configuration.lcp.mru = 1460
        configuration.lcp.magicNumber = false
        configuration.lcp.protocolFieldCompression = false
        configuration.lcp.addressControlCompression = false
        configuration.negotiatesInParallel = true
        configuration.echoInterval = nil
        return configuration
    }
}
