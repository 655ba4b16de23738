// RC4. It is broken as a cipher and stays only because MPPE (RFC 3078) is defined with it.
#ifndef CW_RC4_H
#define CW_RC4_H

#include <stddef.h>
#include <stdint.h>

typedef struct cw_rc4 {
    uint8_t s[256];
    uint8_t i, j;
} cw_rc4;

void cw_rc4_key(cw_rc4 *rc4, const uint8_t *key, size_t length); // length 1...256
// XORs the key stream into in -> out; the two may be the same.
void cw_rc4_crypt(cw_rc4 *rc4, const uint8_t *in, uint8_t *out, size_t length);
void cw_rc4_skip(cw_rc4 *rc4, size_t length);

#endif
