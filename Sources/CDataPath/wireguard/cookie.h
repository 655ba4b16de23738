// MAC1, MAC2 and cookies (the WireGuard paper, sections 5.3 and 5.4.4). Values; time and randomness come from the caller.
#ifndef CW_WG_COOKIE_H
#define CW_WG_COOKIE_H

#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

// The keys that a public key gives: HASH("mac1----" || key) and HASH("cookie--" || key).
typedef struct cw_cookie_keys {
    uint8_t mac1[CW_WG_KEY], cookie[CW_WG_KEY];
} cw_cookie_keys;

void cw_cookie_keys_set(cw_cookie_keys *keys, const uint8_t public_key[CW_WG_KEY]);

// ---- Who is asked: keys of our own public key. Both macs are the last 32 bytes of the message. --------------------------
bool cw_cookie_check_mac1(const cw_cookie_keys *keys, const uint8_t *message, size_t length);

// One secret for all identities, changed every two minutes.
typedef struct cw_cookie_secret {
    uint8_t secret[CW_WG_KEY];
    uint64_t born; // ns; 0: none yet
} cw_cookie_secret;

// Takes `random` as the new secret when the old one is too old. `source` is the sender's address and port in network order (6 or
// 18 bytes). Messages have the length of an initiation or a response; others fail.
void cw_cookie_refresh(cw_cookie_secret *secret, uint64_t now, const uint8_t random[CW_WG_KEY]);
bool cw_cookie_is_stale(const cw_cookie_secret *secret, uint64_t now);
bool cw_cookie_check_mac2(const cw_cookie_secret *secret, uint64_t now, const uint8_t *message, size_t length, const uint8_t *source,
                          size_t source_length);
// The reply to `message`, whose sender index is bytes 4...7.
bool cw_cookie_create_reply(const cw_cookie_secret *secret, const cw_cookie_keys *keys, const uint8_t *message, size_t length,
                            const uint8_t *source, size_t source_length, const uint8_t nonce[CW_WG_COOKIE_NONCE],
                            cw_wg_cookie_reply *reply);

// ---- Who asks: keys of the other side's public key ----------------------------------------------------------------------
typedef struct cw_cookie_jar {
    cw_cookie_keys keys;
    uint8_t cookie[CW_WG_MAC];
    uint64_t received;           // ns; 0: none
    uint8_t last_mac1[CW_WG_MAC]; // of the message that a reply would answer
    bool has_last_mac1;
} cw_cookie_jar;

// Fills in mac1 and, with a fresh cookie, mac2 (otherwise zero). False: not the length of a message with macs.
bool cw_cookie_sign(cw_cookie_jar *jar, uint64_t now, uint8_t *message, size_t length);
// False: forged or not asked for. The receiver index is not protected: the caller found the jar by it.
bool cw_cookie_consume_reply(cw_cookie_jar *jar, uint64_t now, const cw_wg_cookie_reply *reply);

#endif
