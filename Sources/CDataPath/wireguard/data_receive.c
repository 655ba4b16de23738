// Datagrams in: checked, opened as a batch, delivered. Nothing of a peer changes before the tag is verified.
#include <string.h>

#include "data.h"
#include "ip.h"

enum { ecn_mask = 3, ecn_ect1 = 1, ecn_ect0 = 2, ecn_ce = 3 };

// What one call has at hand.
typedef struct step {
    cw_wg *wg;
    cw_wg_lane *lane;
    uint32_t port;
    cw_pool *pool;
    uint64_t now;
    cw_wg_sink *sink;
    void *context;
    uint32_t index; // receiver of the message before, whose keypair is `pair`: most messages follow one of the same session
    cw_wg_keypair *pair;
} step;

static void drop(const step *step, cw_wg_drop cause, cw_buffer *buffer) {
    cw_wg_drop_one(step->wg, step->lane->index, cause);
    if (buffer != NULL) cw_pool_give(step->pool, buffer);
}

// ---- After the tag --------------------------------------------------------------------------------------------------

// Messages of one keypair that came in one read.
typedef struct run {
    uint32_t first, end;      // in lane->openings
    uint32_t authentic, data; // how many; data: not keepalives
    uint64_t bytes;           // of the authentic messages
} run;

// Stamps for the timers (state.h): whatever was unanswered is answered; data wants a sign from us.
static void stamp_received(const step *step, cw_wg_peer *peer, uint32_t data) {
    if (atomic_load_explicit(&peer->unanswered_since, memory_order_relaxed) != 0)
        atomic_store_explicit(&peer->unanswered_since, 0, memory_order_relaxed);
    if (atomic_load_explicit(&peer->last_traversal, memory_order_relaxed) != step->now)
        atomic_store_explicit(&peer->last_traversal, step->now, memory_order_relaxed);
    cw_wg_answered(peer, step->now);
    if (data == 0) return;
    if (atomic_load_explicit(&peer->data_received_at, memory_order_relaxed) != step->now)
        atomic_store_explicit(&peer->data_received_at, step->now, memory_order_relaxed);
    bool waits = atomic_load_explicit(&peer->unreplied_since, memory_order_relaxed) != 0;
    if ((waits || data > 1) && !atomic_load_explicit(&peer->more_unreplied, memory_order_relaxed))
        atomic_store_explicit(&peer->more_unreplied, true, memory_order_relaxed);
    if (waits) return;
    // As in data_send.c: control and we do not miss each other.
    atomic_store(&peer->unreplied_since, step->now);
    if (!atomic_load(&peer->watched)) cw_wg_ask(step->wg, peer, CW_WG_WANT_TIMERS);
}

// Authenticated messages say where the peer is and that it has our keys.
static void heard(const step *step, cw_wg_keypair *pair, const cw_wg_arrival *arrival, const run *run) {
    cw_wg_peer *peer = pair->peer;
    atomic_fetch_add_explicit(&peer->received_bytes, run->bytes, memory_order_relaxed);
    if (pair == peer->next_pair) cw_wg_wish(step->wg, peer, CW_WG_WANT_CONFIRM);
    if (!cw_wg_same_route(&arrival->from, &peer->endpoint)) {
        pthread_mutex_lock(&peer->leaf);
        peer->moved = arrival->from;
        pthread_mutex_unlock(&peer->leaf);
        cw_wg_wish(step->wg, peer, CW_WG_WANT_ENDPOINT);
    }
    // The initiator that only receives renews the keys before they end, once for each session.
    if (pair == peer->current && pair->initiator &&
        cw_wg_pair_is_older(pair, step->now, CW_WG_REJECT_AFTER_TIME - CW_WG_KEEPALIVE_TIMEOUT - CW_WG_REKEY_TIMEOUT) &&
        !atomic_load_explicit(&peer->sent_last_minute, memory_order_relaxed) && !atomic_exchange(&peer->sent_last_minute, true))
        cw_wg_ask(step->wg, peer, CW_WG_WANT_HANDSHAKE);
    stamp_received(step, peer, run->data);
}

// The inner packet without its padding; false: it is none. Only what the source check and the trimming need; the rest is for whoever
// takes the packet.
static bool trim(cw_buffer *buffer, uint8_t *family, const uint8_t **source) {
    const uint8_t *data = cw_buffer_data(buffer);
    uint32_t length;
    if (buffer->length >= CW_IPV4_HEADER && data[0] >> 4 == 4) {
        *family = 4;
        *source = data + 12;
        length = (uint32_t)data[2] << 8 | data[3];
        if (length < CW_IPV4_HEADER) return false;
    } else if (buffer->length >= CW_IPV6_HEADER && data[0] >> 4 == 6) {
        *family = 6;
        *source = data + 8;
        length = CW_IPV6_HEADER + ((uint32_t)data[4] << 8 | data[5]);
    } else {
        return false;
    }
    if (length > buffer->length) return false;
    buffer->length = (uint16_t)length;
    return true;
}

// RFC 6040 section 4.2, but for one case, in which we do as the kernel's module: a congestion mark on a packet that takes no part in it is
// ignored. Dropping the packet, as the RFC has it, would turn a router that marks everything into one that loses everything.
static void decapsulate_ecn(uint8_t *data, uint8_t family, uint8_t outer) {
    uint8_t inner = family == 4 ? data[1] & ecn_mask : (data[1] >> 4) & ecn_mask, mark = inner;
    outer &= ecn_mask;
    if (inner == 0) return;
    if (outer == ecn_ce) mark = ecn_ce;
    else if (outer == ecn_ect1 && inner == ecn_ect0) mark = ecn_ect1;
    if (mark == inner) return;
    if (family == 6) {
        data[1] = (uint8_t)((data[1] & ~(ecn_mask << 4)) | mark << 4);
        return;
    }
    uint16_t before = cw_get16(data), checksum = cw_get16(data + 10);
    data[1] = (uint8_t)((data[1] & ~ecn_mask) | mark);
    cw_put16(data + 10, cw_checksum_replace(checksum, before, cw_get16(data)));
}

// The run that begins at `first`: forged and repeated messages are dropped, the others marked with their lengths.
static run verify(const step *step, uint32_t first, uint32_t count) {
    cw_wg_lane *lane = step->lane;
    cw_wg_opening *openings = lane->openings;
    cw_wg_keypair *pair = openings[first].pair;
    run run = {.first = first, .end = first};
    // Another worker may have packets of the same session, so the window has a lock; it is taken once for the run.
    pthread_spin_lock(&pair->replay_lock);
    for (; run.end < count && openings[run.end].pair == pair && openings[run.end].arrival == openings[first].arrival; run.end++) {
        cw_wg_opening *one = &openings[run.end];
        const cw_aead_job *job = &lane->opening[run.end];
        bool good = job->ok && cw_replay_accept(&pair->replay, job->counter, CW_WG_REJECT_AFTER_MESSAGES);
        if (!good) {
            drop(step, job->ok ? CW_WG_DROP_REPLAY : CW_WG_DROP_TAG, one->buffer);
            one->buffer = NULL;
            continue;
        }
        one->buffer->length = (uint16_t)job->length;
        run.authentic++;
        run.data += job->length > 0;
        run.bytes += one->length;
    }
    pthread_spin_unlock(&pair->replay_lock);
    return run;
}

// Whether an authentic packet may go in; drops it if not.
static bool admit(const step *step, const cw_wg_peer *peer, const cw_wg_arrival *arrival, cw_buffer *buffer) {
    uint8_t family;
    const uint8_t *source;
    if (!trim(buffer, &family, &source)) drop(step, CW_WG_DROP_INNER, buffer);
    else if (cw_allowed_ips_find(peer->identity->allowed, family, source) != peer) drop(step, CW_WG_DROP_ALLOWED_IP, buffer);
    else {
        decapsulate_ecn(cw_buffer_data(buffer), family, arrival->tos);
        return true;
    }
    return false;
}

// Opens what was collected and gives the sink what is good.
static void open_batch(const step *step) {
    cw_wg_lane *lane = step->lane;
    uint32_t count = lane->opening_count;
    if (count == 0) return;
    lane->opening_count = 0;
    cw_aead_open(lane->aead, lane->opening, count);

    size_t delivered = 0;
    uint64_t keepalives = 0, bytes = 0;
    for (run run = {0}; run.end < count;) {
        run = verify(step, run.end, count);
        if (run.authentic == 0) continue;
        cw_wg_keypair *pair = lane->openings[run.first].pair;
        const cw_wg_arrival *arrival = &lane->arrivals[lane->openings[run.first].arrival];
        heard(step, pair, arrival, &run);
        keepalives += run.authentic - run.data;
        for (uint32_t i = run.first; i < run.end; i++) {
            cw_buffer *buffer = lane->openings[i].buffer;
            if (buffer == NULL) continue;
            if (buffer->length == 0) {
                cw_pool_give(step->pool, buffer);
            } else if (admit(step, pair->peer, arrival, buffer)) {
                bytes += buffer->length;
                lane->incoming[delivered++] = (cw_wg_incoming){pair->peer->identity->handle, pair->peer, buffer};
            }
        }
    }
    if (keepalives > 0) cw_wg_tally_add(step->wg, lane->index, CW_WG_TALLY(keepalives_in), keepalives);
    if (delivered == 0) return;
    cw_wg_tally_add(step->wg, lane->index, CW_WG_TALLY(packets_in), delivered);
    cw_wg_tally_add(step->wg, lane->index, CW_WG_TALLY(bytes_in), bytes);
    step->sink(step->context, lane->incoming, delivered);
}

// ---- Before the tag -------------------------------------------------------------------------------------------------

static cw_wg_keypair *find_pair(step *step, uint32_t index) {
    if (index != step->index) {
        const cw_wg_index_entry *entry = cw_wg_index_find(step->wg, index);
        step->index = index;
        step->pair = entry == NULL ? NULL : entry->pair;
    }
    return step->pair;
}

static void take_data(step *step, uint16_t number, const uint8_t *message, uint32_t length) {
    cw_wg_lane *lane = step->lane;
    cw_wg_keypair *pair = find_pair(step, cw_le32(message + 4));
    // An identity that goes, or goes down, is marked so before its sessions end.
    if (pair == NULL || !pair->peer->identity->up || pair->peer->identity->port != step->port) {
        drop(step, CW_WG_DROP_UNKNOWN_INDEX, NULL);
        return;
    }
    uint64_t counter = cw_le64(message + 8);
    if (counter >= CW_WG_REJECT_AFTER_MESSAGES || cw_wg_pair_is_older(pair, step->now, CW_WG_REJECT_AFTER_TIME)) {
        drop(step, CW_WG_DROP_EXPIRED, NULL);
        return;
    }
    uint32_t inner = length - CW_WG_DATA_OVERHEAD;
    if (inner > CW_WG_LONGEST_INNER) {
        drop(step, CW_WG_DROP_TOO_LONG, NULL);
        return;
    }
    cw_buffer *buffer = cw_pool_take(step->pool);
    if (buffer == NULL) {
        drop(step, CW_WG_DROP_OVERFLOW, NULL);
        return;
    }
    buffer->offset = CW_HEADROOM;
    uint32_t at = lane->opening_count++;
    lane->openings[at] = (cw_wg_opening){pair, buffer, number, (uint16_t)length};
    lane->opening[at] = (cw_aead_job){.key = pair->receive_key,
                                      .counter = counter,
                                      .in = message + sizeof(cw_wg_data_header),
                                      .out = cw_buffer_data(buffer),
                                      .length = inner};
    if (lane->opening_count == CW_MAX_BATCH) open_batch(step);
}

static void take_handshake(const step *step, const cw_wg_arrival *arrival, const uint8_t *message, uint32_t length) {
    cw_wg_letter letter = {.port = step->port, .length = length, .from = arrival->from};
    memcpy(letter.bytes, message, length);
    if (!cw_wg_post(step->wg, &letter)) drop(step, CW_WG_DROP_UNDER_LOAD, NULL);
}

static void take(step *step, uint16_t number, const uint8_t *message, uint32_t length) {
    if (length >= CW_WG_DATA_OVERHEAD) {
        switch (cw_le32(message)) { // the three bytes after the type are zero
        case CW_WG_DATA: take_data(step, number, message, length); return;
        case CW_WG_INITIATION:
            if (length != sizeof(cw_wg_initiation)) break;
            take_handshake(step, &step->lane->arrivals[number], message, length);
            return;
        case CW_WG_RESPONSE:
            if (length != sizeof(cw_wg_response)) break;
            take_handshake(step, &step->lane->arrivals[number], message, length);
            return;
        case CW_WG_COOKIE:
            if (length != sizeof(cw_wg_cookie_reply)) break;
            take_handshake(step, &step->lane->arrivals[number], message, length);
            return;
        default: break;
        }
    }
    drop(step, CW_WG_DROP_MALFORMED, NULL);
}

bool cw_wg_receive_some(cw_wg *wg, uint32_t worker, uint64_t epoll_data, uint32_t reads, cw_pool *pool, uint64_t now, cw_wg_sink *sink,
                        void *context) {
    cw_wg_lane *lane = &wg->lanes[worker];
    uint32_t port = cw_wg_epoll_port(epoll_data);
    // epoll may still speak of a port that was closed before we came in.
    cw_wg_udp *udp = port == 0 || port > CW_WG_MAX_PORTS ? NULL : wg->ports[port].udp;
    if (udp == NULL) return false;
    step step = {.wg = wg, .lane = lane, .port = port, .pool = pool, .now = now, .sink = sink, .context = context};
    lane->udp.reads = reads < CW_WG_RECEIVE ? reads : CW_WG_RECEIVE;
    size_t count = udp->operations->receive(udp, &lane->udp, cw_wg_epoll_family(epoll_data), lane->arrivals);
    for (size_t i = 0; i < count; i++) {
        const cw_wg_arrival *arrival = &lane->arrivals[i];
        if (arrival->length == 0) take(&step, (uint16_t)i, arrival->data, 0);
        for (uint32_t at = 0; at < arrival->length; at += arrival->segment) {
            uint32_t rest = arrival->length - at;
            take(&step, (uint16_t)i, arrival->data + at, rest < arrival->segment ? rest : arrival->segment);
        }
    }
    open_batch(&step);
    return count == lane->udp.reads;
}

void cw_wg_receive(cw_wg *wg, uint32_t worker, uint64_t epoll_data, cw_pool *pool, uint64_t now, cw_wg_sink *sink, void *context) {
    (void)cw_wg_receive_some(wg, worker, epoll_data, CW_WG_RECEIVE, pool, now, sink, context);
}
