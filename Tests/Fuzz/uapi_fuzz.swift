// The userspace interface's socket: what a client sends, in pieces of any size, and what it is told.
// with: Sources/WireGuard/Keys.swift Sources/WireGuard/UAPI/WireGuardInterface.swift
// with: Sources/WireGuard/UAPI/UAPIChangeParser.swift Sources/WireGuard/UAPI/UAPIConversation.swift Sources/WireGuard/UAPI/UAPIAnswer.swift
// with: Sources/WireGuard/UAPI/UAPIListingParser.swift Sources/WireGuard/TunnelStatus.swift

import Addresses
import Netlink

private let longestRequest = 4096

private func actions(_ bytes: ArraySlice<UInt8>, pieces size: Int) -> [UAPIConversation.Action] {
    var conversation = UAPIConversation(longestRequest: longestRequest)
    var actions: [UAPIConversation.Action] = []
    var rest = bytes
    while !rest.isEmpty {
        conversation.receive(rest.prefix(size))
        rest = rest.dropFirst(size)
        while let action = conversation.next() {
            precondition(!actions.contains(.end) && !(actions.contains(.refuse(.inputOutput))), "something after the end")
            actions.append(action)
        }
    }
    if actions.last == .end || actions.last == .refuse(.inputOutput) { precondition(conversation.hasEnded) }
    conversation.wipe()
    precondition(conversation.next() == nil)
    return actions
}

/// A device that is what the change asks for, told and read again, is the same.
private func roundTrip(_ change: InterfaceChange) {
    var listing = InterfaceListing()
    if case .set(let key) = change.privateKey { listing.privateKey = key }
    listing.listenPort = change.listenPort ?? 0
    listing.fwmark = change.fwmark ?? 0
    listing.peers = change.peers.map { change in
        precondition(Set(change.allowedIPs).isDisjoint(with: change.removedAllowedIPs))
        var peer = InterfaceListing.Peer(publicKey: change.publicKey)
        if case .set(let key) = change.preshared { peer.presharedKey = key }
        peer.endpoint = change.endpoint
        peer.keepalive = change.keepalive ?? 0
        peer.allowedIPs = change.allowedIPs
        return peer
    }
    let text = UAPIAnswer.listing(listing)
    precondition(text.suffix(9).elementsEqual("errno=0\n\n".utf8))
    let last = Dictionary(listing.peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { $1 })
    guard let peers = try? UAPIListingParser.peers(text) else { preconditionFailure("what we say cannot be read") }
    precondition(Set(peers.map(\.publicKey)) == Set(last.keys) && peers.count == last.count)
    for peer in peers {
        let told = last[peer.publicKey]!
        precondition(peer.allowedIPs == Set(told.allowedIPs) && peer.keepalive == told.keepalive && peer.hasPresharedKey == (told.presharedKey != nil))
        precondition((peer.endpoint == nil) == (told.endpoint == nil))
    }
    var parser = UAPIChangeParser()
    for line in text.dropLast(9).split(separator: 0x0A) {
        let key = String(decoding: line.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self)
        guard !["last_handshake_time_sec", "last_handshake_time_nsec", "rx_bytes", "tx_bytes"].contains(key) else { continue }
        do { try parser.read(line) } catch { preconditionFailure("what we say is refused: \(String(decoding: line, as: UTF8.self))") }
    }
    let again = parser.finish()
    if let key = listing.privateKey { precondition(again.privateKey == .set(key)) }
    precondition(again.listenPort ?? 0 == listing.listenPort && again.fwmark ?? 0 == listing.fwmark)
    precondition(again.peers.count == listing.peers.count)
    for (peer, other) in zip(again.peers, listing.peers) {
        precondition(peer.publicKey == other.publicKey && peer.endpoint == other.endpoint && peer.keepalive == other.keepalive)
        precondition(peer.preshared == (other.presharedKey.map { .set($0) } ?? .remove) && peer.allowedIPs == other.allowedIPs)
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))[...]
    // As the answer of somebody else's device.
    _ = try? UAPIListingParser.peers(Array(bytes.dropFirst()))
    let atOnce = actions(bytes.dropFirst(), pieces: UAPIConversation.chunk)
    precondition(atOnce == actions(bytes.dropFirst(), pieces: Int(bytes[0] & 63) + 1), "the size of the pieces matters")
    for case .apply(let change) in atOnce { roundTrip(change) }
    return 0
}
