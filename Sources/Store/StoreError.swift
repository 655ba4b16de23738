import Addresses

/// Why the store did not do what it was asked; then it has changed nothing.
public enum StoreError: Error, Sendable, Equatable {
    /// Another live session has the address, here or on another gateway.
    case addressTaken(IPAddress)
    /// The user has a live session already and may have only one.
    case alreadyConnected(user: String)
    /// Another peer has the public key.
    case keyTaken
    case noSuch(String)
    case exists(String)
    /// A command that does not fit the state of things, in words for an administrator.
    case unfit(String)
    /// What was to be written breaks a rule of the schema, and will the next time: nothing is wrong with the store.
    case violates(String)
    /// It cannot be written or read now: disk full, locked, failing, read-only. What is open goes on; it is worth another try.
    case unavailable(String)
    /// No answer came in time. What was asked may be done or not, now or later; asked again, it is done once.
    case unanswered(String)
    /// The file is no database of ours, is damaged, or comes from a newer version. Trying again does not help.
    case unusable(String)

    /// Nothing can be asked of the store; the others are answers.
    public var isOutage: Bool {
        switch self {
        case .unavailable, .unanswered, .unusable: true
        case .addressTaken, .alreadyConnected, .keyTaken, .noSuch, .exists, .unfit, .violates: false
        }
    }
}

extension StoreError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .addressTaken(let address): "address \(address) belongs to another live session"
        case .alreadyConnected(let user): "user \"\(user)\" has a live session already"
        case .keyTaken: "another peer has this public key"
        case .noSuch(let what): "no \(what)"
        case .exists(let what): "\(what) exists already"
        case .unfit(let text): text
        case .violates(let text): "the database does not take it: \(text)"
        case .unanswered(let text): "the database does not answer: \(text)"
        case .unavailable(let text): "the database cannot be used now: \(text)"
        case .unusable(let text): "the database cannot be used: \(text)"
        }
    }
}
