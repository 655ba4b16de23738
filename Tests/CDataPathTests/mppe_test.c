// MPPE without a link around it: packets against a model made of nettle's primitives, rules of the header, jumps, budgets.
#include "mppe.h"

#include <nettle/arcfour.h>
#include <nettle/sha1.h>

#include "harness.h"
#include "link_bytes.h"

// RFC 3078 and 3079 once more, written the obvious way.
typedef struct model {
    uint8_t start[16], key[16];
    size_t length;
    unsigned bits;
    struct arcfour_ctx arcfour;
} model;

static void model_sha(model *m, const uint8_t *key, uint8_t digest[20]) {
    uint8_t pad1[40] = {0}, pad2[40];
    memset(pad2, 0xf2, sizeof pad2);
    struct sha1_ctx sha1;
    sha1_init(&sha1);
    sha1_update(&sha1, m->length, m->start);
    sha1_update(&sha1, 40, pad1);
    sha1_update(&sha1, m->length, key);
    sha1_update(&sha1, 40, pad2);
    sha1_digest(&sha1, 20, digest);
}

static void model_salt(model *m) {
    if (m->bits == 40) memcpy(m->key, "\xd1\x26\x9e", 3);
    if (m->bits == 56) m->key[0] = 0xd1;
    arcfour_set_key(&m->arcfour, m->length, m->key);
}

static model model_make(const cw_rekey *rekey) {
    model m = {.bits = rekey->key_bits, .length = rekey->key_bits == 128 ? 16 : 8};
    memcpy(m.start, rekey->start_key, 16);
    uint8_t digest[20];
    model_sha(&m, m.start, digest);
    memcpy(m.key, digest, 16);
    model_salt(&m);
    return m;
}

static void model_change(model *m) {
    uint8_t digest[20];
    model_sha(m, m->key, digest);
    struct arcfour_ctx arcfour;
    arcfour_set_key(&arcfour, m->length, digest);
    arcfour_crypt(&arcfour, m->length, m->key, digest);
    model_salt(m);
}

static cw_rekey rekey_for(unsigned bits, uint32_t flags) {
    cw_rekey rekey = {.key_bits = (uint8_t)bits, .flags = flags};
    for (unsigned n = 0; n < 16; n++) rekey.start_key[n] = (uint8_t)(0xa0 + n);
    return rekey;
}

// A plaintext: protocol, an IPv4 header with its checksum, a payload.
static size_t plaintext(uint8_t *out, unsigned id, size_t payload) {
    static const uint8_t header[20] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 8, 0, 10, 10, 8, 0, 1};
    out[0] = 0x00;
    out[1] = 0x21;
    uint8_t *ip = out + 2;
    memcpy(ip, header, 20);
    cw_put16(ip + 2, (uint16_t)(20 + payload));
    cw_put16(ip + 4, (uint16_t)id);
    uint32_t sum = 0;
    for (unsigned n = 0; n < 20; n += 2) sum += cw_get16(ip + n);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    cw_put16(ip + 10, (uint16_t)~sum);
    for (size_t n = 0; n < payload; n++) ip[20 + n] = (uint8_t)(id + n);
    return 22 + payload;
}

typedef struct world {
    cw_mppe_stocks *stocks;
    cw_bucket budget;
    uint64_t changes;
    cw_mppe_context context;
} world;

static cw_mppe_context *context(world *w, uint32_t gap, bool in_order) {
    w->context = (cw_mppe_context){.now = 1, .gap = gap, .in_order = in_order, .budget = &w->budget, .key_changes = &w->changes, .stocks = w->stocks};
    return &w->context;
}

// One that gives its stock back at the end of its block.
#define RECEIVER __attribute__((cleanup(cw_mppe_receiver_clear))) cw_mppe_receiver

static cw_mppe_kernels kernels;
static cw_mppe_stocks stocks;

static world world_with(uint64_t budget) { return (world){.stocks = &stocks, .budget = cw_bucket_full(budget, budget, 1)}; }

// As cw_link_plan and cw_link_prepare do it for one packet.
static bool prepare(cw_mppe_receiver *receiver, world *w, uint8_t *packet, size_t length, cw_mppe_job *job) {
    cw_mppe_chain chain;
    unsigned ahead = cw_mppe_ahead(receiver, packet, length);
    if (ahead == 0 || !cw_mppe_stock_lend(w->stocks, &receiver->keys)) return false;
    if (cw_mppe_stock_chain(&receiver->keys, ahead, &w->changes, &chain)) cw_mppe_batch_keys(&kernels, &chain, 1);
    cw_mppe_prepare(receiver, packet, length, job);
    return true;
}

static void transmit(cw_mppe_transmitter *transmitter, uint64_t *changes, uint8_t *packet, size_t length) {
    cw_mppe_job job;
    cw_mppe_stream stream;
    cw_mppe_work work = {.jobs = &job, .streams = &stream};
    cw_mppe_transmit(transmitter, changes, packet, length, &work);
    CHECK_EQUAL(work.job_count + work.stream_count, 1);
    cw_mppe_batch_work(&kernels, &work);
}

static void test_packets_against_model(void) {
    static const unsigned strengths[] = {40, 56, 128};
    for (size_t s = 0; s < 3; s++)
        for (uint32_t stateless = 0; stateless <= CW_MPPE_STATELESS; stateless++) {
            cw_rekey rekey = rekey_for(strengths[s], stateless);
            cw_mppe_transmitter transmitter = {0};
            cw_mppe_streams streams = {0};
            RECEIVER receiver = {0};
            CHECK(cw_mppe_transmitter_init(&transmitter, &rekey, &streams));
            CHECK(cw_mppe_receiver_init(&receiver, &rekey, &streams));
            model m = model_make(&rekey);
            world w = world_with(100);
            uint64_t sent_changes = 0, model_changes = 0;
            for (unsigned n = 0; n < 9000; n++) { // twice round the count
                uint8_t plain[200], packet[200], expected[200];
                size_t length = plaintext(plain, n, n % 97);
                memcpy(packet + 2, plain, length);
                transmit(&transmitter, &sent_changes, packet, length + 2);
                uint16_t count = n & 0xfff;
                bool flag = (count & 0xff) == 0xff;
                if (stateless || flag) {
                    model_change(&m);
                    model_changes++;
                }
                CHECK_EQUAL(cw_get16(packet), (stateless || flag ? 0x9000 : 0x1000) | count);
                arcfour_crypt(&m.arcfour, length, expected, plain);
                CHECK(memcmp(packet + 2, expected, length) == 0);
                cw_mppe_result result = cw_mppe_receive(&receiver, context(&w, 1, true), packet, length + 2, false);
                CHECK_EQUAL(result.verdict, CW_MPPE_PROVEN);
                CHECK_EQUAL(result.inner.protocol, 0x21);
                CHECK_EQUAL(result.inner.length, 2);
                CHECK(memcmp(packet + 2, plain, length) == 0);
            }
            CHECK_EQUAL(sent_changes, model_changes);
            CHECK_EQUAL(w.changes, model_changes);
            CHECK_EQUAL(w.budget.tokens, 100);
        }
}

static void test_inner_protocol_forms(void) {
    static const struct {
        const char *front;
        size_t cut; // octets of the usual front that it replaces
        bool good;
    } table[] = {{"0021", 2, true},   {"21", 2, true},   {"ff030021", 2, true}, {"ff0321", 2, true},
                 {"0057", 2, false},  {"57", 2, false},  {"002b", 2, false},    {"c021", 2, false},
                 {"80fd", 2, false},  {"00fd", 2, false}, {"", 2, false},        {"0022", 2, false}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        cw_rekey rekey = rekey_for(128, CW_MPPE_STATELESS);
        cw_mppe_transmitter transmitter = {0};
        cw_mppe_streams streams = {0};
        RECEIVER receiver = {0};
        cw_mppe_transmitter_init(&transmitter, &rekey, &streams);
        cw_mppe_receiver_init(&receiver, &rekey, &streams);
        world w = world_with(100);
        uint8_t plain[100], packet[100];
        size_t length = plaintext(plain, 1, 30) - table[n].cut;
        size_t front = from_hex(table[n].front, packet + 2, 8);
        memcpy(packet + 2 + front, plain + table[n].cut, length);
        length += front + 2;
        uint64_t changes = 0;
        transmit(&transmitter, &changes, packet, length);
        uint8_t before[100];
        memcpy(before, packet, sizeof before);
        cw_mppe_result result = cw_mppe_receive(&receiver, context(&w, 1, true), packet, length, false);
        CHECK_EQUAL(result.verdict, table[n].good ? CW_MPPE_PROVEN : CW_MPPE_UNVERIFIED);
        if (table[n].good) CHECK_EQUAL(result.inner.length, front);
        if (!table[n].good) CHECK(memcmp(before, packet, length) == 0); // untouched
    }
}

static void test_header_rules(void) {
    cw_rekey rekey = rekey_for(128, CW_MPPE_STATELESS);
    cw_mppe_streams streams = {0};
    RECEIVER receiver = {0};
    cw_mppe_receiver_init(&receiver, &rekey, &streams);
    world w = world_with(100);
    static const struct {
        const char *packet;
        cw_mppe_verdict verdict;
    } table[] = {
        {"", CW_MPPE_MALFORMED},         {"90", CW_MPPE_MALFORMED},       {"9000", CW_MPPE_MALFORMED},
        {"b0000102", CW_MPPE_MALFORMED}, // C: compressed
        {"80000102", CW_MPPE_MALFORMED}, // D clear: not encrypted
        {"00000102", CW_MPPE_MALFORMED}, {"90000102", CW_MPPE_UNVERIFIED}, {"d0000102", CW_MPPE_UNVERIFIED},
        {"9fff0102", CW_MPPE_UNVERIFIED}, // behind
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        uint8_t packet[8];
        size_t length = from_hex(table[n].packet, packet, sizeof packet);
        CHECK_EQUAL(cw_mppe_receive(&receiver, context(&w, 1, true), packet, length, false).verdict, table[n].verdict);
    }
    CHECK_EQUAL(receiver.next, 0);
    CHECK_EQUAL(w.budget.tokens, 100);
    cw_rekey wrong = rekey_for(64, 0);
    CHECK(!cw_mppe_receiver_init(&receiver, &wrong, &streams));
    CHECK_EQUAL(receiver.keys.suite.bits, 0);
}

// Sends `skip` packets into the void, then one that arrives.
static cw_mppe_result after_loss(cw_mppe_transmitter *transmitter, cw_mppe_receiver *receiver, world *w, unsigned skip, uint32_t gap, bool probe) {
    uint8_t packet[100];
    size_t length = 0;
    for (unsigned n = 0; n <= skip; n++) {
        length = plaintext(packet + 2, n, 40) + 2;
        uint64_t changes = 0;
        transmit(transmitter, &changes, packet, length);
    }
    return cw_mppe_receive(receiver, context(w, gap, false), packet, length, probe);
}

static void test_jump_truth_table(void) {
    static const struct {
        unsigned skip;
        uint32_t gap;
        uint64_t budget;
        cw_mppe_verdict verdict;
    } table[] = {
        {0, 1, 10, CW_MPPE_PROVEN},
        {63, 64, 10, CW_MPPE_PROVEN},       // near ones are free
        {64, 65, 10, CW_MPPE_PROVEN},       // one change from the budget
        {100, 101, 36, CW_MPPE_BUDGET},     // 37 needed
        {100, 101, 37, CW_MPPE_PROVEN},
        {4095, 4096, 4032, CW_MPPE_PROVEN},
        {4095, 4096, 4031, CW_MPPE_BUDGET},
        {4096, 4097, 5000, CW_MPPE_PROVEN}, // wrapped: difference 0 does not fit
        {4096, 4096, 5000, CW_MPPE_UNVERIFIED}, // the GRE numbers say that it cannot have wrapped
        {10000, 10001, 10001, CW_MPPE_PROVEN},
        {10000, 10500, 10001, CW_MPPE_PROVEN},
        {10000, 9999, 20000, CW_MPPE_UNVERIFIED},
        {3000, 100, 10000, CW_MPPE_UNVERIFIED}, // more than half the space beyond the gap: an old count
        {500, 100, 10000, CW_MPPE_PROVEN},      // packets that were encrypted but never sent
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        cw_rekey rekey = rekey_for(128, CW_MPPE_STATELESS);
        cw_mppe_transmitter transmitter = {0};
        cw_mppe_streams streams = {0};
        RECEIVER receiver = {0};
        cw_mppe_transmitter_init(&transmitter, &rekey, &streams);
        cw_mppe_receiver_init(&receiver, &rekey, &streams);
        world w = world_with(table[n].budget);
        cw_mppe_transmitter copy = transmitter;
        cw_mppe_result probed = after_loss(&copy, &receiver, &w, table[n].skip, table[n].gap, true);
        CHECK_EQUAL(probed.verdict, table[n].verdict);
        CHECK_EQUAL(receiver.next, 0);
        w = world_with(table[n].budget);
        cw_mppe_result result = after_loss(&transmitter, &receiver, &w, table[n].skip, table[n].gap, false);
        if (result.verdict != table[n].verdict) fprintf(stderr, "row %zu\n", n);
        CHECK_EQUAL(result.verdict, table[n].verdict);
        if (result.verdict == CW_MPPE_PROVEN) {
            CHECK_EQUAL(w.budget.tokens, table[n].budget); // nothing was wasted
            CHECK_EQUAL(receiver.next, (table[n].skip + 1) & 0xfff);
            CHECK_EQUAL(after_loss(&transmitter, &receiver, &w, 0, 1, false).verdict, CW_MPPE_PROVEN);
        } else {
            CHECK_EQUAL(receiver.next, 0);
        }
    }
}

// A batch: prepared together, proven one by one; a forged one among them does not disturb the others.
static void test_prepared_batch(void) {
    cw_rekey rekey = rekey_for(128, CW_MPPE_STATELESS);
    cw_mppe_transmitter transmitter = {0};
    cw_mppe_streams streams = {0};
    RECEIVER receiver = {0};
    cw_mppe_transmitter_init(&transmitter, &rekey, &streams);
    cw_mppe_receiver_init(&receiver, &rekey, &streams);
    world w = world_with(0);
    test_random random = {5};
    for (unsigned round = 0; round < 500; round++) {
        static uint8_t packets[CW_MPPE_BATCH][100];
        cw_mppe_job jobs[CW_MPPE_BATCH];
        size_t length = 0;
        unsigned forged = (unsigned)random_below(&random, CW_MPPE_BATCH);
        for (unsigned n = 0; n < CW_MPPE_BATCH; n++) {
            length = plaintext(packets[n] + 2, n, 40) + 2;
            uint64_t changes = 0;
            transmit(&transmitter, &changes, packets[n], length);
            if (n == forged) packets[n][10] ^= 0x40;
        }
        for (unsigned n = 0; n < CW_MPPE_BATCH; n++) CHECK(prepare(&receiver, &w, packets[n], length, &jobs[n]));
        cw_mppe_crypt_batch(jobs, CW_MPPE_BATCH);
        for (unsigned n = 0; n < CW_MPPE_BATCH; n++) {
            cw_mppe_result result = cw_mppe_receive_prepared(&receiver, context(&w, n == forged + 1 ? 2 : 1, true), packets[n], length);
            CHECK_EQUAL(result.verdict, n == forged ? CW_MPPE_UNVERIFIED : CW_MPPE_PROVEN);
        }
        uint8_t far[20] = {0};
        cw_put16(far, (uint16_t)(0x9000 | ((receiver.next + 64) & 0xfff)));
        CHECK(!prepare(&receiver, &w, far, sizeof far, &jobs[0]));
    }
    CHECK(w.changes <= 500 * CW_MPPE_BATCH + 64);
}

// Prepared with the key of count 0, but the count has wrapped: the ciphertext comes back and the right key is found.
static void test_prepared_after_wrap(void) {
    for (uint32_t gap = 4096; gap <= 4097; gap++) {
        cw_rekey rekey = rekey_for(128, CW_MPPE_STATELESS);
        cw_mppe_transmitter transmitter = {0};
        cw_mppe_streams streams = {0};
        RECEIVER receiver = {0};
        cw_mppe_transmitter_init(&transmitter, &rekey, &streams);
        cw_mppe_receiver_init(&receiver, &rekey, &streams);
        world w = world_with(5000);
        uint8_t packet[100];
        size_t length = 0;
        cw_mppe_job job;
        for (unsigned n = 0; n <= 4096; n++) {
            length = plaintext(packet + 2, n, 40) + 2;
            uint64_t changes = 0;
            transmit(&transmitter, &changes, packet, length);
        }
        CHECK(prepare(&receiver, &w, packet, length, &job));
        cw_mppe_crypt_batch(&job, 1);
        cw_mppe_result result = cw_mppe_receive_prepared(&receiver, context(&w, gap, true), packet, length);
        CHECK_EQUAL(result.verdict, gap > 4096 ? CW_MPPE_PROVEN : CW_MPPE_UNVERIFIED);
        if (gap > 4096) CHECK(packet[2] == 0x00 && packet[3] == 0x21 && packet[4] == 0x45);
        CHECK_EQUAL(receiver.next, gap > 4096 ? 1 : 0);
    }
}

int main(void) {
    const cw_cpu cpu = cw_cpu_probe();
    kernels = cw_mppe_kernels_make(&cpu, CW_MPPE_RC4_INTERLEAVED);
    if (!cw_mppe_stocks_create(&stocks, &kernels, 4)) return 1;
    RUN(packets_against_model);
    RUN(inner_protocol_forms);
    RUN(header_rules);
    RUN(jump_truth_table);
    RUN(prepared_batch);
    RUN(prepared_after_wrap);
    FINISH();
}
