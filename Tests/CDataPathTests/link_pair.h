// Two links back to back: a sends data, b receives it, and b's Reset-Requests and acknowledgments go back to a. The test is the wire.
// Every inner packet carries its number in a pattern that no accident produces, so a false plaintext is seen.
#ifndef CW_LINK_PAIR_H
#define CW_LINK_PAIR_H

#include "harness.h"
#include "link_bytes.h"
#include "link_internal.h"

enum { PAIR_BUFFERS = 4096, PAIR_IDS = 200000, PAIR_OUT = 1200, PAIR_CALL_A = 0x1111, PAIR_CALL_B = 0x2222, PAIR_STOCKS = 8 };
#define MILLISECOND UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

typedef struct link_pair {
    cw_buffer *storage;
    cw_pool pool;
    cw_mppe_kernels kernels;
    cw_mppe_stocks stocks;
    cw_link_shared shared;
    cw_mppe_streams a_streams, b_streams;
    cw_link *a, *b;
    cw_counters a_counters, b_counters;
    uint64_t now;
    test_random random;
    uint32_t next_id;
    uint8_t seen[PAIR_IDS];
    uint64_t delivered, repeated, out_of_order, false_plaintext;
    uint32_t last_id;
    uint64_t control_at_a, control_at_b, lost_notices;
    uint8_t last_control[64];
    uint16_t last_control_length, last_control_protocol;
    cw_delivered out[PAIR_OUT];
} link_pair;

static inline cw_link_limits pair_limits(void) {
    return (cw_link_limits){.reorder_packets = 64,
                            .reorder_nanoseconds = 50 * MILLISECOND,
                            .ack_nanoseconds = 100 * MILLISECOND,
                            .control_rate = 100,
                            .control_burst = 100,
                            .key_budget = 16384};
}

static inline cw_rekey pair_rekey(cw_direction direction, unsigned bits, uint32_t flags) {
    cw_rekey rekey = {.direction = direction, .key_bits = (uint8_t)bits, .flags = flags};
    for (unsigned n = 0; n < CW_MPPE_KEY_SIZE; n++) rekey.start_key[n] = (uint8_t)(n * 31 + bits);
    return rekey;
}

static inline link_pair *pair_make_with(const cw_link_limits *limits, unsigned bits, uint32_t rekey_flags, uint32_t a_flags) {
    link_pair *p = calloc(1, sizeof *p);
    p->storage = calloc(PAIR_BUFFERS, sizeof *p->storage);
    for (size_t n = 0; n < PAIR_BUFFERS; n++) cw_pool_give(&p->pool, &p->storage[n]);
    p->a = malloc(cw_link_size());
    p->b = malloc(cw_link_size());
    p->now = 1000 * SECOND;
    p->random.state = 88172645463325252;
    p->next_id = 1;
    const cw_cpu cpu = cw_cpu_probe();
    p->kernels = cw_mppe_kernels_make(&cpu, cpu.level == CW_ISA_SCALAR ? CW_MPPE_RC4_INTERLEAVED : CW_MPPE_RC4_ROWS);
    if (!cw_mppe_stocks_create(&p->stocks, &p->kernels, PAIR_STOCKS)) abort();
    p->shared = (cw_link_shared){.limits = *limits, .kernels = &p->kernels, .stocks = &p->stocks};
    cw_link_init(p->a, &p->shared, &p->a_streams, a_flags, &p->a_counters);
    cw_link_init(p->b, &p->shared, &p->b_streams, bits != 0 ? CW_REQUIRE_ENCRYPTION : 0, &p->b_counters);
    cw_link_set_open(p->a, true);
    cw_link_set_open(p->b, true);
    if (bits != 0) {
        cw_rekey rekey = pair_rekey(CW_TRANSMIT, bits, rekey_flags);
        cw_link_rekey(p->a, &rekey);
        rekey.direction = CW_RECEIVE;
        cw_link_rekey(p->b, &rekey);
    }
    return p;
}

static inline link_pair *pair_make(unsigned bits, uint32_t rekey_flags) {
    cw_link_limits limits = pair_limits();
    return pair_make_with(&limits, bits, rekey_flags, 0);
}

// Nothing may be left behind.
static inline void pair_end(link_pair *p) {
    cw_link_wipe(p->a, &p->pool);
    cw_link_wipe(p->b, &p->pool);
    CHECK_EQUAL(p->pool.available, PAIR_BUFFERS);
    CHECK_EQUAL(p->stocks.lent, 0);
    cw_mppe_stocks_destroy(&p->stocks);
    CHECK_EQUAL(p->false_plaintext, 0);
    CHECK_EQUAL(p->repeated, 0);
    free(p->a);
    free(p->b);
    free(p->storage);
    free(p);
}

static inline uint8_t pair_pattern(uint32_t id, size_t at) { return (uint8_t)(id * 2654435761u >> (at % 3 * 8)) ^ (uint8_t)(at * 7); }

static inline void pair_fill_ipv4(uint8_t *ip, uint16_t length, uint32_t id) {
    memset(ip, 0, 20);
    ip[0] = 0x45;
    cw_put16(ip + 2, length);
    cw_put16(ip + 4, (uint16_t)id);
    ip[8] = 64;
    ip[9] = 17;
    cw_put32(ip + 12, 0x0a080002);
    cw_put32(ip + 16, 0x0a630001);
    uint32_t sum = 0;
    for (unsigned n = 0; n < 20; n += 2) sum += cw_get16(ip + n);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    cw_put16(ip + 10, (uint16_t)~sum);
    cw_put32(ip + 20, id);
    for (size_t n = 24; n < length; n++) ip[n] = pair_pattern(id, n);
}

static inline cw_buffer *pair_packet(link_pair *p) {
    cw_buffer *buffer = cw_pool_take(&p->pool);
    if (buffer == NULL) abort();
    uint32_t id = p->next_id++;
    if (id >= PAIR_IDS) abort();
    buffer->length = (uint16_t)(24 + random_below(&p->random, 200));
    buffer->protocol = CW_PPP_IPV4;
    pair_fill_ipv4(cw_buffer_data(buffer), buffer->length, id);
    return buffer;
}

// `count` GRE packets of a's, numbered from p->next_id on.
static inline size_t pair_send(link_pair *p, cw_buffer **wire, size_t count) {
    cw_buffer *packets[512];
    if (count > 512) abort();
    for (size_t n = 0; n < count; n++) packets[n] = pair_packet(p);
    return cw_link_send_data(p->a, p->now, PAIR_CALL_B, packets, count, wire, &p->pool);
}

static inline void pair_lose(link_pair *p, cw_buffer **wire, size_t count) {
    for (size_t n = 0; n < count; n++) cw_pool_give(&p->pool, wire[n]);
}

static inline cw_buffer *pair_copy(link_pair *p, const cw_buffer *original) {
    cw_buffer *copy = cw_pool_take(&p->pool);
    if (copy == NULL) abort();
    copy->offset = original->offset;
    copy->length = original->length;
    memcpy(cw_buffer_data(copy), original->storage + original->offset, original->length);
    return copy;
}

static inline void pair_take(link_pair *p, size_t count, bool at_a) {
    for (size_t n = 0; n < count; n++) {
        if (p->out[n].kind == CW_DELIVER_LOST) {
            p->lost_notices++;
            continue;
        }
        cw_buffer *buffer = p->out[n].buffer;
        const uint8_t *ip = cw_buffer_data(buffer);
        if (p->out[n].kind == CW_DELIVER_CONTROL) {
            if (at_a) p->control_at_a++;
            else p->control_at_b++;
            p->last_control_protocol = buffer->protocol;
            p->last_control_length = buffer->length;
            memcpy(p->last_control, ip, buffer->length < 64 ? buffer->length : 64);
        } else {
            uint32_t id = buffer->length >= 24 ? cw_get32(ip + 20) : 0;
            bool genuine = buffer->protocol == CW_PPP_IPV4 && id > 0 && id < p->next_id && cw_get16(ip + 2) == buffer->length;
            for (size_t at = 24; genuine && at < buffer->length; at++) genuine = ip[at] == pair_pattern(id, at);
            if (!genuine) p->false_plaintext++;
            else {
                if (p->seen[id]) p->repeated++;
                p->seen[id] = 1;
                if (id < p->last_id) p->out_of_order++;
                p->last_id = id;
                p->delivered++;
            }
        }
        cw_pool_give(&p->pool, buffer);
    }
}

static inline void pair_receive(link_pair *p, cw_buffer **wire, size_t count) {
    pair_take(p, cw_link_receive(p->b, p->now, wire, count, p->out, PAIR_OUT, &p->pool), false);
}

static inline void pair_receive_one(link_pair *p, cw_buffer *packet) { pair_receive(p, &packet, 1); }

static inline void pair_expire(link_pair *p) { pair_take(p, cw_link_expire(p->b, p->now, p->out, PAIR_OUT, &p->pool), false); }

// b's own frames to a, a's to b. Each is lost with the given chance in a hundred.
static inline void pair_talk(link_pair *p, unsigned loss_back, unsigned loss_forth) {
    cw_buffer *wire[16];
    size_t count = cw_link_poll(p->b, p->now, PAIR_CALL_A, wire, 16, &p->pool);
    for (size_t n = 0; n < count; n++) {
        if (random_below(&p->random, 100) < loss_back) cw_pool_give(&p->pool, wire[n]);
        else pair_take(p, cw_link_receive(p->a, p->now, &wire[n], 1, p->out, PAIR_OUT, &p->pool), true);
    }
    count = cw_link_poll(p->a, p->now, PAIR_CALL_B, wire, 16, &p->pool);
    for (size_t n = 0; n < count; n++) {
        if (random_below(&p->random, 100) < loss_forth) cw_pool_give(&p->pool, wire[n]);
        else pair_receive_one(p, wire[n]);
    }
}

static inline void pair_control(link_pair *p, uint16_t protocol, const uint8_t *payload, size_t length, cw_buffer **wire) {
    cw_buffer *buffer = cw_pool_take(&p->pool);
    memcpy(cw_buffer_data(buffer), payload, length);
    buffer->length = (uint16_t)length;
    cw_link_send_control(p->a, p->now, PAIR_CALL_B, protocol, buffer);
    *wire = buffer;
}

// A GRE packet of an attacker's who knows addresses and call ID.
static inline cw_buffer *pair_forge(link_pair *p, uint32_t sequence, const uint8_t *frame, size_t length) {
    cw_buffer *buffer = cw_pool_take(&p->pool);
    if (buffer == NULL) abort();
    cw_gre_header header = {.call_id = PAIR_CALL_B, .payload_length = (uint16_t)length, .sequence = sequence, .has_sequence = true};
    uint8_t *data = cw_buffer_data(buffer);
    cw_gre_build(&header, data);
    memcpy(data + 12, frame, length);
    buffer->length = (uint16_t)(12 + length);
    return buffer;
}

static inline cw_buffer *pair_forge_mppe(link_pair *p, uint32_t sequence, uint16_t mppe_header) {
    uint8_t frame[400] = {0x00, 0xfd};
    cw_put16(frame + 2, mppe_header);
    size_t length = 4 + 24 + random_below(&p->random, 200);
    for (size_t n = 4; n < length; n++) frame[n] = (uint8_t)next_random(&p->random);
    return pair_forge(p, sequence, frame, length);
}

static inline uint64_t pair_drops(const cw_counters *counters) {
    uint64_t sum = 0;
    for (int n = 0; n < CW_DROP_COUNT; n++) sum += counters->drops[n];
    return sum;
}

#endif
