// What the driver (aead_batch.c) and its kernels agree on. The driver walks over packets, the kernels know neither jobs nor tags.
#ifndef CW_WG_AEAD_BATCH_KERNEL_H
#define CW_WG_AEAD_BATCH_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "aead_batch.h"
#include "wire.h"

enum { CW_AEAD_LANES = 16, CW_CHACHA_BLOCK = 64, CW_POLY_BLOCK = 16 };

// Blocks of ChaCha20, one in a lane, of any packets: out = in xor key stream.
typedef struct cw_chacha_lanes {
    _Alignas(64) uint32_t block[CW_AEAD_LANES]; // block counter
    uint32_t nonce_low[CW_AEAD_LANES], nonce_high[CW_AEAD_LANES];
    const uint8_t *key[CW_AEAD_LANES];
    const uint8_t *in[CW_AEAD_LANES];
    uint8_t *out[CW_AEAD_LANES];
    uint32_t octets[CW_AEAD_LANES]; // 1 to 64
} cw_chacha_lanes;

// Poly1305 of whole packets in the manner of RFC 8439 section 2.8, without additional data: the text padded with zeros, then its length.
typedef struct cw_poly_lanes {
    _Alignas(64) uint64_t r_low[CW_AEAD_LANES], r_high[CW_AEAD_LANES]; // clamped
    const uint8_t *text[CW_AEAD_LANES];
    size_t length[CW_AEAD_LANES];
    uint64_t sum[CW_AEAD_LANES][3]; // the result: modulo 2^130 - 5 but not yet fully reduced, the third word small
    _Alignas(64) uint64_t scratch[240]; // the kernel's; it wipes what it used
} cw_poly_lanes;

struct cw_aead_batch {
    const char *name;
    size_t alone_over, alone_below; // lengths between which it is faster than the libraries even for one packet
    size_t lanes; // packets at once, and blocks of ChaCha20 at once; at most CW_AEAD_LANES
    void (*chacha)(const cw_chacha_lanes *lanes, size_t count);
    void (*poly)(cw_poly_lanes *lanes, size_t count);
};

extern const cw_aead_batch cw_aead_batch_avx2, cw_aead_batch_avx512;

void cw_poly_tag(uint8_t tag[CW_WG_TAG], const uint64_t sum[3], const uint8_t s[16]);

#endif
