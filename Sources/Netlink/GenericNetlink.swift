/// A message of a generic netlink family: a command and its attributes behind the 4-byte genlmsghdr.
public enum GenericNetlink {
    public static let headerLength = 4

    public static func request(
        family: UInt16, command: UInt8, version: UInt8, flags: UInt16 = 0, attributes: MessageWriter, operation: String
    ) -> NetlinkRequest {
        NetlinkRequest(
            type: family, flags: flags, payload: [command, version, 0, 0] + attributes.bytes, operation: operation)
    }

    /// Asks the controller for a family's number (CTRL_CMD_GETFAMILY). The kernel loads the module if it has an alias for the name.
    public static func resolve(_ name: String) -> NetlinkRequest {
        var writer = MessageWriter()
        writer.attribute(GenericControl.attributeFamilyName, text: name)
        return request(
            family: GenericControl.familyID, command: GenericControl.getFamily, version: 1, attributes: writer,
            operation: "find the kernel's \(name) interface (generic netlink)")
    }

    public static func familyID(_ message: NetlinkMessage) throws -> UInt16 {
        guard let id: UInt16 = try message.attributes(after: headerLength)[type: GenericControl.attributeFamilyID]?.number()
        else {
            throw MalformedMessage("a generic netlink family without a number")
        }
        return id
    }
}
