// WireGuard engines back to back over a network in memory and a virtual clock. Engine n has the inner address 10.0.0.(n+1) and
// fd00::(n+1); its first identity and port are made here, peers by the test.
#ifndef CW_TEST_WG_PAIR_H
#define CW_TEST_WG_PAIR_H

#include <sodium.h>

#include "harness.h"
#include "control.h"
#include "wg_memory.h"

enum { RIG_ENGINES = 3, RIG_PORT = 51820 };
#ifndef RIG_BUFFERS
#define RIG_BUFFERS 1024 // of each engine
#endif

#define SECONDS(n) ((uint64_t)((n) * 1e9))

typedef struct rig_engine {
    cw_wg *wg;
    memory_host host;
    cw_pool pool;
    cw_buffer *buffers;
    uint32_t port, identity;
    uint8_t private_key[32], public_key[32];
    // What came out.
    uint64_t packets;
    uint16_t last_length;
    uint8_t last[2048];
    uint32_t last_identity;
} rig_engine;

typedef struct rig {
    memory_wire wire;
    cw_wg_clock clock;
    uint32_t count;
    rig_engine engines[RIG_ENGINES];
    // Messages of each type that were put on the wire, and by whom; when the first initiations of each engine left.
    uint64_t seen[5], seen_from[RIG_ENGINES][5];
    uint64_t times[RIG_ENGINES][64];
    // False: lost. After the counting, with the wire's lock held.
    bool (*filter)(struct rig *r, uint32_t sender, memory_datagram *datagram);
    uint64_t lose;  // bits 1 << type: all of these are lost
    uint64_t steps; // of control, all engines
} rig;

// Bytes on the wire of the last initiation, to be played again.
static memory_datagram rig_last_initiation;

static inline uint32_t rig_sender(const rig *r, const memory_datagram *datagram) {
    for (uint32_t i = 0; i < r->count; i++)
        if (memory_is_local(&r->engines[i].host, &datagram->from, false)) return i;
    return RIG_ENGINES; // injected
}

static bool rig_watch(void *context, memory_datagram *datagram) {
    rig *r = context;
    uint8_t type = datagram->bytes[0];
    uint32_t sender = rig_sender(r, datagram);
    if (type == CW_WG_INITIATION) rig_last_initiation = *datagram;
    if (type >= 1 && type <= 4 && sender < RIG_ENGINES) {
        if (type == CW_WG_INITIATION && r->seen_from[sender][1] < 64) r->times[sender][r->seen_from[sender][1]] = r->clock.now;
        r->seen[type]++;
        r->seen_from[sender][type]++;
        if (r->lose >> type & 1) return false;
    }
    return r->filter == NULL || r->filter(r, sender, datagram);
}

// Engine n is at 192.0.2.(n+1) and 2001:db8::(n+1).
static inline void rig_open(rig *r, uint32_t count, const cw_wg_config *config) {
    memset(r, 0, sizeof *r);
    memory_wire_init(&r->wire);
    r->wire.watch = rig_watch;
    r->wire.context = r;
    r->clock = (cw_wg_clock){.now = SECONDS(1000), .unix_seconds = 1700000000, .unix_nanoseconds = 123456789};
    r->count = count;
    cw_wg_config defaults;
    cw_wg_config_defaults(&defaults);
    for (uint32_t i = 0; i < count; i++) {
        rig_engine *engine = &r->engines[i];
        char v4[32], v6[32];
        snprintf(v4, sizeof v4, "192.0.2.%u", i + 1);
        snprintf(v6, sizeof v6, "2001:db8::%u", i + 1);
        CHECK_EQUAL(cw_wg_create(config != NULL ? config : &defaults, &engine->wg), CW_OK);
        memory_host_init(&engine->host, &r->wire, v4, v6, engine->wg);
        CHECK_EQUAL(cw_wg_port_open(engine->wg, &(cw_wg_port_config){.port = RIG_PORT, .ipv4 = true, .ipv6 = true}, &engine->port), CW_OK);
        randombytes_buf(engine->private_key, 32);
        cw_wg_public_key(engine->private_key, engine->public_key);
        CHECK_EQUAL(cw_wg_identity_add(engine->wg, engine->port, engine->private_key, &engine->identity), CW_OK);
        engine->buffers = calloc(RIG_BUFFERS, sizeof *engine->buffers);
        for (int b = 0; b < RIG_BUFFERS; b++) cw_pool_give(&engine->pool, &engine->buffers[b]);
    }
}

static inline void rig_close(rig *r) {
    for (uint32_t i = 0; i < r->count; i++) {
        cw_wg_destroy(r->engines[i].wg);
        CHECK_EQUAL(r->engines[i].pool.available, RIG_BUFFERS); // no buffer got lost
        free(r->engines[i].buffers);
    }
    pthread_mutex_destroy(&r->wire.lock);
}

static inline cw_wg_endpoint rig_endpoint(const rig *r, uint32_t engine, uint8_t family) {
    cw_wg_endpoint endpoint = {.address.family = family, .port = RIG_PORT};
    if (family == 4) memcpy(endpoint.address.bytes, &r->engines[engine].host.v4, 4);
    if (family == 6) memcpy(endpoint.address.bytes, &r->engines[engine].host.v6, 16);
    return endpoint;
}

static inline cw_prefix rig_prefix(uint32_t engine) {
    return (cw_prefix){.address = {.family = 4, .bytes = {10, 0, 0, (uint8_t)(engine + 1)}}, .length = 32};
}

// `on` gets `other` as a peer; family 0: without an endpoint.
static inline void rig_peer(rig *r, uint32_t on, uint32_t other, uint8_t family, uint16_t keepalive, const uint8_t *preshared_key) {
    cw_prefix prefix = rig_prefix(other);
    cw_wg_peer_change change = {.mask = CW_WG_PEER_REPLACE_ALLOWED_IPS, .allowed_ip_count = 1, .allowed_ips = &prefix};
    memcpy(change.public_key, r->engines[other].public_key, 32);
    if (family != 0) {
        change.mask |= CW_WG_PEER_ENDPOINT;
        change.endpoint = rig_endpoint(r, other, family);
    }
    if (keepalive != 0) {
        change.mask |= CW_WG_PEER_KEEPALIVE;
        change.keepalive_seconds = keepalive;
    }
    if (preshared_key != NULL) {
        change.mask |= CW_WG_PEER_PRESHARED_KEY;
        memcpy(change.preshared_key, preshared_key, 32);
    }
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(r->engines[on].wg, r->engines[on].identity, &change, 1, &done), CW_OK);
}

static inline cw_wg_peer *rig_peer_of(rig *r, uint32_t on, uint32_t other) {
    cw_wg *wg = r->engines[on].wg;
    cw_wg_identity *identity = cw_wg_identity_find(wg, r->engines[on].identity);
    return identity == NULL ? NULL : cw_wg_peer_find(wg, identity, r->engines[other].public_key);
}

static inline cw_wg_counters rig_counters(const rig *r, uint32_t engine) {
    cw_wg_counters counters;
    cw_wg_counters_read(r->engines[engine].wg, &counters);
    return counters;
}

static void rig_sink(void *context, const cw_wg_incoming *packets, size_t count) {
    rig_engine *engine = context;
    for (size_t i = 0; i < count; i++) {
        engine->packets++;
        engine->last_identity = packets[i].identity;
        engine->last_length = packets[i].buffer->length;
        memcpy(engine->last, cw_buffer_data(packets[i].buffer), packets[i].buffer->length);
        cw_pool_give(&engine->pool, packets[i].buffer);
    }
}

// Everything that happens at this moment. Returns when the next thing will.
static inline uint64_t rig_settle(rig *r) {
    for (;;) {
        uint64_t next = UINT64_MAX;
        bool mail = false;
        for (uint32_t i = 0; i < r->count; i++) {
            rig_engine *engine = &r->engines[i];
            memory_pump(engine->wg, &engine->host, &engine->pool, r->clock.now, rig_sink, engine);
        }
        for (uint32_t i = 0; i < r->count; i++) {
            uint64_t after = cw_wg_step(r->engines[i].wg, &r->clock);
            r->steps++;
            if (after < next) next = after;
        }
        for (uint32_t i = 0; i < r->count; i++)
            mail = mail || memory_pending(&r->engines[i].host) > 0 || atomic_load(&r->engines[i].wg->letters.count) != 0 ||
                   atomic_load(&r->engines[i].wg->attention) != NULL;
        if (next > r->clock.now && !mail) return next;
    }
}

static inline void rig_set_time(rig *r, uint64_t now) {
    uint64_t nanoseconds = r->clock.unix_nanoseconds + (now - r->clock.now);
    r->clock.unix_seconds += nanoseconds / CW_WG_SECOND;
    r->clock.unix_nanoseconds = (uint32_t)(nanoseconds % CW_WG_SECOND);
    r->clock.now = now;
}

// Lets time pass, from event to event.
static inline void rig_pass(rig *r, uint64_t duration) {
    uint64_t until = r->clock.now + duration;
    for (;;) {
        uint64_t next = rig_settle(r);
        if (next >= until) break;
        rig_set_time(r, next);
    }
    rig_set_time(r, until);
    rig_settle(r);
}

// One inner IPv4 packet of `length` bytes into engine `from`, for the address of `to`. Not settled.
static inline void rig_send_as(rig *r, uint32_t from, uint32_t identity, const uint8_t source[4], const uint8_t destination[4],
                               uint16_t length) {
    rig_engine *engine = &r->engines[from];
    cw_wg_enter(engine->wg, 0);
    cw_wg_identity *found = cw_wg_find(engine->wg, identity);
    cw_wg_peer *peer = found == NULL ? NULL : cw_wg_route(found, 4, destination);
    if (peer == NULL) {
        cw_wg_count_unroutable(engine->wg, 0, NULL);
    } else {
        cw_buffer *buffer = cw_pool_take(&engine->pool);
        uint8_t *data = cw_buffer_data(buffer);
        memset(data, 0, length);
        data[0] = 0x45;
        data[2] = (uint8_t)(length >> 8), data[3] = (uint8_t)length;
        data[8] = 64, data[9] = 17;
        memcpy(data + 12, source, 4);
        memcpy(data + 16, destination, 4);
        buffer->length = length;
        cw_wg_queue(engine->wg, 0, peer, buffer, &engine->pool, r->clock.now);
        cw_wg_flush(engine->wg, 0, &engine->pool, r->clock.now);
    }
    cw_wg_leave(engine->wg, 0);
}

static inline void rig_send(rig *r, uint32_t from, uint32_t to, uint16_t length) {
    cw_prefix source = rig_prefix(from), destination = rig_prefix(to);
    rig_send_as(r, from, r->engines[from].identity, source.address.bytes, destination.address.bytes, length);
}

// Sends and settles; whether it arrived.
static inline bool rig_ping(rig *r, uint32_t from, uint32_t to) {
    uint64_t before = r->engines[to].packets;
    rig_send(r, from, to, 100);
    rig_settle(r);
    return r->engines[to].packets == before + 1;
}

// Two engines that know each other; the first has sent a packet and with it brought up the session.
static inline void rig_open_pair(rig *r, uint16_t keepalive) {
    rig_open(r, 2, NULL);
    rig_peer(r, 0, 1, 4, keepalive, NULL);
    rig_peer(r, 1, 0, 0, 0, NULL);
    CHECK(rig_ping(r, 0, 1));
}

// Somebody puts a datagram on the wire, with the addresses that it carries.
static inline void rig_inject(rig *r, const memory_datagram *datagram) {
    memory_datagram *copy = malloc(sizeof *copy);
    *copy = *datagram;
    pthread_mutex_lock(&r->wire.lock);
    memory_deliver(&r->wire, copy);
    pthread_mutex_unlock(&r->wire.lock);
}

// Whatever there is already, and without the patience of our own pacing.
static inline void rig_begin_handshake(rig *r, uint32_t from, uint32_t to) {
    cw_wg *wg = r->engines[from].wg;
    cw_wg_peer *peer = rig_peer_of(r, from, to);
    pthread_mutex_lock(&wg->lock);
    cw_wg_pacing_leave(wg, peer, CW_WG_NOT_COMPLETED);
    cw_wg_pacing_destroy(wg);
    peer->last_handshake_sent = 0;
    cw_wg_handshake_want(wg, peer, false);
    pthread_mutex_unlock(&wg->lock);
    rig_settle(r);
}

#endif
