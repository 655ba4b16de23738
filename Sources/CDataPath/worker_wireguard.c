// Between a worker and the WireGuard engine. What arrives for an access identity comes from a native user, and belongs to the session of
// its inner source; everything else comes from a hub, and belongs to the session of its inner destination. Whether that session is bound
// to the identity (or is that very peer's) is looked at by the worker that owns it.
#define _GNU_SOURCE
#include <string.h>

#include "worker.h"
#include "wireguard/state.h"
#include "wireguard/udp.h"

cw_wg_peer *cw_worker_find_peer(cw_worker *worker, uint32_t identity, uint8_t family, const uint8_t *destination, cw_drop *cause) {
    // Bindings to identities are refused without an engine.
    const cw_wg_identity *found = cw_wg_find(worker->wireguard, identity);
    if (found == NULL) {
        *cause = CW_DROP_TUNNEL_DOWN;
        return NULL;
    }
    cw_wg_peer *peer = cw_wg_route(found, family, destination);
    if (peer != NULL && cw_wg_has_endpoint(peer)) return peer;
    cw_wg_count_unroutable(worker->wireguard, worker->index, peer);
    *cause = CW_DROP_NO_PEER;
    return NULL;
}

bool cw_worker_is_peer(const cw_session *session, const cw_wg_peer *peer) {
    return memcmp(session->peer, peer->remote.public_key, sizeof session->peer) == 0;
}

// Commands reach every worker in the same order, and the engine counts sessions: what is told twice never is.
void cw_worker_set_access(cw_worker *worker, uint32_t identity, bool opened) {
    if (opened) {
        worker->access[worker->access_count++] = identity;
        return;
    }
    uint32_t i = 0;
    while (worker->access[i] != identity) i++;
    worker->access[i] = worker->access[--worker->access_count];
}

static bool is_access(const cw_worker *worker, uint32_t identity) {
    for (uint32_t i = 0; i < worker->access_count; i++)
        if (worker->access[i] == identity) return true;
    return false;
}

typedef struct step {
    cw_worker *worker;
    uint64_t now;
    size_t packets; // that it has brought
} step;

// The buffers are needed for the next batch of the same step. When the worker stays behind, what came waits for its turn (turns.h), and
// other buffers are brought in.
static void serve(cw_worker *worker, uint64_t now) {
    bool overloaded = cw_turns_overloaded(&worker->up, now);
    if (cw_turns_full(&worker->up)) cw_worker_receive_waiting(worker, now);
    while (!overloaded && worker->up.packets > 0) cw_worker_receive_waiting(worker, now);
    if (!cw_turns_overloaded(&worker->down, now) || cw_turns_full(&worker->down)) cw_worker_send_waiting(worker, now);
    else cw_worker_flush(worker, now);
    cw_worker_refill(worker, CW_MAX_BATCH);
}

// The engine has looked at version and length of each packet, and whether its peer may use the inner source.
static void take(void *context, const cw_wg_incoming *packets, size_t count) {
    cw_worker *worker = ((step *)context)->worker;
    uint64_t now = ((step *)context)->now;
    for (size_t i = 0; i < count; i++) {
        cw_buffer *buffer = packets[i].buffer;
        const uint8_t *packet = cw_buffer_data(buffer);
        uint8_t family = packet[0] >> 4;
        cw_origin origin = {.way = CW_FROM_UPLINK, .identity = packets[i].identity};
        if (is_access(worker, origin.identity)) {
            origin.way = CW_FROM_NATIVE;
            memcpy(origin.peer, packets[i].peer->remote.public_key, sizeof origin.peer);
        }
        bool native = origin.way == CW_FROM_NATIVE;
        cw_route route = cw_trie_find(&worker->routes, family, packet + (family == 4 ? (native ? 12 : 16) : (native ? 8 : 24)));
        if (route == 0) cw_worker_drop(worker, NULL, buffer, native ? CW_DROP_WRONG_PEER : CW_DROP_IP_NO_SESSION);
        else cw_worker_hand_over(worker, route, &origin, buffer, now);
    }
    ((step *)context)->packets += count;
    serve(worker, now);
}

void cw_worker_read_wireguard(cw_worker *worker, uint64_t epoll_data, uint64_t now) {
    enum { most = 4 }; // times what is served in a step, if the worker stays behind and sessions compete: see turns.h
    step context = {worker, now, 0};
    uint32_t reads;
    bool more = true;
    while (more && !cw_worker_is_full(worker) && (reads = cw_worker_may_read(worker, CW_WG_RECEIVE)) > 0) {
        cw_worker_refill(worker, CW_MAX_BATCH); // one read may bring many packets
        cw_worker_enter(worker);
        more = cw_wg_receive_some(worker->wireguard, worker->index, epoll_data, reads, &worker->pool, now, take, &context);
        cw_worker_leave(worker);
        bool overloaded = cw_turns_overloaded(&worker->down, now) || cw_turns_overloaded(&worker->up, now);
        if (!overloaded || context.packets >= most * CW_WORKER_SERVES * worker->config->batch_size) break;
    }
    worker->more_from_uplink = worker->more_from_uplink || more;
    if (worker->access_count > 0) worker->more_to_receive = worker->more_to_receive || more;
}
