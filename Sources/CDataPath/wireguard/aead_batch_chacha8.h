// ChaCha20 over eight lanes of 256-bit registers, for the two kernels that have these. Before it is included: CW_TARGET, the attribute of
// its functions, and CW_ROTATE8(vector, bits).
#ifndef CW_WG_AEAD_BATCH_CHACHA8_H
#define CW_WG_AEAD_BATCH_CHACHA8_H

#include <immintrin.h>

#include "aead_batch_chacha.h"
#include "aead_batch_kernel.h"

typedef uint32_t cw_words8 __attribute__((vector_size(32)));

// Rows become columns.
CW_TARGET static inline void cw_transpose8(cw_words8 x[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32((__m256i)x[i], (__m256i)x[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32((__m256i)x[i], (__m256i)x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        x[i] = (cw_words8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        x[i + 4] = (cw_words8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

CW_TARGET static inline cw_words8 cw_load8(const void *from) { return (cw_words8)_mm256_loadu_si256((const __m256i *)from); }

CW_TARGET static inline void cw_put8(uint8_t *out, const uint8_t *in, __m256i stream) {
    _mm256_storeu_si256((__m256i *)out, _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)in), stream));
}

// The end of a packet: fewer octets than a block.
CW_TARGET static inline void cw_put8_partly(uint8_t *out, const uint8_t *in, __m256i first, __m256i second, uint32_t octets) {
    if (octets >= 32) {
        cw_put8(out, in, first);
        out += 32, in += 32, first = second;
    }
    __m128i half = _mm256_castsi256_si128(first);
    if (octets & 16) {
        _mm_storeu_si128((__m128i *)out, _mm_xor_si128(_mm_loadu_si128((const __m128i *)in), half));
        out += 16, in += 16, half = _mm256_extracti128_si256(first, 1);
    }
    uint8_t rest[16] = {0};
    memcpy(rest, in, octets % 16);
    _mm_storeu_si128((__m128i *)rest, _mm_xor_si128(_mm_loadu_si128((const __m128i *)rest), half));
    memcpy(out, rest, octets % 16);
}

CW_TARGET static void cw_chacha8(const cw_chacha_lanes *lanes, size_t count) {
    cw_words8 key[8], x[16];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) key[i] = cw_load8(lanes->key[i < count ? i : 0]);
    cw_transpose8(key);
    const cw_words8 constants[4] = {(cw_words8)_mm256_set1_epi32(0x61707865), (cw_words8)_mm256_set1_epi32(0x3320646e),
                                    (cw_words8)_mm256_set1_epi32(0x79622d32), (cw_words8)_mm256_set1_epi32(0x6b206574)};
    const cw_words8 tail[4] = {cw_load8(lanes->block), (cw_words8)_mm256_setzero_si256(), cw_load8(lanes->nonce_low),
                               cw_load8(lanes->nonce_high)};
    for (int i = 0; i < 4; i++) x[i] = constants[i], x[12 + i] = tail[i];
    for (int i = 0; i < 8; i++) x[4 + i] = key[i];
    CW_CHACHA_ROUNDS(x, CW_ROTATE8);
    for (int i = 0; i < 4; i++) x[i] += constants[i], x[12 + i] += tail[i];
    for (int i = 0; i < 8; i++) x[4 + i] += key[i];
    cw_transpose8(x);
    cw_transpose8(x + 8);

#pragma GCC unroll 8 // x stays in registers
    for (size_t i = 0; i < 8; i++) {
        if (i >= count) break;
        if (lanes->octets[i] == CW_CHACHA_BLOCK) {
            cw_put8(lanes->out[i], lanes->in[i], (__m256i)x[i]);
            cw_put8(lanes->out[i] + 32, lanes->in[i] + 32, (__m256i)x[8 + i]);
        } else {
            cw_put8_partly(lanes->out[i], lanes->in[i], (__m256i)x[i], (__m256i)x[8 + i], lanes->octets[i]);
        }
    }
}

#endif
