// What handshakes compute with: BLAKE2s (RFC 7693) from libb2; X25519 (RFC 7748) and the AEADs from libsodium. Data packets have
// aead.h. Secrets are compared with cw_crypto_equal and end with cw_crypto_wipe.
#ifndef CW_WG_CRYPTO_H
#define CW_WG_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CW_CRYPTO_KEY = 32,
    CW_CRYPTO_HASH = 32,
    CW_CRYPTO_MAC = 16,
    CW_CRYPTO_TAG = 16,
    CW_CRYPTO_XNONCE = 24,
};

// Lets libsodium choose its fastest code for this processor. Cheap after the first time; without it the results are the same.
void cw_crypto_prepare(void);

// HASH(first || second). `second` may be empty; `out` may be either of them.
void cw_crypto_hash(uint8_t out[CW_CRYPTO_HASH], const void *first, size_t first_length, const void *second, size_t second_length);
// Keyed BLAKE2s with 16 bytes of output: MAC of the paper. The key has 1...32 bytes.
void cw_crypto_mac(uint8_t out[CW_CRYPTO_MAC], const uint8_t *key, size_t key_length, const void *data, size_t length);
// HMAC (RFC 2104) over BLAKE2s, of first || second. The key has at most 64 bytes.
void cw_crypto_hmac(uint8_t out[CW_CRYPTO_HASH], const uint8_t *key, size_t key_length, const void *first, size_t first_length,
                    const void *second, size_t second_length);
// KDF1, KDF2, KDF3 of the paper (RFC 5869 with an empty info): outputs from the first NULL on are not made. `key` may be `first`.
void cw_crypto_kdf(const uint8_t key[CW_CRYPTO_HASH], const void *input, size_t length, uint8_t *first, uint8_t *second, uint8_t *third);

void cw_crypto_clamp(uint8_t private_key[CW_CRYPTO_KEY]);
void cw_crypto_public(uint8_t public_key[CW_CRYPTO_KEY], const uint8_t private_key[CW_CRYPTO_KEY]);
// False: the result is all zero (a public key of small order); `shared` is zero then.
bool cw_crypto_dh(uint8_t shared[CW_CRYPTO_KEY], const uint8_t private_key[CW_CRYPTO_KEY], const uint8_t public_key[CW_CRYPTO_KEY]);

// ChaCha20-Poly1305 with WireGuard's nonce: 32 zero bits and the counter. seal writes length + 16 bytes.
void cw_crypto_seal(uint8_t *out, const void *in, size_t length, const uint8_t *additional, size_t additional_length, uint64_t counter,
                    const uint8_t key[CW_CRYPTO_KEY]);
// `length` is that of the ciphertext with its tag. False: forged, and `out` is untouched or zeroed.
bool cw_crypto_open(uint8_t *out, const uint8_t *in, size_t length, const uint8_t *additional, size_t additional_length, uint64_t counter,
                    const uint8_t key[CW_CRYPTO_KEY]);
// XChaCha20-Poly1305, for cookies.
void cw_crypto_xseal(uint8_t *out, const void *in, size_t length, const uint8_t *additional, size_t additional_length,
                     const uint8_t nonce[CW_CRYPTO_XNONCE], const uint8_t key[CW_CRYPTO_KEY]);
bool cw_crypto_xopen(uint8_t *out, const uint8_t *in, size_t length, const uint8_t *additional, size_t additional_length,
                     const uint8_t nonce[CW_CRYPTO_XNONCE], const uint8_t key[CW_CRYPTO_KEY]);

bool cw_crypto_equal(const void *left, const void *right, size_t length); // in constant time
bool cw_crypto_is_zero(const void *data, size_t length);                  // in constant time
void cw_crypto_wipe(void *data, size_t length);                           // not optimised away

#endif
