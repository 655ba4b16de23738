// ChaCha20-Poly1305 (RFC 8439) with WireGuard's nonce: 32 zero bits, then the counter, little-endian. No additional data.
// Batches of packets with different keys and lengths; in place or not.
#ifndef CW_WG_AEAD_H
#define CW_WG_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cw_aead_job {
    const uint8_t *key; // 32 bytes
    uint64_t counter;
    const uint8_t *in; // seal: plaintext; open: ciphertext with its tag behind
    uint8_t *out;      // may equal `in`; never overlaps it otherwise. seal writes length + 16 bytes
    size_t length;     // of the plaintext
    bool ok;           // open: whether the tag was right; if not, nothing of `out` may be used (it is zeroed)
} cw_aead_job;

typedef struct cw_aead cw_aead; // contexts of one thread
// NULL: no memory, or CAUSEWAY_ISA (isa.h) names instructions that this machine does not have.
cw_aead *cw_aead_create(void);
void cw_aead_destroy(cw_aead *aead);

// What the batches go through: "avx512", "avx2" (aead_batch.h), or "libraries", which then is libsodium or libcrypto by length.
const char *cw_aead_name(const cw_aead *aead);

void cw_aead_seal(cw_aead *aead, cw_aead_job *jobs, size_t count);
void cw_aead_open(cw_aead *aead, cw_aead_job *jobs, size_t count);

#endif
