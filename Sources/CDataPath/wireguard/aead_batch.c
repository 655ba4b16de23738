// The driver of the multi-buffer kernels. All blocks of all packets are one queue that fills the lanes of ChaCha20: packets of any
// lengths stand side by side and no lane waits for a longer packet. The blocks 0, which are the keys of Poly1305 (RFC 8439 section 2.6), come first.
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

typedef struct work {
    cw_chacha_lanes lanes[2]; // one is filled while the other's stores are still on their way
    const cw_aead_job *owner[CW_AEAD_LANES];
    // From here on secret.
    uint8_t ahead[CW_AEAD_LANES][CW_CHACHA_BLOCK];
    uint8_t one_time_key[CW_AEAD_LANES][32];
    cw_poly_lanes poly;
} work;

// The next blocks of the packets' text, into the lanes from `lane` on. Returns how many lanes have something.
static size_t fill(walk *walk, cw_chacha_lanes *lanes, size_t lane, size_t most) {
    while (lane < most && walk->at < walk->count) {
        const cw_aead_job *job = &walk->jobs[walk->at];
        const size_t offset = walk->offset, left = walk->good_only && !job->ok ? 0 : job->length - offset;
        const size_t blocks = (left + CW_CHACHA_BLOCK - 1) / CW_CHACHA_BLOCK, now = blocks < most - lane ? blocks : most - lane;
        const uint8_t *key = job->key, *in = job->in + offset;
        uint8_t *out = job->out + offset;
        const uint32_t low = (uint32_t)job->counter, high = (uint32_t)(job->counter >> 32);
        const uint32_t block = (uint32_t)(offset / CW_CHACHA_BLOCK) + 1;
        for (size_t i = 0; i < now; i++) {
            lanes->key[lane + i] = key;
            lanes->block[lane + i] = block + (uint32_t)i;
            lanes->nonce_low[lane + i] = low;
            lanes->nonce_high[lane + i] = high;
            lanes->in[lane + i] = in + i * CW_CHACHA_BLOCK;
            lanes->out[lane + i] = out + i * CW_CHACHA_BLOCK;
            lanes->octets[lane + i] = CW_CHACHA_BLOCK;
        }
        lane += now;
        walk->offset = offset + now * CW_CHACHA_BLOCK;
        if (now < blocks) break;
        if (left % CW_CHACHA_BLOCK != 0) lanes->octets[lane - 1] = (uint32_t)(left % CW_CHACHA_BLOCK);
        walk->at++;
        walk->offset = 0;
    }
    return lane;
}

static void key_lanes(work *work, const walk *walk) {
    cw_chacha_lanes *lanes = &work->lanes[0];
    for (size_t i = 0; i < walk->count; i++) {
        const cw_aead_job *job = &walk->jobs[i];
        lanes->key[i] = job->key;
        lanes->block[i] = 0;
        lanes->nonce_low[i] = (uint32_t)job->counter;
        lanes->nonce_high[i] = (uint32_t)(job->counter >> 32);
        lanes->in[i] = nothing;
        lanes->out[i] = work->one_time_key[i];
        lanes->octets[i] = sizeof work->one_time_key[i];
    }
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

// What is in lanes[turn] and then all that the walk still has.
static void run_rest(const cw_aead_batch *batch, work *work, walk *walk, unsigned turn, size_t used) {
    while (used > 0) {
        size_t next = fill(walk, &work->lanes[turn ^ 1], 0, batch->lanes);
        batch->chacha(&work->lanes[turn], used);
        turn ^= 1;
        used = next;
    }
}

static void seal_some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count) {
    walk walk = {.jobs = jobs, .count = count};
    key_lanes(work, &walk);
    run_rest(batch, work, &walk, 0, fill(&walk, &work->lanes[0], count, batch->lanes));
    for (size_t i = 0; i < count; i++) work->poly.text[i] = jobs[i].out, work->poly.length[i] = jobs[i].length;
    uint8_t tags[CW_AEAD_LANES][CW_WG_TAG];
    make_tags(batch, work, count, tags);
    for (size_t i = 0; i < count; i++) memcpy(jobs[i].out + jobs[i].length, tags[i], CW_WG_TAG);
}

static void xor_octets(uint8_t *out, const uint8_t *in, const uint8_t *stream, size_t octets) {
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair text, mask;
    for (; octets >= sizeof text; octets -= sizeof text) {
        memcpy(&text, in, sizeof text);
        memcpy(&mask, stream, sizeof mask);
        text ^= mask;
        memcpy(out, &text, sizeof text);
        out += sizeof text, in += sizeof text, stream += sizeof text;
    }
    for (size_t i = 0; i < octets; i++) out[i] = in[i] ^ stream[i];
}

// Lanes that the keys leave free take the key stream of the first blocks: for a few short packets that is all there is. Nothing is written
// where the plaintext goes before the tag is known to be right.
static void open_some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count) {
    walk walk = {.jobs = jobs, .count = count};
    cw_chacha_lanes *lanes = &work->lanes[0];
    key_lanes(work, &walk);
    size_t used = count;
    while (used < batch->lanes && walk.at < count) { // packet by packet, for the sake of the owner
        size_t at = walk.at, end;
        walk.count = at + 1;
        end = fill(&walk, lanes, used, batch->lanes);
        for (; used < end; used++) work->owner[used] = &jobs[at];
    }
    walk.count = count;
    const uint8_t *in[CW_AEAD_LANES];
    uint8_t *out[CW_AEAD_LANES];
    for (size_t i = count; i < used; i++) {
        in[i] = lanes->in[i], lanes->in[i] = nothing;
        out[i] = lanes->out[i], lanes->out[i] = work->ahead[i];
    }
    batch->chacha(lanes, used);

    for (size_t i = 0; i < count; i++) work->poly.text[i] = jobs[i].in, work->poly.length[i] = jobs[i].length;
    uint8_t tags[CW_AEAD_LANES][CW_WG_TAG]; // right ones: they stay secret
    make_tags(batch, work, count, tags);
    for (size_t i = 0; i < count; i++) jobs[i].ok = crypto_verify_16(tags[i], jobs[i].in + jobs[i].length) == 0;
    sodium_memzero(tags, sizeof tags);

    for (size_t i = count; i < used; i++)
        if (work->owner[i]->ok) xor_octets(out[i], in[i], work->ahead[i], lanes->octets[i]);
    if (used > count) sodium_memzero(work->ahead[count], (used - count) * CW_CHACHA_BLOCK);
    walk.good_only = true;
    run_rest(batch, work, &walk, 1, fill(&walk, &work->lanes[1], 0, batch->lanes));
    for (size_t i = 0; i < count; i++)
        if (!jobs[i].ok) sodium_memzero(jobs[i].out, jobs[i].length);
}

// The kernels' registers may have been put aside on the stack: what they leave there is overwritten. By clang at -O2 none of them
// has a frame above 1,336 bytes (-fstack-usage); other compilers and unoptimised builds keep whole arrays there.
#if defined(__clang__) && defined(__OPTIMIZE__)
enum { DEEPEST = 1536 };
#else
enum { DEEPEST = 24576 };
#endif

__attribute__((noinline)) static void wipe_stack(void) {
    uint8_t below[DEEPEST];
    sodium_memzero(below, sizeof below);
}

typedef void some(const cw_aead_batch *batch, work *work, cw_aead_job *jobs, size_t count);

static void run(const cw_aead_batch *batch, some *some, cw_aead_job *jobs, size_t count) {
    if (count == 0) return;
    work work;
    // In parts of alike size: one packet left alone would be the dearest of all.
    for (size_t at = 0, parts = (count + batch->lanes - 1) / batch->lanes; parts > 0; parts--) {
        size_t now = (count - at + parts - 1) / parts;
        some(batch, &work, jobs + at, now);
        at += now;
    }
    sodium_memzero(work.one_time_key, sizeof work.one_time_key);
    sodium_memzero(&work.poly, offsetof(cw_poly_lanes, scratch));
    wipe_stack();
}

void cw_aead_batch_seal(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count) { run(batch, seal_some, jobs, count); }
void cw_aead_batch_open(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count) { run(batch, open_some, jobs, count); }

bool cw_aead_batch_pays(const cw_aead_batch *batch, const cw_aead_job *jobs, size_t count) {
    return count > 1 || (count == 1 && jobs->length > batch->alone_over && jobs->length < batch->alone_below);
}

const char *cw_aead_batch_name(const cw_aead_batch *batch) { return batch->name; }

const cw_aead_batch *cw_aead_batch_get(cw_aead_kernel kernel, const cw_cpu *cpu) {
#if defined(__x86_64__)
    switch (kernel) {
    case CW_AEAD_AVX2: return cpu->level >= CW_ISA_AVX2 ? &cw_aead_batch_avx2 : NULL;
    case CW_AEAD_AVX512: return cpu->level >= CW_ISA_AVX512 && cpu->ifma ? &cw_aead_batch_avx512 : NULL;
    case CW_AEAD_KERNELS: break;
    }
#else
    (void)kernel, (void)cpu;
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

const cw_aead_batch *cw_aead_batch_best(const cw_cpu *cpu) {
    for (int kernel = CW_AEAD_KERNELS - 1; kernel >= 0; kernel--) {
        const cw_aead_batch *batch = cw_aead_batch_get((cw_aead_kernel)kernel, cpu);
        if (batch != NULL && cw_aead_batch_works(batch)) return batch;
    }
    return NULL;
}
