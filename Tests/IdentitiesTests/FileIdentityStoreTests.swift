import Addresses
import Authentication
import Glibc
import Settings
import Synchronization
import Testing
import WireGuard

@testable import Identities

@Suite(.timeLimit(.minutes(2))) final class FileIdentityStoreTests: Sendable {
    private let directory: String
    private var state: String { "\(directory)/state" }
    private var file: String { "\(state)/identities.json" }

    init() throws {
        var template = Array("/tmp/causeway-XXXXXX".utf8CString)
        directory = String(cString: try #require(mkdtemp(&template)))
    }

    deinit {
        for name in ["identities.json", "identities.json.new", "identities.json.lock"] { unlink("\(directory)/state/\(name)") }
        rmdir("\(directory)/state")
        rmdir(directory)
    }

    private func id(_ name: String) -> Identity.ID { .init(tunnel: "hub", kind: .user, name: name) }

    private func plan(_ names: [String]) -> IdentityPlan {
        IdentityPlan(needs: names.map { .init(id($0), .pools(["users"], within: nil)) }, pools: ["users": [AddressRange("10.0.0.0/12")!]])
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
    }

    private func contents() -> [UInt8] {
        guard let file = fopen(file, "r") else { return [] }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = fgetc(file), byte != EOF { bytes.append(UInt8(byte)) }
        return bytes
    }

    private func write(_ text: String, _ path: String, _ mode: mode_t = 0o600) throws {
        unlink(path)
        let descriptor = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        #expect(Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count)
        fchmod(descriptor, mode)
    }

    /// A configuration that is not taken after all leaves no trace: no key, no address, nobody retired.
    @Test func whatWasProvisionedIsTakenBack() async throws {
        let store = FileIdentityStore(directory: state, now: { 1_700_000_000 })
        _ = try await store.provision(plan(["ann", "bob", "cid"]))
        _ = try await store.provision(plan(["ann", "bob"]))
        let before = try await store.identities()
        // dan is new, cid comes back, bob goes, and ann gets another address.
        var plan = plan(["cid", "dan"])
        plan.needs.append(.init(id("ann"), .fixed(IPAddress("10.15.0.7")!)))
        let change = try await store.provision(plan)
        #expect(change.created == [id("dan")] && change.revived == [id("cid")] && change.retired == [id("bob")] && change.readdressed == [id("ann")])
        try await store.record(handshakes: [id("ann"): 1_700_000_100])
        try await store.undo(change)
        var expected = before
        expected[0].handshakeAt = 1_700_000_100
        #expect(try await store.identities() == expected)
        #expect(try await FileIdentityStore(directory: state).identities() == expected)
    }

    @Test func nothingYet() async throws {
        let store = FileIdentityStore(directory: state)
        #expect(try await store.identities().isEmpty)
        #expect(try await store.identity(id("ann")) == nil)
        // To look makes nothing.
        #expect(mode(state) == 0)
        #expect(try await store.prune(tunnel: nil).isEmpty)
        #expect(mode(file) == 0)
    }

    @Test func whatIsStoredIsThereForOthers() async throws {
        let store = FileIdentityStore(directory: state, now: { 77 })
        #expect(try await store.provision(plan(["ann", "bob"])).created == [id("ann"), id("bob")])
        #expect(mode(state) == 0o700 && mode(file) == 0o600)
        let other = FileIdentityStore(directory: state)
        let identities = try await other.identities()
        #expect(try await store.identities() == identities)
        #expect(identities.map(\.id.name) == ["ann", "bob"] && identities.allSatisfy { $0.createdAt == 77 && $0.keysMatch })
        #expect(try await other.identity(id("bob"))?.addresses.map(\.description) == ["10.0.0.2"])
        let before = contents()
        #expect(try await other.provision(plan(["ann", "bob"])).isEmpty)
        #expect(contents() == before)
    }

    /// One live holder: who gave it away does not use it, cannot give it to another address, and does not forget it.
    @Test func anIdentityIsHandedOver() async throws {
        let store = FileIdentityStore(directory: state, now: { 50 })
        _ = try await store.provision(plan(["ann", "bob"]))
        let before = try #require(try await store.identity(id("ann")))
        let given = try await store.handOver(id("ann"))
        #expect(given.privateKey.withUnsafeBytes { [UInt8]($0) } == before.privateKey.withUnsafeBytes { [UInt8]($0) })
        #expect(given.handedOverAt == 50 && given.generation == before.generation + 1 && given.addresses == before.addresses)
        #expect(try await store.handOver(id("ann")) == given)
        var plan = plan(["bob"])
        plan.needs.append(.init(id("ann"), .fixed(IPAddress("10.15.0.7")!)))
        #expect(try await store.provision(plan).isEmpty)
        _ = try await store.provision(self.plan(["bob"]))
        #expect(try await store.prune(tunnel: nil).isEmpty)
        #expect(try await store.provision(self.plan(["ann", "bob"])).revived == [id("ann")])
        try await store.takeBack(id("ann"))
        #expect(try await store.identity(id("ann"))?.isHandedOver == false)
        await #expect(throws: IdentityError.self) { try await store.takeBack(id("ann")) }
        await #expect(throws: IdentityError.self) { try await store.renew(id("ann")) }
        await #expect(throws: IdentityError.self) { try await store.wipe(id("ann")) }
        await #expect(throws: IdentityError.self) { try await store.handOver(id("zoe")) }
    }

    @Test func aWipedKeyIsNowhere() async throws {
        let store = FileIdentityStore(directory: state, now: { 50 })
        _ = try await store.provision(plan(["ann"]))
        let key = try await store.handOver(id("ann"))
        let text = key.privateKey.withUnsafeBytes { Array($0) }
        try await store.wipe(id("ann"))
        let wiped = try #require(try await FileIdentityStore(directory: state).identity(id("ann")))
        #expect(wiped.isWiped && wiped.publicKey == key.publicKey && wiped.addresses == key.addresses)
        #expect(!String(decoding: contents(), as: UTF8.self).contains("privateKey"))
        #expect(text.count == 32)
        await #expect(throws: IdentityError.self) { try await store.takeBack(id("ann")) }
        await #expect(throws: IdentityError.self) { try await store.handOver(id("ann")) }
        try await store.renew(id("ann"))
        let renewed = try #require(try await store.identity(id("ann")))
        #expect(!renewed.isHandedOver && renewed.publicKey != key.publicKey && renewed.keysMatch && renewed.addresses == key.addresses)
    }

    /// What another process does in between is neither missed nor undone.
    @Test func twoStoresOneFile() async throws {
        let first = FileIdentityStore(directory: state, now: { 5 })
        let second = FileIdentityStore(directory: state)
        _ = try await first.provision(plan(["ann", "bob"]))
        _ = try await second.provision(plan(["ann"]))
        #expect(try await first.identity(id("bob"))?.isRetired == true)
        #expect(try await first.prune(tunnel: "other").isEmpty)
        #expect(try await first.prune(tunnel: "hub") == [id("bob")])
        #expect(try await second.identity(id("bob")) == nil)
        unlink(file)
        #expect(try await second.identities().isEmpty)
    }

    @Test func manyAtATime() async throws {
        let state = state
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<12 {
                group.addTask {
                    let store = FileIdentityStore(directory: state)
                    // Each has a tunnel of its own in its plan; who is in nobody's plan retires, and stays.
                    let id = Identity.ID(tunnel: "t\(number)", kind: .group, name: "g")
                    _ = try await store.provision(IdentityPlan(needs: [.init(id, .none)], pools: [:]))
                }
            }
            try await group.waitForAll()
        }
        #expect(try await FileIdentityStore(directory: state).identities().count == 12)
    }

    // ---- Handshakes ----

    @Test func handshakes() async throws {
        let store = FileIdentityStore(directory: state)
        _ = try await store.provision(plan(["ann", "bob"]))
        let other = FileIdentityStore(directory: state)
        try await store.record(handshakes: [id("ann"): 1000, id("nobody"): 1000])
        // The first ever is written at once.
        #expect(try await other.identity(id("ann"))?.handshakeAt == 1000)
        #expect(try await other.identities().count == 2)
        // One of the same hour is known here, and written with the next news.
        let before = contents()
        try await store.record(handshakes: [id("ann"): 1120])
        #expect(contents() == before)
        #expect(try await store.identity(id("ann"))?.handshakeAt == 1120)
        try await store.record(handshakes: [id("ann"): 900])
        #expect(try await store.identity(id("ann"))?.handshakeAt == 1120)
        try await store.record(handshakes: [id("bob"): 2000])
        #expect(try await other.identities().map(\.handshakeAt) == [1120, 2000])
        try await store.record(handshakes: [id("ann"): 1120 + 3600])
        #expect(try await other.identities().map(\.handshakeAt) == [4720, 2000])
    }

    // ---- What may not be trusted ----

    @Test(arguments: [mode_t(0o644), 0o640, 0o620, 0o602]) func aFileOpenToOthersIsRefused(_ mode: mode_t) async throws {
        let store = FileIdentityStore(directory: state)
        _ = try await store.provision(plan(["ann"]))
        chmod(file, mode)
        let error = await #expect(throws: IdentityError.self) { _ = try await FileIdentityStore(directory: self.state).identities() }
        #expect(error?.description.contains("run: chmod 6") == true)
    }

    @Test func aDirectoryOpenToOthersIsRefused() async throws {
        mkdir(state, 0o700)
        chmod(state, 0o770)
        let error = await #expect(throws: IdentityError.self) { _ = try await FileIdentityStore(directory: self.state).provision(self.plan(["ann"])) }
        #expect(error?.description.contains("run: chmod 700") == true)
    }

    @Test func aDamagedFileIsLeftAsItIs() async throws {
        mkdir(state, 0o700)
        try write("{\"version\":1,\"identities\":[\n{\"tunnel\":\"hub\"", file)
        let before = contents()
        let store = FileIdentityStore(directory: state)
        let error = await #expect(throws: IdentityError.self) { _ = try await store.provision(self.plan(["ann"])) }
        #expect(error?.description.hasPrefix("\(file):2: ") == true)
        #expect(contents() == before)
    }

    @Test func symbolicLinksAreNotFollowed() async throws {
        mkdir(state, 0o700)
        let victim = "\(directory)/victim"
        try write("precious", victim)
        defer { unlink(victim) }
        symlink(victim, "\(file).new")
        _ = try await FileIdentityStore(directory: state).provision(plan(["ann"]))
        #expect(mode(victim) == 0o600 && mode(file) == 0o600)
        var status = stat()
        #expect(lstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG)
        stat(victim, &status)
        #expect(status.st_size == 8)
        unlink("\(file).lock")
        symlink(victim, "\(file).lock")
        await #expect(throws: IdentityError.self) { _ = try await FileIdentityStore(directory: self.state).prune(tunnel: nil) }
    }

    @Test func noDirectoryAndNoPlaceForOne() async throws {
        let error = await #expect(throws: IdentityError.self) { _ = try await FileIdentityStore(directory: "/nonexistent/state").provision(self.plan(["ann"])) }
        #expect(error?.description.contains("install -d -m 700") == true)
    }

    // ---- Crashes ----

    /// What a crash before the rename leaves: half of a new file.
    @Test func aHalfWrittenNewFileIsNothing() async throws {
        let store = FileIdentityStore(directory: state)
        _ = try await store.provision(plan(["ann"]))
        try write("{\"version\":1,\"identities\":[{\"tun", "\(file).new")
        let other = FileIdentityStore(directory: state)
        #expect(try await other.identities().count == 1)
        #expect(try await other.provision(plan(["ann", "bob"])).created == [id("bob")])
        #expect(mode("\(file).new") == 0)
    }

    @Test func aProblemLeavesEverythingAsItWas() async throws {
        let store = FileIdentityStore(directory: state)
        _ = try await store.provision(plan(["ann"]))
        let before = contents()
        await #expect(throws: IdentityError.self) {
            _ = try await store.provision(IdentityPlan(needs: [.init(self.id("bob"), .pools([], within: nil))], pools: [:]))
        }
        // No room for the new file.
        mkdir("\(file).new", 0o700)
        await #expect(throws: IdentityError.self) { _ = try await store.provision(self.plan(["ann", "bob"])) }
        rmdir("\(file).new")
        #expect(contents() == before)
        #expect(try await store.identities().map(\.id.name) == ["ann"])
    }

    /// Whoever reads at any moment sees the old file or the new one.
    @Test func readersSeeWholeFiles() async throws {
        let store = FileIdentityStore(directory: state)
        let names = (0..<40).map { "u\($0)" }
        _ = try await store.provision(plan(names))
        let path = file
        let readings = Mutex(0)
        let reader = Task.detached {
            while !Task.isCancelled {
                let contents = try ProtectedFile(groupMayRead: false).read(path, limit: 1 << 20)
                let count = try IdentityFile.parse(contents, path: path).count
                #expect(count == 40)
                readings.withLock { $0 += 1 }
            }
        }
        var round: Int64 = 0
        while round < 100 || readings.withLock({ $0 < 20 }) {
            round += 1
            try await store.record(handshakes: [id("u\(round % 40)"): round * 10_000])
        }
        reader.cancel()
        try await reader.value
    }

    @Test func theLockIsWaitedFor() async throws {
        let store = FileIdentityStore(directory: state)
        _ = try await store.provision(plan(["ann"]))
        let lock = try await StateFiles(directory: state, name: "identities.json", owner: nil).lock()
        let change = Task { try await store.provision(self.plan(["ann", "bob"])) }
        try await Task.sleep(for: .milliseconds(100))
        // Reading does not wait.
        #expect(try await store.identities().count == 1)
        lock.release()
        #expect(try await change.value.created == [id("bob")])
    }

    @Test(.enabled(if: geteuid() == 0 && getpwnam("nobody") != nil, "only root gives files away"))
    func rootMakesFilesForTheGateway() async throws {
        let owner = try #require(StateOwner(account: "nobody"))
        chmod(directory, 0o755)
        _ = try await FileIdentityStore(directory: state, owner: owner).provision(plan(["ann"]))
        for path in [state, file, "\(file).lock"] {
            var status = stat()
            #expect(stat(path, &status) == 0 && status.st_uid == owner.user && status.st_gid == owner.group)
        }
        // Root still reads it, as whoever it belongs to; without knowing that account it would not.
        #expect(try await FileIdentityStore(directory: state, owner: owner).identities().count == 1)
        await #expect(throws: IdentityError.self) { _ = try await FileIdentityStore(directory: self.state).identities() }
        #expect(StateOwner(account: "root") == nil && StateOwner(account: "no such account") == nil)
    }

    /// 50,000 in a release build; a debug build is some ten times slower.
    @Test func veryMany() async throws {
        #if DEBUG
            let wanted = 5000
        #else
            let wanted = 50_000
        #endif
        let names = (0..<wanted).map { "user-\($0)" }
        let store = FileIdentityStore(directory: state)
        let clock = ContinuousClock()
        let making = try await clock.measure { _ = try await store.provision(plan(names)) }
        var count = 0
        let loading = try await clock.measure { count = try await FileIdentityStore(directory: state).identities().count }
        #expect(count == wanted)
        let recording = try await clock.measure { try await store.record(handshakes: [id("user-7"): 5]) }
        print("\(wanted) identities: made in \(making), read in \(loading), a change written in \(recording), \(contents().count) bytes")
        #expect(loading < .seconds(20) && recording < .seconds(20))
    }
}
