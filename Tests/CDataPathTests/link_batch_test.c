// Links in batches against links by themselves. Every sender and receiver exists twice: one of each goes through plan, keys, prepare,
// crypt with all the others, keys from stocks that are too few and are filled, emptied and taken away at any time; its twin has no stock
// at all and takes one packet after the other. Random scripts of loss, reordering, duplication, forgery, control frames, new keys and
// time have to leave both with the same packets sent, the same deliveries, counters and state. What was sent is decrypted by OpenSSL's RC4.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/rc4.h>

#include "link_pair.h"

enum { SESSIONS = 10, BUFFERS = 4000, STOCKS = 9, MOST = 40, OUT = 800, JOBS = SESSIONS * MOST };

typedef struct half {
    cw_link *link;
    cw_mppe_streams streams;
    cw_counters counters;
} half;

typedef struct twins {
    half batch, single;
} twins;

// The sender's key and stream, by OpenSSL.
typedef struct model {
    cw_mppe_suite suite;
    uint8_t key[CW_MPPE_KEY_SIZE];
    RC4_KEY rc4;
} model;

typedef struct session {
    twins a, b; // from a to b
    model model;
    unsigned bits;
    uint32_t mode, id;
    cw_buffer *late[MOST]; // what is still on its way, for another round
    size_t late_count;
} session;

typedef struct arena {
    cw_buffer *storage;
    cw_pool pool;
    cw_mppe_kernels kernels;
    cw_mppe_stocks stocks;
    cw_link_shared shared, alone;
    session sessions[SESSIONS];
    test_random random;
    uint64_t now;
    uint32_t keys;
    uint64_t delivered, prepared, stateful;
} arena;

static unsigned chance(arena *w, unsigned percent) { return random_below(&w->random, 100) < percent; }

static cw_buffer *take(arena *w) {
    cw_buffer *buffer = cw_pool_take(&w->pool);
    if (buffer == NULL) abort();
    return buffer;
}

static cw_buffer *copy_of(arena *w, const cw_buffer *original) {
    cw_buffer *copy = take(w);
    copy->offset = original->offset;
    copy->length = original->length;
    copy->protocol = original->protocol;
    memcpy(cw_buffer_data(copy), original->storage + original->offset, original->length);
    return copy;
}

static void check_same(const cw_buffer *one, const cw_buffer *other) {
    CHECK_EQUAL(one->length, other->length);
    CHECK(memcmp(one->storage + one->offset, other->storage + other->offset, one->length) == 0);
}

static void start(arena *w, half *half, const cw_link_shared *shared, uint32_t flags) {
    half->link = malloc(cw_link_size());
    cw_link_init(half->link, shared, &half->streams, flags, &half->counters);
    cw_link_set_open(half->link, true);
    (void)w;
}

static void rekey(arena *w, session *s) {
    if (s->bits == 0) return;
    cw_rekey key = {.key_bits = (uint8_t)s->bits, .flags = s->mode, .direction = CW_TRANSMIT};
    memset(key.start_key, (int)s->bits, sizeof key.start_key);
    cw_put32(key.start_key, ++w->keys);
    cw_link_rekey(s->a.batch.link, &key);
    cw_link_rekey(s->a.single.link, &key);
    key.direction = CW_RECEIVE;
    cw_link_rekey(s->b.batch.link, &key);
    cw_link_rekey(s->b.single.link, &key);
    cw_mppe_suite_init(&s->model.suite, s->bits, key.start_key, s->model.key);
    RC4_set_key(&s->model.rc4, s->model.suite.length, s->model.key);
}

static arena *arena_make(uint64_t seed, cw_mppe_rc4 rc4) {
    static const unsigned bits[SESSIONS] = {128, 56, 40, 128, 128, 128, 0, 56, 40, 128};
    arena *w = calloc(1, sizeof *w);
    w->storage = calloc(BUFFERS, sizeof *w->storage);
    for (size_t n = 0; n < BUFFERS; n++) cw_pool_give(&w->pool, &w->storage[n]);
    const cw_cpu cpu = cw_cpu_probe();
    w->kernels = cw_mppe_kernels_make(&cpu, cpu.level == CW_ISA_SCALAR ? CW_MPPE_RC4_INTERLEAVED : rc4);
    if (!cw_mppe_stocks_create(&w->stocks, &w->kernels, STOCKS)) abort();
    w->shared = (cw_link_shared){.limits = pair_limits(), .kernels = &w->kernels, .stocks = &w->stocks};
    w->shared.limits.reorder_packets = seed % 3 == 0 ? 4 : 64;
    w->alone = w->shared;
    w->alone.stocks = NULL;
    w->now = 1000 * SECOND;
    w->random.state = 88172645463325252 + seed * 7919;
    for (unsigned n = 0; n < SESSIONS; n++) {
        session *s = &w->sessions[n];
        s->bits = bits[n];
        s->mode = n == 4 || n > 6 ? 0 : CW_MPPE_STATELESS;
        uint32_t flags = n % 2 == 0 ? CW_SEND_ACFC | CW_SEND_PFC : CW_SEND_SEQUENCE_ZERO;
        start(w, &s->a.batch, &w->shared, flags);
        start(w, &s->a.single, &w->alone, flags);
        start(w, &s->b.batch, &w->shared, 0);
        start(w, &s->b.single, &w->alone, 0);
        rekey(w, s);
    }
    return w;
}

static void arena_end(arena *w) {
    for (unsigned n = 0; n < SESSIONS; n++) {
        session *s = &w->sessions[n];
        half *halves[] = {&s->a.batch, &s->a.single, &s->b.batch, &s->b.single};
        for (size_t i = 0; i < s->late_count; i++) cw_pool_give(&w->pool, s->late[i]);
        for (unsigned i = 0; i < 4; i++) {
            cw_link_wipe(halves[i]->link, &w->pool);
            free(halves[i]->link);
        }
    }
    CHECK_EQUAL(w->pool.available, BUFFERS);
    CHECK_EQUAL(w->stocks.lent, 0);
    cw_mppe_stocks_destroy(&w->stocks);
    free(w->storage);
    free(w);
}

// ---- Same state ----

static void check_counters(const half *batch, const half *single) {
    cw_counters one = batch->counters, other = single->counters;
    one.key_changes = other.key_changes = 0; // a stock is there to have fewer
    CHECK(memcmp(&one, &other, sizeof one) == 0);
}

static void check_twins(const twins *t) {
    static uint8_t one[CW_LINK_STATE_SIZE], other[CW_LINK_STATE_SIZE];
    const cw_link *batch = t->batch.link, *single = t->single.link;
    size_t length = cw_link_export(batch, one, sizeof one);
    CHECK(length > 0);
    CHECK_EQUAL(length, cw_link_export(single, other, sizeof other));
    CHECK(memcmp(one, other, length) == 0);
    CHECK_EQUAL(batch->held_count, single->held_count);
    CHECK_EQUAL(batch->budget.tokens, single->budget.tokens);
    CHECK_EQUAL(batch->control.tokens, single->control.tokens);
    CHECK_EQUAL(batch->doubt.packets, single->doubt.packets);
    CHECK_EQUAL(batch->has_candidate, single->has_candidate);
    CHECK_EQUAL(cw_link_deadline(batch), cw_link_deadline(single));
    for (unsigned n = 0; n < CW_MPPE_TRAIL; n++) CHECK_EQUAL(batch->receiver.trail[n].position, single->receiver.trail[n].position);
    check_counters(&t->batch, &t->single);
}

// Keys in a stock are those that follow.
static void check_stock(const cw_mppe_keys *keys) {
    uint8_t key[CW_MPPE_KEY_SIZE];
    memcpy(key, keys->key, sizeof key);
    for (unsigned n = 0; n < cw_mppe_stock_count(keys); n++) {
        cw_mppe_key_change(&keys->suite, key, key);
        CHECK(memcmp(key, cw_mppe_stock_key(keys, n), keys->suite.length) == 0);
    }
}

// ---- Sending ----

static cw_buffer *inner_packet(arena *w, session *s) {
    cw_buffer *buffer = take(w);
    buffer->length = (uint16_t)(24 + random_below(&w->random, chance(w, 10) ? 1300 : 80));
    buffer->protocol = CW_PPP_IPV4;
    pair_fill_ipv4(cw_buffer_data(buffer), buffer->length, ++s->id);
    return buffer;
}

// What left has to be `inner`, encrypted (RFC 3078 sections 7.1 and 7.2).
static void check_wire(session *s, const cw_buffer *packet, const uint8_t *inner, size_t length) {
    cw_gre_header gre;
    cw_ppp_header ppp;
    const uint8_t *data = packet->storage + packet->offset;
    uint8_t plain[1500];
    CHECK(cw_gre_parse(data, packet->length, &gre));
    CHECK(cw_ppp_parse(data + gre.header_length, gre.payload_length, &ppp));
    if (s->bits == 0) return;
    CHECK_EQUAL(ppp.protocol, CW_PPP_COMPRESSED);
    const uint8_t *mppe = data + gre.header_length + ppp.length;
    CHECK_EQUAL(gre.payload_length - ppp.length, length + 4);
    bool new_key = s->mode == CW_MPPE_STATELESS || cw_mppe_is_flag(cw_get16(mppe));
    CHECK_EQUAL(cw_get16(mppe) & 0xf000, new_key ? 0x9000 : 0x1000);
    if (new_key) {
        cw_mppe_key_change(&s->model.suite, s->model.key, s->model.key);
        RC4_set_key(&s->model.rc4, s->model.suite.length, s->model.key);
    }
    RC4(&s->model.rc4, length + 2, mppe + 2, plain);
    CHECK_EQUAL(cw_get16(plain), CW_PPP_IPV4);
    CHECK(memcmp(plain + 2, inner, length) == 0);
}

// Some packets of every session in one batch, and the same from the twins. wire[n] gets session n's.
static void send_all(arena *w, cw_buffer *wire[SESSIONS][MOST], size_t counts[SESSIONS], unsigned most) {
    cw_buffer *packets[SESSIONS][MOST];
    cw_mppe_chain chains[SESSIONS];
    static cw_mppe_job jobs[JOBS];
    static cw_mppe_stream streams[JOBS];
    static uint8_t inner[MOST][1500];
    cw_mppe_work work = {.jobs = jobs, .streams = streams};
    size_t chain_count = 0, asked[SESSIONS];
    cw_mppe_stocks_step(&w->stocks);
    for (unsigned n = 0; n < SESSIONS; n++) {
        session *s = &w->sessions[n];
        cw_buffer *alone[MOST], *sent[MOST];
        asked[n] = random_below(&w->random, most + 1);
        if (chance(w, 30)) asked[n] = 0;
        size_t sendable = 0, lengths[MOST];
        for (size_t i = 0; i < asked[n]; i++) {
            packets[n][i] = inner_packet(w, s);
            if (chance(w, 2)) {
                packets[n][i]->protocol = 0x2b; // may not be sent
            } else {
                lengths[sendable] = packets[n][i]->length;
                memcpy(inner[sendable++], cw_buffer_data(packets[n][i]), packets[n][i]->length);
            }
            alone[i] = copy_of(w, packets[n][i]);
        }
        if (asked[n] > 0 && cw_link_send_plan(s->a.batch.link, asked[n], &chains[chain_count])) chain_count++;
        size_t count = cw_link_send_data(s->a.single.link, w->now, PAIR_CALL_B, alone, asked[n], sent, &w->pool);
        CHECK_EQUAL(count, sendable);
        for (size_t i = 0; i < count; i++) {
            wire[n][i] = sent[i];
            check_wire(s, sent[i], inner[i], lengths[i]);
        }
        counts[n] = count;
    }
    cw_mppe_batch_keys(&w->kernels, chains, chain_count);
    cw_buffer *sent[SESSIONS][MOST];
    for (unsigned n = 0; n < SESSIONS; n++)
        CHECK_EQUAL(cw_link_send_planned(w->sessions[n].a.batch.link, PAIR_CALL_B, packets[n], asked[n], sent[n], &work, &w->pool), counts[n]);
    cw_mppe_batch_work(&w->kernels, &work);
    for (unsigned n = 0; n < SESSIONS; n++) {
        for (size_t i = 0; i < counts[n]; i++) {
            check_same(wire[n][i], sent[n][i]);
            cw_pool_give(&w->pool, sent[n][i]);
        }
        check_twins(&w->sessions[n].a);
        check_stock(&w->sessions[n].a.batch.link->transmitter.keys);
    }
}

// ---- What happens on the way ----

static cw_buffer *forged(arena *w, session *s) {
    const cw_link *b = s->b.batch.link;
    cw_buffer *buffer = take(w);
    size_t length = 4 + 24 + random_below(&w->random, 60);
    uint32_t sequence = b->window.expected + (uint32_t)random_below(&w->random, 6) - 1;
    if (chance(w, 20)) sequence += (uint32_t)random_below(&w->random, 20000) - 10000;
    uint16_t count = (uint16_t)((b->receiver.next + random_below(&w->random, 8)) & CW_MPPE_COUNT_MASK);
    if (chance(w, 20)) count = (uint16_t)(next_random(&w->random) & CW_MPPE_COUNT_MASK);
    cw_gre_header header = {.call_id = PAIR_CALL_B, .payload_length = (uint16_t)length, .sequence = sequence, .has_sequence = true};
    uint8_t *data = cw_buffer_data(buffer);
    cw_gre_build(&header, data);
    cw_put16(data + 12, 0x00fd);
    cw_put16(data + 14, (uint16_t)((chance(w, 50) ? 0x9000 : 0x1000) | count));
    for (size_t n = 16; n < 12 + length; n++) data[n] = (uint8_t)next_random(&w->random);
    buffer->length = (uint16_t)(12 + length);
    return buffer;
}

static cw_buffer *control(arena *w, session *s) {
    static const uint8_t echo[] = {9, 1, 0, 8, 1, 2, 3, 4};
    cw_buffer *buffer = take(w), *other = take(w);
    memcpy(cw_buffer_data(buffer), echo, sizeof echo);
    memcpy(cw_buffer_data(other), echo, sizeof echo);
    buffer->length = other->length = sizeof echo;
    cw_link_send_control(s->a.batch.link, w->now, PAIR_CALL_B, CW_PPP_LCP, buffer);
    cw_link_send_control(s->a.single.link, w->now, PAIR_CALL_B, CW_PPP_LCP, other);
    check_same(buffer, other);
    cw_pool_give(&w->pool, other);
    return buffer;
}

// What arrives of what was sent. `smooth`: everything, in order.
static size_t on_the_way(arena *w, session *s, cw_buffer **wire, size_t count, cw_buffer **arriving, bool smooth) {
    size_t arrived = 0;
    while (s->late_count > 0) arriving[arrived++] = s->late[--s->late_count];
    for (size_t n = 0; n < count; n++) {
        if (!smooth && chance(w, 4)) {
            cw_pool_give(&w->pool, wire[n]);
            continue;
        }
        if (!smooth && chance(w, 3) && s->late_count < MOST / 4) {
            s->late[s->late_count++] = wire[n];
            continue;
        }
        if (!smooth && chance(w, 3)) arriving[arrived++] = copy_of(w, wire[n]);
        if (!smooth && chance(w, 3)) {
            cw_buffer *bent = copy_of(w, wire[n]);
            cw_buffer_data(bent)[random_below(&w->random, bent->length)] ^= (uint8_t)(1 << random_below(&w->random, 8));
            arriving[arrived++] = bent;
        }
        if (!smooth && chance(w, 3)) arriving[arrived++] = forged(w, s);
        arriving[arrived++] = wire[n];
    }
    if (smooth) return arrived;
    for (size_t n = 0; n < arrived; n++) {
        if (!chance(w, 6)) continue;
        size_t with = n + random_below(&w->random, 8);
        if (with >= arrived) continue;
        cw_buffer *swap = arriving[n];
        arriving[n] = arriving[with];
        arriving[with] = swap;
    }
    return arrived;
}

// ---- Receiving ----

static void check_deliveries(arena *w, session *s, const cw_delivered *batch, const cw_delivered *single, size_t count, bool smooth) {
    for (size_t n = 0; n < count; n++) {
        CHECK_EQUAL(batch[n].kind, single[n].kind);
        CHECK((batch[n].buffer == NULL) == (single[n].buffer == NULL));
        if (batch[n].buffer == NULL || single[n].buffer == NULL) continue;
        check_same(batch[n].buffer, single[n].buffer);
        CHECK_EQUAL(batch[n].buffer->protocol, single[n].buffer->protocol);
        if (smooth && batch[n].kind == CW_DELIVER_DATA) w->delivered++;
        cw_pool_give(&w->pool, batch[n].buffer);
        cw_pool_give(&w->pool, single[n].buffer);
    }
    (void)s;
}

static void receive_all(arena *w, cw_buffer *arriving[SESSIONS][3 * MOST], size_t counts[SESSIONS], bool smooth) {
    static cw_delivered out[SESSIONS][OUT], alone[OUT];
    static cw_mppe_job jobs[SESSIONS * CW_LINK_RUN];
    static cw_mppe_stream streams[SESSIONS * CW_LINK_RUN];
    cw_mppe_work work = {.jobs = jobs, .streams = streams};
    cw_buffer *copies[SESSIONS][3 * MOST];
    cw_mppe_chain chains[SESSIONS];
    size_t chain_count = 0, opened[SESSIONS], runs[SESSIONS], arrived[SESSIONS];
    for (unsigned n = 0; n < SESSIONS; n++) {
        arrived[n] = counts[n];
        for (size_t i = 0; i < counts[n]; i++) copies[n][i] = copy_of(w, arriving[n][i]);
    }
    cw_mppe_stocks_step(&w->stocks);
    for (unsigned n = 0; n < SESSIONS; n++) {
        bool needed;
        cw_link *link = w->sessions[n].b.batch.link;
        opened[n] = cw_link_open(link, w->now, arriving[n], counts[n], &w->pool);
        runs[n] = cw_link_plan(link, arriving[n], opened[n], &chains[chain_count], &needed);
        if (needed) chain_count++;
        w->prepared += runs[n];
        if (!link->receiver.stateless) w->stateful += runs[n];
    }
    cw_mppe_batch_keys(&w->kernels, chains, chain_count);
    for (unsigned n = 0; n < SESSIONS; n++) cw_link_prepare(w->sessions[n].b.batch.link, arriving[n], runs[n], &work);
    cw_mppe_batch_work(&w->kernels, &work);
    for (unsigned n = 0; n < SESSIONS; n++) {
        session *s = &w->sessions[n];
        if (arrived[n] == 0) continue;
        size_t count = cw_link_receive_opened(s->b.batch.link, w->now, arriving[n], opened[n], runs[n], out[n], OUT, &w->pool);
        size_t other = 0;
        for (size_t i = 0; i < arrived[n]; i++)
            other += cw_link_receive(s->b.single.link, w->now, &copies[n][i], 1, alone + other, OUT - other, &w->pool);
        CHECK_EQUAL(count, other);
        check_deliveries(w, s, out[n], alone, count < other ? count : other, smooth);
        check_twins(&s->b);
        check_stock(&s->b.batch.link->receiver.keys);
    }
}

// Both of b's say the same, and a's hear it; what a's answer arrives.
static void talk(arena *w, session *s) {
    cw_buffer *one[16], *other[16], *ignored[16];
    size_t count = cw_link_poll(s->b.batch.link, w->now, PAIR_CALL_A, one, 16, &w->pool);
    CHECK_EQUAL(count, cw_link_poll(s->b.single.link, w->now, PAIR_CALL_A, other, 16, &w->pool));
    cw_delivered out[64];
    for (size_t n = 0; n < count; n++) {
        check_same(one[n], other[n]);
        CHECK_EQUAL(cw_link_receive(s->a.batch.link, w->now, &one[n], 1, out, 64, &w->pool), 0);
        CHECK_EQUAL(cw_link_receive(s->a.single.link, w->now, &other[n], 1, out, 64, &w->pool), 0);
    }
    count = cw_link_poll(s->a.batch.link, w->now, PAIR_CALL_B, one, 16, &w->pool);
    CHECK_EQUAL(count, cw_link_poll(s->a.single.link, w->now, PAIR_CALL_B, ignored, 16, &w->pool));
    for (size_t n = 0; n < count; n++) {
        check_same(one[n], ignored[n]);
        cw_pool_give(&w->pool, ignored[n]);
        if (s->late_count < MOST / 2) s->late[s->late_count++] = one[n];
        else cw_pool_give(&w->pool, one[n]);
    }
}

static void expire(arena *w, session *s) {
    cw_delivered one[OUT], other[OUT];
    size_t count = cw_link_expire(s->b.batch.link, w->now, one, OUT, &w->pool);
    CHECK_EQUAL(count, cw_link_expire(s->b.single.link, w->now, other, OUT, &w->pool));
    check_deliveries(w, s, one, other, count, false);
    check_twins(&s->b);
}

static void stir(arena *w) {
    if (chance(w, 20)) cw_mppe_stocks_fill(&w->stocks);
    if (chance(w, 5)) cw_mppe_stocks_trim(&w->stocks);
    w->now += random_below(&w->random, 8 * MILLISECOND);
    if (chance(w, 3)) w->now += 60 * MILLISECOND;
    if (chance(w, 1)) w->now += 2 * SECOND;
    for (unsigned n = 0; n < SESSIONS; n++) {
        session *s = &w->sessions[n];
        if (chance(w, 30)) expire(w, s);
        if (chance(w, 50)) talk(w, s);
        if (chance(w, 1)) rekey(w, s); // what is on its way has the old ones
        if (chance(w, 1)) {
            bool open = chance(w, 50);
            cw_link_set_open(s->b.batch.link, open);
            cw_link_set_open(s->b.single.link, open);
        } else if (!s->b.batch.link->open && chance(w, 20)) {
            cw_link_set_open(s->b.batch.link, true);
            cw_link_set_open(s->b.single.link, true);
        }
    }
}

static void lose(arena *w, cw_buffer **wire, size_t count) {
    for (size_t n = 0; n < count; n++) cw_pool_give(&w->pool, wire[n]);
}

// Nobody hears thousands of packets.
static void outage(arena *w) {
    cw_buffer *wire[SESSIONS][MOST];
    size_t counts[SESSIONS];
    for (uint64_t rounds = random_below(&w->random, 260); rounds > 0; rounds--) {
        send_all(w, wire, counts, MOST);
        for (unsigned n = 0; n < SESSIONS; n++) lose(w, wire[n], counts[n]);
    }
}

static void run(uint64_t seed, cw_mppe_rc4 rc4, unsigned rounds, bool smooth) {
    arena *w = arena_make(seed, rc4);
    cw_buffer *wire[SESSIONS][MOST], *arriving[SESSIONS][3 * MOST];
    size_t counts[SESSIONS];
    uint64_t sent = 0;
    for (unsigned round = 0; round < rounds && test_failed_checks == 0; round++) {
        unsigned most = chance(w, 30) ? 2 : MOST / 2;
        send_all(w, wire, counts, most);
        for (unsigned n = 0; n < SESSIONS; n++) {
            sent += counts[n];
            counts[n] = on_the_way(w, &w->sessions[n], wire[n], counts[n], arriving[n], smooth || chance(w, 60));
            if (!smooth && chance(w, 10)) arriving[n][counts[n]++] = control(w, &w->sessions[n]);
        }
        receive_all(w, arriving, counts, smooth);
        if (smooth) {
            w->now += MILLISECOND;
            if (round % 7 == 0) cw_mppe_stocks_fill(&w->stocks);
        } else {
            stir(w);
            if (chance(w, 1) && chance(w, 20)) outage(w);
        }
    }
    if (smooth) CHECK_EQUAL(w->delivered, sent);
    CHECK(w->prepared > sent / (smooth ? 2 : 10)); // the batch way was gone
    CHECK(w->stateful > sent / (smooth ? 5 : 40)); // by stateful sessions as well
    arena_end(w);
}

static void test_everything_arrives(void) {
    for (uint64_t seed = 0; seed < (SANITIZED ? 2 : 4); seed++)
        run(seed, seed % 2 == 0 ? CW_MPPE_RC4_ROWS : CW_MPPE_RC4_INTERLEAVED, SANITIZED ? 100 : 600, true);
}

static void test_random_scripts(void) {
    for (uint64_t seed = 0; seed < (SANITIZED ? 4 : 16); seed++)
        run(seed, seed % 2 == 0 ? CW_MPPE_RC4_ROWS : CW_MPPE_RC4_INTERLEAVED, SANITIZED ? 100 : 500, false);
}

// ---- What must not be decrypted ahead, one rule of cw_link_plan after the other ----

static link_pair *talking(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[10];
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 10);
    return p;
}

// While something is held, a packet behind a forged one has to wait as well: decrypted already, it could not.
static void test_forged_in_front_of_held(void) {
    link_pair *p = talking();
    cw_buffer *wire[4];
    pair_send(p, wire, 4);
    pair_receive_one(p, wire[3]);
    CHECK_EQUAL(p->b->held_count, 1);
    cw_buffer *batch[] = {pair_forge_mppe(p, p->b->window.expected, (uint16_t)(0x9000 | p->b->receiver.next)), wire[1]};
    pair_receive(p, batch, 2);
    CHECK_EQUAL(p->delivered, 10);
    pair_receive_one(p, wire[0]);
    pair_receive_one(p, wire[2]);
    CHECK_EQUAL(p->delivered, 14);
    CHECK_EQUAL(p->out_of_order, 0);
    pair_end(p);
}

// The count has wrapped in an outage in which only control frames came through, so the next data is expected all the same.
static void test_wrapped_count_in_order(void) {
    enum { between = 205, frames = 20, after = 20 };
    static const uint8_t echo[] = {9, 1, 0, 8, 1, 2, 3, 4};
    link_pair *p = talking();
    cw_buffer *wire[between];
    for (unsigned n = 0; n < frames; n++) {
        pair_send(p, wire, between);
        pair_lose(p, wire, between);
        pair_control(p, CW_PPP_LCP, echo, sizeof echo, wire);
        pair_receive(p, wire, 1);
        p->now += 60 * MILLISECOND;
        pair_expire(p);
    }
    CHECK_EQUAL(p->control_at_b, frames);
    pair_send(p, wire, after);
    CHECK(frames * between > CW_MPPE_COUNT_SPACE && frames * between + after < CW_MPPE_COUNT_SPACE + CW_MPPE_AHEAD);
    pair_receive(p, wire, after);
    CHECK_EQUAL(p->delivered, 10 + after);
    pair_end(p);
}

// There are keys for the farthest packet of a run, which need not be the last.
static void test_count_goes_back_in_a_run(void) {
    link_pair *p = talking();
    cw_mppe_stocks_trim(&p->stocks);
    cw_buffer *batch[6];
    uint16_t first = p->b->receiver.next;
    pair_send(p, batch, 5);
    batch[5] = pair_forge_mppe(p, p->b->window.expected + 5, (uint16_t)(0x9000 | first));
    pair_receive(p, batch, 6);
    CHECK_EQUAL(p->delivered, 15);
    pair_end(p);
}

// More packets than a run holds, all in order; keys there would be for more, because the last ones say that they are old.
static void test_longer_than_a_run(void) {
    enum { genuine = CW_LINK_RUN, many = genuine + 5 };
    link_pair *p = talking();
    cw_buffer *batch[many];
    cw_mppe_chain chain;
    cw_mppe_job jobs[many];
    cw_mppe_work work = {.jobs = jobs};
    bool needed;
    pair_send(p, batch, genuine);
    for (uint32_t n = genuine; n < many; n++)
        batch[n] = pair_forge_mppe(p, p->b->window.expected + n, (uint16_t)(0x9000 | p->b->receiver.next));
    CHECK_EQUAL(cw_link_open(p->b, p->now, batch, many, &p->pool), many);
    size_t run = cw_link_plan(p->b, batch, many, &chain, &needed);
    CHECK_EQUAL(run, CW_LINK_RUN);
    if (needed) cw_mppe_batch_keys(&p->kernels, &chain, 1);
    cw_link_prepare(p->b, batch, run, &work);
    cw_mppe_batch_work(&p->kernels, &work);
    pair_take(p, cw_link_receive_opened(p->b, p->now, batch, many, run, p->out, PAIR_OUT, &p->pool), false);
    CHECK_EQUAL(p->delivered, 10 + genuine);
    pair_end(p);
}

// ---- Stateful runs ----

static void receive_ahead(link_pair *p, cw_buffer **batch, size_t count, size_t expected_run) {
    cw_mppe_chain chain;
    cw_mppe_stream streams[CW_LINK_RUN];
    cw_mppe_work work = {.streams = streams};
    bool needed;
    CHECK_EQUAL(cw_link_open(p->b, p->now, batch, count, &p->pool), count);
    size_t run = cw_link_plan(p->b, batch, count, &chain, &needed);
    CHECK_EQUAL(run, expected_run);
    CHECK(!needed);
    cw_link_prepare(p->b, batch, run, &work);
    CHECK_EQUAL(work.stream_count, run);
    cw_mppe_batch_work(&p->kernels, &work);
    pair_take(p, cw_link_receive_opened(p->b, p->now, batch, count, run, p->out, PAIR_OUT, &p->pool), false);
}

// A genuine packet whose plaintext proves nothing, at every place of a run in which the key changes: the others are none the worse.
static void test_doubt_in_a_stateful_run(void) {
    static const unsigned strengths[] = {40, 56, 128};
    enum { many = 12, flag = 5 };
    for (size_t s = 0; s < 3; s++)
        for (unsigned bad = 0; bad <= many; bad++) { // `many`: none
            link_pair *p = pair_make(strengths[s], 0);
            cw_buffer *wire[256];
            pair_send(p, wire, 255 - flag);
            pair_receive(p, wire, 255 - flag);
            CHECK_EQUAL(p->b->receiver.next, 255 - flag);
            uint64_t changes = p->b_counters.key_changes;
            pair_send(p, wire, many);
            if (bad < many) cw_buffer_data(wire[bad])[12 + 4 + 2 + 2] ^= 0xff; // the IP version
            receive_ahead(p, wire, many, many);
            pair_send(p, wire + many, many);
            if (bad == flag) { // without it the new key is not believed, and what follows has to wait for a Reset-Ack
                receive_ahead(p, wire + many, many, 0);
                CHECK_EQUAL(p->delivered, 255);
                CHECK_EQUAL(p->b_counters.drops[CW_DROP_MPPE_WAIT_RESET], 2 * many - flag - 1);
                pair_end(p);
                continue;
            }
            CHECK_EQUAL(p->b_counters.key_changes - changes, 1);
            receive_ahead(p, wire + many, many, bad == many - 1 ? 0 : many);
            CHECK_EQUAL(p->delivered, 255 - flag + 2 * many - (bad < many));
            CHECK_EQUAL(p->b_counters.drops[CW_DROP_MPPE_UNVERIFIED], bad < many);
            CHECK_EQUAL(p->out_of_order, 0);
            CHECK_EQUAL(p->false_plaintext, 0);
            pair_end(p);
        }
}

// FLUSHED between flag packets: nobody knows the key before it has been tried.
static void test_flushed_ends_a_stateful_run(void) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[9];
    pair_send(p, wire, 1);
    pair_receive(p, wire, 1);
    pair_send(p, wire, 5);
    cw_rc4_key(&p->a->streams->transmit, p->a->transmitter.keys.key, p->a->transmitter.keys.suite.length);
    pair_send(p, wire + 5, 4);
    cw_buffer_data(wire[5])[12 + 4] |= 0x80;
    receive_ahead(p, wire, 9, 5);
    CHECK_EQUAL(p->delivered, 10);
    pair_end(p);
}

int main(void) {
    RUN(everything_arrives);
    RUN(random_scripts);
    RUN(forged_in_front_of_held);
    RUN(wrapped_count_in_order);
    RUN(count_goes_back_in_a_run);
    RUN(longer_than_a_run);
    RUN(doubt_in_a_stateful_run);
    RUN(flushed_ends_a_stateful_run);
    FINISH();
}
