// AVX2: SHA-1 in 8 lanes, and RC4 in rows.
//
// Eight packets make a group. Row n of its state holds the S[n] of all of them, one octet each, so that S[i] (i is the same everywhere), the
// sums and the swap's first half are one vector operation for all, and only S[j] and the output are looked up lane by lane. A row is loaded
// one step before it is needed and before that step's stores, and corrected where a store hit it: a load that overlaps a fresh, smaller store
// would have to wait for it. Up to four groups run side by side.
#if defined(__x86_64__)
#include <immintrin.h>

#define CW_LANES 8
#define CW_TARGET __attribute__((target("avx2")))
#define CW_DIGEST cw_mppe_digest_avx2
#include "sha1_lanes.h"

#define TARGET CW_TARGET static inline __attribute__((always_inline))
#define GROUPS(n) _Pragma("GCC unroll 4") for (unsigned g = 0; g < (n); g++)

enum { GROUP = 8, GROUPS_MAX = 4, BLOCK = 16 };

typedef uint8_t row[GROUP];

typedef struct group {
    row s[256];
    row keys[CW_MPPE_KEY_SIZE];
    row stream[BLOCK];
    __m128i j, next; // next: S[i] of the coming step
} group;

TARGET __m128i load_row(const row *r) { return _mm_loadl_epi64((const __m128i *)r); }
TARGET void store_row(row *r, __m128i value) { _mm_storel_epi64((__m128i *)r, value); }

// Two lanes at a time: the processor can take both low octets out of a register, which halves the shifts. Compilers prefer a shift for
// every lane, unless they cannot see through.
#define PAIR(l, x)                    \
    {                                 \
        LANE(l, (uint8_t)(x))         \
        LANE(l + 1, (uint8_t)(x >> 8)) \
        x >>= 16;                     \
        __asm__("" : "+r"(x));        \
    }
#define PAIRS(x) PAIR(0, x) PAIR(2, x) PAIR(4, x) PAIR(6, x)

// S[index] of each lane; `a` takes its place. Its octets leave from a register of their own: storing them from the vector takes the ports
// that collect b.
TARGET __m128i exchange(row *s, __m128i index, __m128i a) {
    uint64_t x = (uint64_t)_mm_cvtsi128_si64(index), y = (uint64_t)_mm_cvtsi128_si64(a);
    __m128i b = _mm_setzero_si128();
#define LANE(l, at)                              \
    {                                            \
        uint8_t *p = &s[at][l];                  \
        b = _mm_insert_epi8(b, *p, l);           \
        *p = (uint8_t)((l) % 2 == 0 ? y : y >> 8); \
        if ((l) % 2 == 1) {                      \
            y >>= 16;                            \
            __asm__("" : "+r"(y));               \
        }                                        \
    }
    PAIRS(x)
#undef LANE
    return b;
}

TARGET __m128i look_up(const row *s, __m128i index) {
    uint64_t x = (uint64_t)_mm_cvtsi128_si64(index);
    __m128i b = _mm_setzero_si128();
#define LANE(l, at) b = _mm_insert_epi8(b, s[at][l], l);
    PAIRS(x)
#undef LANE
    return b;
}

// A row as it will be once `a` has been stored at j; `number` is its number in all octets.
TARGET __m128i row_after(const row *r, __m128i number, __m128i j, __m128i a) {
    return _mm_blendv_epi8(load_row(r), a, _mm_cmpeq_epi8(j, number));
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
    }
    __m128i j[GROUPS_MAX], next[GROUPS_MAX], a[GROUPS_MAX], number = _mm_setzero_si128();
    GROUPS(count) j[g] = next[g] = _mm_setzero_si128();
    for (unsigned n = 0; n < 256; n++) {
        number = _mm_add_epi8(number, _mm_set1_epi8(1));
        GROUPS(count) {
            a[g] = next[g];
            j[g] = _mm_add_epi8(j[g], _mm_add_epi8(a[g], load_row(&groups[g].keys[n % CW_MPPE_KEY_SIZE])));
            next[g] = row_after(&groups[g].s[(uint8_t)(n + 1)], number, j[g], a[g]);
        }
        GROUPS(count) store_row(&groups[g].s[n], exchange(groups[g].s, j[g], a[g]));
    }
    GROUPS(count) {
        groups[g].j = _mm_setzero_si128();
        groups[g].next = load_row(&groups[g].s[1]);
    }
}

// The key stream of up to BLOCK octets; `at` were made before.
TARGET void make_stream(group *groups, const unsigned count, size_t at, size_t steps) {
    __m128i j[GROUPS_MAX], next[GROUPS_MAX], a[GROUPS_MAX], b[GROUPS_MAX];
    GROUPS(count) {
        j[g] = groups[g].j;
        next[g] = groups[g].next;
    }
    __m128i number = _mm_set1_epi8((char)(at + 1));
    for (size_t n = 0; n < steps; n++) {
        uint8_t i = (uint8_t)(at + n + 1);
        number = _mm_add_epi8(number, _mm_set1_epi8(1));
        GROUPS(count) {
            a[g] = next[g];
            j[g] = _mm_add_epi8(j[g], a[g]);
            next[g] = row_after(&groups[g].s[(uint8_t)(i + 1)], number, j[g], a[g]);
        }
        GROUPS(count) {
            b[g] = exchange(groups[g].s, j[g], a[g]);
            store_row(&groups[g].s[i], b[g]);
        }
        GROUPS(count) store_row(&groups[g].stream[n], look_up(groups[g].s, _mm_add_epi8(a[g], b[g])));
    }
    GROUPS(count) {
        groups[g].j = j[g];
        groups[g].next = next[g];
    }
}

TARGET void apply_block(const cw_mppe_lane *lane, size_t at, __m128i stream) {
    __m128i text = _mm_loadu_si128((const __m128i *)(lane->in + at));
    _mm_storeu_si128((__m128i *)(lane->out + at), _mm_xor_si128(stream, text));
}

// Lanes of falling length.
TARGET void apply(const cw_mppe_lane *lanes, size_t count, size_t at, const __m128i stream[GROUP]) {
    if (count >= GROUP && at + BLOCK <= lanes[GROUP - 1].length) {
        _Pragma("GCC unroll 8") for (unsigned l = 0; l < GROUP; l++) apply_block(&lanes[l], at, stream[l]);
        return;
    }
    for (unsigned l = 0; l < GROUP && l < count && at < lanes[l].length; l++) {
        size_t left = lanes[l].length - at;
        if (left >= BLOCK) {
            apply_block(&lanes[l], at, stream[l]);
            continue;
        }
        uint8_t octets[BLOCK];
        _mm_storeu_si128((__m128i *)octets, stream[l]);
        for (size_t n = 0; n < left; n++) lanes[l].out[at + n] = lanes[l].in[at + n] ^ octets[n];
    }
}

// Whole blocks of 16, so that all groups stay in step: a group that ends in the middle of one makes more than it needs.
TARGET void run(group *groups, const unsigned count, const cw_mppe_lane *lanes, size_t lane_count, size_t from, size_t to) {
    for (size_t at = from; at < to; at += BLOCK) {
        make_stream(groups, count, at, count > 1 || to - at > BLOCK ? BLOCK : to - at);
        GROUPS(count) {
            __m128i stream[GROUP];
            to_lanes(stream, groups[g].stream);
            apply(lanes + g * GROUP, lane_count - g * GROUP, at, stream);
        }
    }
}

CW_TARGET void cw_mppe_rows_crypt(const cw_mppe_lane *lanes, size_t count) {
    group groups[GROUPS_MAX];
    size_t used = (count + GROUP - 1) / GROUP;
    switch (used) {
    case 1: schedule(groups, 1, lanes, count); break;
    case 2: schedule(groups, 2, lanes, count); break;
    case 3: schedule(groups, 3, lanes, count); break;
    default: schedule(groups, 4, lanes, count); break;
    }
    // A group is done when its first lane is, and the last group first.
    size_t at = 0;
    for (size_t live = used; live > 0; live--) {
        size_t to = (lanes[(live - 1) * GROUP].length + BLOCK - 1) / BLOCK * BLOCK;
        if (live == 1) to = lanes[0].length;
        if (to <= at) continue;
        switch (live) {
        case 1: run(groups, 1, lanes, count, at, to); break;
        case 2: run(groups, 2, lanes, count, at, to); break;
        case 3: run(groups, 3, lanes, count, at, to); break;
        default: run(groups, 4, lanes, count, at, to); break;
        }
        at = to;
    }
    explicit_bzero(groups, used * sizeof *groups);
}
#else
typedef int cw_mppe_batch_avx2_unused; // a source is not empty
#endif
