// Wire facts of netlink, rtnetlink and generic netlink: linux/netlink.h, rtnetlink.h, if_link.h, fib_rules.h, genetlink.h.
// Everything is in host byte order except addresses, which are in network order.

enum NetlinkFlags {
    static let request: UInt16 = 0x1
    static let multi: UInt16 = 0x2
    static let acknowledge: UInt16 = 0x4
    static let dumpInterrupted: UInt16 = 0x10
    static let dump: UInt16 = 0x300
    static let replace: UInt16 = 0x100
    static let exclusive: UInt16 = 0x200
    static let create: UInt16 = 0x400
    /// In an error message: only the header of the request is echoed; attributes follow.
    static let capped: UInt16 = 0x100
    static let acknowledgeHasAttributes: UInt16 = 0x200
}

enum NetlinkControl {
    static let noop: UInt16 = 1
    static let error: UInt16 = 2
    static let done: UInt16 = 3
    static let overrun: UInt16 = 4
    static let errorMessageAttribute: UInt16 = 1
}

enum AttributeFlags {
    static let nested: UInt16 = 0x8000
    static let typeMask: UInt16 = 0x3FFF
}

enum RouteMessageType {
    static let newLink: UInt16 = 16
    static let deleteLink: UInt16 = 17
    static let getLink: UInt16 = 18
    static let newAddress: UInt16 = 20
    static let deleteAddress: UInt16 = 21
    static let getAddress: UInt16 = 22
    static let newRoute: UInt16 = 24
    static let deleteRoute: UInt16 = 25
    static let getRoute: UInt16 = 26
    static let newRule: UInt16 = 32
    static let deleteRule: UInt16 = 33
    static let getRule: UInt16 = 34
}

enum AddressFamily {
    static let unspecified: UInt8 = 0
    static let inet: UInt8 = 2
    static let inet6: UInt8 = 10
}

enum LinkAttribute {
    static let name: UInt16 = 3
    static let mtu: UInt16 = 4
    static let linkInfo: UInt16 = 18
    static let alias: UInt16 = 20
    static let familySpecific: UInt16 = 26
    static let infoKind: UInt16 = 1
    static let infoData: UInt16 = 2
    /// Inside IFLA_AF_SPEC / AF_INET: a list whose attribute types are the IPV4_DEVCONF numbers.
    static let inetConfiguration: UInt16 = 1
    static let inet6AddressGeneration: UInt16 = 8
    /// IFLA_INFO_DATA of a TUN device.
    static let tunPacketInformation: UInt16 = 4
    static let tunVirtioHeader: UInt16 = 5
}

enum LinkFlags {
    static let up: UInt32 = 0x1
    static let lowerUp: UInt32 = 0x10000
}

enum AddressAttribute {
    static let address: UInt16 = 1
    static let local: UInt16 = 2
    static let flags: UInt16 = 8
    /// IFA_F_NODAD and IFA_F_NOPREFIXROUTE.
    static let noDuplicateDetection: UInt32 = 0x02
    static let noPrefixRoute: UInt32 = 0x200
}

enum RouteAttribute {
    static let destination: UInt16 = 1
    static let outputInterface: UInt16 = 4
    static let gateway: UInt16 = 5
    static let priority: UInt16 = 6
    static let preferredSource: UInt16 = 7
    static let table: UInt16 = 15
}

enum RuleAttribute {
    static let destination: UInt16 = 1
    static let source: UInt16 = 2
    static let inputInterface: UInt16 = 3
    static let priority: UInt16 = 6
    static let mark: UInt16 = 10
    static let table: UInt16 = 15
    static let markMask: UInt16 = 16
    static let outputInterface: UInt16 = 17
    static let protocolNumber: UInt16 = 21
}

enum GenericControl {
    static let familyID: UInt16 = 0x10
    static let getFamily: UInt8 = 3
    static let attributeFamilyID: UInt16 = 1
    static let attributeFamilyName: UInt16 = 2
}
