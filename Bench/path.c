// What a packet costs between its two sockets: inwards MPPE is taken off and ChaCha20-Poly1305 sealed, outwards the other way round. The
// baseline is plain C (mppe-plain.h) with libsodium, one packet after the other, and nothing else. Ours are the links of the core, which do
// all that the gateway does: GRE header and window, PPP, key chains, the proof of each plaintext, the copy into the buffer.
//
// All contenders work on the same packets of the same key chains; what they make of the first round is compared, and they are timed in
// turns, round by round.
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aead.h"
#include "link_bytes.h"
#include "link_internal.h"
#include "mppe-plain.h"

enum { ROUNDS = 21, BATCH = 32, BATCHES = 24, PACKETS = BATCH * BATCHES, MOST = 1600, TAG = 16, CALL = 7 };

typedef struct packet {
    uint16_t length;
    uint8_t data[MOST];
} packet;

typedef struct end {
    cw_link *link;
    cw_counters counters;
    cw_mppe_streams streams;
} end;

typedef struct contender {
    const char *name;
    enum { PLAIN, ALONE, TOGETHER } kind;
    plain_session plain[BATCH];
    end ends[BATCH];
    cw_link_shared shared;
    cw_mppe_stocks stocks;
    cw_pool pool;
    cw_buffer buffers[4 * BATCH];
    packet out[PACKETS];
    double rounds[ROUNDS];
} contender;

static cw_mppe_kernels kernels;
static cw_aead *aead;
static packet inner[PACKETS], wire[PACKETS], sealed[PACKETS];
static uint8_t keys[BATCH][32]; // of the tunnel
static uint64_t clock_now = 1000000000000;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "path: %s\n", what);
    exit(1);
}

static void nonce_of(uint8_t nonce[12], uint64_t counter) {
    memset(nonce, 0, 12);
    for (int i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(counter >> 8 * i);
}

static cw_rekey rekey_of(unsigned session, cw_direction direction) {
    cw_rekey rekey = {.direction = direction, .key_bits = 128, .flags = CW_MPPE_STATELESS};
    for (unsigned i = 0; i < CW_MPPE_KEY_SIZE; i++) rekey.start_key[i] = (uint8_t)(session * 89 + i * 7 + 1);
    return rekey;
}

static void begin(contender *c, bool inwards) {
    if (c->shared.stocks != NULL) cw_mppe_stocks_destroy(&c->stocks);
    c->shared.limits = (cw_link_limits){.reorder_packets = 64, .reorder_nanoseconds = 50000000, .ack_nanoseconds = 100000000, .key_budget = 8192};
    c->shared.kernels = &kernels;
    c->shared.stocks = &c->stocks;
    require(cw_mppe_stocks_create(&c->stocks, &kernels, 2 * BATCH), "no memory");
    c->pool = (cw_pool){0};
    for (unsigned n = 0; n < 4 * BATCH; n++) cw_pool_give(&c->pool, &c->buffers[n]);
    for (unsigned n = 0; n < BATCH; n++) {
        cw_rekey rekey = rekey_of(n, inwards ? CW_RECEIVE : CW_TRANSMIT);
        end *end = &c->ends[n];
        if (end->link == NULL) end->link = malloc(cw_link_size());
        cw_link_init(end->link, &c->shared, &end->streams, 0, &end->counters);
        cw_link_set_open(end->link, true);
        cw_link_rekey(end->link, &rekey);
        cw_mppe_suite suite;
        memcpy(c->plain[n].start, rekey.start_key, sizeof c->plain[n].start);
        cw_mppe_suite_init(&suite, 128, rekey.start_key, c->plain[n].key);
    }
}

static void make_inner(uint16_t length) {
    for (unsigned n = 0; n < PACKETS; n++) {
        uint8_t *ip = inner[n].data;
        inner[n].length = length;
        for (unsigned i = 0; i < length; i++) ip[i] = (uint8_t)(n * 31 + i * 7);
        memset(ip, 0, 20);
        ip[0] = 0x45;
        cw_put16(ip + 2, length);
        ip[8] = 64;
        ip[9] = 17;
        cw_put32(ip + 12, 0x0a080002);
        cw_put32(ip + 16, 0x0a630001);
        uint32_t sum = 0;
        for (unsigned i = 0; i < 20; i += 2) sum += cw_get16(ip + i);
        sum = (sum & 0xffff) + (sum >> 16);
        cw_put16(ip + 10, (uint16_t)~((sum & 0xffff) + (sum >> 16)));
    }
}

// ---- Inwards: GRE packets in, sealed packets out ----

// What clients send: `wire`, made by links of their own.
static void make_wire(end *clients, cw_pool *pool, unsigned sessions) {
    for (unsigned n = 0; n < PACKETS; n++) {
        cw_buffer *buffer = cw_pool_take(pool), *out;
        buffer->length = inner[n].length;
        buffer->protocol = CW_PPP_IPV4;
        memcpy(cw_buffer_data(buffer), inner[n].data, inner[n].length);
        require(cw_link_send_data(clients[n % sessions].link, clock_now, CALL, &buffer, 1, &out, pool) == 1, "not sent");
        wire[n].length = out->length;
        memcpy(wire[n].data, cw_buffer_data(out), out->length);
        cw_pool_give(pool, out);
    }
}

static void plain_inwards(contender *c, unsigned sessions) {
    static uint8_t text[MOST];
    for (unsigned n = 0; n < PACKETS; n++) {
        uint8_t nonce[12];
        unsigned s = n % sessions;
        // GRE 12, FF 03 00 FD, MPPE 2; the first two octets of the text are its protocol.
        size_t length = wire[n].length - 18u;
        plain_packet(&c->plain[s], text, wire[n].data + 18, length);
        nonce_of(nonce, n);
        crypto_aead_chacha20poly1305_ietf_encrypt(c->out[n].data, NULL, text + 2, length - 2, NULL, 0, NULL, nonce, keys[s]);
        c->out[n].length = (uint16_t)(length - 2 + TAG);
    }
}

static void seal(contender *c, cw_buffer **buffers, const unsigned *ids, size_t count, unsigned sessions) {
    cw_aead_job jobs[BATCH];
    for (size_t n = 0; n < count; n++) {
        uint8_t *data = cw_buffer_data(buffers[n]);
        jobs[n] = (cw_aead_job){.key = keys[ids[n] % sessions], .counter = ids[n], .in = data, .out = c->out[ids[n]].data,
                                .length = buffers[n]->length};
        c->out[ids[n]].length = (uint16_t)(buffers[n]->length + TAG);
    }
    cw_aead_seal(aead, jobs, count);
    for (size_t n = 0; n < count; n++) cw_pool_give(&c->pool, buffers[n]);
}

static cw_buffer *arrived(contender *c, unsigned n) {
    cw_buffer *buffer = cw_pool_take(&c->pool);
    memcpy(cw_buffer_data(buffer), wire[n].data, wire[n].length);
    buffer->length = wire[n].length;
    return buffer;
}

static void alone_inwards(contender *c, unsigned sessions) {
    for (unsigned n = 0; n < PACKETS; n++) {
        cw_delivered out[8];
        cw_buffer *buffer = arrived(c, n);
        require(cw_link_receive(c->ends[n % sessions].link, clock_now, &buffer, 1, out, 8, &c->pool) == 1, "not delivered");
        seal(c, &out[0].buffer, &n, 1, sessions);
    }
}

static void together_inwards(contender *c, unsigned sessions) {
    unsigned each = BATCH / sessions;
    for (unsigned at = 0; at < PACKETS; at += BATCH) {
        cw_buffer *buffers[BATCH], *delivered[BATCH];
        cw_mppe_chain chains[BATCH];
        cw_mppe_job jobs[BATCH];
        cw_mppe_work work = {.jobs = jobs};
        unsigned ids[BATCH];
        size_t counts[BATCH], runs[BATCH], chain_count = 0, done = 0;
        cw_mppe_stocks_step(&c->stocks);
        for (unsigned s = 0; s < sessions; s++) {
            bool needed;
            for (unsigned i = 0; i < each; i++) buffers[s * each + i] = arrived(c, at + i * sessions + s);
            counts[s] = cw_link_open(c->ends[s].link, clock_now, buffers + s * each, each, &c->pool);
            runs[s] = cw_link_plan(c->ends[s].link, buffers + s * each, counts[s], &chains[chain_count], &needed);
            if (needed) chain_count++;
        }
        cw_mppe_batch_keys(&kernels, chains, chain_count);
        for (unsigned s = 0; s < sessions; s++) cw_link_prepare(c->ends[s].link, buffers + s * each, runs[s], &work);
        cw_mppe_batch_work(&kernels, &work);
        for (unsigned s = 0; s < sessions; s++) {
            cw_delivered out[4 * BATCH];
            size_t got = cw_link_receive_opened(c->ends[s].link, clock_now, buffers + s * each, counts[s], runs[s], out, 4 * BATCH, &c->pool);
            require(got == each, "not delivered");
            for (size_t i = 0; i < got; i++, done++) {
                delivered[done] = out[i].buffer;
                ids[done] = at + (unsigned)i * sessions + s;
            }
        }
        seal(c, delivered, ids, done, sessions);
    }
}

// ---- Outwards: sealed packets in, GRE packets out ----

static void make_sealed(unsigned sessions) {
    for (unsigned n = 0; n < PACKETS; n++) {
        uint8_t nonce[12];
        nonce_of(nonce, n);
        crypto_aead_chacha20poly1305_ietf_encrypt(sealed[n].data, NULL, inner[n].data, inner[n].length, NULL, 0, NULL, nonce, keys[n % sessions]);
        sealed[n].length = (uint16_t)(inner[n].length + TAG);
    }
}

// Only the encrypted part: the headers in front of it have no counterpart here.
static void plain_outwards(contender *c, unsigned sessions) {
    static uint8_t text[MOST] = {0x00, 0x21};
    for (unsigned n = 0; n < PACKETS; n++) {
        uint8_t nonce[12];
        nonce_of(nonce, n);
        require(crypto_aead_chacha20poly1305_ietf_decrypt(text + 2, NULL, NULL, sealed[n].data, sealed[n].length, NULL, 0, nonce,
                                                          keys[n % sessions]) == 0, "not opened");
        c->out[n].length = (uint16_t)(sealed[n].length - TAG + 2);
        plain_packet(&c->plain[n % sessions], c->out[n].data, text, c->out[n].length);
    }
}

static void open_sealed(contender *c, const unsigned *ids, size_t count, cw_buffer **buffers, unsigned sessions) {
    cw_aead_job jobs[BATCH];
    for (size_t n = 0; n < count; n++) {
        const packet *from = &sealed[ids[n]];
        cw_buffer *buffer = buffers[n] = cw_pool_take(&c->pool);
        buffer->length = (uint16_t)(from->length - TAG);
        buffer->protocol = CW_PPP_IPV4;
        jobs[n] = (cw_aead_job){.key = keys[ids[n] % sessions], .counter = ids[n], .in = from->data, .out = cw_buffer_data(buffer),
                                .length = buffer->length};
    }
    cw_aead_open(aead, jobs, count);
    for (size_t n = 0; n < count; n++) require(jobs[n].ok, "not opened");
}

static void leave(contender *c, unsigned id, cw_buffer *buffer) {
    packet *to = &c->out[id];
    to->length = (uint16_t)(sealed[id].length - TAG + 2);
    memcpy(to->data, cw_buffer_data(buffer) + buffer->length - to->length, to->length); // as the kernel would copy it
    cw_pool_give(&c->pool, buffer);
}

static void alone_outwards(contender *c, unsigned sessions) {
    for (unsigned n = 0; n < PACKETS; n++) {
        cw_buffer *buffer, *out;
        open_sealed(c, &n, 1, &buffer, sessions);
        require(cw_link_send_data(c->ends[n % sessions].link, clock_now, CALL, &buffer, 1, &out, &c->pool) == 1, "not sent");
        leave(c, n, out);
    }
}

static void together_outwards(contender *c, unsigned sessions) {
    unsigned each = BATCH / sessions;
    for (unsigned at = 0; at < PACKETS; at += BATCH) {
        cw_buffer *buffers[BATCH], *out[BATCH];
        cw_mppe_chain chains[BATCH];
        cw_mppe_job jobs[BATCH];
        cw_mppe_work work = {.jobs = jobs};
        unsigned ids[BATCH];
        size_t chain_count = 0;
        for (unsigned n = 0; n < BATCH; n++) ids[n] = at + n % each * sessions + n / each;
        open_sealed(c, ids, BATCH, buffers, sessions);
        cw_mppe_stocks_step(&c->stocks);
        for (unsigned s = 0; s < sessions; s++)
            if (cw_link_send_plan(c->ends[s].link, each, &chains[chain_count])) chain_count++;
        cw_mppe_batch_keys(&kernels, chains, chain_count);
        for (unsigned s = 0; s < sessions; s++)
            require(cw_link_send_planned(c->ends[s].link, CALL, buffers + s * each, each, out + s * each, &work, &c->pool) == each, "not sent");
        cw_mppe_batch_work(&kernels, &work);
        for (unsigned n = 0; n < BATCH; n++) leave(c, ids[n], out[n]);
    }
}

// ---- Measuring ----

static void run(contender *c, bool inwards, unsigned sessions) {
    switch (c->kind) {
    case PLAIN: (inwards ? plain_inwards : plain_outwards)(c, sessions); break;
    case ALONE: (inwards ? alone_inwards : alone_outwards)(c, sessions); break;
    case TOGETHER: (inwards ? together_inwards : together_outwards)(c, sessions); break;
    }
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(contender *contenders, unsigned count, contender *clients, bool inwards, unsigned sessions, uint16_t length) {
    make_inner(length);
    begin(clients, false);
    for (unsigned c = 0; c < count; c++) begin(&contenders[c], inwards);
    for (unsigned round = 0; round <= ROUNDS; round++) { // the first one is not timed
        if (inwards) make_wire(clients->ends, &clients->pool, sessions);
        else make_sealed(sessions);
        for (unsigned c = 0; c < count; c++) {
            double from = now();
            run(&contenders[c], inwards, sessions);
            if (round > 0) contenders[c].rounds[round - 1] = (now() - from) / PACKETS;
        }
        for (unsigned c = 1; c < count; c++)
            for (unsigned n = 0; n < PACKETS; n++)
                require(contenders[c].out[n].length == contenders[0].out[n].length &&
                            memcmp(contenders[c].out[n].data, contenders[0].out[n].data, contenders[0].out[n].length) == 0,
                        "the contenders do not agree");
    }
    printf("%s, %s, %u octets\n", inwards ? "MPPE to ChaCha20-Poly1305" : "ChaCha20-Poly1305 to MPPE", sessions == 1 ? "one session" : "many sessions",
           length);
    for (unsigned c = 0; c < count; c++) {
        double times[ROUNDS], ratios[ROUNDS];
        memcpy(times, contenders[c].rounds, sizeof times);
        for (unsigned n = 0; n < ROUNDS; n++) ratios[n] = contenders[0].rounds[n] / contenders[c].rounds[n];
        qsort(times, ROUNDS, sizeof *times, order);
        qsort(ratios, ROUNDS, sizeof *ratios, order);
        printf("    %-38s %6.0f ns (%.0f-%.0f) %8.2fx (%.2f-%.2f)\n", contenders[c].name, times[ROUNDS / 2], times[0], times[ROUNDS - 1],
               ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    }
}

int main(void) {
    static contender contenders[] = {
        {.name = "plain C and libsodium, the baseline", .kind = PLAIN},
        {.name = "links, each packet by itself", .kind = ALONE},
        {.name = "links, in batches of 32", .kind = TOGETHER},
    };
    static contender clients;
    static const uint16_t lengths[] = {1400, 576, 64};
    const cw_cpu cpu = cw_cpu_probe();
    cw_isa isa;
    require(cw_isa_choose(&cpu, cw_isa_forced(), &isa) == CW_ISA_CHOSEN, "CAUSEWAY_ISA: not on this processor");
    const cw_cpu limited = cw_cpu_limited(&cpu, isa);
    kernels = cw_mppe_kernels_measure(&limited);
    aead = cw_aead_create();
    require(aead != NULL && sodium_init() >= 0, "no libsodium");
    for (unsigned n = 0; n < BATCH; n++) memset(keys[n], (int)(n * 5 + 1), sizeof keys[n]);
    printf("MPPE: %s; ChaCha20-Poly1305: %s\n", cw_mppe_kernels_name(&kernels), cw_aead_name(aead));
    for (unsigned inwards = 2; inwards-- > 0;)
        for (unsigned one = 0; one < 2; one++)
            for (unsigned n = 0; n < sizeof lengths / sizeof *lengths; n++)
                measure(contenders, sizeof contenders / sizeof *contenders, &clients, inwards == 1, one ? 1 : BATCH, lengths[n]);
    return 0;
}
