// Two engines on one wire whose sessions are put in by hand: no handshake, no thread of control, times as the test says. Engine 0 is at
// 192.0.2.1 and 2001:db8::1, engine 1 at ...2. Peer n of one side is peer n of the other; inner addresses are 10.SIDE.0.n and fd00::SIDE:n.
#ifndef CW_TEST_WG_SESSIONS_H
#define CW_TEST_WG_SESSIONS_H

#include <sodium.h>

#include "control.h"
#include "harness.h"
#include "ip.h"
#include "wg_memory.h"

enum { SESSION_BUFFERS = 2048, SESSION_PORT = 51820, MOST_PEERS = 256, MOST_INNER = 2048 };

#define SECONDS(n) ((uint64_t)(n) * CW_WG_SECOND)

typedef struct side {
    cw_wg *wg;
    memory_host host;
    cw_pool pool;
    cw_buffer *buffers;
    uint32_t port, identity;
    cw_wg_peer *peers[MOST_PEERS];
    uint64_t arrived;
    uint8_t last[MOST_INNER]; // of what arrived
    uint16_t last_length;
    const cw_wg_peer *last_peer;
    uint32_t last_identity;
    bool answer; // what arrives is sent back through the same peer, addresses swapped
    uint64_t now;
} side;

typedef struct sessions {
    memory_wire wire;
    side sides[2];
    uint32_t peers;
    uint64_t now;
} sessions;

static inline cw_wg_counters counters_of(const side *one) {
    cw_wg_counters counters;
    cw_wg_counters_read(one->wg, &counters);
    return counters;
}
static inline uint64_t drops_of(const side *one, cw_wg_drop drop) { return counters_of(one).drops[drop]; }
static inline uint64_t all_drops(const side *one) {
    cw_wg_counters counters = counters_of(one);
    uint64_t sum = 0;
    for (int i = 0; i < CW_WG_DROP_WG_COUNT; i++) sum += counters.drops[i];
    return sum;
}

static inline void inner_address(uint8_t *out, uint8_t family, uint32_t side, uint32_t number) {
    memset(out, 0, 16);
    if (family == 4) {
        out[0] = 10, out[1] = (uint8_t)side, out[2] = (uint8_t)(number >> 8), out[3] = (uint8_t)number;
    } else {
        out[0] = 0xFD, out[13] = (uint8_t)side, out[14] = (uint8_t)(number >> 8), out[15] = (uint8_t)number;
    }
}

// An inner packet of `length` bytes, headers right, filled with a pattern that depends on `mark`.
static inline void make_inner(uint8_t *out, uint8_t family, uint32_t from_side, uint32_t number, uint32_t length, uint8_t tos, uint8_t mark) {
    uint8_t source[16], destination[16];
    inner_address(source, family, from_side, number);
    inner_address(destination, family, 1 - from_side, number);
    for (uint32_t i = 0; i < length; i++) out[i] = (uint8_t)(mark + i * 3);
    if (family == 4) {
        memset(out, 0, CW_IPV4_HEADER);
        out[0] = 0x45, out[1] = tos, out[8] = 64, out[9] = 17;
        cw_put16(out + 2, (uint16_t)length);
        memcpy(out + 12, source, 4);
        memcpy(out + 16, destination, 4);
        cw_put16(out + 10, cw_checksum(cw_sum(0, out, CW_IPV4_HEADER)));
    } else {
        memset(out, 0, CW_IPV6_HEADER);
        out[0] = (uint8_t)(0x60 | tos >> 4), out[1] = (uint8_t)(tos << 4), out[6] = 17, out[7] = 64;
        cw_put16(out + 4, (uint16_t)(length - CW_IPV6_HEADER));
        memcpy(out + 8, source, 16);
        memcpy(out + 24, destination, 16);
    }
}

static inline cw_wg_route_to route_to(const memory_host *host, uint8_t family, uint16_t number) {
    cw_wg_route_to to = {0};
    if (family == 4) to.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(number), .sin_addr = host->v4};
    else to.to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(number), .sin6_addr = host->v6};
    return to;
}

// ---- Making sessions ------------------------------------------------------------------------------------------------

static inline void random_key(uint8_t key[CW_WG_KEY]) { randombytes_buf(key, CW_WG_KEY); }

static inline cw_wg_keypair *install_half(side *one, cw_wg_peer *peer, uint64_t born, bool initiator, const uint8_t *send,
                                          const uint8_t *receive) {
    cw_wg_keypair *pair = cw_wg_keypair_take(one->wg);
    CHECK(pair != NULL);
    pair->peer = peer;
    pair->born = born;
    pair->initiator = initiator;
    memcpy(pair->send_key, send, CW_WG_KEY);
    memcpy(pair->receive_key, receive, CW_WG_KEY);
    cw_gate_close(&one->wg->gate);
    pair->local_index = cw_wg_index_add(one->wg, peer);
    CHECK(pair->local_index != 0);
    cw_wg_index_set_pair(one->wg, pair->local_index, pair);
    cw_gate_open(&one->wg->gate);
    return pair;
}

// New keys for a peer on both sides, side 0 the initiator. Those before become previous; what was previous goes.
static inline void install(sessions *s, uint32_t number, uint64_t born) {
    uint8_t keys[2][CW_WG_KEY];
    cw_wg_keypair *pairs[2];
    random_key(keys[0]);
    random_key(keys[1]);
    for (uint32_t i = 0; i < 2; i++) pairs[i] = install_half(&s->sides[i], s->sides[i].peers[number], born, i == 0, keys[i], keys[1 - i]);
    for (uint32_t i = 0; i < 2; i++) {
        cw_wg *wg = s->sides[i].wg;
        cw_wg_peer *peer = s->sides[i].peers[number];
        cw_gate_close(&wg->gate);
        pairs[i]->remote_index = pairs[1 - i]->local_index;
        cw_wg_keypair *gone = peer->previous;
        if (gone != NULL) cw_wg_index_remove(wg, gone->local_index);
        peer->previous = peer->current;
        peer->current = pairs[i];
        cw_gate_open(&wg->gate);
        if (gone != NULL) cw_wg_keypair_give(wg, gone);
    }
}

static inline cw_wg_peer *add_peer(side *one, uint32_t far_side, uint32_t number, const cw_wg_route_to *endpoint) {
    uint8_t key[CW_WG_KEY];
    random_key(key);
    cw_prefix prefixes[2] = {{.address.family = 4, .length = 32}, {.address.family = 6, .length = 128}};
    inner_address(prefixes[0].address.bytes, 4, far_side, number);
    inner_address(prefixes[1].address.bytes, 6, far_side, number);
    cw_wg_peer_change change = {.allowed_ip_count = 2, .allowed_ips = prefixes};
    memcpy(change.public_key, key, sizeof key);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(one->wg, one->identity, &change, 1, &done), CW_OK);
    cw_wg_peer *peer = cw_wg_peer_find(one->wg, cw_wg_identity_find(one->wg, one->identity), key);
    CHECK(peer != NULL);
    cw_gate_close(&one->wg->gate);
    peer->endpoint = *endpoint;
    cw_wg_forget_wishes(one->wg, peer);
    cw_gate_open(&one->wg->gate);
    // Nobody's timers run here: as if control watched already.
    atomic_store(&peer->watched, true);
    return peer;
}

// What control was asked for, and has now heard.
static inline uint32_t take_wishes(side *one, uint32_t number) {
    uint32_t wishes = atomic_load(&one->peers[number]->attention);
    cw_gate_close(&one->wg->gate);
    cw_wg_forget_wishes(one->wg, one->peers[number]);
    cw_gate_open(&one->wg->gate);
    return wishes;
}

static inline void sessions_open(sessions *s, uint32_t peers, uint32_t workers, uint32_t staged, uint8_t outer) {
    memset(s, 0, sizeof *s);
    memory_wire_init(&s->wire);
    s->now = SECONDS(1000);
    s->peers = peers;
    for (uint32_t i = 0; i < 2; i++) {
        side *one = &s->sides[i];
        cw_wg_config config;
        cw_wg_config_defaults(&config);
        config.worker_count = workers;
        config.staged_packets = staged;
        config.peer_capacity = 512;
        config.identity_capacity = 16;
        CHECK_EQUAL(cw_wg_create(&config, &one->wg), CW_OK);
        memory_host_init(&one->host, &s->wire, i == 0 ? "192.0.2.1" : "192.0.2.2", i == 0 ? "2001:db8::1" : "2001:db8::2", one->wg);
        cw_wg_port_config port = {.port = SESSION_PORT, .ipv4 = true, .ipv6 = true};
        CHECK_EQUAL(cw_wg_port_open(one->wg, &port, &one->port), CW_OK);
        uint8_t key[CW_WG_KEY];
        random_key(key);
        CHECK_EQUAL(cw_wg_identity_add(one->wg, one->port, key, &one->identity), CW_OK);
        one->buffers = calloc(SESSION_BUFFERS, sizeof *one->buffers);
        for (int b = 0; b < SESSION_BUFFERS; b++) cw_pool_give(&one->pool, &one->buffers[b]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        cw_wg_route_to far = route_to(&s->sides[1 - i].host, outer, SESSION_PORT);
        // The local address is that on which the far side was last heard.
        if (outer == 4) far.from.v4 = s->sides[i].host.v4;
        else far.from.v6 = s->sides[i].host.v6;
        far.from_interface = 1;
        for (uint32_t n = 0; n < peers; n++) s->sides[i].peers[n] = add_peer(&s->sides[i], 1 - i, n, &far);
    }
}

static inline void sessions_close(sessions *s) {
    for (uint32_t i = 0; i < 2; i++) {
        cw_wg_destroy(s->sides[i].wg);
        CHECK_EQUAL(s->sides[i].pool.available, SESSION_BUFFERS); // no buffer got lost
        free(s->sides[i].buffers);
    }
    pthread_mutex_destroy(&s->wire.lock);
}

// ---- Traffic --------------------------------------------------------------------------------------------------------

static inline void queue_bytes(side *one, uint32_t worker, cw_wg_peer *peer, const uint8_t *bytes, uint32_t length, uint64_t now) {
    cw_buffer *buffer = cw_pool_take(&one->pool);
    CHECK(buffer != NULL);
    if (buffer == NULL) return;
    memcpy(cw_buffer_data(buffer), bytes, length);
    buffer->length = (uint16_t)length;
    cw_wg_queue(one->wg, worker, peer, buffer, &one->pool, now);
}

// Queues one inner packet from side `from`; the caller is inside and flushes.
static inline void queue_inner(sessions *s, uint32_t from, uint32_t number, uint8_t family, uint32_t length, uint8_t tos, uint8_t mark) {
    uint8_t packet[MOST_INNER];
    side *one = &s->sides[from];
    make_inner(packet, family, from, number, length, tos, mark);
    cw_wg_identity *identity = cw_wg_find(one->wg, one->identity);
    cw_wg_peer *peer = cw_wg_route(identity, family, family == 4 ? packet + 16 : packet + 24);
    CHECK(peer == one->peers[number]);
    queue_bytes(one, 0, peer, packet, length, s->now);
}

static inline void send_inner(sessions *s, uint32_t from, uint32_t number, uint8_t family, uint32_t length, uint8_t tos, uint8_t mark) {
    side *one = &s->sides[from];
    cw_wg_enter(one->wg, 0);
    queue_inner(s, from, number, family, length, tos, mark);
    cw_wg_flush(one->wg, 0, &one->pool, s->now);
    cw_wg_leave(one->wg, 0);
}

static void side_sink(void *context, const cw_wg_incoming *packets, size_t count) {
    side *one = context;
    CHECK(count > 0 && count <= CW_MAX_BATCH);
    for (size_t i = 0; i < count; i++) {
        cw_buffer *buffer = packets[i].buffer;
        one->arrived++;
        one->last_peer = packets[i].peer;
        one->last_identity = packets[i].identity;
        one->last_length = buffer->length;
        memcpy(one->last, cw_buffer_data(buffer), buffer->length);
        if (!one->answer) {
            cw_pool_give(&one->pool, buffer);
            continue;
        }
        uint8_t *data = cw_buffer_data(buffer), swap[4];
        memcpy(swap, data + 12, 4);
        memcpy(data + 12, data + 16, 4);
        memcpy(data + 16, swap, 4);
        cw_wg_queue(one->wg, 0, (cw_wg_peer *)(uintptr_t)packets[i].peer, buffer, &one->pool, one->now);
    }
}

static inline void receive_all(sessions *s, uint32_t on) {
    side *one = &s->sides[on];
    one->now = s->now;
    memory_pump(one->wg, &one->host, &one->pool, s->now, side_sink, one);
}

// What is on its way, kept back by `hold` to be put on the wire in another order, changed, or twice.
typedef struct held {
    memory_datagram *items[1024];
    uint32_t count;
} held;

static bool hold(void *context, memory_datagram *datagram) {
    held *all = context;
    memory_datagram *copy = malloc(sizeof *copy);
    *copy = *datagram;
    if (all->count < 1024) all->items[all->count++] = copy;
    return false;
}

static inline void release(sessions *s, const memory_datagram *datagram) {
    memory_datagram *copy = malloc(sizeof *copy);
    *copy = *datagram;
    pthread_mutex_lock(&s->wire.lock);
    s->wire.watch = NULL;
    memory_deliver(&s->wire, copy);
    pthread_mutex_unlock(&s->wire.lock);
}

static inline void held_begin(sessions *s, held *all) {
    memset(all, 0, sizeof *all);
    s->wire.watch = hold;
    s->wire.context = all;
}

static inline void held_end(sessions *s, held *all) {
    s->wire.watch = NULL;
    for (uint32_t i = 0; i < all->count; i++) free(all->items[i]);
    all->count = 0;
}

#endif
