#include "mppe-plain.h"

#include <string.h>

// ---- RC4 ----

void plain_rc4_key(plain_rc4 *rc4, const uint8_t *key, size_t length) {
    uint32_t j = 0;
    size_t k = 0;
    rc4->x = 1;
    rc4->y = 0;
    for (uint32_t n = 0; n < 256; n++) rc4->s[n] = n;
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t a = rc4->s[n];
        j = (j + key[k] + a) & 0xff;
        rc4->s[n] = rc4->s[j];
        rc4->s[j] = a;
        if (++k >= length) k = 0;
    }
}

// The next octet's first loads come before this one's output, as in the kernel.
void plain_rc4_crypt(plain_rc4 *rc4, uint8_t *out, const uint8_t *in, size_t length) {
    if (length == 0) return;
    uint32_t *s = rc4->s;
    uint32_t x = rc4->x, y = rc4->y;
    uint32_t a = s[x];
    y = (y + a) & 0xff;
    uint32_t b = s[y];
    for (;;) {
        s[y] = a;
        a = (a + b) & 0xff;
        s[x] = b;
        x = (x + 1) & 0xff;
        uint32_t next_a = s[x];
        uint32_t next_y = (y + next_a) & 0xff;
        uint32_t next_b = s[next_y];
        *out++ = *in++ ^ (uint8_t)s[a];
        if (--length == 0) break;
        y = next_y;
        a = next_a;
        b = next_b;
    }
    rc4->x = x;
    rc4->y = y;
}

// ---- SHA-1 ----

typedef struct plain_sha1 {
    uint32_t state[5];
    uint64_t count;
    uint8_t buffer[64];
} plain_sha1;

static inline uint32_t rotate(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

static void block(uint32_t state[5], const uint8_t *data) {
    uint32_t w[16];
    for (unsigned t = 0; t < 16; t++) {
        uint32_t word;
        memcpy(&word, data + 4 * t, 4);
        w[t] = __builtin_bswap32(word);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    _Pragma("GCC unroll 80") for (unsigned t = 0; t < 80; t++) {
        if (t >= 16) w[t & 15] = rotate(w[(t - 3) & 15] ^ w[(t - 8) & 15] ^ w[(t - 14) & 15] ^ w[t & 15], 1);
        uint32_t f = t < 20   ? (((c ^ d) & b) ^ d) + 0x5a827999
                     : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                     : t < 60 ? ((b & c) + (d & (b ^ c))) + 0x8f1bbcdc
                              : (b ^ c ^ d) + 0xca62c1d6;
        uint32_t next = rotate(a, 5) + f + e + w[t & 15];
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
}

static void begin(plain_sha1 *sha1) {
    *sha1 = (plain_sha1){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
}

static void update(plain_sha1 *sha1, const uint8_t *data, size_t length) {
    size_t used = sha1->count % 64;
    sha1->count += length;
    if (used + length >= 64) {
        if (used > 0) {
            size_t part = 64 - used;
            memcpy(sha1->buffer + used, data, part);
            block(sha1->state, sha1->buffer);
            data += part;
            length -= part;
            used = 0;
        }
        for (; length >= 64; data += 64, length -= 64) block(sha1->state, data);
    }
    memcpy(sha1->buffer + used, data, length);
}

static void end(plain_sha1 *sha1, uint8_t digest[20]) {
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = __builtin_bswap64(sha1->count * 8);
    size_t used = sha1->count % 64;
    update(sha1, padding, (used < 56 ? 56 : 120) - used);
    update(sha1, (const uint8_t *)&bits, sizeof bits);
    for (unsigned n = 0; n < 5; n++) {
        uint32_t word = __builtin_bswap32(sha1->state[n]);
        memcpy(digest + 4 * n, &word, 4);
    }
}

// ---- MPPE (RFC 3078 section 7.3, RFC 3079 section 3) ----

void plain_packet(plain_session *session, uint8_t *out, const uint8_t *in, size_t length) {
    static const uint8_t pad1[40], pad2[40] = {[0 ... 39] = 0xf2};
    plain_sha1 sha1;
    uint8_t digest[20];
    begin(&sha1);
    update(&sha1, session->start, 16);
    update(&sha1, pad1, sizeof pad1);
    update(&sha1, session->key, 16);
    update(&sha1, pad2, sizeof pad2);
    end(&sha1, digest);
    plain_rc4_key(&session->rc4, digest, 16);
    plain_rc4_crypt(&session->rc4, session->key, digest, 16);
    plain_rc4_key(&session->rc4, session->key, 16);
    plain_rc4_crypt(&session->rc4, out, in, length);
}
