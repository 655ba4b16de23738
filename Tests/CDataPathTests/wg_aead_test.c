// ChaCha20-Poly1305 in batches: the vector of RFC 8439, both libraries against each other at every length, wrong tags.
#include <sodium.h>

#include "aead.h"
#include "harness.h"
#include "isa.h"

enum { TAG = 16, MOST = 65535 };

static cw_aead *aead;

// RFC 8439 section 2.8.2 has additional data and another nonce; appendix A.5 too. So known answers for our nonces come from libsodium's
// combined interface, which the core does not use, and that interface is checked against the RFC here first.
static void test_rfc8439_vector(void) {
    static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    uint8_t key[32], nonce[12], extra[12], out[sizeof text - 1 + TAG];
    unsigned long long length;
    from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key, sizeof key);
    from_hex("070000004041424344454647", nonce, sizeof nonce);
    from_hex("50515253c0c1c2c3c4c5c6c7", extra, sizeof extra);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, &length, (const uint8_t *)text, sizeof text - 1, extra, sizeof extra, NULL, nonce, key);
    CHECK_EQUAL(length, sizeof out);
    CHECK(equals_hex(out, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
                          "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
                          "3ff4def08e4b7a9de576d26586cec64b6116"));
    CHECK(equals_hex(out + sizeof text - 1, "1ae10b594f09e26a7e902ecbd0600691"));
}

static void reference(const uint8_t key[32], uint64_t counter, const uint8_t *in, size_t length, uint8_t *out) {
    uint8_t nonce[12] = {0};
    for (int i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(counter >> 8 * i);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, length, NULL, 0, NULL, nonce, key);
}

static uint8_t plain[MOST], expected[MOST + TAG], out[MOST + TAG], back[MOST];

static void check_length(test_random *random, size_t length) {
    uint8_t key[32];
    uint64_t counter = next_random(random);
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)next_random(random);
    for (size_t i = 0; i < length; i++) plain[i] = (uint8_t)(next_random(random) >> 32);
    reference(key, counter, plain, length, expected);

    memset(out, 0xAA, length + TAG);
    cw_aead_job job = {.key = key, .counter = counter, .in = plain, .out = out, .length = length};
    cw_aead_seal(aead, &job, 1);
    CHECK(memcmp(out, expected, length + TAG) == 0);
    job.in = out;
    job.out = back;
    cw_aead_open(aead, &job, 1);
    CHECK(job.ok);
    CHECK(memcmp(back, plain, length) == 0);

    // In place, both ways.
    memcpy(out, plain, length);
    job.in = job.out = out;
    cw_aead_seal(aead, &job, 1);
    CHECK(memcmp(out, expected, length + TAG) == 0);
    job.ok = false;
    cw_aead_open(aead, &job, 1);
    CHECK(job.ok);
    CHECK(memcmp(out, plain, length) == 0);
}

static void test_every_length_up_to_a_packet(void) {
    test_random random = {3};
    for (size_t length = 0; length <= 2080; length++) check_length(&random, length);
    check_length(&random, 9000);
    check_length(&random, MOST);
}

static void test_zero_counter_and_zero_key(void) {
    uint8_t key[32] = {0}, none[TAG], tag[TAG];
    reference(key, 0, plain, 0, none);
    cw_aead_job job = {.key = key, .in = plain, .out = tag};
    cw_aead_seal(aead, &job, 1);
    CHECK(memcmp(tag, none, TAG) == 0);
    CHECK(equals_hex(tag, "4eb972c9a8fb3a1b382bb4d36f5ffad1")); // of an empty message under the zero key and nonce, by two libraries
}

static bool is_zero(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != 0) return false;
    return true;
}

// One bit anywhere, another counter, another key: refused, and nothing of the plaintext can be seen.
static void test_forgeries(void) {
    static const size_t lengths[] = {0, 1, 16, 64, 544, 559, 560, 576, 1424};
    test_random random = {4};
    uint8_t key[32];
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)next_random(&random);
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        size_t length = lengths[n];
        for (size_t i = 0; i < length; i++) plain[i] = (uint8_t)(i * 7 + 1);
        cw_aead_job job = {.key = key, .counter = 9, .in = plain, .out = expected, .length = length};
        cw_aead_seal(aead, &job, 1);
        for (size_t bit = 0; bit < (length + TAG) * 8; bit += length > 100 ? 37 : 1) {
            for (int in_place = 0; in_place < 2; in_place++) {
                memcpy(out, expected, length + TAG);
                out[bit / 8] ^= (uint8_t)(1 << bit % 8);
                memset(back, 0x55, length + 1);
                cw_aead_job open = {.key = key, .counter = 9, .in = out, .out = in_place ? out : back, .length = length, .ok = true};
                cw_aead_open(aead, &open, 1);
                CHECK(!open.ok);
                CHECK(is_zero(open.out, length));
                if (!in_place) CHECK_EQUAL(back[length], 0x55); // and not more than it
            }
        }
        cw_aead_job other = {.key = key, .counter = 10, .in = expected, .out = back, .length = length, .ok = true};
        cw_aead_open(aead, &other, 1);
        CHECK(!other.ok);
        uint8_t wrong[32];
        memcpy(wrong, key, sizeof wrong);
        wrong[31] ^= 0x80;
        other = (cw_aead_job){.key = wrong, .counter = 9, .in = expected, .out = back, .length = length, .ok = true};
        cw_aead_open(aead, &other, 1);
        CHECK(!other.ok);
    }
}

// A batch of different keys and lengths, some of them forged: each by itself.
static void test_batch(void) {
    enum { COUNT = 256 };
    static uint8_t keys[COUNT][32], text[COUNT][1500], sealed[COUNT][1500 + TAG];
    static cw_aead_job jobs[COUNT];
    test_random random = {6};
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < 32; j++) keys[i][j] = (uint8_t)next_random(&random);
        size_t length = random_below(&random, 1500);
        for (size_t j = 0; j < length; j++) text[i][j] = (uint8_t)(i + j);
        jobs[i] = (cw_aead_job){.key = keys[i], .counter = i * 3, .in = text[i], .out = sealed[i], .length = length};
    }
    cw_aead_seal(aead, jobs, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        reference(keys[i], i * 3, text[i], jobs[i].length, expected);
        CHECK(memcmp(sealed[i], expected, jobs[i].length + TAG) == 0);
        jobs[i].in = jobs[i].out = sealed[i];
        if (i % 5 == 0) sealed[i][jobs[i].length / 2] ^= 1;
    }
    cw_aead_open(aead, jobs, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_EQUAL(jobs[i].ok, i % 5 != 0);
        CHECK(i % 5 == 0 ? is_zero(sealed[i], jobs[i].length) : memcmp(sealed[i], text[i], jobs[i].length) == 0);
    }
    cw_aead_seal(aead, NULL, 0);
    cw_aead_open(aead, NULL, 0);
}

// The environment chooses; a name that means nothing here is an error and not another choice.
static void test_forced(void) {
    setenv("CAUSEWAY_ISA", "scalar", 1);
    cw_aead *forced = cw_aead_create();
    CHECK(forced != NULL && strcmp(cw_aead_name(forced), "libraries") == 0);
    cw_aead_destroy(forced);
    setenv("CAUSEWAY_ISA", "neon", 1);
    CHECK(cw_aead_create() == NULL);
    unsetenv("CAUSEWAY_ISA");
}

int main(void) {
    RUN(rfc8439_vector);
    RUN(forced);
    const cw_cpu cpu = cw_cpu_probe();
    for (int isa = 0; isa < CW_ISA_LEVELS; isa++) {
        setenv("CAUSEWAY_ISA", cw_isa_name((cw_isa)isa), 1);
        aead = cw_aead_create();
        if ((cw_isa)isa > cpu.level) {
            printf("SKIPPED %s: this CPU lacks it\n", cw_isa_name((cw_isa)isa));
            test_failed += aead != NULL; // an error, not a pass
            continue;
        }
        if (aead == NULL) return 1;
        printf("%s: %s\n", cw_isa_name((cw_isa)isa), cw_aead_name(aead));
        RUN(every_length_up_to_a_packet);
        RUN(zero_counter_and_zero_key);
        RUN(forgeries);
        RUN(batch);
        cw_aead_destroy(aead);
    }
    FINISH();
}
