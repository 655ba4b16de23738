// A hub's configuration of any bytes: it is read or refused, every complaint points into it, and what was understood means the
// same when it is written down again.

import Addresses
import Authentication
import Hub

private func read(_ text: String) -> Result<HubConfiguration, HubConfigurationError> {
    do throws(HubConfigurationError) {
        return .success(try HubConfiguration(text))
    } catch {
        return .failure(error)
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    let lines = text.utf8.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
    let result = read(text)
    precondition(result == read(text), "two readings differ")
    switch result {
    case .failure(let error):
        precondition(!error.issues.isEmpty, "refused without a reason")
        for issue in error.issues { precondition((1...lines).contains(issue.line) && !issue.message.isEmpty) }
    case .success(let configuration):
        check(configuration)
    }
    return 0
}

private func check(_ configuration: HubConfiguration) {
    let peers = configuration.peers
    precondition(Set(peers.map(\.publicKey)).count == peers.count, "a key twice")
    let networks = peers.flatMap { Array($0.allowedIPs) }
    precondition(Set(networks).count == networks.count, "a network at two peers")
    for peer in peers {
        precondition(WireGuardKey.canonical(peer.publicKey) != nil && peer.presharedKey?.count ?? 32 == 32)
    }
    guard case .success(let again) = read(configuration.interfaceText + peers.sections) else {
        preconditionFailure("what was understood is refused when written down again")
    }
    precondition(again.peers == peers, "what was written down is read in another way")
    precondition(again.interfaceText == configuration.interfaceText, "the interface section changes")
    precondition(HubDifference(from: again.peers, to: peers).isEmpty)
    for line in HubDifference(from: [], to: peers).commands(interface: "wg0").split(separator: "\n") {
        precondition(line.hasPrefix("wg set wg0 peer ") || line.hasPrefix("# "))
    }
}
