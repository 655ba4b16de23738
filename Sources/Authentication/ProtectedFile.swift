import Glibc

/// Reads files that hold passwords and keys, and refuses those that others could have read or written.
public struct ProtectedFile: Sendable {
    /// Accounts that may own such a file. Root and the account of this process always may.
    public var trustedOwners: Set<uid_t>
    /// The group that is to be let in, for the commands in messages.
    public var group: String

    /// Whether that group may read. Files that only the gateway itself writes and reads need no group.
    public var groupMayRead: Bool

    public init(trustedOwners: Set<uid_t> = [], group: String = "causeway", groupMayRead: Bool = true) {
        self.groupMayRead = groupMayRead
        self.trustedOwners = trustedOwners.union([0, geteuid()])
        self.group = group
    }

    /// The file's contents, if nobody else could have read or changed them: at most `limit` bytes of a regular file.
    public func read(_ path: String, limit: Int) throws(FileIssue) -> Secret {
        let (contents, exposure) = try readAny(path, limit: limit)
        if let exposure { throw exposure }
        return contents
    }

    /// The file's contents, and what is wrong with its protection, if anything.
    public func readAny(_ path: String, limit: Int) throws(FileIssue) -> (contents: Secret, exposure: FileIssue?) {
        // Not blocking: somebody may have put a FIFO there.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else {
            let code = errno
            throw FileIssue(file: path, message: Self.openFailure(code, path, group), kind: code == ENOENT ? .missing : .unusable)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw FileIssue(file: path, message: "cannot be examined: \(Self.text(errno))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw FileIssue(file: path, message: "is not a regular file") }
        let exposure = exposure(of: status).map { FileIssue(file: path, message: "\($0) \(Self.quoted(path))") }
        return (try contents(descriptor, status, path, limit), exposure)
    }

    private func exposure(of status: stat) -> String? {
        if status.st_mode & 0o007 != 0 { return "is open to every user of this host; run: chmod 640" }
        if !groupMayRead, status.st_mode & 0o070 != 0 { return "is open to its group; run: chmod 600" }
        if status.st_mode & 0o020 != 0 { return "can be changed by its group; run: chmod 640" }
        guard !trustedOwners.contains(status.st_uid) else { return nil }
        return "belongs to user \(status.st_uid), who is neither root nor the gateway; run: chown root:\(group)"
    }

    private func contents(_ descriptor: Int32, _ status: stat, _ path: String, _ limit: Int) throws(FileIssue) -> Secret {
        guard status.st_size <= limit else {
            throw FileIssue(file: path, message: "has \(status.st_size) bytes, more than the \(limit) that are read")
        }

        var failure: Int32 = 0
        var length = 0
        let contents = Secret(count: Int(status.st_size)) { buffer in
            while length < buffer.count {
                let count = Glibc.read(descriptor, buffer.baseAddress! + length, buffer.count - length)
                if count < 0, errno == EINTR { continue }
                if count < 0 { failure = errno }
                guard count > 0 else { return }
                length += count
            }
        }
        guard failure == 0 else { throw FileIssue(file: path, message: "cannot be read: \(Self.text(failure))") }
        // Shorter than fstat said: it is being rewritten. What was read is what there is.
        return length == contents.count ? contents : contents.withUnsafeBytes { Secret($0.prefix(length)) }
    }

    private static func openFailure(_ code: Int32, _ path: String, _ group: String) -> String {
        switch code {
        case ENOENT: "does not exist"
        case EACCES: "cannot be read by this user; \(lettingIn(group, path))"
        default: "cannot be opened: \(text(code))"
        }
    }

    /// What stands in the way of an account that this process will become: nil if nothing in the file's own mode does.
    public func obstacle(for user: uid_t, group id: gid_t, at path: String) -> FileIssue? {
        var status = stat()
        guard stat(path, &status) == 0, user != 0 else { return nil }
        let readable =
            status.st_uid == user
            ? status.st_mode & 0o400 != 0 : status.st_gid == id ? status.st_mode & 0o040 != 0 : status.st_mode & 0o004 != 0
        guard !readable else { return nil }
        return FileIssue(
            file: path, message: "will be unreadable for the gateway once it is no longer root; \(Self.lettingIn(group, path))")
    }

    private static func lettingIn(_ group: String, _ path: String) -> String {
        "run: chgrp \(group) \(quoted(path)) && chmod 640 \(quoted(path))"
    }

    private static func text(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// The path as one word for a shell.
    private static func quoted(_ path: String) -> String {
        let plain = path.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            default: "/._-+@:".utf8.contains(byte)
            }
        }
        return plain ? path : "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
