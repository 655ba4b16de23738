// MPPE session keys (RFC 3079 section 3) and the batch that uses them.
#ifndef CW_MPPE_KEY_H
#define CW_MPPE_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "causeway_datapath.h"
#include "sha1.h"

// What a direction's key chain is made of. The chain does not depend on the data: key n+1 follows from the start key and key n.
typedef struct cw_mppe_suite {
    uint8_t start[CW_MPPE_KEY_SIZE];
    uint8_t bits;   // 40, 56 or 128; 0: no encryption
    uint8_t length; // octets of the keys: 8 or 16
} cw_mppe_suite;

// False: bits is not 40, 56 or 128. Derives the initial session key (RFC 3079 section 3.4) into key.
bool cw_mppe_suite_init(cw_mppe_suite *suite, unsigned bits, const uint8_t start_key[CW_MPPE_KEY_SIZE],
                        uint8_t key[CW_MPPE_KEY_SIZE]);
// RFC 3078 section 7.3: the session key that follows `key`. `next` may be `key`.
void cw_mppe_key_change(const cw_mppe_suite *suite, const uint8_t key[CW_MPPE_KEY_SIZE], uint8_t next[CW_MPPE_KEY_SIZE]);

// The parts of a change, for those who work on many at once: GetNewKeyFromSHA with a SHA-1 of one's own, of which `interim` gets
// suite->length octets, and what weaker keys have fixed (RFC 3079 section 3.1).
typedef void cw_sha1_step(uint32_t state[5], const uint8_t block[CW_SHA1_BLOCK]);
void cw_mppe_key_digest(const cw_mppe_suite *suite, const uint8_t key[CW_MPPE_KEY_SIZE], uint8_t *interim, cw_sha1_step *step);
void cw_mppe_fix_salt(const cw_mppe_suite *suite, uint8_t key[CW_MPPE_KEY_SIZE]);

// One packet, or the head of one: RC4 from the beginning of the key's stream. in and out may be the same.
typedef struct cw_mppe_job {
    uint8_t key[CW_MPPE_KEY_SIZE];
    const uint8_t *in;
    uint8_t *out;
    uint16_t length;
    uint8_t key_length;
} cw_mppe_job;

enum { CW_MPPE_BATCH = 32 }; // jobs that callers collect at most

// Jobs are independent of each other. Wipes the keys in jobs[].
void cw_mppe_crypt_batch(cw_mppe_job *jobs, size_t count);

#endif
