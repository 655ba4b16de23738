// The driver of the multi-buffer kernels. All blocks of all packets are one queue that fills the lanes of ChaCha20: packets of any lengths
// stand side by side and no lane waits for a longer packet. The blocks 0, which are the keys of Poly1305 (RFC 8439 section 2.6), come first.
#include "aead_batch.h"

#include <sodium.h>
#include <string.h>

#include "aead_batch_kernel.h"
#include "wire.h"

static const uint8_t nothing[CW_CHACHA_BLOCK]; // its xor with the key stream is the key stream

typedef struct walk {
    cw_aead_job *jobs;
    size_t count, at, offset;
    bool good_only;
} walk;

typedef struct work { // all of it secret, and wiped
    cw_chacha_lanes lanes;
    cw_poly_lanes poly;
    const cw_aead_job *owner[CW_AEAD_LANES]; // of each lane
    uint8_t one_time_key[CW_AEAD_LANES][32];
    uint8_t ahead[CW_AEAD_LANES][CW_CHACHA_BLOCK];
} work;

static void set_lane(work *work, size_t lane, const cw_aead_job *job, uint32_t block, const uint8_t *in, uint8_t *out, size_t octets) {
    cw_chacha_lanes *lanes = &work->lanes;
    work->owner[lane] = job;
    lanes->key[lane] = job->key;
    lanes->block[lane] = block;
    lanes->nonce_low[lane] = (uint32_t)job->counter;
    lanes->nonce_high[lane] = (uint32_t)(job->counter >> 32);
    lanes->in[lane] = in;
    lanes->out[lane] = out;
    lanes->octets[lane] = (uint32_t)octets;
}

// The text of the packets, block by block, into the lanes that are left. Returns how many have something.
static size_t fill(work *work, walk *walk, size_t lane, size_t most) {
    while (lane < most && walk->at < walk->count) {
        const cw_aead_job *job = &walk->jobs[walk->at];
        size_t offset = walk->offset, left = job->length - offset;
        if (left == 0 || (walk->good_only && !job->ok)) {
            walk->at++;
            walk->offset = 0;
            continue;
        }
        size_t octets = left < CW_CHACHA_BLOCK ? left : CW_CHACHA_BLOCK;
        set_lane(work, lane++, job, (uint32_t)(offset / CW_CHACHA_BLOCK) + 1, job->in + offset, job->out + offset, octets);
        walk->offset = offset + octets;
    }
    return lane;
}

static void key_lanes(work *work, const walk *walk) {
    for (size_t i = 0; i < walk->count; i++) set_lane(work, i, &walk->jobs[i], 0, nothing, work->one_time_key[i], sizeof work->one_time_key[i]);
}

// Reduces fully and adds s: RFC 8439 section 2.5.1. No branch and no index here depends on anything secret.
void cw_poly_tag(uint8_t tag[CW_WG_TAG], const uint64_t sum[3], const uint8_t s[16]) {
    typedef unsigned __int128 wide;
    wide at = (wide)sum[0] + (sum[2] >> 2) * 5;
    uint64_t h0 = (uint64_t)at;
    at = (wide)sum[1] + (uint64_t)(at >> 64);
    uint64_t h1 = (uint64_t)at, h2 = (sum[2] & 3) + (uint64_t)(at >> 64);
    // It is below 2^130 + 2^70 now. h + 5 reaches 2^130 where h is not less than the prime, and is then the difference.
    at = (wide)h0 + 5;
    uint64_t g0 = (uint64_t)at;
    at = (wide)h1 + (uint64_t)(at >> 64);
    uint64_t g1 = (uint64_t)at, g2 = h2 + (uint64_t)(at >> 64), reduced = 0 - (g2 >> 2);
    h0 = (h0 & ~reduced) | (g0 & reduced);
    h1 = (h1 & ~reduced) | (g1 & reduced);
    at = (wide)h0 + cw_le64(s);
    cw_put_le64(tag, (uint64_t)at);
    cw_put_le64(tag + 8, h1 + cw_le64(s + 8) + (uint64_t)(at >> 64));
}

// Tags over the texts that are set, with the keys that are there.
static void make_tags(const cw_aead_batch *batch, work *work, size_t count, uint8_t tags[][CW_WG_TAG]) {
    for (size_t i = 0; i < count; i++) {
        work->poly.r_low[i] = cw_le64(work->one_time_key[i]) & UINT64_C(0x0ffffffc0fffffff); // the clamp of section 2.5
        work->poly.r_high[i] = cw_le64(work->one_time_key[i] + 8) & UINT64_C(0x0ffffffc0ffffffc);
    }
    batch->poly(&work->poly, count);
    for (size_t i = 0; i < count; i++) cw_poly_tag(tags[i], work->poly.sum[i], work->one_time_key[i] + 16);
}

static void run_rest(const cw_aead_batch *batch, work *work, walk *walk) {
    size_t used;
    while ((used = fill(work, walk, 0, batch->lanes)) > 0) batch->chacha(&work->lanes, used);
}

static void seal_some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count) {
    walk walk = {.jobs = jobs, .count = count};
    key_lanes(work, &walk);
    batch->chacha(&work->lanes, fill(work, &walk, count, batch->lanes));
    run_rest(batch, work, &walk);
    for (size_t i = 0; i < count; i++) work->poly.text[i] = jobs[i].out, work->poly.length[i] = jobs[i].length;
    uint8_t tags[CW_AEAD_LANES][CW_WG_TAG];
    make_tags(batch, work, count, tags);
    for (size_t i = 0; i < count; i++) memcpy(jobs[i].out + jobs[i].length, tags[i], CW_WG_TAG);
}

// Lanes that the keys leave free take the key stream of the first blocks: for a few short packets that is all there is. Nothing is written
// where the plaintext goes before the tag is known to be right.
static void open_some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count) {
    walk walk = {.jobs = jobs, .count = count};
    key_lanes(work, &walk);
    size_t used = fill(work, &walk, count, batch->lanes);
    const uint8_t *in[CW_AEAD_LANES];
    uint8_t *out[CW_AEAD_LANES];
    for (size_t i = count; i < used; i++) {
        in[i] = work->lanes.in[i];
        out[i] = work->lanes.out[i];
        work->lanes.in[i] = nothing;
        work->lanes.out[i] = work->ahead[i];
    }
    batch->chacha(&work->lanes, used);

    for (size_t i = 0; i < count; i++) work->poly.text[i] = jobs[i].in, work->poly.length[i] = jobs[i].length;
    uint8_t tags[CW_AEAD_LANES][CW_WG_TAG]; // right ones: they stay secret
    make_tags(batch, work, count, tags);
    for (size_t i = 0; i < count; i++) jobs[i].ok = sodium_memcmp(tags[i], jobs[i].in + jobs[i].length, CW_WG_TAG) == 0;
    sodium_memzero(tags, sizeof tags);

    for (size_t i = count; i < used; i++)
        if (work->owner[i]->ok) cw_chacha_end(out[i], in[i], work->ahead[i], work->lanes.octets[i]);
    walk.good_only = true;
    run_rest(batch, work, &walk);
    for (size_t i = 0; i < count; i++)
        if (!jobs[i].ok) sodium_memzero(jobs[i].out, jobs[i].length);
}

// The kernels' registers may have been put aside on the stack: what they leave there is overwritten.
__attribute__((noinline)) static void wipe_stack(void) {
    uint8_t below[3072];
    sodium_memzero(below, sizeof below);
}

typedef void some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count);

static void run(const cw_aead_batch *batch, some *some, cw_aead_job *jobs, size_t count) {
    if (count == 0) return;
    work work;
    for (size_t at = 0; at < count; at += batch->lanes)
        some(batch, &work, jobs + at, count - at < batch->lanes ? count - at : batch->lanes);
    sodium_memzero(&work, sizeof work);
    wipe_stack();
}

void cw_aead_batch_seal(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count) { run(batch, seal_some, jobs, count); }
void cw_aead_batch_open(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count) { run(batch, open_some, jobs, count); }

const char *cw_aead_batch_name(cw_aead_kernel kernel) {
    switch (kernel) {
    case CW_AEAD_AVX2: return "avx2";
    case CW_AEAD_AVX512: return "avx512";
    case CW_AEAD_KERNELS: break;
    }
    return "none";
}

const cw_aead_batch *cw_aead_batch_get(cw_aead_kernel kernel) {
#if defined(__x86_64__)
    switch (kernel) {
    case CW_AEAD_AVX2: return __builtin_cpu_supports("avx2") ? &cw_aead_batch_avx2 : NULL;
    case CW_AEAD_AVX512:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512ifma")
                   ? &cw_aead_batch_avx512
                   : NULL;
    case CW_AEAD_KERNELS: break;
    }
#else
    (void)kernel;
#endif
    return NULL;
}

// ---- Self-test ---

enum { TRIED = 19, TEXT = 1424 };

static bool agrees(const cw_aead_batch *batch, uint8_t (*buffer)[TEXT + CW_WG_TAG]) {
    static const uint16_t lengths[TRIED] = {0, 1, 15, 16, 63, 64, 65, 112, 128, 176, 192, 193, 208, 240, 241, 256, 496, 1021, TEXT};
    uint8_t text[TEXT], keys[TRIED][32], nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {0};
    cw_aead_job jobs[TRIED];
    for (size_t i = 0; i < TEXT; i++) text[i] = (uint8_t)(i * i + 7 * i);
    for (size_t i = 0; i < TRIED; i++) {
        for (size_t k = 0; k < 32; k++) keys[i][k] = (uint8_t)(i * 37 + k * 11 + 1);
        jobs[i] = (cw_aead_job){.key = keys[i], .counter = i << 30, .in = text, .out = buffer[i], .length = lengths[i]};
    }
    cw_aead_batch_seal(batch, jobs, TRIED);
    for (size_t i = 0; i < TRIED; i++) {
        uint8_t expected[TEXT + CW_WG_TAG];
        cw_put_le64(nonce + 4, jobs[i].counter);
        crypto_aead_chacha20poly1305_ietf_encrypt(expected, NULL, text, lengths[i], NULL, 0, NULL, nonce, keys[i]);
        if (memcmp(buffer[i], expected, lengths[i] + (size_t)CW_WG_TAG) != 0) return false;
        jobs[i].in = jobs[i].out;
        if (i % 3 == 1) buffer[i][lengths[i] + i % CW_WG_TAG] ^= 1;
    }
    cw_aead_batch_open(batch, jobs, TRIED);
    for (size_t i = 0; i < TRIED; i++) {
        bool forged = i % 3 == 1;
        if (jobs[i].ok == forged) return false;
        if (forged ? !sodium_is_zero(buffer[i], lengths[i]) : memcmp(buffer[i], text, lengths[i]) != 0) return false;
    }
    return true;
}

bool cw_aead_batch_works(const cw_aead_batch *batch) {
    if (sodium_init() < 0) return false;
    uint8_t buffer[TRIED][TEXT + CW_WG_TAG];
    return agrees(batch, buffer);
}
