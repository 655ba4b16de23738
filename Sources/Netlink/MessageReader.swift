/// Text that the kernel sent does not have the shape it must have.
public struct MalformedMessage: Error, Equatable, CustomStringConvertible {
    public var what: String
    public init(_ what: String) { self.what = what }
    public var description: String { "malformed netlink message: \(what)" }
}

extension Collection<UInt8> where Index == Int {
    /// A number in host byte order at `offset` bytes from the start; the caller has checked the length.
    func number<Number: FixedWidthInteger>(at offset: Int, as type: Number.Type = Number.self) -> Number {
        var value: Number = 0
        withUnsafeMutableBytes(of: &value) { target in
            for index in 0..<MemoryLayout<Number>.size { target[index] = self[startIndex + offset + index] }
        }
        return value
    }
}

/// One attribute; `type` is without the flag bits.
public struct Attribute: Equatable, Sendable {
    public let type: UInt16
    public let value: ArraySlice<UInt8>

    /// Exactly as many bytes as the number has, else the message is malformed.
    public func number<Number: FixedWidthInteger>(_: Number.Type = Number.self) throws -> Number {
        guard value.count == MemoryLayout<Number>.size else {
            throw MalformedMessage("attribute \(type) has \(value.count) bytes instead of \(MemoryLayout<Number>.size)")
        }
        return value.number(at: 0)
    }

    /// Up to the first NUL.
    public var text: String { String(decoding: value.prefix { $0 != 0 }, as: UTF8.self) }

    public func nested() throws -> [Attribute] { try Attribute.parse(value) }

    /// Every length is checked against what is left before anything is read; trailing padding may be missing.
    public static func parse(_ bytes: ArraySlice<UInt8>) throws -> [Attribute] {
        var attributes: [Attribute] = []
        var rest = bytes
        while rest.count >= 4 {
            let length = Int(rest.number(at: 0, as: UInt16.self))
            guard length >= 4, length <= rest.count else {
                throw MalformedMessage("an attribute of \(length) bytes where \(rest.count) are left")
            }
            let type = rest.number(at: 2, as: UInt16.self) & AttributeFlags.typeMask
            attributes.append(Attribute(type: type, value: rest[rest.startIndex + 4..<rest.startIndex + length]))
            rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
        }
        guard rest.allSatisfy({ $0 == 0 }) else { throw MalformedMessage("\(rest.count) bytes after the last attribute") }
        return attributes
    }
}

extension [Attribute] {
    public subscript(type type: UInt16) -> Attribute? { last { $0.type == type } }
}

/// One message of a datagram from the kernel.
public struct NetlinkMessage: Equatable, Sendable {
    public static let headerLength = 16

    public let type: UInt16
    public let flags: UInt16
    public let sequence: UInt32
    public let port: UInt32
    public let payload: ArraySlice<UInt8>

    /// The attributes behind a fixed part of `length` bytes.
    public func attributes(after length: Int) throws -> [Attribute] {
        guard payload.count >= length else {
            throw MalformedMessage("message type \(type) has \(payload.count) bytes, fewer than \(length)")
        }
        return try Attribute.parse(payload.dropFirst((length + 3) & ~3))
    }

    /// All messages of one datagram.
    public static func parse(_ datagram: [UInt8]) throws -> [NetlinkMessage] {
        var messages: [NetlinkMessage] = []
        var rest = datagram[...]
        while rest.count >= headerLength {
            let length = Int(rest.number(at: 0, as: UInt32.self))
            guard length >= headerLength, length <= rest.count else {
                throw MalformedMessage("a message of \(length) bytes where \(rest.count) are left")
            }
            messages.append(
                NetlinkMessage(
                    type: rest.number(at: 4), flags: rest.number(at: 6), sequence: rest.number(at: 8), port: rest.number(at: 12),
                    payload: rest[rest.startIndex + headerLength..<rest.startIndex + length]))
            rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
        }
        guard rest.isEmpty else { throw MalformedMessage("\(rest.count) bytes after the last message") }
        return messages
    }
}

/// The kernel's answer to a request: code 0 is an acknowledgement.
struct Acknowledgement: Equatable {
    let code: Int32
    let message: String?

    /// NLMSG_ERROR, or an NLMSG_DONE that carries an error code.
    init(_ message: NetlinkMessage) throws {
        guard message.payload.count >= 4 else {
            guard message.type == NetlinkControl.done else { throw MalformedMessage("an acknowledgement without a code") }
            self.init(code: 0, message: nil)
            return
        }
        let code = message.payload.number(at: 0, as: Int32.self)
        var text: String?
        if message.flags & NetlinkFlags.acknowledgeHasAttributes != 0 {
            var skipped = 4
            if message.type == NetlinkControl.error {
                guard message.payload.count >= 4 + NetlinkMessage.headerLength else {
                    throw MalformedMessage("a short error message")
                }
                // The request is echoed after the code: whole, or only its header when the kernel capped it.
                let echoed = Int(message.payload.number(at: 4, as: UInt32.self))
                skipped += message.flags & NetlinkFlags.capped != 0 ? NetlinkMessage.headerLength : (echoed + 3) & ~3
            }
            guard skipped <= message.payload.count else { throw MalformedMessage("an error message that echoes too much") }
            text = try Attribute.parse(message.payload.dropFirst(skipped))[type: NetlinkControl.errorMessageAttribute]?.text
        }
        self.init(code: -code, message: text)
    }

    init(code: Int32, message: String?) {
        self.code = code
        self.message = message
    }
}
