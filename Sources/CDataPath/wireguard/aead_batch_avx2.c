// The AVX2 kernel. ChaCha20: eight blocks, a 32-bit word of each in a lane of sixteen registers. Poly1305: five limbs of 26 bits in
// lanes of 64, four blocks of a packet at each step.
#if defined(__x86_64__)

#define CW_TARGET __attribute__((target("avx2")))
#define CW_ROTATE8(x, bits) rotate_##bits(x)

#include <immintrin.h>
#include <sodium.h>
#include <stdint.h>

typedef uint32_t words8 __attribute__((vector_size(32)));

// By whole octets: one shuffle in place of three instructions.
CW_TARGET static inline words8 rotate_16(words8 x) {
    return (words8)_mm256_shuffle_epi8((__m256i)x, _mm256_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9,
                                                                   8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2));
}
CW_TARGET static inline words8 rotate_8(words8 x) {
    return (words8)_mm256_shuffle_epi8((__m256i)x, _mm256_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3, 14, 13, 12, 15, 10,
                                                                   9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3));
}
CW_TARGET static inline words8 rotate_12(words8 x) { return x << 12 | x >> 20; }
CW_TARGET static inline words8 rotate_7(words8 x) { return x << 7 | x >> 25; }

#include "aead_batch_chacha8.h"

// ---- Poly1305 ---

enum { LIMBS = 5, VECTOR = 4, STEP = VECTOR * CW_POLY_BLOCK };

typedef struct number { // four of them: value = the sum of 2^(26 i) limb[i]
    __m256i limb[LIMBS];
} number;

typedef struct factor {
    __m256i limb[LIMBS], wrapped[LIMBS]; // wrapped: five times the limb, 2^130 is 5 modulo 2^130 - 5
} factor;

typedef struct powers { // in the scratch of cw_poly_lanes
    uint64_t fourth[LIMBS][VECTOR];       // a packet in each lane
    uint64_t last[VECTOR][LIMBS][VECTOR]; // of each packet: fourth to first, in the order of `pair`
} powers;
_Static_assert(sizeof(powers) <= sizeof((cw_poly_lanes *)0)->scratch, "room for powers");

CW_TARGET static inline factor factor_of(const number *x) {
    factor f;
    for (int i = 0; i < LIMBS; i++) {
        f.limb[i] = x->limb[i];
        f.wrapped[i] = _mm256_add_epi64(x->limb[i], _mm256_slli_epi64(x->limb[i], 2));
    }
    return f;
}

// Takes what limb `from` has above 26 bits to the limb after it; five times where that is the first one again.
CW_TARGET static inline void carry(__m256i limb[LIMBS], int from, int to) {
    __m256i above = _mm256_srli_epi64(limb[from], 26);
    limb[from] = _mm256_and_si256(limb[from], _mm256_set1_epi64x((1 << 26) - 1));
    if (to == 0) above = _mm256_add_epi64(above, _mm256_slli_epi64(above, 2));
    limb[to] = _mm256_add_epi64(limb[to], above);
}

// a * b + c. Limbs of numbers stay below 2^26 + 2^11, so each sum below 2^59.
CW_TARGET static inline number multiply_add(const number *a, const factor *b, const number *c) {
    number d = *c;
    for (int from = 0; from < LIMBS; from++)
        for (int to = 0; to < LIMBS; to++) {
            const __m256i *by = to >= from ? &b->limb[to - from] : &b->wrapped[LIMBS + to - from];
            d.limb[to] = _mm256_add_epi64(d.limb[to], _mm256_mul_epu32(a->limb[from], *by));
        }
    carry(d.limb, 0, 1), carry(d.limb, 3, 4);
    carry(d.limb, 1, 2), carry(d.limb, 4, 0);
    carry(d.limb, 2, 3), carry(d.limb, 0, 1);
    carry(d.limb, 3, 4);
    return d;
}

CW_TARGET static inline number split(__m256i low, __m256i high, __m256i top) {
    const __m256i mask = _mm256_set1_epi64x((1 << 26) - 1);
    number n;
    n.limb[0] = _mm256_and_si256(low, mask);
    n.limb[1] = _mm256_and_si256(_mm256_srli_epi64(low, 26), mask);
    n.limb[2] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12)), mask);
    n.limb[3] = _mm256_and_si256(_mm256_srli_epi64(high, 14), mask);
    n.limb[4] = _mm256_or_si256(_mm256_srli_epi64(high, 40), top);
    return n;
}

// Four blocks from two registers of two. Their order in the lanes is 0, 2, 1, 3. `top` has the 2^128 of every block.
CW_TARGET static inline number pair(__m256i first, __m256i second, __m256i top) {
    return split(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second), top);
}

CW_TARGET static void make_powers(powers *made, const cw_poly_lanes *lanes, size_t first) {
    const __m256i *low = (const __m256i *)(lanes->r_low + first), *high = (const __m256i *)(lanes->r_high + first);
    const number zero = {0};
    number one = split(_mm256_loadu_si256(low), _mm256_loadu_si256(high), _mm256_setzero_si256());
    factor by = factor_of(&one);
    number two = multiply_add(&one, &by, &zero);
    number three = multiply_add(&two, &by, &zero);
    by = factor_of(&two);
    number four = multiply_add(&two, &by, &zero);
    for (int i = 0; i < LIMBS; i++) {
        _mm256_store_si256((__m256i *)made->fourth[i], four.limb[i]);
        __m256i a = _mm256_unpacklo_epi64(four.limb[i], two.limb[i]), b = _mm256_unpackhi_epi64(four.limb[i], two.limb[i]);
        __m256i c = _mm256_unpacklo_epi64(three.limb[i], one.limb[i]), d = _mm256_unpackhi_epi64(three.limb[i], one.limb[i]);
        _mm256_store_si256((__m256i *)made->last[0][i], _mm256_permute2x128_si256(a, c, 0x20));
        _mm256_store_si256((__m256i *)made->last[1][i], _mm256_permute2x128_si256(b, d, 0x20));
        _mm256_store_si256((__m256i *)made->last[2][i], _mm256_permute2x128_si256(a, c, 0x31));
        _mm256_store_si256((__m256i *)made->last[3][i], _mm256_permute2x128_si256(b, d, 0x31));
    }
}

// One packet. Its blocks and the length are put at the end of as many times four blocks as it takes: in front stand zeros, which, unlike
// blocks of zeros, count nothing.
CW_TARGET static void poly_one(const uint8_t *text, size_t length, uint64_t sum[3], const powers *powers, size_t packet) {
    const size_t blocks = (length + CW_POLY_BLOCK - 1) / CW_POLY_BLOCK + 1, steps = (blocks + VECTOR - 1) / VECTOR;
    const size_t absent = steps * VECTOR - blocks, skip = absent * CW_POLY_BLOCK;
    const __m256i bit = _mm256_set1_epi64x(1 << 24);
    number fourth, last, h = {0};
    for (int i = 0; i < LIMBS; i++) {
        fourth.limb[i] = _mm256_set1_epi64x((long long)powers->fourth[i][packet]);
        last.limb[i] = _mm256_load_si256((const __m256i *)powers->last[packet][i]);
    }
    const factor by = factor_of(&fourth);
    for (size_t step = 0; step < steps; step++) {
        const uint8_t *from = step == 0 ? text : text + step * STEP - skip;
        uint8_t partly[STEP];
        __m256i top = bit;
        if (step == 0 || step == steps - 1) {
            size_t gone = step == 0 ? 0 : step * STEP - skip, at = step == 0 ? skip : 0, room = STEP - at;
            memset(partly, 0, sizeof partly);
            if (gone < length) memcpy(partly + at, from, length - gone < room ? length - gone : room);
            if (step == steps - 1) {
                uint64_t octets = length;
                memcpy(partly + STEP - 8, &octets, sizeof octets);
            }
            from = partly;
            if (step == 0) { // no 2^128 for what is not there
                static const int64_t present[VECTOR][VECTOR] = {
                    {1 << 24, 1 << 24, 1 << 24, 1 << 24}, {0, 1 << 24, 1 << 24, 1 << 24}, {0, 1 << 24, 0, 1 << 24}, {0, 0, 0, 1 << 24}};
                top = _mm256_loadu_si256((const __m256i *)present[absent]);
            }
        }
        number blocks_now = pair(_mm256_loadu_si256((const __m256i *)from), _mm256_loadu_si256((const __m256i *)(from + 32)), top);
        h = step == 0 ? blocks_now : multiply_add(&h, &by, &blocks_now);
    }
    const factor at_end = factor_of(&last);
    const number zero = {0};
    h = multiply_add(&h, &at_end, &zero);
    unsigned __int128 limb[LIMBS];
    for (int i = 0; i < LIMBS; i++) {
        _Alignas(32) uint64_t lane[VECTOR];
        _mm256_store_si256((__m256i *)lane, h.limb[i]);
        limb[i] = lane[0] + lane[1] + lane[2] + lane[3];
    }
    unsigned __int128 at = limb[0] + (limb[1] << 26) + (limb[2] << 52);
    sum[0] = (uint64_t)at;
    at = (at >> 64) + (limb[3] << 14) + (limb[4] << 40);
    sum[1] = (uint64_t)at;
    sum[2] = (uint64_t)(at >> 64);
}

CW_TARGET static void poly(cw_poly_lanes *lanes, size_t count) {
    powers *powers = (struct powers *)(void *)lanes->scratch;
    for (size_t i = 0; i < count; i += VECTOR) {
        make_powers(powers, lanes, i);
        for (size_t lane = i; lane < i + VECTOR && lane < count; lane++)
            poly_one(lanes->text[lane], lanes->length[lane], lanes->sum[lane], powers, lane - i);
    }
    sodium_memzero(powers, sizeof *powers);
}

// Measured with Bench/aead.c on a Zen 4, libcrypto counted where it is the faster library: a packet alone costs 1.20 times as much as there
// at 64 bytes, 0.85 at 96, 0.62 at 384, 1.06 at 576 and 0.96 at 1,400; two packets 0.72 at the most, two of 576 0.83, two of 1,400 0.90.
const cw_aead_batch cw_aead_batch_avx2 = {
    .name = "avx2", .alone_over = 64, .alone_below = 512, .lanes = 8, .chacha = cw_chacha8, .poly = poly};

#else
typedef int cw_aead_batch_avx2_needs_x86;
#endif
