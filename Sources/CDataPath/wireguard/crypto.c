#include "crypto.h"

#include <blake2.h>
#include <sodium.h>
#include <string.h>

#include "wire.h"

enum { BLAKE2S_BLOCK = 64 };

_Static_assert((int)CW_CRYPTO_HASH == (int)BLAKE2S_OUTBYTES, "hash");
_Static_assert(CW_CRYPTO_KEY == crypto_scalarmult_curve25519_BYTES, "key");
_Static_assert(CW_CRYPTO_TAG == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(CW_CRYPTO_XNONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");

void cw_crypto_prepare(void) {
    if (sodium_init() < 0) return; // the portable code stays
}

void cw_crypto_hash(uint8_t out[CW_CRYPTO_HASH], const void *first, size_t first_length, const void *second, size_t second_length) {
    blake2s_state state;
    blake2s_init(&state, CW_CRYPTO_HASH);
    blake2s_update(&state, first, first_length);
    if (second_length > 0) blake2s_update(&state, second, second_length);
    blake2s_final(&state, out, CW_CRYPTO_HASH);
    sodium_memzero(&state, sizeof state);
}

void cw_crypto_mac(uint8_t out[CW_CRYPTO_MAC], const uint8_t *key, size_t key_length, const void *data, size_t length) {
    blake2s_state state;
    blake2s_init_key(&state, CW_CRYPTO_MAC, key, key_length);
    blake2s_update(&state, data, length);
    blake2s_final(&state, out, CW_CRYPTO_MAC);
    sodium_memzero(&state, sizeof state);
}

void cw_crypto_hmac(uint8_t out[CW_CRYPTO_HASH], const uint8_t *key, size_t key_length, const void *first, size_t first_length,
                    const void *second, size_t second_length) {
    uint8_t pad[BLAKE2S_BLOCK], inner[CW_CRYPTO_HASH];
    blake2s_state state;
    memset(pad, 0x36, sizeof pad);
    for (size_t i = 0; i < key_length; i++) pad[i] ^= key[i];
    blake2s_init(&state, sizeof inner);
    blake2s_update(&state, pad, sizeof pad);
    if (first_length > 0) blake2s_update(&state, first, first_length);
    if (second_length > 0) blake2s_update(&state, second, second_length);
    blake2s_final(&state, inner, sizeof inner);
    for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= 0x36 ^ 0x5c;
    cw_crypto_hash(out, pad, sizeof pad, inner, sizeof inner);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(pad, sizeof pad);
    sodium_memzero(inner, sizeof inner);
}

void cw_crypto_kdf(const uint8_t key[CW_CRYPTO_HASH], const void *input, size_t length, uint8_t *first, uint8_t *second, uint8_t *third) {
    uint8_t secret[CW_CRYPTO_HASH], block[CW_CRYPTO_HASH];
    uint8_t *const outputs[] = {first, second, third};
    cw_crypto_hmac(secret, key, CW_CRYPTO_HASH, input, length, NULL, 0);
    for (uint8_t i = 0; i < 3 && outputs[i] != NULL; i++) {
        uint8_t number = i + 1;
        cw_crypto_hmac(block, secret, sizeof secret, block, i == 0 ? 0 : sizeof block, &number, 1);
        memcpy(outputs[i], block, sizeof block);
    }
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(block, sizeof block);
}

void cw_crypto_clamp(uint8_t private_key[CW_CRYPTO_KEY]) {
    private_key[0] &= 248;
    private_key[31] = (uint8_t)((private_key[31] & 127) | 64);
}

void cw_crypto_public(uint8_t public_key[CW_CRYPTO_KEY], const uint8_t private_key[CW_CRYPTO_KEY]) {
    (void)crypto_scalarmult_curve25519_base(public_key, private_key); // never fails
}

bool cw_crypto_dh(uint8_t shared[CW_CRYPTO_KEY], const uint8_t private_key[CW_CRYPTO_KEY], const uint8_t public_key[CW_CRYPTO_KEY]) {
    if (crypto_scalarmult_curve25519(shared, private_key, public_key) == 0 && !sodium_is_zero(shared, CW_CRYPTO_KEY)) return true;
    sodium_memzero(shared, CW_CRYPTO_KEY);
    return false;
}

typedef struct nonce {
    uint8_t bytes[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
} nonce;

static nonce nonce_of(uint64_t counter) {
    nonce n = {{0}};
    cw_put_le64(n.bytes + 4, counter);
    return n;
}

void cw_crypto_seal(uint8_t *out, const void *in, size_t length, const uint8_t *additional, size_t additional_length, uint64_t counter,
                    const uint8_t key[CW_CRYPTO_KEY]) {
    nonce n = nonce_of(counter);
    (void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, length, additional, additional_length, NULL, n.bytes, key);
}

bool cw_crypto_open(uint8_t *out, const uint8_t *in, size_t length, const uint8_t *additional, size_t additional_length, uint64_t counter,
                    const uint8_t key[CW_CRYPTO_KEY]) {
    nonce n = nonce_of(counter);
    return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, length, additional, additional_length, n.bytes, key) == 0;
}

void cw_crypto_xseal(uint8_t *out, const void *in, size_t length, const uint8_t *additional, size_t additional_length,
                     const uint8_t nonce[CW_CRYPTO_XNONCE], const uint8_t key[CW_CRYPTO_KEY]) {
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, in, length, additional, additional_length, NULL, nonce, key);
}

bool cw_crypto_xopen(uint8_t *out, const uint8_t *in, size_t length, const uint8_t *additional, size_t additional_length,
                     const uint8_t nonce[CW_CRYPTO_XNONCE], const uint8_t key[CW_CRYPTO_KEY]) {
    return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, in, length, additional, additional_length, nonce, key) == 0;
}

bool cw_crypto_equal(const void *left, const void *right, size_t length) { return sodium_memcmp(left, right, length) == 0; }
bool cw_crypto_is_zero(const void *data, size_t length) { return sodium_is_zero(data, length); }
void cw_crypto_wipe(void *data, size_t length) { sodium_memzero(data, length); }
