import Addresses
import Documents

/// Decides about a log-in: a secrets file, the configuration's users or a RADIUS server.
public protocol Authenticator: Sendable {
    /// Runs where the caller runs: what takes long must wait elsewhere.
    nonisolated(nonsending) func authenticate(_ request: AuthenticationRequest) async -> AuthenticationResult
}

/// What a client sent to prove who it is, and where it came from.
public struct AuthenticationRequest: Sendable {
    /// The user name exactly as received, `DOMAIN\` included.
    public var userNameBytes: [UInt8]
    /// The client's outer address.
    public var source: IPAddress
    /// The name we gave in the challenge: the server column of a secrets file.
    public var serverName: String
    public var proof: Proof

    public enum Proof: Sendable {
        /// RFC 2759 section 4: challenges of 16 bytes, an NT-Response of 24.
        case msCHAPv2(identifier: UInt8, authenticatorChallenge: [UInt8], peerChallenge: [UInt8], ntResponse: [UInt8])
    }

    public init(userName: [UInt8], source: IPAddress, serverName: String, proof: Proof) {
        userNameBytes = userName
        self.source = source
        self.serverName = serverName
        self.proof = proof
    }

    /// The user name for log lines: what is not printable ASCII or well-formed UTF-8 text is escaped, so a client cannot forge a
    /// line.
    public var userName: String { printableUserName(userNameBytes) }
}

public enum AuthenticationResult: Sendable {
    case accept(AcceptedUser)
    case reject(Rejection)
}

/// Who logged in, what their client has to be told, and what the session starts from.
public struct AcceptedUser: Sendable {
    /// The name of the user's entry: two spellings of one login (`DOMAIN\ann`, `ann`) are one user.
    public var name: String
    /// `S=` and 40 hexadecimal digits (RFC 2759 section 5), ready for the CHAP Success packet.
    public var successMessage: String
    /// MPPE start keys of 16 bytes as the server uses them (RFC 3079 section 3.3); the data path derives session keys from them.
    public var sendStartKey: Secret
    public var receiveStartKey: Secret
    public var attributes: UserAttributes

    public init(name: String, successMessage: String, sendStartKey: Secret, receiveStartKey: Secret, attributes: UserAttributes) {
        self.name = name
        self.successMessage = successMessage
        self.sendStartKey = sendStartKey
        self.receiveStartKey = receiveStartKey
        self.attributes = attributes
    }
}

/// What the user may use once logged in. A missing value means "as the listener says".
public struct UserAttributes: Sendable, Equatable {
    /// Where the user's inner address comes from.
    public var address: AddressPolicy
    /// Networks behind the user's router, routed to the session besides its own address.
    public var prefixes: [IPPrefix]
    public var pool: String?
    public var tunnel: String?
    /// Both ways, in kbit/s.
    public var rate: Int?
    /// Users of one group share an identity in tunnels whose mode is `group`.
    public var group: String?

    public init(
        address: AddressPolicy = .any, prefixes: [IPPrefix] = [], pool: String? = nil, tunnel: String? = nil, rate: Int? = nil,
        group: String? = nil
    ) {
        self.address = address
        self.prefixes = prefixes
        self.pool = pool
        self.tunnel = tunnel
        self.rate = rate
        self.group = group
    }

    /// The one address this user always gets.
    // Never inlined: the optimizer of Swift 6.3.1 (CopyPropagation) ends a borrow too early where it is, and the build stops.
    @inline(never)
    public var staticAddress: IPAddress? {
        if case .fixed(let address) = address { address } else { nil }
    }
}

public enum AddressPolicy: Sendable, Equatable {
    /// Any free address of the pool.
    case any
    /// Always this one.
    case fixed(IPAddress)
    /// A free address of the pool that lies in one of these.
    case within([IPPrefix])
    /// The entry allows no address at all: the log-in is refused with 649.
    case refused

    public func permits(_ candidate: IPAddress) -> Bool {
        switch self {
        case .any: true
        case .fixed(let address): address == candidate
        case .within(let prefixes): prefixes.contains { $0.contains(candidate) }
        case .refused: false
        }
    }
}

/// A refused log-in: what goes into the CHAP Failure packet, and, for our log only, why.
public struct Rejection: Sendable, Equatable {
    /// RFC 2759 section 6. 648 (password expired) is missing on purpose: it promises Change-Password, which we do not speak.
    public enum Code: Int, Sendable {
        case restrictedLogonHours = 646
        case accountDisabled = 647
        case noDialInPermission = 649
        case authenticationFailure = 691
    }

    /// Never sent: a client must not learn whether the name or the password was wrong.
    public enum Reason: Sendable, Equatable {
        case unknownUser
        case wrongPassword
        case lockedOut
        case noAddress
        case malformed
        /// An authentication server refused, or could not be asked.
        case server(String)
        /// The migration does not want the log-in.
        case policy(String)
    }

    public var code: Code
    /// Whether the client may answer a new challenge on this link.
    public var retry: Bool
    /// The M= text.
    public var message: String
    public var reason: Reason

    public init(code: Code, retry: Bool, message: String, reason: Reason) {
        self.code = code
        self.retry = retry
        self.message = message
        self.reason = reason
    }
}

func printableUserName(_ bytes: [UInt8]) -> String {
    printable(String(validating: bytes, as: UTF8.self) ?? String(bytes.map { Character(UnicodeScalar($0)) }))
}
