// What the kernels of mppe_batch.h share.
#ifndef CW_MPPE_BATCH_INTERNAL_H
#define CW_MPPE_BATCH_INTERNAL_H

#include "mppe_batch.h"

// One stateless packet.
typedef struct cw_mppe_lane {
    uint8_t key[CW_MPPE_KEY_SIZE]; // keys of 8 octets: twice
    const uint8_t *in;
    uint8_t *out;
    size_t length; // at least 1
} cw_mppe_lane;

// GetNewKeyFromSHA for one key. All of one call have the same suite->length.
typedef struct cw_mppe_digest {
    const cw_mppe_suite *suite;
    const uint8_t *key;
    uint8_t *interim; // CW_MPPE_KEY_SIZE octets; of those suite->length are written
} cw_mppe_digest;

// ---- Interleaved, portable ----

enum { CW_MPPE_WAYS = 4 }; // streams side by side

typedef struct cw_mppe_way {
    cw_rc4 *rc4;
    const uint8_t *in;
    uint8_t *out;
    size_t length; // what is left
} cw_mppe_way;

// Up to CW_MPPE_WAYS key schedules. Keys as in cw_mppe_lane.
void cw_mppe_ways_key(cw_rc4 *const rc4[], const uint8_t *const keys[], size_t count);
// Up to CW_MPPE_WAYS keys of one length, each encrypted with itself (`in` is not read): an interim key becomes a session key.
void cw_mppe_ways_self(const cw_mppe_lane *const lanes[], size_t count);
// One octet or more in each of count (1...CW_MPPE_WAYS) ways, until one of them is at its end; all advance by what was done.
void cw_mppe_ways_crypt(cw_mppe_way *ways, size_t count);
void cw_mppe_digest_each(cw_mppe_digest *digests, size_t count);  // one after the other
void cw_mppe_digest_lanes(cw_mppe_digest *digests, size_t count); // four lanes

// ---- x86-64 ----

#if defined(__x86_64__)
void cw_mppe_digest_sha(cw_mppe_digest *digests, size_t count); // SHA-NI
void cw_mppe_digest_avx2(cw_mppe_digest *digests, size_t count);
void cw_mppe_digest_avx512(cw_mppe_digest *digests, size_t count);
void cw_mppe_rows_crypt(const cw_mppe_lane *lanes, size_t count);
void cw_mppe_gather_crypt(const cw_mppe_lane *lanes, size_t count);
#endif

#endif
