// A link that is fed with a stream: the input is a script of genuine packets, lost ones, forged ones (anything from noise to one flipped
// bit), control frames, time, rekeying, hand-over and answers to resets. Two links back to back; what may never happen: memory errors, a
// buffer lost, a delivered plaintext that nobody sent, one delivered twice.
#include <stdlib.h>
#include <string.h>

#include "link_bytes.h"
#include "link_internal.h"

enum { BUFFERS = 64, OUT = 128, IDS = 4096, SCRIPT = 512 };

typedef struct script {
    const uint8_t *data;
    size_t left;
} script;

static uint8_t next(script *s) {
    if (s->left == 0) return 0;
    s->left--;
    return *s->data++;
}

typedef struct world {
    cw_buffer buffers[BUFFERS];
    cw_pool pool;
    cw_link *a, *b;
    cw_counters a_counters, b_counters;
    cw_link_shared shared;
    cw_mppe_kernels kernels;
    cw_mppe_stocks stocks;
    cw_mppe_streams a_streams, b_streams;
    cw_delivered out[OUT];
    uint64_t now;
    uint32_t next_id, keys;
    bool seen[IDS];
} world;

static void require(bool condition) {
    if (!condition) abort();
}

static cw_buffer *packet(world *w) {
    cw_buffer *buffer = cw_pool_take(&w->pool);
    require(buffer != NULL);
    uint32_t id = w->next_id++ % IDS;
    w->seen[id] = false;
    uint8_t *ip = cw_buffer_data(buffer);
    memset(ip, 0, 40);
    ip[0] = 0x45;
    cw_put16(ip + 2, 40);
    ip[8] = 64;
    cw_put32(ip + 12, 0x0a000001);
    cw_put32(ip + 16, 0x0a000002);
    uint32_t sum = 0;
    for (unsigned n = 0; n < 20; n += 2) sum += cw_get16(ip + n);
    sum = (sum & 0xffff) + (sum >> 16);
    cw_put16(ip + 10, (uint16_t)~sum);
    cw_put32(ip + 20, id);
    cw_put32(ip + 24, id * 2654435761u);
    buffer->length = 40;
    buffer->protocol = CW_PPP_IPV4;
    return buffer;
}

static void take(world *w, size_t count, bool forged_may_pass) {
    require(count <= OUT);
    for (size_t n = 0; n < count; n++) {
        if (w->out[n].kind == CW_DELIVER_LOST) {
            require(w->out[n].buffer == NULL);
            continue;
        }
        cw_buffer *buffer = w->out[n].buffer;
        const uint8_t *ip = cw_buffer_data(buffer);
        if (w->out[n].kind == CW_DELIVER_DATA && !forged_may_pass) {
            require(buffer->protocol == CW_PPP_IPV4 && buffer->length == 40);
            uint32_t id = cw_get32(ip + 20);
            require(id < IDS && cw_get32(ip + 24) == id * 2654435761u);
            require(!w->seen[id]);
            w->seen[id] = true;
        }
        volatile uint8_t last = buffer->length > 0 ? ip[buffer->length - 1] : 0; // readable to its end
        (void)last;
        cw_pool_give(&w->pool, buffer);
    }
}

static void receive(world *w, cw_buffer **packets, size_t count) {
    take(w, cw_link_receive(w->b, w->now, packets, count, w->out, OUT, &w->pool), false);
}

static void talk(world *w, bool lose) {
    cw_buffer *out[8];
    size_t count = cw_link_poll(w->b, w->now, 1, out, 8, &w->pool);
    for (size_t n = 0; n < count; n++) {
        if (lose) cw_pool_give(&w->pool, out[n]);
        else take(w, cw_link_receive(w->a, w->now, &out[n], 1, w->out, OUT, &w->pool), true);
    }
    count = cw_link_poll(w->a, w->now, 2, out, 8, &w->pool);
    for (size_t n = 0; n < count; n++) receive(w, &out[n], 1);
}

static void rekey(world *w, uint8_t how) {
    static const uint8_t strengths[] = {128, 40, 56, 128};
    cw_rekey key = {.key_bits = strengths[how & 3], .flags = (how >> 2) & 3};
    memset(key.start_key, how | 1, sizeof key.start_key);
    cw_put32(key.start_key, ++w->keys); // never the same key twice, as in real life
    key.direction = CW_TRANSMIT;
    cw_link_rekey(w->a, &key);
    key.direction = CW_RECEIVE;
    cw_link_rekey(w->b, &key);
}

// Noise, with headers that lead deep.
static void forge(world *w, script *s) {
    cw_buffer *buffer = cw_pool_take(&w->pool);
    require(buffer != NULL);
    uint8_t kind = next(s), *data = cw_buffer_data(buffer);
    cw_gre_header header = {.call_id = 2, .has_sequence = true, .sequence = w->b->window.expected + (uint32_t)(int8_t)next(s)};
    if ((kind & 1) != 0) header.sequence += (uint32_t)next(s) << (kind >> 4);
    size_t length = next(s) & 63;
    uint8_t payload[64 + 4];
    for (size_t n = 0; n < length; n++) payload[n] = next(s);
    if ((kind & 2) != 0 && length >= 4) {
        payload[0] = 0x00;
        payload[1] = 0xfd;
        cw_put16(payload + 2, (uint16_t)((kind & 4 ? 0x9000 : 0x1000) | ((w->b->receiver.next + (int8_t)payload[3]) & 0xfff)));
    }
    header.payload_length = (uint16_t)length;
    cw_gre_build(&header, data);
    memcpy(data + 12, payload, length);
    buffer->length = (uint16_t)(12 + length);
    if ((kind & 8) != 0) buffer->length = (uint16_t)(buffer->length > 3 ? buffer->length - 3 : 0);
    receive(w, &buffer, 1);
}

static void hand_over(world *w) {
    uint8_t image[CW_LINK_STATE_SIZE];
    size_t used, length = cw_link_export(w->b, image, sizeof image);
    require(length > 0);
    cw_link_wipe(w->b, &w->pool);
    cw_link_init(w->b, &w->shared, &w->b_streams, 0, &w->b_counters);
    require(cw_link_import(w->b, image, length, &used) == CW_OK && used == length);
}

static void genuine(world *w, script *s) {
    uint8_t how = next(s);
    cw_buffer *packets[8], *wire[8];
    size_t count = 1 + (how & 7);
    for (size_t n = 0; n < count; n++) packets[n] = packet(w);
    count = cw_link_send_data(w->a, w->now, 2, packets, count, wire, &w->pool);
    if ((how & 0x80) != 0) { // the others are lost
        uint8_t mask = next(s);
        size_t kept = 0;
        for (size_t n = 0; n < count; n++) {
            if ((mask >> (n & 7) & 1) != 0) cw_pool_give(&w->pool, wire[n]);
            else wire[kept++] = wire[n];
        }
        count = kept;
    }
    if ((how & 0x40) != 0 && count > 1) { // out of order
        cw_buffer *swap = wire[0];
        wire[0] = wire[count - 1];
        wire[count - 1] = swap;
    }
    if ((how & 0x20) != 0 && count > 0) { // one twice, or with a flipped bit
        cw_buffer *copy = cw_pool_take(&w->pool);
        require(copy != NULL);
        cw_buffer *original = wire[next(s) % count];
        copy->length = original->length;
        memcpy(cw_buffer_data(copy), cw_buffer_data(original), original->length);
        if ((how & 0x10) != 0) cw_buffer_data(copy)[next(s) % 18] ^= (uint8_t)(1 << (next(s) & 7)); // up to the MPPE header
        receive(w, &copy, 1);
    }
    receive(w, wire, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > SCRIPT) return 0;
    script s = {data, size};
    static world memory; // large: not worth allocating each time
    world *w = &memory;
    memset(w, 0, sizeof *w);
    for (size_t n = 0; n < BUFFERS; n++) cw_pool_give(&w->pool, &w->buffers[n]);
    uint8_t setting = next(&s);
    w->now = 1000000000000;
    w->shared.limits = (cw_link_limits){.reorder_packets = setting & 7,
                                 .reorder_nanoseconds = 50000000,
                                 .ack_nanoseconds = 100000000,
                                 .control_rate = 100,
                                 .control_burst = 100,
                                 .key_budget = 1u + (setting >> 3) * 8};
    const cw_cpu cpu = cw_cpu_probe();
    w->kernels = cw_mppe_kernels_make(&cpu, (setting & 8) == 0 || cpu.level == CW_ISA_SCALAR ? CW_MPPE_RC4_INTERLEAVED : CW_MPPE_RC4_ROWS);
    w->shared.kernels = &w->kernels;
    w->shared.stocks = &w->stocks;
    require(cw_mppe_stocks_create(&w->stocks, &w->kernels, 1 + (setting >> 7))); // with one, two directions take it from each other
    w->a = malloc(cw_link_size());
    w->b = malloc(cw_link_size());
    cw_link_init(w->a, &w->shared, &w->a_streams, next(&s), &w->a_counters);
    cw_link_init(w->b, &w->shared, &w->b_streams, CW_REQUIRE_ENCRYPTION, &w->b_counters);
    cw_link_set_open(w->a, true);
    cw_link_set_open(w->b, true);
    rekey(w, next(&s));
    while (s.left > 0) {
        uint8_t op = next(&s);
        switch (op & 15) {
        case 0: w->now += (uint64_t)next(&s) * 1000000; break;
        case 1: w->now += (uint64_t)next(&s) * 100000000; break;
        case 2: take(w, cw_link_expire(w->b, w->now, w->out, OUT, &w->pool), false); break;
        case 3: talk(w, (op & 0x80) != 0); break;
        case 4: rekey(w, next(&s)); break;
        case 5: hand_over(w); break;
        case 6:
            if ((op & 0x20) != 0) cw_mppe_stocks_trim(&w->stocks);
            if ((op & 0x40) != 0) cw_mppe_stocks_fill(&w->stocks);
            cw_mppe_stocks_step(&w->stocks);
            cw_link_set_open(w->b, (op & 0x80) == 0); break;
        case 7: w->a->next_sequence += (uint32_t)next(&s) << (op >> 4); break;
        case 8:
        case 9:
        case 10:
        case 11: forge(w, &s); break;
        default: genuine(w, &s); break;
        }
        require(w->b->held_count <= w->shared.limits.reorder_packets);
        (void)cw_link_deadline(w->b);
    }
    cw_link_wipe(w->a, &w->pool);
    cw_link_wipe(w->b, &w->pool);
    require(w->pool.available == BUFFERS);
    require(w->stocks.lent == 0);
    cw_mppe_stocks_destroy(&w->stocks);
    free(w->a);
    free(w->b);
    return 0;
}
