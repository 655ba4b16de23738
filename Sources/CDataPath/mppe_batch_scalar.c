// Portable C. RC4 of several packets side by side: while one waits for its own stores to come back, the others go on. SHA-1 in four lanes of
// whatever vectors the compiler has.
#define CW_LANES 4
#define CW_TARGET
#define CW_DIGEST cw_mppe_digest_lanes
#include "sha1_lanes.h"

enum { PIECE = 256 }; // octets of key stream between two XORs; as many as a state has, so that it comes out turned as it went in

#define WAYS(n) _Pragma("GCC unroll 4") for (size_t l = 0; l < (n); l++)
#define INLINE static inline __attribute__((always_inline))

// S[n + 1] is loaded before the stores of step n, and corrected if they hit it: waiting for them would be the longest part of the step.
INLINE void schedule(uint8_t s[][256], const uint8_t *const keys[], const size_t count) {
    uint8_t key[CW_MPPE_WAYS][CW_MPPE_KEY_SIZE];
    uint32_t j[CW_MPPE_WAYS], a[CW_MPPE_WAYS];
    WAYS(count) {
        for (unsigned n = 0; n < 256; n++) s[l][n] = (uint8_t)n;
        memcpy(key[l], keys[l], CW_MPPE_KEY_SIZE);
        j[l] = a[l] = 0;
    }
    for (unsigned n = 0; n < 256; n++) {
        WAYS(count) {
            j[l] = (uint8_t)(j[l] + a[l] + key[l][n % CW_MPPE_KEY_SIZE]);
            uint32_t next = s[l][(n + 1) % 256];
            next = j[l] == n + 1 ? a[l] : next;
            s[l][n] = s[l][j[l]];
            s[l][j[l]] = (uint8_t)a[l];
            a[l] = next;
        }
    }
    explicit_bzero(key, count * sizeof *key);
}

INLINE void key_ways(cw_rc4 *const rc4[], const uint8_t *const keys[], const size_t count) {
    uint8_t s[CW_MPPE_WAYS][256];
    schedule(s, keys, count);
    WAYS(count) {
        memcpy(rc4[l]->s, s[l], 256);
        rc4[l]->i = rc4[l]->j = 0;
    }
    explicit_bzero(s, count * sizeof *s);
}

void cw_mppe_ways_key(cw_rc4 *const rc4[], const uint8_t *const keys[], size_t count) {
    switch (count) {
    case 1: key_ways(rc4, keys, 1); break;
    case 2: key_ways(rc4, keys, 2); break;
    case 3: key_ways(rc4, keys, 3); break;
    default: key_ways(rc4, keys, CW_MPPE_WAYS); break;
    }
}

INLINE void self_ways(const cw_mppe_lane *const lanes[], const size_t count) {
    uint8_t s[CW_MPPE_WAYS][256], j[CW_MPPE_WAYS];
    const uint8_t *keys[CW_MPPE_WAYS];
    WAYS(count) {
        keys[l] = lanes[l]->key;
        j[l] = 0;
    }
    schedule(s, keys, count);
    size_t length = lanes[0]->length;
    for (size_t n = 0; n < length; n++) {
        WAYS(count) {
            uint8_t a = s[l][n + 1];
            j[l] = (uint8_t)(j[l] + a);
            uint8_t b = s[l][j[l]];
            s[l][n + 1] = b;
            s[l][j[l]] = a;
            lanes[l]->out[n] = lanes[l]->key[n] ^ s[l][(uint8_t)(a + b)];
        }
    }
    explicit_bzero(s, count * sizeof *s);
}

void cw_mppe_ways_self(const cw_mppe_lane *const lanes[], size_t count) {
    switch (count) {
    case 1: self_ways(lanes, 1); break;
    case 2: self_ways(lanes, 2); break;
    case 3: self_ways(lanes, 3); break;
    default: self_ways(lanes, CW_MPPE_WAYS); break;
    }
}

INLINE void apply(cw_mppe_way *way, const uint8_t *stream, size_t length) {
    const uint8_t *in = way->in;
    uint8_t *out = way->out;
    size_t n = 0;
    for (; n + 8 <= length; n += 8) {
        uint64_t text, key;
        memcpy(&text, in + n, 8);
        memcpy(&key, stream + n, 8);
        text ^= key;
        memcpy(out + n, &text, 8);
    }
    for (; n < length; n++) out[n] = in[n] ^ stream[n];
    way->in += length;
    way->out += length;
    way->length -= length;
}

// In here each state is turned so that its i is 0, and all have the same: octet x of it is S[x + turn]. Without `turned` that is the case
// already. length <= PIECE.
INLINE void crypt_ways(cw_mppe_way *ways, const size_t count, const bool turned, size_t length) {
    uint8_t s[CW_MPPE_WAYS][256], stream[CW_MPPE_WAYS][PIECE];
    uint8_t j[CW_MPPE_WAYS], turn[CW_MPPE_WAYS];
    WAYS(count) {
        const cw_rc4 *rc4 = ways[l].rc4;
        turn[l] = turned ? rc4->i : 0;
        memcpy(s[l], rc4->s + turn[l], 256u - turn[l]);
        if (turned) memcpy(s[l] + 256 - turn[l], rc4->s, turn[l]);
        j[l] = (uint8_t)(rc4->j - turn[l]);
    }
    for (size_t n = 0; n < length; n++) {
        uint8_t i = (uint8_t)(n + 1);
        WAYS(count) {
            uint8_t a = s[l][i];
            j[l] = (uint8_t)(j[l] + a);
            uint8_t b = s[l][j[l]];
            s[l][i] = b;
            s[l][j[l]] = a;
            stream[l][n] = s[l][(uint8_t)(a + b - turn[l])];
        }
    }
    WAYS(count) {
        cw_rc4 *rc4 = ways[l].rc4;
        memcpy(rc4->s + turn[l], s[l], 256u - turn[l]);
        if (turned) memcpy(rc4->s, s[l] + 256 - turn[l], turn[l]);
        rc4->i = (uint8_t)(turn[l] + length);
        rc4->j = (uint8_t)(j[l] + turn[l]);
        apply(&ways[l], stream[l], length);
    }
    explicit_bzero(s, count * sizeof *s);
    explicit_bzero(stream, count * sizeof *stream);
}

INLINE void crypt_count(cw_mppe_way *ways, const size_t count, size_t length) {
    bool turned = false;
    WAYS(count) turned |= ways[l].rc4->i != 0;
    if (turned) crypt_ways(ways, count, true, length);
    else crypt_ways(ways, count, false, length);
}

void cw_mppe_ways_crypt(cw_mppe_way *ways, size_t count) {
    size_t length = ways[0].length;
    for (size_t l = 1; l < count; l++)
        if (ways[l].length < length) length = ways[l].length;
    while (length > 0) {
        size_t piece = length < PIECE ? length : PIECE;
        switch (count) {
        case 1: crypt_count(ways, 1, piece); break;
        case 2: crypt_count(ways, 2, piece); break;
        case 3: crypt_count(ways, 3, piece); break;
        default: crypt_count(ways, CW_MPPE_WAYS, piece); break;
        }
        length -= piece;
    }
}

void cw_mppe_digest_each(cw_mppe_digest *digests, size_t count) {
    for (size_t n = 0; n < count; n++) cw_mppe_key_digest(digests[n].suite, digests[n].key, digests[n].interim, cw_sha1_block);
}
