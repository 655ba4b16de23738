import Devices
import Documents
import Migration

extension MigrationReport {
    /// One file that needs no other, with charts, fit to be printed.
    public var html: String {
        let title = "Migration from PPTP: \(instance), \(Self.date(day: Int(at / 86_400)))"
        var body = "<h1>\(escaped(title))</h1>\n<p><b>\(done) of \(total) users (\(percentDone) %) no longer need PPTP</b>; \(escaped(forecastText)).</p>\n"
        if status.setByHand > 0 {
            body += "<p>\(status.setByHand) phases were set by a person and nothing seen has confirmed them.</p>\n"
        }
        body += HTMLPage.table(Phase.allCases.map(\.rawValue), [Phase.allCases.map { "\(status.counts[$0] ?? 0)" }])
        // What is done lies at the bottom and grows.
        let phases = Phase.allCases.reversed()
        body += AreaPlot(
            title: "Users in each phase", series: phases.map(\.rawValue), labels: status.trend.map { Self.date(day: $0.day) },
            values: status.trend.map { day in phases.map { Double(day.counts[$0] ?? 0) } }
        ).svg
        if !status.waves.isEmpty { body += "<h2>Waves</h2>\n" + HTMLPage.table(waveHeader, waveRows) }
        if !status.blockers.isEmpty {
            body += "<h2>Who still needs PPTP</h2>\n"
            body += BarPlot(
                title: "PPTP traffic in 30 days, MB", series: ["MB"],
                groups: status.blockers.prefix(15).map { blocker in
                    let megabytes = Double(blocker.bytes) / 1e6
                    return (name: blocker.user, bars: [BarPlot.Bar(value: megabytes, least: megabytes, greatest: megabytes)])
                }
            ).svg
            body += HTMLPage.table(Self.blockerHeader, status.blockers.map(blockerRow))
        }
        if !status.devices.isEmpty {
            body += "<h2>Devices of those who are not done</h2>\n"
            body += HTMLPage.table(
                ["device", "users", "WireGuard", "what to do"],
                status.devices.map { device in
                    let kind = DeviceKind(rawValue: device.kind) ?? .unknown
                    return [device.kind, "\(device.users)", kind.wireGuard.rawValue, kind.advice]
                })
        }
        if !steps.isEmpty { body += "<h2>Next</h2>\n" + HTMLPage.table(nil, steps.map { [Self.time($0.at), $0.text] }) }
        if !users.isEmpty { body += "<h2>Everybody</h2>\n" + HTMLPage.table(Self.userHeader, users.map(userRow)) }
        return HTMLPage(title: title).text(body + "<p>Times are UTC.</p>")
    }
}
