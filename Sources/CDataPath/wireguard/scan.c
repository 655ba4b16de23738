// Whom a foreign initiation is for. An initiation names its receiver only through MAC1, a keyed hash over the receiver's public key,
// so a port with many identities would cost as many hashes as it has identities. Hence:
//
//   - the only identity of a port (an access listener, a single tunnel) is checked directly, whoever sends;
//   - otherwise only identities are tried that have a peer whose endpoint is the sender, and tries per second are limited.
#include <string.h>

#include "control.h"

uint32_t cw_wg_endpoint_place(const cw_wg *wg, const cw_wg_route_to *endpoint) {
    uint64_t hash = wg->hash_seed;
    uint64_t words[3] = {0};
    if (endpoint->to.any.sa_family == AF_INET) {
        memcpy(words, &endpoint->to.v4.sin_addr, 4);
        words[2] = endpoint->to.v4.sin_port;
    } else {
        memcpy(words, &endpoint->to.v6.sin6_addr, 16);
        words[2] = endpoint->to.v6.sin6_port;
    }
    for (int i = 0; i < 3; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 32) & wg->by_endpoint_mask;
}

void cw_wg_scan_enter(cw_wg *wg, cw_wg_peer *peer) {
    if (peer->has_endpoint_entry || peer->endpoint.to.any.sa_family == AF_UNSPEC) return;
    cw_wg_peer **head = &wg->by_endpoint[cw_wg_endpoint_place(wg, &peer->endpoint)];
    peer->same_endpoint_previous = NULL;
    peer->same_endpoint_next = *head;
    if (*head != NULL) (*head)->same_endpoint_previous = peer;
    *head = peer;
    peer->has_endpoint_entry = true;
}

void cw_wg_scan_leave(cw_wg *wg, cw_wg_peer *peer) {
    if (!peer->has_endpoint_entry) return;
    if (peer->same_endpoint_next != NULL) peer->same_endpoint_next->same_endpoint_previous = peer->same_endpoint_previous;
    if (peer->same_endpoint_previous != NULL) peer->same_endpoint_previous->same_endpoint_next = peer->same_endpoint_next;
    else wg->by_endpoint[cw_wg_endpoint_place(wg, &peer->endpoint)] = peer->same_endpoint_next;
    peer->same_endpoint_next = peer->same_endpoint_previous = NULL;
    peer->has_endpoint_entry = false;
}

cw_wg_identity *cw_wg_scan(cw_wg *wg, const cw_wg_letter *letter) {
    const cw_wg_port *port = &wg->ports[letter->port];
    if (port->identity_count == 1) {
        cw_wg_identity *alone = port->identities;
        if (cw_wg_is_live(wg, alone) && cw_cookie_check_mac1(&alone->cookie_keys, letter->bytes, letter->length)) return alone;
    } else if (port->identity_count > 1) {
        const cw_wg_identity *tried = NULL; // several peers of one identity may share an endpoint and then stand together
        for (cw_wg_peer *peer = wg->by_endpoint[cw_wg_endpoint_place(wg, &letter->from)]; peer != NULL; peer = peer->same_endpoint_next) {
            cw_wg_identity *identity = peer->identity;
            if (identity == tried || identity->port != letter->port || !cw_wg_is_live(wg, identity)) continue;
            if (!cw_wg_same_address(&peer->endpoint, &letter->from)) continue;
            tried = identity;
            if (!cw_bucket_take(&wg->scan_bucket, 1, wg->clock.now)) {
                cw_wg_drop_here(wg, CW_WG_DROP_SCAN_BUDGET, 1);
                return NULL;
            }
            if (cw_cookie_check_mac1(&identity->cookie_keys, letter->bytes, letter->length)) return identity;
        }
    }
    cw_wg_drop_here(wg, CW_WG_DROP_MAC1, 1);
    return NULL;
}
