#include "sha1.h"

#include <string.h>

#include "link_bytes.h"

static inline uint32_t rotate(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

void cw_sha1_begin(uint32_t state[5]) {
    state[0] = 0x67452301;
    state[1] = 0xefcdab89;
    state[2] = 0x98badcfe;
    state[3] = 0x10325476;
    state[4] = 0xc3d2e1f0;
}

void cw_sha1_block(uint32_t state[5], const uint8_t block[CW_SHA1_BLOCK]) {
    uint32_t w[16];
    for (unsigned t = 0; t < 16; t++) w[t] = cw_get32(block + 4 * t);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    // Unrolled, the compiler keeps track of which variable is which; that is half the time.
    _Pragma("GCC unroll 80") for (unsigned t = 0; t < 80; t++) {
        if (t >= 16) w[t & 15] = rotate(w[(t - 3) & 15] ^ w[(t - 8) & 15] ^ w[(t - 14) & 15] ^ w[t & 15], 1);
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (t < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (t < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[t & 15];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    explicit_bzero(w, sizeof w);
}

void cw_sha1(const uint8_t *data, size_t length, uint8_t digest[CW_SHA1_DIGEST]) {
    uint32_t state[5];
    cw_sha1_begin(state);
    size_t left = length;
    for (; left >= CW_SHA1_BLOCK; left -= CW_SHA1_BLOCK, data += CW_SHA1_BLOCK) cw_sha1_block(state, data);

    uint8_t tail[2 * CW_SHA1_BLOCK] = {0};
    if (left > 0) memcpy(tail, data, left);
    tail[left] = 0x80;
    size_t total = left + 9 <= CW_SHA1_BLOCK ? CW_SHA1_BLOCK : 2 * CW_SHA1_BLOCK;
    uint64_t bits = (uint64_t)length * 8;
    cw_put32(tail + total - 8, (uint32_t)(bits >> 32));
    cw_put32(tail + total - 4, (uint32_t)bits);
    for (size_t at = 0; at < total; at += CW_SHA1_BLOCK) cw_sha1_block(state, tail + at);
    for (unsigned i = 0; i < 5; i++) cw_put32(digest + 4 * i, state[i]);
    explicit_bzero(tail, sizeof tail);
    explicit_bzero(state, sizeof state);
}
