// Every kernel that this processor has, against libcrypto's RC4 and nettle's SHA-1: random lengths, alignments, shapes of batches.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <nettle/sha1.h>
#include <openssl/rc4.h>

#include "harness.h"
#include "mppe_batch.h"
#include "mppe_batch_internal.h"

enum { KERNELS_MAX = 7, BATCH_MAX = 150, LENGTH_MAX = 1500, GUARD = 64 };

static cw_mppe_kernels all[KERNELS_MAX];
static size_t all_count;

static void find_kernels(void) {
    static const char *const wanted[] = {"scalar", "avx2", "avx512"};
    static const cw_mppe_rc4 last[] = {CW_MPPE_RC4_INTERLEAVED, CW_MPPE_RC4_ROWS, CW_MPPE_RC4_GATHER};
    cw_cpu cpu = cw_cpu_probe();
    for (unsigned level = 0; level < CW_ISA_LEVELS; level++) {
        cw_isa isa;
        if (cw_isa_choose(&cpu, wanted[level], &isa) != CW_ISA_CHOSEN) {
            printf("SKIPPED %s: the processor does not have it\n", wanted[level]);
            continue;
        }
        cw_cpu limited = cw_cpu_limited(&cpu, isa);
        for (unsigned rc4 = 0; rc4 <= (unsigned)last[level]; rc4++) {
            all[all_count] = cw_mppe_kernels_make(&limited, (cw_mppe_rc4)rc4);
            printf("kernels: %s%s\n", cw_mppe_kernels_name(&all[all_count]), limited.sha ? ", SHA-NI" : "");
            all_count++;
        }
    }
}

static void fill(test_random *random, uint8_t *octets, size_t length) {
    for (size_t n = 0; n < length; n++) octets[n] = (uint8_t)next_random(random);
}

static bool all_zero(const uint8_t *octets, size_t length) {
    for (size_t n = 0; n < length; n++)
        if (octets[n] != 0) return false;
    return true;
}

// ---- Published vectors: RFC 6229 section 2, 64 and 128 bits ----

static void test_rfc6229(void) {
    static const struct {
        const char *key;
        struct {
            size_t at;
            const char *octets;
        } stream[3];
    } vectors[] = {
        {"0102030405060708",
         {{0, "97ab8a1bf0afb96132f2f67258da15a8"}, {1520, "1fe8986713f07c3d9ae1c163ff8cf9d3"}, {4080, "d5fa5a3469d29aaaf83d23589db8c85b"}}},
        {"0102030405060708090a0b0c0d0e0f10",
         {{0, "9ac7cc9a609d1ef7b2932899cde41b97"}, {1520, "b40110c4190b5622a96116b0017ed297"}, {4080, "ff38265c1642c1abe8d3c2fe5e572bf8"}}},
    };
    enum { jobs_count = 40, length = 4096 };
    static uint8_t text[jobs_count][length];
    for (size_t k = 0; k < all_count; k++) {
        cw_mppe_job jobs[jobs_count];
        memset(text, 0, sizeof text);
        for (unsigned n = 0; n < jobs_count; n++) {
            jobs[n] = (cw_mppe_job){.in = text[n], .out = text[n], .length = length};
            jobs[n].key_length = (uint8_t)from_hex(vectors[n % 2].key, jobs[n].key, sizeof jobs[n].key);
        }
        cw_mppe_batch_crypt(&all[k], jobs, jobs_count, NULL, 0);
        for (unsigned n = 0; n < jobs_count; n++)
            for (unsigned v = 0; v < 3; v++) CHECK(equals_hex(text[n] + vectors[n % 2].stream[v].at, vectors[n % 2].stream[v].octets));
    }
}

// ---- SHA-1 ----

static void digest_by_nettle(const cw_mppe_suite *suite, const uint8_t *key, uint8_t digest[20]) {
    uint8_t pad1[40] = {0}, pad2[40];
    memset(pad2, 0xf2, sizeof pad2);
    struct sha1_ctx sha1;
    sha1_init(&sha1);
    sha1_update(&sha1, suite->length, suite->start);
    sha1_update(&sha1, 40, pad1);
    sha1_update(&sha1, suite->length, key);
    sha1_update(&sha1, 40, pad2);
    sha1_digest(&sha1, 20, digest);
}

static void test_digests(void) {
    test_random random = {11};
    for (size_t k = 0; k < all_count; k++) {
        for (unsigned which = 0; which < 2; which++) {
            for (size_t count = 1; count <= 40; count++) {
                static cw_mppe_suite suites[40];
                static uint8_t keys[40][CW_MPPE_KEY_SIZE], interim[41][CW_MPPE_KEY_SIZE];
                cw_mppe_digest digests[40];
                unsigned bits = count % 3 == 0 ? 128 : count % 3 == 1 ? 56 : 40;
                memset(interim, 0xa5, sizeof interim);
                for (size_t n = 0; n < count; n++) {
                    uint8_t start[CW_MPPE_KEY_SIZE];
                    fill(&random, start, sizeof start);
                    CHECK(cw_mppe_suite_init(&suites[n], bits, start, keys[n]));
                    fill(&random, keys[n], suites[n].length);
                    digests[n] = (cw_mppe_digest){.suite = &suites[n], .key = keys[n], .interim = interim[n]};
                }
                (which == 0 ? all[k].digest : all[k].digest_few)(digests, count);
                for (size_t n = 0; n < count; n++) {
                    uint8_t expected[20];
                    digest_by_nettle(&suites[n], keys[n], expected);
                    CHECK(memcmp(interim[n], expected, suites[n].length) == 0);
                    for (size_t i = suites[n].length; i < CW_MPPE_KEY_SIZE; i++) CHECK_EQUAL(interim[n][i], 0xa5);
                }
                CHECK_EQUAL(interim[count][0], 0xa5);
            }
        }
    }
}

// ---- Key chains ----

// RFC 3078 section 7.3 with the libraries' parts.
static void key_after(const cw_mppe_suite *suite, uint8_t key[CW_MPPE_KEY_SIZE]) {
    uint8_t digest[20], next[CW_MPPE_KEY_SIZE] = {0};
    digest_by_nettle(suite, key, digest);
    RC4_KEY rc4;
    RC4_set_key(&rc4, suite->length, digest);
    RC4(&rc4, suite->length, digest, next);
    if (suite->bits < 128) next[0] = 0xd1;
    if (suite->bits == 40) {
        next[1] = 0x26;
        next[2] = 0x9e;
    }
    memcpy(key, next, CW_MPPE_KEY_SIZE);
}

static void test_chains(void) {
    enum { chains_max = 100, ring = 64 };
    static cw_mppe_suite suites[chains_max];
    static uint8_t rings[chains_max][ring + 2][CW_MPPE_KEY_SIZE], keys[chains_max][CW_MPPE_KEY_SIZE];
    for (size_t k = 0; k < all_count; k++) {
        test_random random = {17};
        for (unsigned round = 0; round < (SANITIZED ? 15 : 60); round++) {
            cw_mppe_chain chains[chains_max];
            size_t count = round < 12 ? round : random_below(&random, chains_max + 1);
            for (size_t n = 0; n < count; n++) {
                static const unsigned bits[] = {128, 56, 40, 128};
                uint8_t start[CW_MPPE_KEY_SIZE];
                fill(&random, start, sizeof start);
                CHECK(cw_mppe_suite_init(&suites[n], bits[random_below(&random, 4)], start, keys[n]));
                memset(rings[n], 0xa5, sizeof rings[n]);
                uint16_t size = (uint16_t)(1 + random_below(&random, ring));
                uint16_t first = (uint16_t)random_below(&random, size);
                chains[n] = (cw_mppe_chain){
                    .suite = &suites[n],
                    .key = keys[n],
                    .ring = rings[n] + 1,
                    .size = size,
                    .first = first,
                    .count = (uint16_t)random_below(&random, (uint64_t)size + 1),
                };
                // The key before may be where the last of these is going to be.
                if (random_below(&random, 2) == 0) {
                    uint8_t *before = rings[n][1 + (first + size - 1) % size];
                    memcpy(before, keys[n], CW_MPPE_KEY_SIZE);
                    chains[n].key = before;
                }
            }
            cw_mppe_batch_keys(&all[k], chains, count);
            for (size_t n = 0; n < count; n++) {
                uint8_t key[CW_MPPE_KEY_SIZE];
                memcpy(key, keys[n], sizeof key);
                for (unsigned i = 0; i < chains[n].count; i++) {
                    key_after(&suites[n], key);
                    CHECK(memcmp(key, chains[n].ring[(chains[n].first + i) % chains[n].size], sizeof key) == 0);
                }
                // Nothing beside, nothing between.
                for (unsigned i = chains[n].count; i < chains[n].size; i++) {
                    const uint8_t *place = chains[n].ring[(chains[n].first + i) % chains[n].size];
                    if (place != chains[n].key) CHECK_EQUAL(place[0] == 0xa5 && place[15] == 0xa5, 1);
                }
                CHECK_EQUAL(rings[n][0][15], 0xa5);
                CHECK_EQUAL(chains[n].ring[chains[n].size][0], 0xa5);
            }
        }
    }
}

static void test_chain_against_key_change(void) {
    for (size_t k = 0; k < all_count; k++) {
        for (unsigned bits = 0; bits < 3; bits++) {
            static const unsigned widths[] = {40, 56, 128};
            cw_mppe_suite suite;
            uint8_t key[CW_MPPE_KEY_SIZE], ring[8][CW_MPPE_KEY_SIZE];
            CHECK(cw_mppe_suite_init(&suite, widths[bits], (const uint8_t *)"an old start key", key));
            memcpy(ring[7], key, sizeof key);
            for (unsigned round = 0; round < 100; round++) {
                cw_mppe_chain chain = {.suite = &suite, .key = ring[7], .ring = ring, .size = 8, .count = 8};
                cw_mppe_batch_keys(&all[k], &chain, 1);
                for (unsigned n = 0; n < 8; n++) {
                    cw_mppe_key_change(&suite, key, key);
                    CHECK(memcmp(key, ring[n], sizeof key) == 0);
                }
            }
        }
    }
}

// ---- Packets ----

typedef struct packet {
    uint8_t in[LENGTH_MAX + 3 * GUARD], out[LENGTH_MAX + 3 * GUARD];
    uint8_t expected[LENGTH_MAX];
    uint8_t *in_at, *out_at;
    bool in_place;
} packet;

static packet packets[BATCH_MAX];

static void prepare(packet *packet, test_random *random, size_t length) {
    fill(random, packet->in, sizeof packet->in);
    memset(packet->out, 0x5a, sizeof packet->out);
    packet->in_at = packet->in + GUARD + random_below(random, GUARD);
    packet->in_place = random_below(random, 2) == 0;
    packet->out_at = packet->in_place ? packet->in_at : packet->out + GUARD + random_below(random, GUARD);
    memcpy(packet->expected, packet->in_at, length);
}

// Guards: 64 octets before and after stay as they were.
static void check_packet(const packet *packet, const uint8_t guard_before[GUARD], const uint8_t guard_after[GUARD], size_t length) {
    CHECK(memcmp(packet->out_at, packet->expected, length) == 0);
    CHECK(memcmp(packet->out_at - GUARD, guard_before, GUARD) == 0);
    CHECK(memcmp(packet->out_at + length, guard_after, GUARD) == 0);
}

typedef enum shape { ANY_LENGTH, ONE_LENGTH, MIX, TINY, ONE_GIANT, SHAPES } shape;

static uint16_t length_for(test_random *random, shape shape, uint16_t common, size_t n) {
    static const uint16_t mix[] = {64, 64, 576, 64, 1400, 64};
    switch (shape) {
    case ONE_LENGTH: return common;
    case MIX: return mix[random_below(random, sizeof mix / sizeof mix[0])];
    case TINY: return (uint16_t)random_below(random, 36);
    case ONE_GIANT: return n == 3 ? LENGTH_MAX : 20;
    default: return (uint16_t)random_below(random, LENGTH_MAX + 1);
    }
}

static void check_batch(const cw_mppe_kernels *kernels, test_random *random, size_t count, shape shape) {
    static uint8_t before[BATCH_MAX][GUARD], after[BATCH_MAX][GUARD];
    cw_mppe_job jobs[BATCH_MAX];
    uint16_t lengths[BATCH_MAX], common = (uint16_t)random_below(random, LENGTH_MAX + 1);
    for (size_t n = 0; n < count; n++) {
        lengths[n] = length_for(random, shape, common, n);
        packet *packet = &packets[n];
        prepare(packet, random, lengths[n]);
        jobs[n] = (cw_mppe_job){.in = packet->in_at, .out = packet->out_at, .length = lengths[n]};
        jobs[n].key_length = random_below(random, 3) == 0 ? 8 : 16;
        fill(random, jobs[n].key, jobs[n].key_length);
        RC4_KEY rc4;
        RC4_set_key(&rc4, jobs[n].key_length, jobs[n].key);
        RC4(&rc4, lengths[n], packet->expected, packet->expected);
        memcpy(before[n], packet->out_at - GUARD, GUARD);
        memcpy(after[n], packet->out_at + lengths[n], GUARD);
    }
    cw_mppe_batch_crypt(kernels, jobs, count, NULL, 0);
    for (size_t n = 0; n < count; n++) {
        check_packet(&packets[n], before[n], after[n], lengths[n]);
        CHECK(all_zero(jobs[n].key, sizeof jobs[n].key));
        CHECK_EQUAL(jobs[n].length, lengths[n]);
    }
}

static void test_batches(void) {
    for (size_t k = 0; k < all_count; k++) {
        test_random random = {23};
        for (size_t count = 0; count <= 40; count++) // every way to be short of a group
            for (unsigned shape = 0; shape < SHAPES; shape++) check_batch(&all[k], &random, count, (enum shape)shape);
        for (unsigned round = 0; round < (SANITIZED ? 30 : 200); round++)
            check_batch(&all[k], &random, random_below(&random, BATCH_MAX + 1), (enum shape)random_below(&random, SHAPES));
    }
}

static void test_every_length(void) {
    for (size_t k = 0; k < all_count; k++) {
        test_random random = {29};
        for (uint16_t length = 0; length <= LENGTH_MAX; length += (uint16_t)(SANITIZED ? 7 : 1)) {
            uint8_t key[16], text[LENGTH_MAX], expected[LENGTH_MAX];
            fill(&random, key, sizeof key);
            fill(&random, text, sizeof text);
            RC4_KEY rc4;
            RC4_set_key(&rc4, sizeof key, key);
            RC4(&rc4, length, text, expected);
            // As many as fill the lanes, on the heap, to the octet: the address sanitizer sees what passes the end.
            enum { count = 16 };
            cw_mppe_job jobs[count];
            uint8_t *copies[count];
            for (unsigned n = 0; n < count; n++) {
                copies[n] = malloc(length > 0 ? length : 1);
                memcpy(copies[n], text, length);
                jobs[n] = (cw_mppe_job){.in = copies[n], .out = copies[n], .length = length, .key_length = 16};
                memcpy(jobs[n].key, key, sizeof key);
            }
            cw_mppe_batch_crypt(&all[k], jobs, count, NULL, 0);
            for (unsigned n = 0; n < count; n++) {
                CHECK(memcmp(copies[n], expected, length) == 0);
                free(copies[n]);
            }
        }
    }
}

// ---- Stateful ----

typedef struct session {
    cw_rc4 rc4;
    RC4_KEY expected;
} session;

static bool same_state(const cw_rc4 *rc4, const RC4_KEY *expected) {
    cw_rc4 copy = *rc4;
    RC4_KEY expected_copy = *expected;
    uint8_t zeros[300] = {0}, left[300], right[300];
    cw_rc4_crypt(&copy, zeros, left, sizeof left);
    RC4(&expected_copy, sizeof right, zeros, right);
    return memcmp(left, right, sizeof left) == 0;
}

static void test_streams(void) {
    enum { sessions_max = 20 };
    static uint8_t before[BATCH_MAX][GUARD], after[BATCH_MAX][GUARD];
    static session sessions[sessions_max];
    for (size_t k = 0; k < all_count; k++) {
        test_random random = {31};
        for (unsigned n = 0; n < sessions_max; n++) {
            uint8_t key[16];
            fill(&random, key, sizeof key);
            cw_rc4_key(&sessions[n].rc4, key, sizeof key);
            RC4_set_key(&sessions[n].expected, sizeof key, key);
        }
        for (unsigned round = 0; round < (SANITIZED ? 60 : 300); round++) {
            cw_mppe_job jobs[BATCH_MAX];
            cw_mppe_stream streams[BATCH_MAX];
            size_t total = random_below(&random, BATCH_MAX + 1);
            size_t stream_count = random_below(&random, total + 1), job_count = total - stream_count;
            uint16_t lengths[BATCH_MAX];
            // Few sessions: several packets of each. Many: mostly one.
            unsigned used = (unsigned)(1 + random_below(&random, sessions_max));
            for (size_t n = 0; n < total; n++) {
                packet *packet = &packets[n];
                lengths[n] = (uint16_t)(random_below(&random, 8) == 0 ? 0 : random_below(&random, LENGTH_MAX + 1));
                prepare(packet, &random, lengths[n]);
                memcpy(before[n], packet->out_at - GUARD, GUARD);
                memcpy(after[n], packet->out_at + lengths[n], GUARD);
                uint8_t key[16];
                uint8_t key_length = random_below(&random, 2) == 0 ? 8 : 16;
                fill(&random, key, sizeof key);
                if (n < stream_count) {
                    session *session = &sessions[random_below(&random, used)];
                    bool rekey = random_below(&random, 4) == 0;
                    streams[n] = (cw_mppe_stream){
                        .rc4 = &session->rc4,
                        .in = packet->in_at,
                        .out = packet->out_at,
                        .length = lengths[n],
                        .key_length = rekey ? key_length : 0,
                    };
                    memcpy(streams[n].key, key, sizeof key);
                    if (rekey) RC4_set_key(&session->expected, key_length, key);
                    RC4(&session->expected, lengths[n], packet->expected, packet->expected);
                } else {
                    cw_mppe_job *job = &jobs[n - stream_count];
                    *job = (cw_mppe_job){.in = packet->in_at, .out = packet->out_at, .length = lengths[n], .key_length = key_length};
                    memcpy(job->key, key, sizeof key);
                    RC4_KEY rc4;
                    RC4_set_key(&rc4, key_length, key);
                    RC4(&rc4, lengths[n], packet->expected, packet->expected);
                }
            }
            cw_mppe_batch_crypt(&all[k], jobs, job_count, streams, stream_count);
            for (size_t n = 0; n < total; n++) check_packet(&packets[n], before[n], after[n], lengths[n]);
            for (size_t n = 0; n < stream_count; n++) CHECK(all_zero(streams[n].key, sizeof streams[n].key));
            for (unsigned n = 0; n < sessions_max; n++) CHECK(same_state(&sessions[n].rc4, &sessions[n].expected));
        }
    }
}

// ---- The whole way of a stateless session: keys ahead, packets, the other end ----

static void test_session(void) {
    for (size_t k = 0; k < all_count; k++) {
        enum { batch = 32 };
        cw_mppe_suite suite;
        uint8_t key[CW_MPPE_KEY_SIZE], other[CW_MPPE_KEY_SIZE];
        CHECK(cw_mppe_suite_init(&suite, 128, (const uint8_t *)"sixteen octets!!", key));
        memcpy(other, key, sizeof other);
        test_random random = {37};
        for (unsigned round = 0; round < 10; round++) {
            static uint8_t ring[batch][CW_MPPE_KEY_SIZE], text[batch][LENGTH_MAX], plain[batch][LENGTH_MAX];
            uint16_t lengths[batch];
            cw_mppe_chain chain = {.suite = &suite, .key = key, .ring = ring, .size = batch, .count = batch};
            cw_mppe_batch_keys(&all[k], &chain, 1);
            cw_mppe_job jobs[batch];
            for (unsigned n = 0; n < batch; n++) {
                lengths[n] = (uint16_t)(1 + random_below(&random, LENGTH_MAX));
                fill(&random, plain[n], lengths[n]);
                jobs[n] = (cw_mppe_job){.in = plain[n], .out = text[n], .length = lengths[n], .key_length = suite.length};
                memcpy(jobs[n].key, ring[n], sizeof jobs[n].key);
            }
            memcpy(key, ring[batch - 1], sizeof key);
            cw_mppe_batch_crypt(&all[k], jobs, batch, NULL, 0);
            for (unsigned n = 0; n < batch; n++) {
                cw_mppe_key_change(&suite, other, other);
                cw_mppe_job job = {.in = text[n], .out = text[n], .length = lengths[n], .key_length = suite.length};
                memcpy(job.key, other, sizeof job.key);
                cw_mppe_crypt_batch(&job, 1);
                CHECK(memcmp(text[n], plain[n], lengths[n]) == 0);
            }
        }
    }
}

// ---- The choice ----

static void test_choice(void) {
    cw_cpu cpu = cw_cpu_probe();
    for (unsigned level = 0; level <= (unsigned)cpu.level; level++) {
        cw_cpu limited = cw_cpu_limited(&cpu, (cw_isa)level);
        cw_mppe_kernels kernels = cw_mppe_kernels_measure(&limited);
        CHECK_EQUAL(kernels.isa, level);
        CHECK(kernels.rc4 <= (cw_mppe_rc4)level);
        const char *name = cw_mppe_kernels_name(&kernels);
        CHECK(name != NULL && strncmp(name, cw_isa_name((cw_isa)level), strlen(cw_isa_name((cw_isa)level))) == 0);
        printf("measured for %s: %s\n", cw_isa_name((cw_isa)level), name);
    }
}

int main(void) {
    find_kernels();
    RUN(rfc6229);
    RUN(digests);
    RUN(chains);
    RUN(chain_against_key_change);
    RUN(batches);
    RUN(every_length);
    RUN(streams);
    RUN(session);
    RUN(choice);
    FINISH();
}
