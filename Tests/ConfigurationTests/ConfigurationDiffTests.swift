import Testing

@testable import Settings

@Suite struct ConfigurationDiffTests {
    private func diff(_ change: (inout Sample) -> Void) throws -> ConfigurationDiff {
        let old = Sample()
        var new = old
        change(&new)
        return CausewayConfiguration.diff(try old.parse(), try new.parse())
    }

    @Test func nothingChanged() throws { #expect(try diff { _ in }.isEmpty) }

    @Test func layoutIsNoChange() throws { #expect(try diff { $0.top = "# a comment\n\n" }.isEmpty) }

    @Test(arguments: [
        ("[ppp]\nmru = 1300\n", "ppp.mru"), ("[pptp]\nmax-connections = 5\n", "pptp.max-connections"),
        ("[pptp]\nallowed-sources = [\"10.0.0.0/8\"]\n", "pptp.allowed-sources"), ("[pptp]\nblocked-sources = [\"10.0.0.0/8\"]\n", "pptp.blocked-sources"),
        ("[encryption]\nstateful = true\n", "encryption.stateful"),
        ("[authentication]\nmax-retries = 1\n", "authentication.max-retries"), ("[migration]\nquiet-days = 3\n", "migration.quiet-days"),
        ("[migration]\nretire-after-days = 3\n", "migration.retire-after-days"), ("[store]\nretain-sessions = 3\n", "store.retain-sessions"),
        ("[store]\nretain-traffic = 3\n", "store.retain-traffic"), ("[store]\nretain-events = 3\n", "store.retain-events"),
        ("[[user]]\nname = \"u\"\npassword = \"x\"\n", "user"),
        ("[data-path]\nallow-address-change = true\n", "data-path.allow-address-change"),
        ("[[webhook]]\nurl = \"https://h\"\nsecret-file = \"/hook\"\n", "webhook"),
    ])
    func live(text: String, key: String) throws {
        let diff = try diff { $0.rest = text }
        #expect(diff.live == [key] && diff.needsRestart.isEmpty)
    }

    @Test(arguments: [
        ("[data-path]\nworkers = 3\n", "data-path.workers"), ("[store]\nenabled = false\n", "store.enabled"), ("[store]\npath = \"/x\"\n", "store.path"), ("[control]\nsocket = \"/x\"\n", "control.socket"),
        ("[data-path]\nreturn-table = 7\n", "data-path.return-table"), ("[data-path]\ngre = \"packet\"\n", "data-path.gre"),
    ])
    func needsRestart(text: String, key: String) throws {
        let diff = try diff { $0.rest = text }
        #expect(diff.live.isEmpty && diff.needsRestart == [key])
    }

    @Test func theStateDirectoryNeedsARestart() throws {
        #expect(try diff { $0.top = "state-directory = \"/x\"\n" }.needsRestart == ["state-directory"])
    }

    @Test func listeners() throws {
        #expect(try diff { $0.listen += "port = 1724\n" }.needsRestart == ["listen"])
        let moved = try diff {
            $0.pool = $0.pool.replacing("\"users\"", with: "\"people\"")
        }
        #expect(moved.live == ["listen.pool", "pool"] && moved.needsRestart.isEmpty)
    }

    @Test func tunnels() throws {
        #expect(try diff { $0.tunnel += "mtu = 1300\n" }.live == ["tunnel \"hub\".mtu"])
        #expect(try diff { $0.peer += "persistent-keepalive = 5\n" }.live == ["tunnel \"hub\".peer"])
        #expect(try diff { $0.peer = $0.peer.replacing("endpoint = \"hub", with: "endpoints = [\"h2:1\", \"hub").replacing("51820\"", with: "51820\"]") }.live == ["tunnel \"hub\".peer"])
        #expect(try diff { $0.peer += Sample.standby }.live == ["tunnel \"hub\".peer"])
        #expect(
            try diff { $0.tunnel += "failover-after = \"15s\"\nreturn-after = 0\nhub-hook = \"/bin/sh\"\n" }.live == [
                "tunnel \"hub\".failover-after", "tunnel \"hub\".return-after", "tunnel \"hub\".hub-hook",
            ])
        #expect(
            try diff { $0.tunnel += "mode = \"group\"\ndefault-group = \"g\"\nlinger = 1\nmost-identities = 9\n" }.needsRestart == [
                "tunnel \"hub\".mode", "tunnel \"hub\".default-group",
            ])
        #expect(try diff { $0.tunnel = $0.tunnel.replacing("cw-hub", with: "cw-1") }.needsRestart == ["tunnel \"hub\".interface"])
        #expect(try diff { $0.files["/key"] = Sample.otherPublicKey }.live == ["tunnel \"hub\".private-key-file"])
        #expect(try diff { $0.tunnel = $0.tunnel.replacing("\"hub\"", with: "\"hub2\"") }.needsRestart == ["tunnel"])
    }

    @Test func access() throws {
        #expect(try diff { $0.rest = Sample.access }.needsRestart == ["access"])
        let change = { (old: String, new: String) in
            try CausewayConfiguration.diff(
                Sample.with { $0.rest = Sample.access }.parse(), Sample.with { $0.rest = Sample.access.replacing(old, with: new) }.parse())
        }
        #expect(try change("user = \"eve\"", "user = \"eva\"").live == ["access.peer"])
        #expect(try change("[[access.peer]]", "listen-port = 1\n[[access.peer]]").live == ["access.listen-port"])
        #expect(try change("[[access.peer]]", "interface = \"cwa\"\n[[access.peer]]").needsRestart == ["access.interface"])
        #expect(try change("[[access.peer]]", "mtu = 1300\nfwmark = 7\n[[access.peer]]").live == ["access.fwmark", "access.mtu"])
    }

    @Test func api() throws {
        let table = "[api]\nlisten = \"[::]:8443\"\ncertificate-file = \"/c\"\nprivate-key-file = \"/tls\"\n"
        #expect(try diff { $0.rest = table }.needsRestart == ["api"])
        let change = { (change: (inout Sample) -> Void) in
            let before = Sample.with { $0.rest = table }
            var after = before
            change(&after)
            return CausewayConfiguration.diff(try before.parse(), try after.parse())
        }
        #expect(try change { $0.rest = table.replacing("8443", with: "8444") }.needsRestart == ["api.listen"])
        #expect(try change { $0.rest = table.replacing("\"/c\"", with: "\"/d\"") }.live == ["api.certificate-file"])
        #expect(try change { $0.files["/tls"] = "another" }.live == ["api.private-key-file"])
    }

    @Test func secretsFiles() throws {
        #expect(try diff { $0.files["/etc/causeway/chap-secrets"] = "ann * other *\n" }.live == ["user"])
        // A line that moved is not another user.
        #expect(try diff { $0.files["/etc/causeway/chap-secrets"] = "# a comment\nann * pw *\n" }.isEmpty)
    }
}
