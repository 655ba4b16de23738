// SHA-1 (FIPS 180-4), for the MPPE key change only: RFC 3079 section 3 leaves no choice of hash.
#ifndef CW_SHA1_H
#define CW_SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { CW_SHA1_BLOCK = 64, CW_SHA1_DIGEST = 20 };

void cw_sha1_begin(uint32_t state[5]);
void cw_sha1_block(uint32_t state[5], const uint8_t block[CW_SHA1_BLOCK]);
void cw_sha1(const uint8_t *data, size_t length, uint8_t digest[CW_SHA1_DIGEST]);

#endif
