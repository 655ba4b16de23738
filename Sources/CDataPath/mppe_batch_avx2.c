// AVX2: SHA-1 in 8 lanes, and RC4 in rows.
//
// Eight packets make a group. Row n of its state holds the S[n] of all of them, one octet each, so that S[i] (i is the same everywhere), the
// sums and the swap's first half are one vector operation for all, and only S[j] and the output are looked up lane by lane. A row is loaded
// one step before it is needed and before that step's stores, and corrected where a store hit it: a load that overlaps a fresh, smaller store
// would have to wait for it. Two groups run side by side.
#if defined(__x86_64__)
#include <immintrin.h>

#define CW_LANES 8
#define CW_TARGET __attribute__((target("avx2")))
#define CW_DIGEST cw_mppe_digest_avx2
#include "sha1_lanes.h"

#define TARGET CW_TARGET static inline __attribute__((always_inline))
#define EIGHT(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define GROUPS(n) _Pragma("GCC unroll 2") for (unsigned g = 0; g < (n); g++)

enum { GROUP = 8, BLOCK = 16 };

typedef uint8_t row[GROUP];

typedef struct group {
    row s[256];
    row keys[CW_MPPE_KEY_SIZE];
    row stream[BLOCK];
    __m128i j, next; // next: S[i] of the coming step
} group;

TARGET __m128i load_row(const row *r) { return _mm_loadl_epi64((const __m128i *)r); }
TARGET void store_row(row *r, __m128i value) { _mm_storel_epi64((__m128i *)r, value); }

// S[index] of each lane; `a` takes its place.
TARGET __m128i exchange(row *s, __m128i index, __m128i a) {
    uint64_t x = (uint64_t)_mm_cvtsi128_si64(index);
    __m128i b = _mm_setzero_si128();
#define LANE(l)                                        \
    {                                                  \
        uint8_t *p = &s[(uint8_t)(x >> (8 * l))][l];   \
        b = _mm_insert_epi8(b, *p, l);                 \
        *p = (uint8_t)_mm_extract_epi8(a, l);          \
    }
    EIGHT(LANE)
#undef LANE
    return b;
}

TARGET __m128i look_up(const row *s, __m128i index) {
    uint64_t x = (uint64_t)_mm_cvtsi128_si64(index);
    __m128i b = _mm_setzero_si128();
#define LANE(l) b = _mm_insert_epi8(b, s[(uint8_t)(x >> (8 * l))][l], l);
    EIGHT(LANE)
#undef LANE
    return b;
}

// The row at `at`, as it will be once `a` has been stored at j.
TARGET __m128i row_after(const group *group, uint8_t at, __m128i a) {
    __m128i hit = _mm_cmpeq_epi8(group->j, _mm_set1_epi8((char)at));
    return _mm_blendv_epi8(load_row(&group->s[at]), a, hit);
}

// Eight vectors of 16 octets become 16 rows.
TARGET void to_rows(row rows[BLOCK], const __m128i lane[GROUP]) {
    __m128i a[8], b[8];
    for (unsigned n = 0; n < 4; n++) {
        a[n] = _mm_unpacklo_epi8(lane[2 * n], lane[2 * n + 1]);
        a[n + 4] = _mm_unpackhi_epi8(lane[2 * n], lane[2 * n + 1]);
    }
    for (unsigned half = 0; half < 2; half++) {
        const __m128i *from = a + 4 * half;
        b[0] = _mm_unpacklo_epi16(from[0], from[1]);
        b[1] = _mm_unpackhi_epi16(from[0], from[1]);
        b[2] = _mm_unpacklo_epi16(from[2], from[3]);
        b[3] = _mm_unpackhi_epi16(from[2], from[3]);
        __m128i *to = (__m128i *)rows[8 * half];
        _mm_storeu_si128(to + 0, _mm_unpacklo_epi32(b[0], b[2]));
        _mm_storeu_si128(to + 1, _mm_unpackhi_epi32(b[0], b[2]));
        _mm_storeu_si128(to + 2, _mm_unpacklo_epi32(b[1], b[3]));
        _mm_storeu_si128(to + 3, _mm_unpackhi_epi32(b[1], b[3]));
    }
}

// And back.
TARGET void to_lanes(__m128i lane[GROUP], const row rows[BLOCK]) {
    __m128i a[8], b[8], c[8];
    for (unsigned n = 0; n < 8; n++) a[n] = _mm_unpacklo_epi8(load_row(&rows[2 * n]), load_row(&rows[2 * n + 1]));
    for (unsigned n = 0; n < 4; n++) {
        b[n] = _mm_unpacklo_epi16(a[2 * n], a[2 * n + 1]);
        b[n + 4] = _mm_unpackhi_epi16(a[2 * n], a[2 * n + 1]);
    }
    for (unsigned half = 0; half < 2; half++) {
        const __m128i *from = b + 4 * half;
        c[0] = _mm_unpacklo_epi32(from[0], from[1]);
        c[1] = _mm_unpackhi_epi32(from[0], from[1]);
        c[2] = _mm_unpacklo_epi32(from[2], from[3]);
        c[3] = _mm_unpackhi_epi32(from[2], from[3]);
        lane[4 * half + 0] = _mm_unpacklo_epi64(c[0], c[2]);
        lane[4 * half + 1] = _mm_unpackhi_epi64(c[0], c[2]);
        lane[4 * half + 2] = _mm_unpacklo_epi64(c[1], c[3]);
        lane[4 * half + 3] = _mm_unpackhi_epi64(c[1], c[3]);
    }
}

TARGET void schedule(group *groups, const unsigned count, const cw_mppe_lane *lanes, size_t lane_count) {
    GROUPS(count) {
        group *group = &groups[g];
        __m128i keys[GROUP];
        for (unsigned l = 0; l < GROUP; l++) {
            size_t from = g * GROUP + l < lane_count ? g * GROUP + l : 0;
            keys[l] = _mm_loadu_si128((const __m128i *)lanes[from].key);
        }
        to_rows(group->keys, keys);
        __m128i value = _mm_unpacklo_epi64(_mm_set1_epi8(0), _mm_set1_epi8(1));
        for (unsigned n = 0; n < 256; n += 2) {
            _mm_storeu_si128((__m128i *)group->s[n], value);
            value = _mm_add_epi8(value, _mm_set1_epi8(2));
        }
        group->j = group->next = _mm_setzero_si128();
    }
    for (unsigned n = 0; n < 256; n++) {
        __m128i a[2];
        GROUPS(count) {
            group *group = &groups[g];
            a[g] = group->next;
            group->j = _mm_add_epi8(group->j, _mm_add_epi8(a[g], load_row(&group->keys[n % CW_MPPE_KEY_SIZE])));
            group->next = row_after(group, (uint8_t)(n + 1), a[g]);
        }
        GROUPS(count) store_row(&groups[g].s[n], exchange(groups[g].s, groups[g].j, a[g]));
    }
    GROUPS(count) {
        groups[g].j = _mm_setzero_si128();
        groups[g].next = load_row(&groups[g].s[1]);
    }
}

// The key stream of up to BLOCK octets; `at` were made before.
TARGET void make_stream(group *groups, const unsigned count, size_t at, size_t steps) {
    for (size_t n = 0; n < steps; n++) {
        uint8_t i = (uint8_t)(at + n + 1);
        __m128i a[2], b[2];
        GROUPS(count) {
            group *group = &groups[g];
            a[g] = group->next;
            group->j = _mm_add_epi8(group->j, a[g]);
            group->next = row_after(group, (uint8_t)(i + 1), a[g]);
        }
        GROUPS(count) {
            b[g] = exchange(groups[g].s, groups[g].j, a[g]);
            store_row(&groups[g].s[i], b[g]);
        }
        GROUPS(count) store_row(&groups[g].stream[n], look_up(groups[g].s, _mm_add_epi8(a[g], b[g])));
    }
}

TARGET void apply(const cw_mppe_lane *lane, size_t at, __m128i stream) {
    if (at >= lane->length) return;
    size_t left = lane->length - at;
    const uint8_t *in = lane->in + at;
    uint8_t *out = lane->out + at;
    if (left >= BLOCK) {
        _mm_storeu_si128((__m128i *)out, _mm_xor_si128(stream, _mm_loadu_si128((const __m128i *)in)));
        return;
    }
    uint8_t octets[BLOCK];
    _mm_storeu_si128((__m128i *)octets, stream);
    for (size_t n = 0; n < left; n++) out[n] = in[n] ^ octets[n];
}

// Lanes of falling length: a group is done when its first lane is.
TARGET void run(group *groups, const unsigned count, const cw_mppe_lane *lanes, size_t lane_count, size_t from, size_t to) {
    for (size_t at = from; at < to; at += BLOCK) {
        make_stream(groups, count, at, to - at < BLOCK ? to - at : BLOCK);
        GROUPS(count) {
            __m128i stream[GROUP];
            to_lanes(stream, groups[g].stream);
            for (unsigned l = 0; l < GROUP && g * GROUP + l < lane_count; l++) apply(&lanes[g * GROUP + l], at, stream[l]);
        }
    }
}

CW_TARGET void cw_mppe_rows_crypt(const cw_mppe_lane *lanes, size_t count) {
    group groups[2];
    if (count <= GROUP) {
        schedule(groups, 1, lanes, count);
        run(groups, 1, lanes, count, 0, lanes[0].length);
        explicit_bzero(groups, sizeof *groups);
        return;
    }
    schedule(groups, 2, lanes, count);
    // Whole blocks together; where the second group ends in the middle of one, the first makes the whole block all the same.
    size_t both = (lanes[GROUP].length + BLOCK - 1) / BLOCK * BLOCK;
    if (both > lanes[0].length) both = lanes[0].length;
    run(groups, 2, lanes, count, 0, both);
    if (both < lanes[0].length) run(groups, 1, lanes, GROUP, both, lanes[0].length);
    explicit_bzero(groups, sizeof groups);
}
#else
typedef int cw_mppe_batch_avx2_unused; // a source is not empty
#endif
