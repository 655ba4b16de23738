// The public call that changes peers: many at once, as the userspace API's `set`.
#include <string.h>

#include "control.h"

static const uint32_t KNOWN_MASK = CW_WG_PEER_REMOVE | CW_WG_PEER_UPDATE_ONLY | CW_WG_PEER_PRESHARED_KEY | CW_WG_PEER_ENDPOINT |
                                   CW_WG_PEER_KEEPALIVE | CW_WG_PEER_REPLACE_ALLOWED_IPS;

static bool is_valid(const cw_wg_peer_change *change) {
    if ((change->mask & ~KNOWN_MASK) != 0) return false;
    if (change->mask & CW_WG_PEER_REMOVE) return true;
    if (change->mask & CW_WG_PEER_ENDPOINT) {
        uint8_t family = change->endpoint.address.family;
        if (family != 0 && ((family != 4 && family != 6) || change->endpoint.port == 0)) return false;
    }
    for (uint32_t i = 0; i < change->allowed_ip_count; i++) {
        const cw_prefix *prefix = &change->allowed_ips[i];
        if (prefix->address.family == 4 ? prefix->length > 32 : prefix->address.family != 6 || prefix->length > 128) return false;
    }
    return true;
}

static cw_wg_route_to route_to(const cw_wg_endpoint *endpoint) {
    cw_wg_route_to route;
    memset(&route, 0, sizeof route);
    if (endpoint->address.family == 4) {
        route.to.v4.sin_family = AF_INET;
        route.to.v4.sin_port = htons(endpoint->port);
        memcpy(&route.to.v4.sin_addr, endpoint->address.bytes, 4);
    } else if (endpoint->address.family == 6) {
        route.to.v6.sin6_family = AF_INET6;
        route.to.v6.sin6_port = htons(endpoint->port);
        route.to.v6.sin6_scope_id = endpoint->scope;
        memcpy(&route.to.v6.sin6_addr, endpoint->address.bytes, 16);
    }
    return route;
}

// ---- Changes ---------------------------------------------------------------------------------------------------------
//
// Up to CW_WG_CHANGES at a time, of one kind: removals, or others. What needs time or memory is done first, then the gate is closed
// once for what workers read.

static bool contains(cw_wg_peer *const *peers, size_t count, const cw_wg_peer *peer) {
    for (size_t i = 0; i < count; i++)
        if (peers[i] == peer) return true;
    return false;
}

static size_t remove_run(cw_wg *wg, cw_wg_identity *identity, const cw_wg_peer_change *changes, size_t count) {
    cw_wg_peer *peers[CW_WG_CHANGES];
    size_t used = 0, found = 0;
    for (; used < count && used < CW_WG_CHANGES && is_valid(&changes[used]) && changes[used].mask & CW_WG_PEER_REMOVE; used++) {
        cw_wg_peer *peer = cw_wg_peer_find(wg, identity, changes[used].public_key);
        if (peer != NULL && !contains(peers, found, peer)) peers[found++] = peer;
    }
    cw_gate_close(&wg->gate);
    for (size_t i = 0; i < found; i++) cw_wg_peer_detach(wg, peers[i]);
    cw_gate_open(&wg->gate);
    for (size_t i = 0; i < found; i++) cw_wg_peer_free(wg, peers[i]);
    return used;
}

// The part that workers do not read. *out is NULL for a change that is passed over.
static cw_status prepare(cw_wg *wg, cw_wg_identity *identity, const cw_wg_peer_change *change, cw_wg_peer **out, uint32_t *wishes) {
    *out = NULL;
    *wishes = CW_WG_WANT_TIMERS;
    if (identity->keys.has_key && memcmp(identity->keys.public_key, change->public_key, CW_WG_KEY) == 0) return CW_OK;
    cw_wg_peer *peer = cw_wg_peer_find(wg, identity, change->public_key);
    if (peer == NULL) {
        if (change->mask & CW_WG_PEER_UPDATE_ONLY) return CW_OK;
        peer = cw_wg_peer_add(wg, identity, change->public_key);
        if (peer == NULL) return CW_FULL;
    }
    if (change->mask & CW_WG_PEER_PRESHARED_KEY) memcpy(peer->remote.preshared_key, change->preshared_key, CW_WG_KEY);
    if (change->mask & CW_WG_PEER_KEEPALIVE) {
        if (peer->keepalive_seconds == 0 && change->keepalive_seconds != 0) *wishes |= CW_WG_WANT_KEEPALIVE;
        peer->keepalive_seconds = change->keepalive_seconds;
    }
    // What was staged without an endpoint can go now.
    if (change->mask & CW_WG_PEER_ENDPOINT && !cw_wg_stage_is_empty(peer)) *wishes |= CW_WG_WANT_HANDSHAKE;
    *out = peer;
    return CW_OK;
}

// Closed.
static void apply(cw_wg *wg, cw_wg_identity *identity, const cw_wg_peer_change *change, cw_wg_peer *peer, uint32_t *wishes) {
    if (change->mask & CW_WG_PEER_ENDPOINT) {
        cw_wg_route_to endpoint = route_to(&change->endpoint);
        if (!cw_wg_same_address(&peer->endpoint, &endpoint)) {
            // Whoever moves a peer does so because of what did not arrive.
            cw_wg_lose_unanswered(peer);
            if (cw_wg_handshake_stop(wg, peer)) *wishes |= CW_WG_WANT_ANEW;
        }
        cw_wg_endpoint_set(wg, peer, &endpoint);
    }
    if (change->mask & CW_WG_PEER_REPLACE_ALLOWED_IPS) cw_allowed_ips_remove_peer(identity->allowed, peer);
    for (uint32_t i = 0; i < change->allowed_ip_count; i++) cw_allowed_ips_set(identity->allowed, &change->allowed_ips[i], peer);
}

static cw_status change_run(cw_wg *wg, cw_wg_identity *identity, const cw_wg_peer_change *changes, size_t count, size_t *used) {
    cw_wg_peer *peers[CW_WG_CHANGES];
    uint32_t wishes[CW_WG_CHANGES];
    size_t prefixes = 0, taken = 0;
    cw_status status = CW_OK;
    for (; taken < count && taken < CW_WG_CHANGES && (changes[taken].mask & CW_WG_PEER_REMOVE) == 0; taken++) {
        if (!is_valid(&changes[taken])) status = CW_INVALID;
        else if (!cw_allowed_ips_reserve(identity->allowed, prefixes + changes[taken].allowed_ip_count)) status = CW_NO_MEMORY;
        else status = prepare(wg, identity, &changes[taken], &peers[taken], &wishes[taken]);
        if (status != CW_OK) break;
        prefixes += changes[taken].allowed_ip_count;
    }
    cw_gate_close(&wg->gate);
    for (size_t i = 0; i < taken; i++)
        if (peers[i] != NULL) apply(wg, identity, &changes[i], peers[i], &wishes[i]);
    cw_gate_open(&wg->gate);
    for (size_t i = 0; i < taken; i++)
        if (peers[i] != NULL) cw_wg_ask(wg, peers[i], wishes[i]);
    *used = taken;
    return status;
}

cw_status cw_wg_set_peers(cw_wg *wg, uint32_t handle, const cw_wg_peer_change *changes, size_t count, size_t *done) {
    cw_status status = CW_OK;
    *done = 0;
    do {
        // The lock is let go between runs: handshakes go on while thousands of peers are set.
        pthread_mutex_lock(&wg->lock);
        cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
        size_t used = 0;
        if (identity == NULL) {
            status = CW_NOT_FOUND;
        } else if (*done < count) {
            if (changes[*done].mask & CW_WG_PEER_REMOVE) {
                used = remove_run(wg, identity, changes + *done, count - *done);
                if (used == 0) status = CW_INVALID;
            } else {
                status = change_run(wg, identity, changes + *done, count - *done, &used);
            }
        }
        pthread_mutex_unlock(&wg->lock);
        *done += used;
    } while (status == CW_OK && *done < count);
    return status;
}
