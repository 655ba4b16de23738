// AVX-512: SHA-1 in 16 lanes, and RC4 with gather and scatter.
//
// Sixteen packets, one in each 32-bit lane. Row n of the state holds the S[n] of all of them: S[i] is a plain vector (i is the same
// everywhere), S[j] and the output are gathers, the other half of the swap a scatter. As in the other kernels, the S[i] of the next step is
// loaded before this one's stores and corrected.
#if defined(__x86_64__)
#include <immintrin.h>

#define CW_LANES 16
#define CW_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define CW_DIGEST cw_mppe_digest_avx512
#include "sha1_lanes.h"

#define TARGET CW_TARGET static inline __attribute__((always_inline))

enum { LANES = 16, BLOCK = 16 };

typedef struct state {
    uint32_t s[256][LANES] __attribute__((aligned(64)));
    __m512i j, next;
} state;

// Index of S[x] for each lane.
TARGET __m512i place(__m512i x) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_or_si512(_mm512_slli_epi32(x, 4), lane);
}

TARGET __m512i octet(__m512i x) { return _mm512_and_si512(x, _mm512_set1_epi32(0xff)); }

// One step: exchanges S[i] = next and S[j], returns S[i] + S[j], and loads S[i + 1].
TARGET __m512i swap(state *state, uint8_t i) {
    uint8_t following = (uint8_t)(i + 1);
    __m512i a = state->next, at = place(state->j);
    __m512i b = _mm512_i32gather_epi32(at, state->s, 4);
    __mmask16 hit = _mm512_cmpeq_epi32_mask(state->j, _mm512_set1_epi32(following));
    state->next = _mm512_mask_mov_epi32(_mm512_load_si512(state->s[following]), hit, a);
    _mm512_store_si512(state->s[i], b);
    _mm512_i32scatter_epi32(state->s, at, a, 4);
    return _mm512_add_epi32(a, b);
}

TARGET void schedule(state *state, const cw_mppe_lane *lanes, size_t count) {
    uint32_t keys[CW_MPPE_KEY_SIZE][LANES];
    for (unsigned l = 0; l < LANES; l++)
        for (unsigned n = 0; n < CW_MPPE_KEY_SIZE; n++) keys[n][l] = lanes[l < count ? l : 0].key[n];
    for (unsigned n = 0; n < 256; n++) _mm512_store_si512(state->s[n], _mm512_set1_epi32((int)n));
    state->j = state->next = _mm512_setzero_si512();
    for (unsigned n = 0; n < 256; n++) {
        __m512i key = _mm512_loadu_si512(keys[n % CW_MPPE_KEY_SIZE]);
        state->j = octet(_mm512_add_epi32(state->j, _mm512_add_epi32(state->next, key)));
        swap(state, (uint8_t)n);
    }
    state->j = _mm512_setzero_si512();
    state->next = _mm512_load_si512(state->s[1]);
    explicit_bzero(keys, sizeof keys);
}

// Four octets of key stream in each lane.
TARGET __m512i make_stream(state *state, size_t at) {
    __m512i stream = _mm512_setzero_si512();
    _Pragma("GCC unroll 4") for (unsigned n = 0; n < 4; n++) {
        uint8_t i = (uint8_t)(at + n + 1);
        state->j = octet(_mm512_add_epi32(state->j, state->next));
        __m512i sum = octet(swap(state, i));
        __m512i key = _mm512_i32gather_epi32(place(sum), state->s, 4);
        stream = _mm512_or_si512(stream, _mm512_slli_epi32(key, 8 * n));
    }
    return stream;
}

// 16 octets of each lane, from four vectors of four each.
TARGET void to_lanes(uint8_t lane[LANES][BLOCK], const __m512i word[4]) {
    __m512i a = _mm512_unpacklo_epi32(word[0], word[1]), b = _mm512_unpackhi_epi32(word[0], word[1]);
    __m512i c = _mm512_unpacklo_epi32(word[2], word[3]), d = _mm512_unpackhi_epi32(word[2], word[3]);
    __m512i of[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d)};
    for (unsigned n = 0; n < 4; n++) {
        _mm_store_si128((__m128i *)lane[n], _mm512_extracti32x4_epi32(of[n], 0));
        _mm_store_si128((__m128i *)lane[4 + n], _mm512_extracti32x4_epi32(of[n], 1));
        _mm_store_si128((__m128i *)lane[8 + n], _mm512_extracti32x4_epi32(of[n], 2));
        _mm_store_si128((__m128i *)lane[12 + n], _mm512_extracti32x4_epi32(of[n], 3));
    }
}

TARGET void apply(const cw_mppe_lane *lane, size_t at, const uint8_t stream[BLOCK]) {
    if (at >= lane->length) return;
    size_t left = lane->length - at;
    __mmask16 mask = left >= BLOCK ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
    __m128i text = _mm_maskz_loadu_epi8(mask, lane->in + at);
    _mm_mask_storeu_epi8(lane->out + at, mask, _mm_xor_si128(text, _mm_load_si128((const __m128i *)stream)));
}

CW_TARGET void cw_mppe_gather_crypt(const cw_mppe_lane *lanes, size_t count) {
    state state;
    uint8_t stream[LANES][BLOCK] __attribute__((aligned(64)));
    schedule(&state, lanes, count);
    for (size_t at = 0; at < lanes[0].length; at += BLOCK) {
        __m512i words[4];
        _Pragma("GCC unroll 4") for (unsigned n = 0; n < 4; n++) words[n] = make_stream(&state, at + 4 * n);
        to_lanes(stream, words);
        for (size_t l = 0; l < count; l++) apply(&lanes[l], at, stream[l]);
    }
    explicit_bzero(&state, sizeof state);
    explicit_bzero(stream, sizeof stream);
}
#else
typedef int cw_mppe_batch_avx512_unused; // a source is not empty
#endif
