// Inner packets out: counters reserved, padded, sealed as one batch, sent in runs. What a worker does, and control for what is staged.
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "ip.h"
#include "memory.h"

enum { ecn_mask = 3, ecn_ect0 = 2, ecn_ce = 3, handshake_tos = 0x88 /* AF41, as the kernel module */ };

// ---- Work space -----------------------------------------------------------------------------------------------------

static size_t lanes_bytes(const cw_wg *wg) { return (wg->config.worker_count + 1) * sizeof(cw_wg_lane); }

static bool lanes_create(cw_wg *wg) {
    wg->lanes = cw_map(lanes_bytes(wg));
    if (wg->lanes == NULL) return false;
    for (uint32_t i = 0; i <= wg->config.worker_count; i++) {
        cw_wg_lane *lane = &wg->lanes[i];
        lane->index = i;
        lane->epoll_fd = -1;
        lane->aead = cw_aead_create();
        if (lane->aead == NULL || !cw_wg_udp_space_create(&lane->udp, i)) return false;
    }
    return true;
}

bool cw_wg_data_create(cw_wg *wg) {
    wg->network = &cw_wg_sockets;
    if (lanes_create(wg) && cw_wg_tables_create(wg) && cw_wg_stage_create(wg)) return true;
    cw_wg_data_destroy(wg);
    return false;
}

void cw_wg_data_destroy(cw_wg *wg) {
    cw_wg_stage_destroy(wg);
    cw_wg_tables_destroy(wg);
    if (wg->lanes == NULL) return;
    for (uint32_t i = 0; i <= wg->config.worker_count; i++) {
        cw_aead_destroy(wg->lanes[i].aead);
        cw_wg_udp_space_destroy(&wg->lanes[i].udp);
    }
    cw_unmap(wg->lanes, lanes_bytes(wg));
    wg->lanes = NULL;
}

// ---- What a packet needs --------------------------------------------------------------------------------------------

// The DSCP stays inside; the congestion bits are copied, but a mark already made is not: outside it begins anew (RFC 3168
// section 9.1.1, the full-functionality option, as the kernel's module does).
static uint8_t outer_tos(const cw_buffer *buffer) {
    const uint8_t *data = buffer->storage + buffer->offset;
    if (buffer->length == 0) return 0;
    uint8_t inner = data[0] >> 4 == 4 ? data[1] : (uint8_t)(data[1] >> 4);
    return (inner & ecn_mask) == ecn_ce ? ecn_ect0 : inner & ecn_mask;
}

// To a multiple of 16, but a padded packet is not longer than the MTU; longer ones count from their last full MTU.
static uint32_t padding(uint32_t length, uint32_t mtu) {
    uint32_t last = length > mtu ? length % mtu : length;
    uint32_t padded = (last + CW_WG_PADDING - 1) / CW_WG_PADDING * CW_WG_PADDING;
    return (padded < mtu ? padded : mtu) - last;
}

// Stamps for the timers (state.h). The keepalive that a received packet asked for is not needed any more; new data wants an answer.
static void stamp_sent(cw_wg *wg, cw_wg_peer *peer, uint64_t now, bool data) {
    if (atomic_load_explicit(&peer->unreplied_since, memory_order_relaxed) != 0)
        atomic_store_explicit(&peer->unreplied_since, 0, memory_order_relaxed);
    if (atomic_load_explicit(&peer->last_traversal, memory_order_relaxed) != now)
        atomic_store_explicit(&peer->last_traversal, now, memory_order_relaxed);
    if (!data || atomic_load_explicit(&peer->unanswered_since, memory_order_relaxed) != 0) return;
    // Control says that it stops watching and looks at the stamps once more: one of the two sees the other.
    atomic_store(&peer->unanswered_since, now);
    if (!atomic_load(&peer->watched)) cw_wg_ask(wg, peer, CW_WG_WANT_TIMERS);
}

// ---- A batch --------------------------------------------------------------------------------------------------------

// Packets of one peer, in order, that follow each other in the queue. Fills in jobs and datagrams and returns how many.
static size_t prepare(cw_wg *wg, cw_wg_lane *lane, size_t first, const cw_wg_queued *queue, size_t count, uint64_t now) {
    cw_wg_peer *peer = queue->peer;
    if (peer->endpoint.to.any.sa_family == AF_UNSPEC) {
        cw_wg_tally_add(wg, lane->index, CW_WG_TALLY_DROP(CW_WG_DROP_NO_ENDPOINT), count);
        cw_wg_lose(&peer->lost_no_endpoint, count);
        return 0;
    }
    cw_wg_keypair *pair = peer->current;
    if (!cw_wg_pair_may_send(pair, now)) {
        uint32_t lost = 0;
        for (size_t i = 0; i < count; i++) lost += cw_wg_stage_add(wg, peer, queue[i].buffer);
        if (lost > 0) cw_wg_tally_add(wg, lane->index, CW_WG_TALLY_DROP(CW_WG_DROP_STAGED), lost);
        cw_wg_lose(&peer->lost_staged, lost);
        cw_wg_wish(wg, peer, CW_WG_WANT_HANDSHAKE);
        return 0;
    }
    uint64_t counter = atomic_fetch_add_explicit(&pair->sent, count, memory_order_relaxed);
    size_t made = 0;
    bool data = false;
    for (size_t i = 0; i < count; i++) {
        cw_buffer *buffer = queue[i].buffer;
        uint32_t inner = buffer->length, pad = padding(inner, peer->identity->mtu), behind = buffer->offset + inner;
        if (buffer->offset < sizeof(cw_wg_data_header) || behind + pad + CW_WG_TAG > sizeof buffer->storage) {
            cw_wg_drop_one(wg, lane->index, CW_WG_DROP_OVERFLOW);
            continue;
        }
        uint8_t *plain = buffer->storage + buffer->offset, *header = plain - sizeof(cw_wg_data_header);
        memset(plain + inner, 0, pad);
        cw_put_le32(header, CW_WG_DATA);
        cw_put_le32(header + 4, pair->remote_index);
        cw_put_le64(header + 8, counter + i);
        lane->sealing[first + made] = (cw_aead_job){
            .key = pair->send_key, .counter = counter + i, .in = plain, .out = plain, .length = inner + pad};
        lane->datagrams[first + made] = (cw_wg_datagram){.to = &peer->endpoint,
                                                         .data = header,
                                                         .length = (uint16_t)(inner + pad + CW_WG_DATA_OVERHEAD),
                                                         .tos = outer_tos(buffer),
                                                         .inner = inner,
                                                         .peer = peer};
        data = data || inner > 0;
        made++;
    }
    if (made > 0) stamp_sent(wg, peer, now, data);
    // Near the end of the keys the initiator renews them, and whoever has used up the messages (the paper, section 6.2).
    if (counter + count >= CW_WG_REKEY_AFTER_MESSAGES || (pair->initiator && cw_wg_pair_is_older(pair, now, CW_WG_REKEY_AFTER_TIME)))
        cw_wg_wish(wg, peer, CW_WG_WANT_HANDSHAKE);
    return made;
}

// The local address in a peer's endpoint is not ours any more: control lets the kernel choose.
static void forget_source(cw_wg *wg, cw_wg_peer *peer) {
    pthread_mutex_lock(&peer->leaf);
    peer->moved = peer->endpoint;
    memset(&peer->moved.from, 0, sizeof peer->moved.from);
    peer->moved.from_interface = 0;
    pthread_mutex_unlock(&peer->leaf);
    cw_wg_wish(wg, peer, CW_WG_WANT_ENDPOINT);
}

static void account(cw_wg *wg, cw_wg_lane *lane, const cw_wg_datagram *datagrams, size_t count) {
    uint64_t packets = 0, bytes = 0, keepalives = 0, refused = 0;
    for (size_t i = 0; i < count;) {
        cw_wg_peer *peer = datagrams[i].peer;
        uint64_t sent = 0, inner_packets = 0, failed = 0;
        bool forget = false;
        for (; i < count && datagrams[i].peer == peer; i++) {
            const cw_wg_datagram *datagram = &datagrams[i];
            forget = forget || datagram->forget_source;
            if (!datagram->sent) {
                failed++;
                continue;
            }
            sent += datagram->length;
            if (datagram->inner == 0) keepalives++;
            else inner_packets++;
            bytes += datagram->inner;
        }
        packets += inner_packets;
        refused += failed;
        if (sent > 0) atomic_fetch_add_explicit(&peer->sent_bytes, sent, memory_order_relaxed);
        if (inner_packets > 0) atomic_fetch_add_explicit(&peer->unanswered, inner_packets, memory_order_relaxed);
        cw_wg_lose(&peer->lost_refused, failed);
        if (forget) forget_source(wg, peer);
    }
    cw_wg_tally_add(wg, lane->index, CW_WG_TALLY(packets_out), packets);
    cw_wg_tally_add(wg, lane->index, CW_WG_TALLY(bytes_out), bytes);
    cw_wg_tally_add(wg, lane->index, CW_WG_TALLY(keepalives_out), keepalives);
    if (refused > 0) cw_wg_tally_add(wg, lane->index, CW_WG_TALLY_DROP(CW_WG_DROP_SEND), refused);
}

// Hands the datagrams to their ports; nearly always there is one.
static void dispatch(cw_wg *wg, cw_wg_lane *lane, cw_wg_datagram *datagrams, size_t count) {
    uint32_t port = datagrams[0].peer->identity->port;
    size_t others = 0, ours = 0;
    for (size_t i = 0; i < count; i++) {
        if (datagrams[i].peer->identity->port == port) datagrams[ours++] = datagrams[i];
        else lane->outgoing[others++] = datagrams[i];
    }
    cw_wg_udp *udp = wg->ports[port].udp;
    if (udp != NULL) udp->operations->send(udp, &lane->udp, datagrams, ours);
    account(wg, lane, datagrams, ours);
    if (others == 0) return;
    memcpy(datagrams, lane->outgoing, others * sizeof *datagrams);
    dispatch(wg, lane, datagrams, others); // one port less each time
}

static void send_batch(cw_wg *wg, cw_wg_lane *lane, const cw_wg_queued *queue, size_t count, uint64_t now) {
    size_t made = 0;
    for (size_t i = 0, run; i < count; i += run) {
        for (run = 1; i + run < count && queue[i + run].peer == queue[i].peer;) run++;
        made += prepare(wg, lane, made, queue + i, run, now);
    }
    if (made == 0) return;
    cw_aead_seal(lane->aead, lane->sealing, made);
    dispatch(wg, lane, lane->datagrams, made);
}

// ---- Workers --------------------------------------------------------------------------------------------------------

void cw_wg_enter(cw_wg *wg, uint32_t worker) { cw_gate_enter(&wg->gate, worker); }
void cw_wg_leave(cw_wg *wg, uint32_t worker) { cw_gate_leave(&wg->gate, worker); }

cw_wg_identity *cw_wg_find(cw_wg *wg, uint32_t identity) {
    uint32_t number = identity & 0xFFFF;
    if (number == 0 || number > wg->config.identity_capacity) return NULL;
    cw_wg_identity *found = &wg->identities[number];
    return found->handle == identity && found->up ? found : NULL;
}

cw_wg_peer *cw_wg_route(const cw_wg_identity *identity, uint8_t family, const uint8_t *destination) {
    return cw_allowed_ips_find(identity->allowed, family, destination);
}

bool cw_wg_has_endpoint(const cw_wg_peer *peer) { return peer->endpoint.to.any.sa_family != AF_UNSPEC; }

void cw_wg_count_unroutable(cw_wg *wg, uint32_t worker, cw_wg_peer *peer) {
    cw_wg_drop_one(wg, worker, peer == NULL ? CW_WG_DROP_NO_PEER : CW_WG_DROP_NO_ENDPOINT);
    if (peer != NULL) cw_wg_lose(&peer->lost_no_endpoint, 1);
}

void cw_wg_queue(cw_wg *wg, uint32_t worker, cw_wg_peer *peer, cw_buffer *buffer, cw_pool *pool, uint64_t now) {
    cw_wg_lane *lane = &wg->lanes[worker];
    lane->queue[lane->queued++] = (cw_wg_queued){peer, buffer};
    if (lane->queued == CW_MAX_BATCH) cw_wg_flush(wg, worker, pool, now);
}

void cw_wg_flush(cw_wg *wg, uint32_t worker, cw_pool *pool, uint64_t now) {
    cw_wg_lane *lane = &wg->lanes[worker];
    uint32_t count = lane->queued;
    if (count == 0) return;
    lane->queued = 0;
    send_batch(wg, lane, lane->queue, count, now);
    for (uint32_t i = 0; i < count; i++) cw_pool_give(pool, lane->queue[i].buffer);
}

// ---- Control --------------------------------------------------------------------------------------------------------

void cw_wg_send_staged(cw_wg *wg, cw_wg_peer *peer, uint64_t now, bool keepalive_if_none) {
    cw_wg_lane *lane = &wg->lanes[wg->config.worker_count];
    if (!cw_wg_pair_may_send(peer->current, now) || !cw_wg_has_endpoint(peer)) return;
    cw_wg_staged staged = cw_wg_stage_take(peer);
    if (staged.first == NULL && keepalive_if_none) {
        cw_buffer nothing;
        nothing.offset = CW_HEADROOM;
        nothing.length = 0;
        send_batch(wg, lane, &(cw_wg_queued){peer, &nothing}, 1, now);
        return;
    }
    for (cw_buffer *next = staged.first; next != NULL;) {
        size_t count = 0;
        for (; next != NULL && count < CW_MAX_BATCH; next = next->next) lane->queue[count++] = (cw_wg_queued){peer, next};
        send_batch(wg, lane, lane->queue, count, now);
    }
    cw_wg_stage_give(wg, &staged);
}

bool cw_wg_send_message(cw_wg *wg, uint32_t port, const cw_wg_route_to *to, const uint8_t *message, size_t length) {
    cw_wg_udp *udp = port == 0 || port > CW_WG_MAX_PORTS ? NULL : wg->ports[port].udp;
    if (udp == NULL || to->to.any.sa_family == AF_UNSPEC) return false;
    uint8_t copy[sizeof(cw_wg_initiation)]; // what is sent is not changed, but an iovec is not const
    if (length > sizeof copy) return false;
    memcpy(copy, message, length);
    uint8_t tos = message[0] == CW_WG_INITIATION || message[0] == CW_WG_RESPONSE ? handshake_tos : 0;
    cw_wg_datagram datagram = {.to = to, .data = copy, .length = (uint16_t)length, .tos = tos};
    udp->operations->send(udp, &wg->lanes[wg->config.worker_count].udp, &datagram, 1);
    if (!datagram.sent) cw_wg_drop_one(wg, wg->config.worker_count, CW_WG_DROP_SEND);
    return datagram.sent;
}
