import Authentication
import Glibc

/// An account that gets what root makes for it.
public struct StateOwner: Sendable, Equatable {
    public var user: UInt32
    public var group: UInt32

    public init(user: UInt32, group: UInt32) {
        self.user = user
        self.group = group
    }

    /// The account of that name; nil if there is none, or if this process could not give files away.
    public init?(account: String) {
        guard geteuid() == 0, account != "root", let entry = getpwnam(account)?.pointee else { return nil }
        self.init(user: entry.pw_uid, group: entry.pw_gid)
    }
}

/// One file with secrets in a directory of our own: replaced as a whole, never changed in place.
package struct StateFiles: Sendable {
    package let directory: String
    package let name: String
    package let owner: StateOwner?

    package init(directory: String, name: String, owner: StateOwner?) {
        self.directory = directory
        self.name = name
        self.owner = owner
    }

    package var path: String { "\(directory)/\(name)" }
    private var newPath: String { "\(path).new" }
    private var lockPath: String { "\(path).lock" }

    /// Tells one version of the file from another.
    package struct Stamp: Equatable, Sendable {
        var device: UInt
        var inode: UInt
        var size: Int
        var seconds: Int
        var nanoseconds: Int

        init(_ status: stat) {
            device = UInt(status.st_dev)
            inode = UInt(status.st_ino)
            size = Int(status.st_size)
            seconds = status.st_mtim.tv_sec
            nanoseconds = status.st_mtim.tv_nsec
        }
    }

    /// nil if there is no file.
    package func stamp() throws(IdentityError) -> Stamp? {
        var status = stat()
        guard stat(path, &status) != 0 else { return Stamp(status) }
        guard errno == ENOENT else { throw failure("cannot be examined", path) }
        return nil
    }

    package func read(limit: Int) throws(IdentityError) -> (Secret, Stamp) {
        // Its directory is ours, and whoever can rename there is trusted anyway: the stamp is taken first, so that a version that
        // comes in between is read again.
        guard let stamp = try stamp() else { throw failure("is gone", path) }
        do throws(FileIssue) {
            let trusted = owner.map { Set([$0.user]) } ?? []
            return (try ProtectedFile(trustedOwners: trusted, groupMayRead: false).read(path, limit: limit), stamp)
        } catch {
            throw IdentityError("\(error)")
        }
    }

    // ---- Changing ----

    /// A lock that ends with the process at the latest.
    package struct Lock: Sendable {
        fileprivate let descriptor: Int32
        package func release() { close(descriptor) }
    }

    /// Waits for others, but not for ever.
    package func lock() async throws -> Lock {
        try makeDirectory()
        let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure("cannot be opened", lockPath) }
        giveAway(descriptor)
        for _ in 0..<500 {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return Lock(descriptor: descriptor) }
            guard errno == EWOULDBLOCK || errno == EINTR else { break }
            do {
                try await Task.sleep(for: .milliseconds(20))
            } catch {
                close(descriptor)
                throw error
            }
        }
        close(descriptor)
        throw IdentityError("\(path): another process has been changing it for 10 seconds; is there a hung causeway command?")
    }

    /// A crash at any moment leaves the old file or the new one. Under the lock.
    package func replace(with contents: Secret) throws(IdentityError) -> Stamp {
        unlink(newPath)
        let descriptor = open(newPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure("cannot be made", newPath) }
        var isClosed = false
        func abandon(_ what: String) -> IdentityError {
            let error = failure(what, newPath)
            if !isClosed { close(descriptor) }
            unlink(newPath)
            return error
        }
        giveAway(descriptor)
        guard write(contents, to: descriptor), fsync(descriptor) == 0 else { throw abandon("cannot be written") }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw abandon("cannot be examined") }
        isClosed = true
        guard close(descriptor) == 0 else { throw abandon("cannot be written") }
        guard rename(newPath, path) == 0 else { throw abandon("cannot take the place of \(path)") }
        try syncDirectory()
        return Stamp(status)
    }

    private func write(_ contents: Secret, to descriptor: Int32) -> Bool {
        contents.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress!, rest.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }
    }

    private func makeDirectory() throws(IdentityError) {
        if mkdir(directory, 0o700) == 0, let owner { _ = chown(directory, owner.user, owner.group) }
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw failure("cannot be made (try: install -d -m 700 -o causeway -g causeway \(directory))", directory)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw IdentityError("\(directory): is not a directory") }
        guard status.st_mode & 0o022 == 0 else {
            throw IdentityError("\(directory): can be changed by others; run: chmod 700 \(directory)")
        }
    }

    /// A rename is safe once its directory is.
    private func syncDirectory() throws(IdentityError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot be opened", directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot be written", directory) }
    }

    private func giveAway(_ descriptor: Int32) {
        if let owner { _ = fchown(descriptor, owner.user, owner.group) }
    }

    private func failure(_ what: String, _ path: String) -> IdentityError {
        IdentityError("\(path): \(what): \(String(cString: strerror(errno)))")
    }
}
