// Peers: made, found by public key, given an endpoint, removed.
#include <sodium.h>
#include <string.h>

#include "control.h"

bool cw_wg_is_live(const cw_wg *wg, const cw_wg_identity *identity) {
    return identity->up && identity->keys.has_key && wg->ports[identity->port].udp != NULL;
}

// ---- By public key: open addressing, linear probing, slot + 1 -----------------------------------------------------------

static uint32_t place_of(const cw_wg *wg, const cw_wg_identity *identity, const uint8_t public_key[CW_WG_KEY]) {
    uint64_t words[4], hash = wg->hash_seed ^ (uint64_t)(identity - wg->identities);
    memcpy(words, public_key, sizeof words);
    for (int i = 0; i < 4; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return (uint32_t)hash & wg->by_key_mask;
}

cw_wg_peer *cw_wg_peer_find(cw_wg *wg, const cw_wg_identity *identity, const uint8_t public_key[CW_WG_KEY]) {
    for (uint32_t at = place_of(wg, identity, public_key); wg->by_key[at] != 0; at = (at + 1) & wg->by_key_mask) {
        cw_wg_peer *peer = &wg->peers[wg->by_key[at] - 1];
        if (peer->identity == identity && sodium_memcmp(peer->remote.public_key, public_key, CW_WG_KEY) == 0) return peer;
    }
    return NULL;
}

static void enter_key(cw_wg *wg, const cw_wg_peer *peer) {
    uint32_t at = place_of(wg, peer->identity, peer->remote.public_key);
    while (wg->by_key[at] != 0) at = (at + 1) & wg->by_key_mask;
    wg->by_key[at] = peer->slot + 1;
}

static void leave_key(cw_wg *wg, const cw_wg_peer *peer) {
    uint32_t at = place_of(wg, peer->identity, peer->remote.public_key);
    while (wg->by_key[at] != peer->slot + 1) at = (at + 1) & wg->by_key_mask;
    // Close the hole: whoever stands behind it moves up unless its own place lies behind the hole.
    for (uint32_t next = (at + 1) & wg->by_key_mask; wg->by_key[next] != 0; next = (next + 1) & wg->by_key_mask) {
        const cw_wg_peer *other = &wg->peers[wg->by_key[next] - 1];
        uint32_t home = place_of(wg, other->identity, other->remote.public_key);
        if (((next - home) & wg->by_key_mask) >= ((next - at) & wg->by_key_mask)) {
            wg->by_key[at] = wg->by_key[next];
            at = next;
        }
    }
    wg->by_key[at] = 0;
}

// ---- Life ------------------------------------------------------------------------------------------------------------

cw_wg_peer *cw_wg_peer_add(cw_wg *wg, cw_wg_identity *identity, const uint8_t public_key[CW_WG_KEY]) {
    uint32_t slot;
    if (wg->free_peer_count > 0) slot = wg->free_peers[--wg->free_peer_count];
    else if (wg->peers_used < wg->config.peer_capacity) slot = wg->peers_used++;
    else return NULL;
    cw_wg_peer *peer = &wg->peers[slot];
    memset(peer, 0, sizeof *peer);
    peer->slot = slot;
    peer->number = ++wg->peers_made;
    peer->identity = identity;
    pthread_mutex_init(&peer->leaf, NULL);
    // A public key with which no handshake is possible is kept: it can be seen and removed like any other.
    (void)cw_noise_remote_set(&peer->remote, &identity->keys, public_key);
    cw_cookie_keys_set(&peer->jar.keys, public_key);
    memcpy(peer->sent_timestamp, wg->gone_timestamp, sizeof peer->sent_timestamp);
    peer->before = identity->last;
    if (identity->last != NULL) identity->last->next = peer;
    else identity->first = peer;
    identity->last = peer;
    identity->peer_count++;
    wg->peer_count++;
    enter_key(wg, peer);
    return peer;
}

void cw_wg_peer_detach(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_identity *identity = peer->identity;
    cw_allowed_ips_remove_peer(identity->allowed, peer);
    cw_wg_scan_leave(wg, peer);
    cw_wg_forget_wishes(wg, peer);
    cw_wg_keypair *pairs[3];
    cw_wg_session_detach(wg, peer, pairs);
    peer->previous = pairs[0], peer->current = pairs[1], peer->next_pair = pairs[2]; // for cw_wg_peer_free
    leave_key(wg, peer);
    if (peer->next != NULL) peer->next->before = peer->before;
    else identity->last = peer->before;
    if (peer->before != NULL) peer->before->next = peer->next;
    else identity->first = peer->next;
    identity->peer_count--;
    wg->peer_count--;
}

void cw_wg_peer_free(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_timers_stop(wg, peer);
    cw_wg_drop_staged(wg, peer);
    cw_wg_keypair *pairs[3] = {peer->previous, peer->current, peer->next_pair};
    for (int i = 0; i < 3; i++)
        if (pairs[i] != NULL) cw_wg_keypair_give(wg, pairs[i]);
    pthread_mutex_destroy(&peer->leaf);
    uint32_t slot = peer->slot;
    if (memcmp(peer->sent_timestamp, wg->gone_timestamp, sizeof wg->gone_timestamp) > 0)
        memcpy(wg->gone_timestamp, peer->sent_timestamp, sizeof wg->gone_timestamp);
    sodium_memzero(peer, sizeof *peer);
    wg->free_peers[wg->free_peer_count++] = slot;
}

// ---- Endpoints -------------------------------------------------------------------------------------------------------

bool cw_wg_same_address(const cw_wg_route_to *left, const cw_wg_route_to *right) {
    if (left->to.any.sa_family != right->to.any.sa_family) return false;
    switch (left->to.any.sa_family) {
    case AF_INET:
        return left->to.v4.sin_addr.s_addr == right->to.v4.sin_addr.s_addr && left->to.v4.sin_port == right->to.v4.sin_port;
    case AF_INET6:
        return memcmp(&left->to.v6.sin6_addr, &right->to.v6.sin6_addr, 16) == 0 && left->to.v6.sin6_port == right->to.v6.sin6_port &&
               left->to.v6.sin6_scope_id == right->to.v6.sin6_scope_id;
    default: return true;
    }
}

static bool same_source(const cw_wg_route_to *left, const cw_wg_route_to *right) {
    return memcmp(&left->from, &right->from, sizeof left->from) == 0 && left->from_interface == right->from_interface;
}

void cw_wg_endpoint_set(cw_wg *wg, cw_wg_peer *peer, const cw_wg_route_to *endpoint) {
    bool moves = !cw_wg_same_address(&peer->endpoint, endpoint);
    if (moves) cw_wg_scan_leave(wg, peer);
    peer->endpoint = *endpoint;
    if (moves) cw_wg_scan_enter(wg, peer);
}

void cw_wg_endpoint_learn(cw_wg *wg, cw_wg_peer *peer, const cw_wg_route_to *endpoint) {
    if (cw_wg_same_address(&peer->endpoint, endpoint) && same_source(&peer->endpoint, endpoint)) return;
    cw_gate_close(&wg->gate);
    cw_wg_endpoint_set(wg, peer, endpoint);
    cw_gate_open(&wg->gate);
}

void cw_wg_endpoint_clear_source(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_route_to endpoint = peer->endpoint;
    memset(&endpoint.from, 0, sizeof endpoint.from);
    endpoint.from_interface = 0;
    cw_wg_endpoint_learn(wg, peer, &endpoint);
}
