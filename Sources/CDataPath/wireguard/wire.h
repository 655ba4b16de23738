// WireGuard on the wire: message layouts and the constants of the protocol (the WireGuard paper, sections 5.4 and 6.1; the
// protocol page). Limits of ours stand in state.h. All integers on the wire are little-endian.
#ifndef CW_WG_WIRE_H
#define CW_WG_WIRE_H

#include <stdint.h>

enum { // first byte; the three after it are zero
    CW_WG_INITIATION = 1,
    CW_WG_RESPONSE = 2,
    CW_WG_COOKIE = 3,
    CW_WG_DATA = 4,
};

enum {
    CW_WG_KEY = 32,
    CW_WG_TAG = 16,
    CW_WG_MAC = 16,
    CW_WG_TIMESTAMP = 12, // TAI64N
    CW_WG_COOKIE_NONCE = 24,
    CW_WG_PADDING = 16, // plaintext of data is padded to a multiple of this
};

typedef struct cw_wg_initiation {
    uint8_t type[4];
    uint8_t sender[4];
    uint8_t ephemeral[CW_WG_KEY];
    uint8_t encrypted_static[CW_WG_KEY + CW_WG_TAG];
    uint8_t encrypted_timestamp[CW_WG_TIMESTAMP + CW_WG_TAG];
    uint8_t mac1[CW_WG_MAC];
    uint8_t mac2[CW_WG_MAC];
} cw_wg_initiation;

typedef struct cw_wg_response {
    uint8_t type[4];
    uint8_t sender[4];
    uint8_t receiver[4];
    uint8_t ephemeral[CW_WG_KEY];
    uint8_t encrypted_nothing[CW_WG_TAG];
    uint8_t mac1[CW_WG_MAC];
    uint8_t mac2[CW_WG_MAC];
} cw_wg_response;

typedef struct cw_wg_cookie_reply {
    uint8_t type[4];
    uint8_t receiver[4];
    uint8_t nonce[CW_WG_COOKIE_NONCE];
    uint8_t encrypted_cookie[CW_WG_MAC + CW_WG_TAG];
} cw_wg_cookie_reply;

typedef struct cw_wg_data_header {
    uint8_t type[4];
    uint8_t receiver[4];
    uint8_t counter[8];
} cw_wg_data_header;

_Static_assert(sizeof(cw_wg_initiation) == 148, "initiation");
_Static_assert(sizeof(cw_wg_response) == 92, "response");
_Static_assert(sizeof(cw_wg_cookie_reply) == 64, "cookie reply");
_Static_assert(sizeof(cw_wg_data_header) == 16, "data header");

enum { CW_WG_DATA_OVERHEAD = 32 }; // header and tag; the shortest data message, a keepalive, is exactly this long

// Times in nanoseconds.
#define CW_WG_SECOND UINT64_C(1000000000)
#define CW_WG_REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
#define CW_WG_REJECT_AFTER_MESSAGES (UINT64_MAX - 8192 - 1)
#define CW_WG_REKEY_AFTER_TIME (120 * CW_WG_SECOND)
#define CW_WG_REJECT_AFTER_TIME (180 * CW_WG_SECOND)
#define CW_WG_REKEY_TIMEOUT (5 * CW_WG_SECOND)
#define CW_WG_REKEY_TIMEOUT_JITTER (333 * (CW_WG_SECOND / 1000)) // at most
#define CW_WG_REKEY_ATTEMPT_TIME (90 * CW_WG_SECOND)
#define CW_WG_KEEPALIVE_TIMEOUT (10 * CW_WG_SECOND)
#define CW_WG_COOKIE_LIFETIME (120 * CW_WG_SECOND)
#define CW_WG_COOKIE_LATENCY (5 * CW_WG_SECOND) // the initiator stops using a cookie this long before it ends

static inline uint32_t cw_le32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}
static inline void cw_put_le32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}
static inline uint64_t cw_le64(const uint8_t *at) { return cw_le32(at) | (uint64_t)cw_le32(at + 4) << 32; }
static inline void cw_put_le64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> 8 * i);
}

#endif
