#include "cookie.h"

#include <string.h>

#include "crypto.h"

// Where the macs of a message begin; 0: it has none.
static size_t macs_at(size_t length) {
    if (length == sizeof(cw_wg_initiation)) return offsetof(cw_wg_initiation, mac1);
    if (length == sizeof(cw_wg_response)) return offsetof(cw_wg_response, mac1);
    return 0;
}

static bool has_passed(uint64_t since, uint64_t now, uint64_t limit) { return now > since && now - since >= limit; }
// 0 stands for "none yet".
static uint64_t stamp(uint64_t now) { return now == 0 ? 1 : now; }

void cw_cookie_keys_set(cw_cookie_keys *keys, const uint8_t public_key[CW_WG_KEY]) {
    cw_crypto_hash(keys->mac1, "mac1----", 8, public_key, CW_WG_KEY);
    cw_crypto_hash(keys->cookie, "cookie--", 8, public_key, CW_WG_KEY);
}

// ---- Who is asked ---------------------------------------------------------------------------------------------------

bool cw_cookie_check_mac1(const cw_cookie_keys *keys, const uint8_t *message, size_t length) {
    size_t at = macs_at(length);
    if (at == 0) return false;
    uint8_t mac[CW_WG_MAC];
    cw_crypto_mac(mac, keys->mac1, sizeof keys->mac1, message, at);
    return cw_crypto_equal(mac, message + at, sizeof mac);
}

bool cw_cookie_is_stale(const cw_cookie_secret *secret, uint64_t now) {
    return secret->born == 0 || has_passed(secret->born, now, CW_WG_COOKIE_LIFETIME);
}

void cw_cookie_refresh(cw_cookie_secret *secret, uint64_t now, const uint8_t random[CW_WG_KEY]) {
    if (!cw_cookie_is_stale(secret, now)) return;
    memcpy(secret->secret, random, CW_WG_KEY);
    secret->born = stamp(now);
}

static void make_cookie(const cw_cookie_secret *secret, const uint8_t *source, size_t source_length, uint8_t cookie[CW_WG_MAC]) {
    cw_crypto_mac(cookie, secret->secret, sizeof secret->secret, source, source_length);
}

bool cw_cookie_check_mac2(const cw_cookie_secret *secret, uint64_t now, const uint8_t *message, size_t length, const uint8_t *source,
                          size_t source_length) {
    size_t at = macs_at(length);
    if (at == 0 || cw_cookie_is_stale(secret, now)) return false;
    uint8_t cookie[CW_WG_MAC], mac[CW_WG_MAC];
    make_cookie(secret, source, source_length, cookie);
    cw_crypto_mac(mac, cookie, sizeof cookie, message, at + CW_WG_MAC);
    cw_crypto_wipe(cookie, sizeof cookie);
    return cw_crypto_equal(mac, message + at + CW_WG_MAC, sizeof mac);
}

bool cw_cookie_create_reply(const cw_cookie_secret *secret, const cw_cookie_keys *keys, const uint8_t *message, size_t length,
                            const uint8_t *source, size_t source_length, const uint8_t nonce[CW_WG_COOKIE_NONCE],
                            cw_wg_cookie_reply *reply) {
    size_t at = macs_at(length);
    if (at == 0 || secret->born == 0) return false;
    uint8_t cookie[CW_WG_MAC];
    *reply = (cw_wg_cookie_reply){.type = {CW_WG_COOKIE}};
    memcpy(reply->receiver, message + 4, sizeof reply->receiver);
    memcpy(reply->nonce, nonce, sizeof reply->nonce);
    make_cookie(secret, source, source_length, cookie);
    cw_crypto_xseal(reply->encrypted_cookie, cookie, sizeof cookie, message + at, CW_WG_MAC, nonce, keys->cookie);
    cw_crypto_wipe(cookie, sizeof cookie);
    return true;
}

// ---- Who asks -------------------------------------------------------------------------------------------------------

bool cw_cookie_sign(cw_cookie_jar *jar, uint64_t now, uint8_t *message, size_t length) {
    size_t at = macs_at(length);
    if (at == 0) return false;
    uint8_t *mac1 = message + at, *mac2 = mac1 + CW_WG_MAC;
    cw_crypto_mac(mac1, jar->keys.mac1, sizeof jar->keys.mac1, message, at);
    memcpy(jar->last_mac1, mac1, sizeof jar->last_mac1);
    jar->has_last_mac1 = true;
    if (jar->received != 0 && !has_passed(jar->received, now, CW_WG_COOKIE_LIFETIME - CW_WG_COOKIE_LATENCY))
        cw_crypto_mac(mac2, jar->cookie, sizeof jar->cookie, message, at + CW_WG_MAC);
    else
        memset(mac2, 0, CW_WG_MAC);
    return true;
}

bool cw_cookie_consume_reply(cw_cookie_jar *jar, uint64_t now, const cw_wg_cookie_reply *reply) {
    if (!jar->has_last_mac1 || cw_le32(reply->type) != CW_WG_COOKIE) return false;
    uint8_t cookie[CW_WG_MAC];
    if (!cw_crypto_xopen(cookie, reply->encrypted_cookie, sizeof reply->encrypted_cookie, jar->last_mac1, sizeof jar->last_mac1,
                         reply->nonce, jar->keys.cookie))
        return false;
    memcpy(jar->cookie, cookie, sizeof jar->cookie);
    cw_crypto_wipe(cookie, sizeof cookie);
    jar->received = stamp(now);
    jar->has_last_mac1 = false; // one reply for each message
    return true;
}
