import Addresses
import Netlink

// What both backends do with the interface itself, over rtnetlink.
extension NetlinkSocket {
    /// MTU, addresses and up; true if something had to change.
    func configureInterface(_ link: Link, for configuration: TunnelConfiguration) throws -> Bool {
        var change = LinkChange()
        if link.mtu != configuration.mtu { change.mtu = configuration.mtu }
        if !link.isUp { change.up = true }
        var changed = change != LinkChange()
        if changed { try perform(LinkRequest.change(index: link.index, name: link.name, change)) }

        let wanted = Set(
            configuration.addresses.map {
                InterfaceAddress(index: link.index, address: $0.address, prefixLength: $0.prefixLength)
            })
        // The kernel makes link-local addresses by itself when it is not told otherwise; they are not ours to remove.
        let present = Set(try addresses(index: link.index).filter { !($0.address.family == .v6 && $0.address.isLinkLocal) })
        for address in present.subtracting(wanted) {
            try delete(AddressRequest.delete(address, interface: link.name))
            changed = true
        }
        for address in wanted.subtracting(present) {
            try add(AddressRequest.add(address, interface: link.name))
            changed = true
        }
        return changed
    }

    /// No IPv6 address that nobody asked for, so that nothing of the kernel's own (router solicitations, MLD) enters the tunnel.
    /// A kernel without IPv6 refuses; then there is nothing to do.
    func disableAutomaticIPv6(_ link: Link) {
        try? perform(
            LinkRequest.change(index: link.index, name: link.name, LinkChange(ipv6AddressGeneration: IPv6AddressGeneration.none)))
    }
}
