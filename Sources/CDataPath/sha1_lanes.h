// SHA-1 of MPPE's key change in CW_LANES lanes, one key in each: a vector holds the same word of all of them. The file that includes this
// defines CW_LANES, CW_TARGET (the function attribute of its instructions) and the name CW_DIGEST.
#include <string.h>

#include "link_bytes.h"
#include "mppe_batch_internal.h"
#include "sha1.h"

typedef uint32_t words __attribute__((vector_size(CW_LANES * 4)));

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define ROUND(f, k)                                      \
    do {                                                 \
        words next = ROTATE(a, 5) + (f) + e + (k) + w[t & 15]; \
        e = d;                                           \
        d = c;                                           \
        c = ROTATE(b, 30);                               \
        b = a;                                           \
        a = next;                                        \
    } while (0)

CW_TARGET static inline __attribute__((always_inline)) void sha1_lanes_block(words state[5], words w[16]) {
    words a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    _Pragma("GCC unroll 80") for (unsigned t = 0; t < 80; t++) {
        if (t >= 16) {
            words x = w[(t - 3) & 15] ^ w[(t - 8) & 15] ^ w[(t - 14) & 15] ^ w[t & 15];
            w[t & 15] = ROTATE(x, 1);
        }
        if (t < 20) ROUND((b & c) | (~b & d), 0x5a827999);
        else if (t < 40) ROUND(b ^ c ^ d, 0x6ed9eba1);
        else if (t < 60) ROUND((b & c) | (b & d) | (c & d), 0x8f1bbcdc);
        else ROUND(b ^ c ^ d, 0xca62c1d6);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

static inline uint32_t read_word(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return __builtin_bswap32(value);
}

// The message's words of one lane each, where lanes differ: the others are the same everywhere.
CW_TARGET static void sha1_lanes(const cw_mppe_digest *digests, size_t count) {
    enum { zero_words = 10 };
    size_t n = digests[0].suite->length / 4u; // words of a key
    union {
        words vector[2 * CW_MPPE_KEY_SIZE / 4];
        uint32_t lane[2 * CW_MPPE_KEY_SIZE / 4][CW_LANES];
    } keys;
    for (size_t l = 0; l < CW_LANES; l++) {
        const cw_mppe_digest *digest = &digests[l < count ? l : 0];
        for (size_t i = 0; i < n; i++) {
            keys.lane[i][l] = read_word(digest->suite->start + 4 * i);
            keys.lane[n + i][l] = read_word(digest->key + 4 * i);
        }
    }
    // As cw_mppe_key_digest lays it out.
    words message[32];
    words none = {0};
    for (size_t i = 0; i < 32; i++) message[i] = none;
    for (size_t i = 0; i < n; i++) {
        message[i] = keys.vector[i];
        message[n + zero_words + i] = keys.vector[n + i];
    }
    for (size_t i = 0; i < 10; i++) message[2 * n + zero_words + i] = none + 0xf2f2f2f2u;
    message[2 * n + 2 * zero_words] = none + 0x80000000u;
    message[31] = none + (uint32_t)(2 * n + 2 * zero_words) * 32;

    uint32_t begin[5];
    cw_sha1_begin(begin);
    words state[5];
    for (size_t i = 0; i < 5; i++) state[i] = none + begin[i];
    sha1_lanes_block(state, message);
    sha1_lanes_block(state, message + 16);
    union {
        words vector[4];
        uint32_t lane[4][CW_LANES];
    } out;
    memcpy(out.vector, state, sizeof out.vector);
    for (size_t l = 0; l < count; l++)
        for (size_t i = 0; i < n; i++) cw_put32(digests[l].interim + 4 * i, out.lane[i][l]);
    explicit_bzero(&keys, sizeof keys);
    explicit_bzero(message, sizeof message);
    explicit_bzero(state, sizeof state);
    explicit_bzero(&out, sizeof out);
}

void CW_DIGEST(cw_mppe_digest *digests, size_t count) {
    for (size_t at = 0; at < count; at += CW_LANES) sha1_lanes(digests + at, count - at < CW_LANES ? count - at : CW_LANES);
}

#undef ROTATE
#undef ROUND
