// The public calls that read peers, one or many. Many are read in small steps, between which the lock is free: handshakes go on meanwhile.
#include <string.h>

#include "control.h"

static cw_wg_endpoint endpoint_of(const cw_wg_route_to *route) {
    cw_wg_endpoint endpoint;
    memset(&endpoint, 0, sizeof endpoint);
    if (route->to.any.sa_family == AF_INET) {
        endpoint.address.family = 4;
        endpoint.port = ntohs(route->to.v4.sin_port);
        memcpy(endpoint.address.bytes, &route->to.v4.sin_addr, 4);
    } else if (route->to.any.sa_family == AF_INET6) {
        endpoint.address.family = 6;
        endpoint.port = ntohs(route->to.v6.sin6_port);
        endpoint.scope = route->to.v6.sin6_scope_id;
        memcpy(endpoint.address.bytes, &route->to.v6.sin6_addr, 16);
    }
    return endpoint;
}

static void describe(const cw_wg_peer *peer, cw_wg_peer_info *info) {
    memset(info, 0, sizeof *info);
    memcpy(info->public_key, peer->remote.public_key, CW_WG_KEY);
    memcpy(info->preshared_key, peer->remote.preshared_key, CW_WG_KEY);
    info->endpoint = endpoint_of(&peer->endpoint);
    info->keepalive_seconds = peer->keepalive_seconds;
    info->allowed_ip_count = peer->allowed_ip_count;
    info->handshake_unix_nanoseconds = peer->handshake_unix_nanoseconds;
    info->received_bytes = atomic_load_explicit(&peer->received_bytes, memory_order_relaxed);
    info->sent_bytes = atomic_load_explicit(&peer->sent_bytes, memory_order_relaxed);
    info->initiations_sent = peer->initiations_sent;
}

static uint64_t stamp(const _Atomic uint64_t *at) { return atomic_load_explicit(at, memory_order_relaxed); }

static void describe_activity(const cw_wg_peer *peer, cw_wg_activity *activity) {
    memset(activity, 0, sizeof *activity);
    activity->identity = peer->identity->handle;
    activity->given_up = peer->given_up;
    memcpy(activity->public_key, peer->remote.public_key, CW_WG_KEY);
    activity->endpoint = endpoint_of(&peer->endpoint);
    activity->keepalive_seconds = peer->keepalive_seconds;
    activity->handshake_unix_nanoseconds = peer->handshake_unix_nanoseconds;
    activity->initiations_sent = peer->initiations_sent;
    activity->received_bytes = stamp(&peer->received_bytes);
    activity->sent_bytes = stamp(&peer->sent_bytes);
    activity->received_at = stamp(&peer->received_at);
    activity->data_received_at = stamp(&peer->data_received_at);
    activity->unanswered_packets = stamp(&peer->unanswered);
    activity->lost_unanswered = stamp(&peer->lost_unanswered);
    if (atomic_load_explicit(&peer->silent, memory_order_relaxed)) activity->lost_unanswered += activity->unanswered_packets;
    activity->lost_staged = stamp(&peer->lost_staged);
    activity->lost_no_endpoint = stamp(&peer->lost_no_endpoint);
    activity->lost_refused = stamp(&peer->lost_refused);
}

// ---- Many -----------------------------------------------------------------------------------------------------------

typedef void describe_one(const cw_wg_peer *peer, void *out, size_t index);

static void put_info(const cw_wg_peer *peer, void *out, size_t index) { describe(peer, (cw_wg_peer_info *)out + index); }
static void put_activity(const cw_wg_peer *peer, void *out, size_t index) { describe_activity(peer, (cw_wg_activity *)out + index); }

// The peer behind the one that was read last, also where that has been removed: peers stand in the order of their numbers.
static const cw_wg_peer *resume(const cw_wg *wg, const cw_wg_identity *identity, const cw_wg_cursor *cursor) {
    if (cursor->peer != 0 && cursor->slot < wg->peers_used) {
        const cw_wg_peer *last = &wg->peers[cursor->slot];
        if (last->number == cursor->peer && last->identity == identity) return last->next;
    }
    const cw_wg_peer *peer = identity->first;
    while (peer != NULL && peer->number <= cursor->peer) peer = peer->next;
    return peer;
}

// Some peers of one identity; true: there may be more.
static bool read_some(const cw_wg *wg, const cw_wg_identity *identity, cw_wg_cursor *cursor, describe_one *put, void *out, size_t *count,
                      size_t capacity) {
    const cw_wg_peer *peer = resume(wg, identity, cursor);
    for (size_t i = 0; peer != NULL && *count < capacity && i < CW_WG_CHANGES; i++, peer = peer->next) {
        put(peer, out, (*count)++);
        cursor->peer = peer->number;
        cursor->slot = peer->slot;
    }
    return peer != NULL;
}

// The same for all identities, `cursor->identity` being the number of the one that it stands in. Empty places cost a look each.
static bool read_some_of_all(const cw_wg *wg, cw_wg_cursor *cursor, describe_one *put, void *out, size_t *count, size_t capacity) {
    if (cursor->identity == 0) cursor->identity = 1;
    for (size_t i = 0; i < CW_WG_CHANGES && cursor->identity <= wg->identities_used; i++) {
        const cw_wg_identity *identity = &wg->identities[cursor->identity];
        if (identity->handle != 0 && read_some(wg, identity, cursor, put, out, count, capacity)) return true;
        cursor->identity++;
        cursor->peer = 0;
    }
    return cursor->identity <= wg->identities_used;
}

static size_t read_many(cw_wg *wg, uint32_t handle, cw_wg_cursor *cursor, describe_one *put, void *out, size_t capacity) {
    size_t count = 0;
    for (bool more = true; more && count < capacity;) {
        pthread_mutex_lock(&wg->lock);
        if (handle == CW_WG_ALL_IDENTITIES) {
            more = read_some_of_all(wg, cursor, put, out, &count, capacity);
        } else {
            const cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
            more = identity != NULL && read_some(wg, identity, cursor, put, out, &count, capacity);
        }
        pthread_mutex_unlock(&wg->lock);
    }
    return count;
}

size_t cw_wg_peers_read(cw_wg *wg, uint32_t handle, cw_wg_cursor *cursor, cw_wg_peer_info *out, size_t capacity) {
    return handle == CW_WG_ALL_IDENTITIES ? 0 : read_many(wg, handle, cursor, put_info, out, capacity);
}

size_t cw_wg_activity_read(cw_wg *wg, uint32_t handle, cw_wg_cursor *cursor, cw_wg_activity *out, size_t capacity) {
    return read_many(wg, handle, cursor, put_activity, out, capacity);
}

// ---- One ------------------------------------------------------------------------------------------------------------

cw_status cw_wg_peer_read(cw_wg *wg, uint32_t handle, const uint8_t public_key[CW_WG_KEY_SIZE], cw_wg_peer_info *info) {
    pthread_mutex_lock(&wg->lock);
    const cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    const cw_wg_peer *peer = identity == NULL ? NULL : cw_wg_peer_find(wg, identity, public_key);
    if (peer != NULL) describe(peer, info);
    pthread_mutex_unlock(&wg->lock);
    return peer != NULL ? CW_OK : CW_NOT_FOUND;
}

size_t cw_wg_allowed_ips_read(cw_wg *wg, uint32_t handle, const uint8_t public_key[CW_WG_KEY_SIZE], cw_prefix *out, size_t capacity) {
    pthread_mutex_lock(&wg->lock);
    const cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    const cw_wg_peer *peer = identity == NULL ? NULL : cw_wg_peer_find(wg, identity, public_key);
    size_t count = peer == NULL ? 0 : cw_allowed_ips_list(identity->allowed, peer, out, capacity);
    pthread_mutex_unlock(&wg->lock);
    return count;
}
