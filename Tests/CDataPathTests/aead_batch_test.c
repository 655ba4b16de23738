// The multi-buffer kernels of ChaCha20-Poly1305: blocks of RFC 8439, Poly1305 around its carries, then whole batches against libsodium.
// Every test runs every kernel that this CPU has.
#include <sodium.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "aead_batch.h"
#include "aead_batch_kernel.h"
#include "harness.h"

enum { TAG = 16, MOST = 65519, GUARD = 64 };

static const cw_aead_batch *kernel; // the one under test

static void fill(test_random *random, uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(next_random(random) >> 32);
}

static bool all(const uint8_t *bytes, size_t length, uint8_t value) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != value) return false;
    return true;
}

static void reference(const uint8_t key[32], uint64_t counter, const uint8_t *in, size_t length, uint8_t *out) {
    uint8_t nonce[12] = {0};
    for (int i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(counter >> 8 * i);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, length, NULL, 0, NULL, nonce, key);
}

// ---- ChaCha20 ---

typedef struct block_vector { // the first word of the nonce is zero in all of them, as in WireGuard
    const char *key, *nonce;  // the nonce's last eight octets
    uint32_t block;
    const char *stream;
} block_vector;

#define ZEROS "00000000000000000000000000000000000000000000000000000000000000"
static const block_vector block_vectors[] = { // RFC 8439 appendix A.1, 1 to 5, and the begin of the key stream of A.2, 3
    {ZEROS "00", "0000000000000000", 0,
     "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"},
    {ZEROS "00", "0000000000000000", 1,
     "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"},
    {ZEROS "01", "0000000000000000", 1,
     "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"},
    {"00ff" ZEROS, "0000000000000000", 2,
     "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"},
    {ZEROS "00", "0000000000000002", 0,
     "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c78a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"},
};
enum { BLOCK_VECTORS = sizeof block_vectors / sizeof *block_vectors };

// Every number of lanes in use, every vector in every lane; a short lane writes no more than its octets.
static void test_chacha_blocks(void) {
    uint8_t keys[BLOCK_VECTORS][32], zeros[64] = {0}, out[CW_AEAD_LANES][64 + GUARD];
    for (size_t i = 0; i < BLOCK_VECTORS; i++) CHECK_EQUAL(from_hex(block_vectors[i].key, keys[i], 32), 32);
    for (size_t count = 1; count <= kernel->lanes; count++) {
        for (size_t shift = 0; shift < BLOCK_VECTORS; shift++) {
            cw_chacha_lanes lanes = {0};
            memset(out, 0x77, sizeof out);
            for (size_t i = 0; i < count; i++) {
                const block_vector *v = &block_vectors[(i + shift) % BLOCK_VECTORS];
                uint8_t nonce[8];
                from_hex(v->nonce, nonce, sizeof nonce);
                lanes.key[i] = keys[(i + shift) % BLOCK_VECTORS];
                lanes.block[i] = v->block;
                lanes.nonce_low[i] = cw_le32(nonce);
                lanes.nonce_high[i] = cw_le32(nonce + 4);
                lanes.in[i] = zeros;
                lanes.out[i] = out[i];
                lanes.octets[i] = i % 3 == 2 ? (uint32_t)(1 + (i * 13 + shift * 7 + count * 5) % 64) : 64;
            }
            kernel->chacha(&lanes, count);
            for (size_t i = 0; i < count; i++) {
                uint8_t stream[64];
                from_hex(block_vectors[(i + shift) % BLOCK_VECTORS].stream, stream, sizeof stream);
                CHECK(memcmp(out[i], stream, lanes.octets[i]) == 0);
                CHECK(all(out[i] + lanes.octets[i], sizeof out[i] - lanes.octets[i], 0x77));
            }
            for (size_t i = count; i < CW_AEAD_LANES; i++) CHECK(all(out[i], sizeof out[i], 0x77));
        }
    }
}

// ---- Poly1305 ---

// The oracle itself: RFC 8439 section 2.5.2 and, of appendix A.3, what is about carries and the prime (7 to 11).
static void test_poly1305_of_the_library(void) {
    static const struct {
        const char *key, *text, *tag;
    } vectors[] = {
        {"85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
         "43727970746f6772617068696320466f72756d2052657365617263682047726f7570", "a8061dc1305136c6c22b8baf0c0127a9"},
        {"01000000000000000000000000000000" "00000000000000000000000000000000",
         "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000", "05000000000000000000000000000000"},
        {"01000000000000000000000000000000" "00000000000000000000000000000000",
         "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101", "00000000000000000000000000000000"},
        {"02000000000000000000000000000000" "00000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
         "faffffffffffffffffffffffffffffff"},
        {"01000000000000000400000000000000" "00000000000000000000000000000000",
         "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000000000000000000000000000000000000100000000000000000000000000000000"
         "", "14000000000000005500000000000000"},
        {"01000000000000000400000000000000" "00000000000000000000000000000000",
         "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000", "13000000000000000000000000000000"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint8_t key[32], text[80], tag[TAG];
        from_hex(vectors[i].key, key, sizeof key);
        size_t length = from_hex(vectors[i].text, text, sizeof text) / 16 * 16;
        if (i == 0) length = 34;
        crypto_onetimeauth(tag, text, length, key);
        CHECK(equals_hex(tag, vectors[i].tag));
    }
}

static uint8_t padded[2 * MOST];

// Of a text with its padding and length, as the AEAD has it.
static void reference_tag(uint8_t tag[TAG], const uint8_t key[32], const uint8_t *text, size_t length) {
    size_t whole = (length + 15) / 16 * 16;
    memset(padded, 0, whole + 16);
    memcpy(padded, text, length);
    cw_put_le64(padded + whole + 8, length);
    crypto_onetimeauth(tag, padded, whole + 16, key);
}

typedef struct authenticated {
    uint8_t key[32], *text;
    size_t length;
} authenticated;

static void check_poly(const authenticated *packets, size_t count) {
    cw_poly_lanes lanes = {0};
    for (size_t i = 0; i < count; i++) {
        lanes.r_low[i] = cw_le64(packets[i].key) & UINT64_C(0x0ffffffc0fffffff);
        lanes.r_high[i] = cw_le64(packets[i].key + 8) & UINT64_C(0x0ffffffc0ffffffc);
        lanes.text[i] = packets[i].text;
        lanes.length[i] = packets[i].length;
    }
    kernel->poly(&lanes, count);
    for (size_t i = 0; i < count; i++) {
        uint8_t tag[TAG], expected[TAG];
        cw_poly_tag(tag, lanes.sum[i], packets[i].key + 16);
        reference_tag(expected, packets[i].key, packets[i].text, packets[i].length);
        CHECK(memcmp(tag, expected, TAG) == 0);
    }
}

// With r = 1 the sum is the blocks' sum: one block is chosen so that it ends at the prime plus or minus a few. Of n = 4 q + 2 blocks and the
// length, the bits 2^128 make 3 * 2^128 + 5 q.
static void test_poly1305_around_the_prime(void) {
    static uint8_t text[42 * 16];
    for (size_t blocks = 2; blocks <= 42; blocks += 4) {
        for (size_t place = 0; place < blocks; place++) {
            for (int off = -8; off <= 8; off++) {
                unsigned __int128 wanted = (unsigned __int128)0 - 5 - 5 * (blocks / 4) - ((unsigned __int128)(blocks * 16) << 64);
                wanted += (unsigned __int128)(__int128)off;
                if (off > 0 && wanted < (unsigned)off) continue; // would need 129 bits
                memset(text, 0, sizeof text);
                cw_put_le64(text + place * 16, (uint64_t)wanted);
                cw_put_le64(text + place * 16 + 8, (uint64_t)(wanted >> 64));
                authenticated packet = {.key = {1}, .text = text, .length = blocks * 16};
                check_poly(&packet, 1);
                // It is there where it is meant to be: with s = 0 the tag is the small difference itself.
                if (off >= 0) {
                    uint8_t tag[TAG], small[TAG] = {(uint8_t)off};
                    reference_tag(tag, packet.key, text, packet.length);
                    CHECK(memcmp(tag, small, TAG) == 0);
                }
            }
        }
    }
}

// The largest and smallest values of r, s and the text, at every number of blocks.
static void test_poly1305_extremes(void) {
    static const uint8_t values[] = {0x00, 0xFF, 0x01, 0x80, 0xFE, 0x7F};
    enum { VALUES = sizeof values };
    static uint8_t text[VALUES][1040];
    for (size_t i = 0; i < VALUES; i++) memset(text[i], values[i], sizeof text[i]);
    for (size_t length = 0; length <= 1040; length += length < 320 ? 1 : 16) {
        for (size_t r = 0; r < VALUES; r++) {
            authenticated packets[CW_AEAD_LANES];
            for (size_t i = 0; i < kernel->lanes; i++) {
                memset(packets[i].key, values[r], 16);
                memset(packets[i].key + 16, values[(i + r) % 2], 16);
                packets[i].text = text[i % VALUES];
                packets[i].length = length;
            }
            check_poly(packets, kernel->lanes);
        }
    }
    for (unsigned small = 0; small < 8; small++) { // r of few bits, at either end
        authenticated packet = {.key = {(uint8_t)small}, .text = text[1], .length = 1040};
        check_poly(&packet, 1);
        packet.key[0] = 0;
        packet.key[15] = (uint8_t)(small << 1);
        check_poly(&packet, 1);
    }
}

// ---- Packets ---

typedef struct packet {
    cw_aead_job job;
    uint8_t key[32];
    uint8_t *memory; // guard, begin, text, tag, guard
    size_t begin, length;
    uint8_t *plain, *sealed; // as it should be
} packet;

enum { PACKETS = 48 };

static void make_packet(packet *p, test_random *random, size_t length) {
    p->length = length;
    p->begin = GUARD + random_below(random, 64);
    p->memory = malloc(p->begin + length + TAG + GUARD);
    p->plain = malloc(length + 1);
    p->sealed = malloc(length + TAG);
    fill(random, p->plain, length);
    fill(random, p->key, sizeof p->key);
    p->job = (cw_aead_job){.key = p->key, .counter = next_random(random), .length = length};
    if (random_below(random, 8) == 0) p->job.counter = UINT64_MAX;
    reference(p->key, p->job.counter, p->plain, length, p->sealed);
}

static void free_packet(packet *p) {
    free(p->memory);
    free(p->plain);
    free(p->sealed);
}

static bool guarded(const packet *p, size_t length) {
    return all(p->memory, p->begin, 0x3C) && all(p->memory + p->begin + length, p->length + TAG + GUARD - length, 0x3C);
}

static size_t some_length(test_random *random) {
    switch (random_below(random, 8)) {
    case 0: return 0;
    case 1: return random_below(random, 65);
    case 2: return random_below(random, 16) * 16;
    case 3: return 1424;
    case 4: return random_below(random, 300);
    case 5: return 176 + random_below(random, 96);
    case 6: return random_below(random, 40) == 0 ? random_below(random, 20000) : random_below(random, 700);
    default: return random_below(random, 1501);
    }
}

// Random batches, both ways, in place or not; each third packet arrives with something wrong.
static void check_batch(test_random *random, packet *packets, size_t count) {
    cw_aead_job jobs[PACKETS];
    for (size_t i = 0; i < count; i++) {
        packet *p = &packets[i];
        memset(p->memory, 0x3C, p->begin + p->length + TAG + GUARD);
        p->job.out = p->memory + p->begin;
        p->job.in = p->plain;
        if (random_below(random, 2) == 0) {
            memcpy(p->job.out, p->plain, p->length);
            p->job.in = p->job.out;
        }
        jobs[i] = p->job;
    }
    cw_aead_batch_seal(kernel, jobs, count);
    for (size_t i = 0; i < count; i++) {
        packet *p = &packets[i];
        CHECK(memcmp(p->job.out, p->sealed, p->length + TAG) == 0);
        CHECK(guarded(p, p->length + TAG));
    }
    bool wrong[PACKETS], in_place[PACKETS];
    uint8_t *arrived[PACKETS];
    for (size_t i = 0; i < count; i++) {
        packet *p = &packets[i];
        wrong[i] = random_below(random, 3) == 0;
        in_place[i] = random_below(random, 2) == 0;
        memset(p->memory, 0x3C, p->begin + p->length + TAG + GUARD);
        arrived[i] = malloc(p->length + TAG);
        memcpy(arrived[i], p->sealed, p->length + TAG);
        if (wrong[i]) arrived[i][random_below(random, p->length + TAG)] ^= (uint8_t)(1 << random_below(random, 8));
        if (in_place[i]) memcpy(p->job.out, arrived[i], p->length + TAG);
        jobs[i].in = in_place[i] ? p->job.out : arrived[i];
        jobs[i].ok = random_below(random, 2) == 0;
    }
    cw_aead_batch_open(kernel, jobs, count);
    for (size_t i = 0; i < count; i++) {
        packet *p = &packets[i];
        CHECK_EQUAL(jobs[i].ok, !wrong[i]);
        CHECK(wrong[i] ? all(p->job.out, p->length, 0) : memcmp(p->job.out, p->plain, p->length) == 0);
        if (in_place[i]) CHECK(memcmp(p->job.out + p->length, arrived[i] + p->length, TAG) == 0); // the tag is only read
        else CHECK(guarded(p, p->length));
        free(arrived[i]);
    }
}

static void test_random_batches(void) {
    test_random random = {11};
    packet packets[PACKETS];
    for (int round = 0; round < (SANITIZED ? 300 : 3000); round++) {
        size_t count = 1 + random_below(&random, random_below(&random, 2) == 0 ? PACKETS : 6);
        for (size_t i = 0; i < count; i++) make_packet(&packets[i], &random, some_length(&random));
        if (random_below(&random, 4) == 0) // one key, as one peer's packets have it
            for (size_t i = 1; i < count; i++) {
                packets[i].job.key = packets[0].key;
                reference(packets[0].key, packets[i].job.counter, packets[i].plain, packets[i].length, packets[i].sealed);
            }
        check_batch(&random, packets, count);
        for (size_t i = 0; i < count; i++) free_packet(&packets[i]);
    }
    cw_aead_batch_seal(kernel, NULL, 0);
    cw_aead_batch_open(kernel, NULL, 0);
}

static void test_every_length(void) {
    test_random random = {12};
    packet packets[PACKETS];
    for (size_t length = 0; length <= 2080; length += SANITIZED ? 7 : 1) {
        for (size_t i = 0; i < 3; i++) make_packet(&packets[i], &random, length + i);
        check_batch(&random, packets, 3);
        for (size_t i = 0; i < 3; i++) free_packet(&packets[i]);
    }
}

static void test_longest_among_short(void) {
    test_random random = {13};
    packet packets[PACKETS];
    for (size_t i = 0; i < PACKETS; i++) make_packet(&packets[i], &random, i % 7 == 3 ? (size_t)(MOST - (i == 3 ? 0 : i)) : i % 5 * 16);
    check_batch(&random, packets, PACKETS);
    for (size_t i = 0; i < PACKETS; i++) free_packet(&packets[i]);
}

// Every octet of text and tag, one bit of each at a time (in the tag, all bits), in a batch whose other packets are right.
static void test_wrong_tags(void) {
    static const size_t lengths[] = {0, 1, 16, 63, 64, 65, 192, 193, 256, 576, 1424};
    test_random random = {14};
    packet packets[5];
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        size_t length = lengths[n];
        for (size_t i = 0; i < 5; i++) make_packet(&packets[i], &random, i == 2 ? length : 64 * i);
        for (size_t at = 0; at < length + TAG; at++) {
            for (unsigned bit = at < length ? (unsigned)at % 8 : 0; bit < 8; bit += at < length ? 8 : 1) {
                cw_aead_job jobs[5];
                for (size_t i = 0; i < 5; i++) {
                    packet *p = &packets[i];
                    memset(p->memory, 0x3C, p->begin + p->length + TAG + GUARD);
                    p->job.in = p->sealed;
                    p->job.out = p->memory + p->begin;
                    jobs[i] = p->job;
                }
                jobs[2].ok = true;
                packets[2].sealed[at] ^= (uint8_t)(1 << bit);
                cw_aead_batch_open(kernel, jobs, 5);
                packets[2].sealed[at] ^= (uint8_t)(1 << bit);
                CHECK(!jobs[2].ok);
                CHECK(all(packets[2].job.out, length, 0));
                for (size_t i = 0; i < 5; i++) {
                    CHECK(guarded(&packets[i], packets[i].length));
                    if (i != 2) CHECK(jobs[i].ok && memcmp(packets[i].job.out, packets[i].plain, packets[i].length) == 0);
                }
            }
        }
        for (size_t i = 0; i < 5; i++) free_packet(&packets[i]);
    }
}

// Texts that begin or end where the memory does: not even a load that is thrown away goes beyond.
static void test_at_the_edge_of_memory(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    if (map == MAP_FAILED) return;
    CHECK_EQUAL(mprotect(map, page, PROT_NONE), 0);
    CHECK_EQUAL(mprotect(map + 3 * page, page, PROT_NONE), 0);
    test_random random = {15};
    uint8_t *key = map + 3 * page - 32, *expected = malloc(2 * page), *text = malloc(2 * page);
    for (size_t length = 0; length <= 1500; length++) {
        for (int at_end = 0; at_end < 2; at_end++) {
            fill(&random, text, length);
            fill(&random, key, 32);
            reference(key, length, text, length, expected);
            uint8_t *place = at_end ? map + 3 * page - length - TAG : map + page, copy[32];
            memcpy(copy, key, 32);
            memcpy(place, text, length);
            cw_aead_job job = {.key = at_end ? copy : key, .counter = length, .in = place, .out = place, .length = length};
            cw_aead_batch_seal(kernel, &job, 1);
            CHECK(memcmp(place, expected, length + TAG) == 0);
            cw_aead_batch_open(kernel, &job, 1);
            CHECK(job.ok);
            CHECK(memcmp(place, text, length) == 0);
        }
    }
    free(expected);
    free(text);
    munmap(map, 4 * page);
}

// ---- What stays, and who is let in ---

static ucontext_t here, there;
static cw_aead_job stack_jobs[PACKETS];
static void seal_and_open(void) {
    cw_aead_batch_seal(kernel, stack_jobs, PACKETS);
    cw_aead_batch_open(kernel, stack_jobs, PACKETS);
}

static bool found(const uint8_t *in, size_t length, const uint8_t *what, size_t octets) {
    for (size_t i = 0; i + octets <= length; i += 4)
        if (memcmp(in + i, what, octets) == 0) return true;
    return false;
}

// On a stack of its own: no part of key, one-time key or key stream is left, neither as octets nor as one word in all lanes or a limb.
static void test_nothing_stays_on_the_stack(void) {
    enum { STACK = 256 * 1024, LENGTH = 300 };
    if (SANITIZED) return; // the sanitizer moves variables elsewhere
    static _Alignas(64) uint8_t stack[STACK];
    static uint8_t buffers[PACKETS][LENGTH + TAG], key[32], stream[LENGTH + 64], nonce[12];
    test_random random = {16};
    fill(&random, key, sizeof key);
    for (size_t i = 0; i < PACKETS; i++)
        stack_jobs[i] = (cw_aead_job){.key = key, .counter = i, .in = buffers[i], .out = buffers[i], .length = i % 2 == 0 ? LENGTH : 64};
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &here;
    makecontext(&there, seal_and_open, 0);
    CHECK_EQUAL(swapcontext(&here, &there), 0);
    for (size_t i = 0; i < PACKETS; i++) CHECK(stack_jobs[i].ok);
    for (size_t word = 0; word < 32; word += 4) {
        uint8_t twice[8];
        memcpy(twice, key + word, 4);
        memcpy(twice + 4, key + word, 4);
        CHECK(!found(stack, sizeof stack, twice, 8));
        if (word % 8 == 0) CHECK(!found(stack, sizeof stack, key + word, 8));
    }
    for (size_t i = 0; i < PACKETS; i++) {
        cw_put_le64(nonce + 4, i);
        crypto_stream_chacha20_ietf(stream, sizeof stream, nonce, key);
        for (size_t at = 0; at + 16 <= sizeof stream; at += 16) CHECK(!found(stack, sizeof stack, stream + at, 8));
        for (unsigned bits = 26; bits <= 44; bits += 18) { // r as the lowest limb of a power
            uint8_t limb[8];
            cw_put_le64(limb, cw_le64(stream) & UINT64_C(0x0ffffffc0fffffff) & ((UINT64_C(1) << bits) - 1));
            CHECK(!found(stack, sizeof stack, limb, sizeof limb));
        }
    }
}

static cw_aead_batch broken;
static void chacha_one_bit(const cw_chacha_lanes *lanes, size_t count) {
    kernel->chacha(lanes, count);
    for (size_t i = 0; i < count; i++)
        if (lanes->block[i] == 20) lanes->out[i][0] ^= 1;
}
static void poly_one_off(cw_poly_lanes *lanes, size_t count) {
    kernel->poly(lanes, count);
    for (size_t i = 0; i < count; i++)
        if (lanes->length[i] == 241) lanes->sum[i][0]++;
}
static void poly_of_nothing(cw_poly_lanes *lanes, size_t count) {
    for (size_t i = 0; i < count; i++) lanes->sum[i][0] = lanes->sum[i][1] = lanes->sum[i][2] = 0;
}

// The test at start refuses a kernel that is wrong in one case only.
static void test_self_test(void) {
    CHECK(cw_aead_batch_works(kernel));
    broken = *kernel;
    broken.chacha = chacha_one_bit;
    CHECK(!cw_aead_batch_works(&broken));
    broken = *kernel;
    broken.poly = poly_one_off;
    CHECK(!cw_aead_batch_works(&broken));
    broken.poly = poly_of_nothing;
    CHECK(!cw_aead_batch_works(&broken));
    broken = *kernel;
    CHECK(cw_aead_batch_works(&broken));
}

// By what there is and what is allowed; alone is a packet dearer than in the libraries when it is short.
static void test_choice(void) {
    cw_cpu cpu = {.level = CW_ISA_SCALAR};
    CHECK(cw_aead_batch_best(&cpu) == NULL);
    for (int i = 0; i < CW_AEAD_KERNELS; i++) CHECK(cw_aead_batch_get((cw_aead_kernel)i, &cpu) == NULL);
    const cw_cpu here = cw_cpu_probe();
    cpu = cw_cpu_limited(&here, CW_ISA_AVX2);
    if (here.level >= CW_ISA_AVX2) {
        CHECK(cw_aead_batch_best(&cpu) == cw_aead_batch_get(CW_AEAD_AVX2, &here));
        CHECK(cw_aead_batch_get(CW_AEAD_AVX512, &cpu) == NULL);
    }
    if (here.level < CW_ISA_AVX512 || !here.ifma) return;
    const cw_aead_batch *batch = cw_aead_batch_best(&here);
    CHECK(batch == cw_aead_batch_get(CW_AEAD_AVX512, &here));
    cpu = here;
    cpu.ifma = false;
    CHECK(cw_aead_batch_best(&cpu) == cw_aead_batch_get(CW_AEAD_AVX2, &here));
    cw_aead_job jobs[2] = {{.length = 64}, {.length = 64}};
    CHECK(!cw_aead_batch_pays(batch, jobs, 0));
    CHECK(!cw_aead_batch_pays(batch, jobs, 1));
    CHECK(cw_aead_batch_pays(batch, jobs, 2));
    jobs[0].length = 1424;
    CHECK(cw_aead_batch_pays(batch, jobs, 1));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const cw_cpu cpu = cw_cpu_probe();
    RUN(poly1305_of_the_library);
    RUN(choice);
    for (int i = 0; i < CW_AEAD_KERNELS; i++) {
        kernel = cw_aead_batch_get((cw_aead_kernel)i, &cpu);
        if (kernel == NULL) {
            printf("SKIPPED kernel %d: this CPU lacks it\n", i);
            continue;
        }
        printf("kernel %s, %zu lanes\n", cw_aead_batch_name(kernel), kernel->lanes);
        RUN(chacha_blocks);
        RUN(poly1305_around_the_prime);
        RUN(poly1305_extremes);
        RUN(random_batches);
        RUN(every_length);
        RUN(longest_among_short);
        RUN(wrong_tags);
        RUN(at_the_edge_of_memory);
        RUN(nothing_stays_on_the_stack);
        RUN(self_test);
    }
    FINISH();
}
