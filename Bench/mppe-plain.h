// The baseline: MPPE as a straightforward C program does it, one packet after the other and one octet after the other. RC4 with its state in
// 32-bit words and SHA-1 through begin, update and end: the algorithm of the Linux kernel's ppp_mppe with arc4 and its generic SHA-1.
#ifndef BENCH_MPPE_PLAIN_H
#define BENCH_MPPE_PLAIN_H

#include <stddef.h>
#include <stdint.h>

typedef struct plain_rc4 {
    uint32_t s[256];
    uint32_t x, y;
} plain_rc4;

typedef struct plain_session {
    uint8_t start[16], key[16];
    plain_rc4 rc4;
} plain_session;

void plain_rc4_key(plain_rc4 *rc4, const uint8_t *key, size_t length);
void plain_rc4_crypt(plain_rc4 *rc4, uint8_t *out, const uint8_t *in, size_t length);
// 128-bit, stateless: the next key, its schedule, the packet.
void plain_packet(plain_session *session, uint8_t *out, const uint8_t *in, size_t length);

#endif
