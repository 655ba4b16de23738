#include "rc4.h"

void cw_rc4_key(cw_rc4 *rc4, const uint8_t *key, size_t length) {
    uint8_t *s = rc4->s;
    for (unsigned n = 0; n < 256; n++) s[n] = (uint8_t)n;
    uint8_t j = 0;
    size_t k = 0;
    for (unsigned n = 0; n < 256; n++) {
        uint8_t t = s[n];
        j = (uint8_t)(j + t + key[k]);
        s[n] = s[j];
        s[j] = t;
        if (++k == length) k = 0;
    }
    rc4->i = 0;
    rc4->j = 0;
}

void cw_rc4_crypt(cw_rc4 *rc4, const uint8_t *in, uint8_t *out, size_t length) {
    uint8_t *s = rc4->s;
    uint8_t i = rc4->i, j = rc4->j;
    for (size_t n = 0; n < length; n++) {
        i++;
        uint8_t a = s[i];
        j = (uint8_t)(j + a);
        uint8_t b = s[j];
        s[i] = b;
        s[j] = a;
        out[n] = in[n] ^ s[(uint8_t)(a + b)];
    }
    rc4->i = i;
    rc4->j = j;
}

void cw_rc4_skip(cw_rc4 *rc4, size_t length) {
    uint8_t *s = rc4->s;
    uint8_t i = rc4->i, j = rc4->j;
    for (size_t n = 0; n < length; n++) {
        i++;
        uint8_t a = s[i];
        j = (uint8_t)(j + a);
        s[i] = s[j];
        s[j] = a;
    }
    rc4->i = i;
    rc4->j = j;
}
