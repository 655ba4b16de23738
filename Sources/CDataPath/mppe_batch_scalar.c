// RC4 in portable C, two packets side by side. One RC4 alone waits for its own stores: the S[i] of the next step may have been written by
// this one. Each lane so loads its next S[i] before it stores, and corrects what it loaded if the store hit it.
#include <string.h>

#include "mppe_batch_internal.h"

enum { PIECE = 256 }; // octets of key stream between two XORs

#define WAYS(n) _Pragma("GCC unroll 4") for (size_t l = 0; l < (n); l++)

static inline __attribute__((always_inline)) void key_ways(cw_rc4 *const rc4[], const uint8_t *const keys[], const size_t count) {
    uint8_t *s[CW_MPPE_WAYS], j[CW_MPPE_WAYS], a[CW_MPPE_WAYS];
    WAYS(count) {
        s[l] = rc4[l]->s;
        for (unsigned n = 0; n < 256; n++) s[l][n] = (uint8_t)n;
        j[l] = a[l] = 0;
    }
    for (unsigned n = 0; n < 256; n++) {
        uint8_t next[CW_MPPE_WAYS], b[CW_MPPE_WAYS];
        WAYS(count) {
            j[l] = (uint8_t)(j[l] + a[l] + keys[l][n % CW_MPPE_KEY_SIZE]);
            next[l] = s[l][(n + 1) % 256];
            b[l] = s[l][j[l]];
            next[l] = j[l] == n + 1 ? a[l] : next[l];
        }
        WAYS(count) {
            s[l][n] = b[l];
            s[l][j[l]] = a[l];
            a[l] = next[l];
        }
    }
    WAYS(count) rc4[l]->i = rc4[l]->j = 0;
}

void cw_mppe_ways_key(cw_rc4 *const rc4[], const uint8_t *const keys[], size_t count) {
    if (count == CW_MPPE_WAYS) key_ways(rc4, keys, CW_MPPE_WAYS);
    else
        for (size_t n = 0; n < count; n++) key_ways(rc4 + n, keys + n, 1);
}

static inline __attribute__((always_inline)) void crypt_ways(cw_mppe_way *ways, const size_t count, size_t length) {
    uint8_t stream[CW_MPPE_WAYS][PIECE];
    uint8_t *s[CW_MPPE_WAYS], i[CW_MPPE_WAYS], j[CW_MPPE_WAYS];
    uint8_t a[CW_MPPE_WAYS];
    WAYS(count) {
        s[l] = ways[l].rc4->s;
        i[l] = (uint8_t)(ways[l].rc4->i + 1);
        j[l] = ways[l].rc4->j;
        a[l] = s[l][i[l]];
    }
    for (size_t n = 0; n < length; n++) {
        uint8_t next[CW_MPPE_WAYS], b[CW_MPPE_WAYS];
        WAYS(count) {
            uint8_t following = (uint8_t)(i[l] + 1);
            j[l] = (uint8_t)(j[l] + a[l]);
            b[l] = s[l][j[l]];
            next[l] = s[l][following];
            next[l] = j[l] == following ? a[l] : next[l];
        }
        WAYS(count) {
            s[l][i[l]] = b[l];
            s[l][j[l]] = a[l];
            i[l]++;
        }
        WAYS(count) {
            stream[l][n] = s[l][(uint8_t)(a[l] + b[l])];
            a[l] = next[l];
        }
    }
    WAYS(count) {
        ways[l].rc4->i = (uint8_t)(i[l] - 1);
        ways[l].rc4->j = j[l];
        const uint8_t *in = ways[l].in;
        uint8_t *out = ways[l].out;
        size_t n = 0;
        for (; n + 8 <= length; n += 8) {
            uint64_t text, key;
            memcpy(&text, in + n, 8);
            memcpy(&key, stream[l] + n, 8);
            text ^= key;
            memcpy(out + n, &text, 8);
        }
        for (; n < length; n++) out[n] = in[n] ^ stream[l][n];
        ways[l].in += length;
        ways[l].out += length;
        ways[l].length -= length;
    }
    explicit_bzero(stream, sizeof stream);
}

void cw_mppe_ways_crypt(cw_mppe_way *ways, size_t count) {
    size_t length = ways[0].length;
    for (size_t l = 1; l < count; l++)
        if (ways[l].length < length) length = ways[l].length;
    while (length > 0) {
        size_t piece = length < PIECE ? length : PIECE;
        if (count == CW_MPPE_WAYS) crypt_ways(ways, CW_MPPE_WAYS, piece);
        else crypt_ways(ways, 1, piece);
        length -= piece;
    }
}

void cw_mppe_digest_scalar(cw_mppe_digest *digests, size_t count) {
    for (size_t n = 0; n < count; n++) cw_mppe_key_digest(digests[n].suite, digests[n].key, digests[n].interim, cw_sha1_block);
}
