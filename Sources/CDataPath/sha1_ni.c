// SHA-1 of MPPE's key change with the processor's own instructions: for one key, or a few.
#if defined(__x86_64__)
#include <immintrin.h>

#include "mppe_batch_internal.h"
#include "sha1.h"

#define TARGET __attribute__((target("sha,sse4.1")))
#define ROUNDS(kind)                                                                             \
    do {                                                                                         \
        if (g < 4) {                                                                             \
            w[g] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * g)), order);  \
        } else {                                                                                 \
            __m128i x = _mm_xor_si128(_mm_sha1msg1_epu32(w[g & 3], w[(g + 1) & 3]), w[(g + 2) & 3]); \
            w[g & 3] = _mm_sha1msg2_epu32(x, w[(g + 3) & 3]);                                    \
        }                                                                                        \
        __m128i input = g == 0 ? _mm_add_epi32(e, w[0]) : _mm_sha1nexte_epu32(before, w[g & 3]); \
        before = abcd;                                                                           \
        abcd = _mm_sha1rnds4_epu32(abcd, input, kind);                                           \
    } while (0)

// Four rounds at a time; `before` is abcd of four rounds ago, from which the next e comes.
TARGET static void sha1_block(uint32_t state[5], const uint8_t block[CW_SHA1_BLOCK]) {
    const __m128i order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0x1b);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);
    __m128i before = abcd, first = abcd;
    __m128i w[4];
    _Pragma("GCC unroll 20") for (unsigned g = 0; g < 20; g++) {
        if (g < 5) ROUNDS(0);
        else if (g < 10) ROUNDS(1);
        else if (g < 15) ROUNDS(2);
        else ROUNDS(3);
    }
    e = _mm_sha1nexte_epu32(before, e);
    _mm_storeu_si128((__m128i *)state, _mm_shuffle_epi32(_mm_add_epi32(abcd, first), 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}

void cw_mppe_digest_sha(cw_mppe_digest *digests, size_t count) {
    for (size_t n = 0; n < count; n++) cw_mppe_key_digest(digests[n].suite, digests[n].key, digests[n].interim, sha1_block);
}
#else
typedef int cw_sha1_ni_unused; // a source is not empty
#endif
