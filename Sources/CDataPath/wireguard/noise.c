#include "noise.h"

#include <string.h>

#include "crypto.h"

// The symmetric state of Noise: the transcript's hash and the chaining key.
typedef struct transcript {
    uint8_t hash[CW_CRYPTO_HASH];
    uint8_t chaining_key[CW_CRYPTO_HASH];
} transcript;

static void mix_hash(transcript *t, const void *data, size_t length) { cw_crypto_hash(t->hash, t->hash, sizeof t->hash, data, length); }

// `key` NULL: KDF1; otherwise KDF2.
static void mix_key(transcript *t, const void *input, size_t length, uint8_t *key) {
    cw_crypto_kdf(t->chaining_key, input, length, t->chaining_key, key, NULL);
}

static bool mix_dh(transcript *t, const uint8_t private_key[CW_WG_KEY], const uint8_t public_key[CW_WG_KEY], uint8_t *key) {
    uint8_t shared[CW_WG_KEY];
    bool ok = cw_crypto_dh(shared, private_key, public_key);
    if (ok) mix_key(t, shared, sizeof shared, key);
    cw_crypto_wipe(shared, sizeof shared);
    return ok;
}

static bool mix_static_static(transcript *t, const cw_noise_remote *remote, uint8_t *key) {
    if (cw_crypto_is_zero(remote->static_static, CW_WG_KEY)) return false;
    mix_key(t, remote->static_static, CW_WG_KEY, key);
    return true;
}

static void mix_ephemeral(transcript *t, const uint8_t public_key[CW_WG_KEY]) {
    mix_key(t, public_key, CW_WG_KEY, NULL);
    mix_hash(t, public_key, CW_WG_KEY);
}

static void mix_preshared(transcript *t, const uint8_t preshared[CW_WG_KEY], uint8_t *key) {
    uint8_t mixed[CW_WG_KEY];
    cw_crypto_kdf(t->chaining_key, preshared, CW_WG_KEY, t->chaining_key, mixed, key);
    mix_hash(t, mixed, sizeof mixed);
    cw_crypto_wipe(mixed, sizeof mixed);
}

static void seal(transcript *t, const uint8_t key[CW_WG_KEY], uint8_t *out, const void *in, size_t length) {
    cw_crypto_seal(out, in, length, t->hash, sizeof t->hash, 0, key);
    mix_hash(t, out, length + CW_WG_TAG);
}

// `length` is that of the plaintext.
static bool open(transcript *t, const uint8_t key[CW_WG_KEY], uint8_t *out, const uint8_t *in, size_t length) {
    if (!cw_crypto_open(out, in, length + CW_WG_TAG, t->hash, sizeof t->hash, 0, key)) return false;
    mix_hash(t, in, length + CW_WG_TAG);
    return true;
}

static void begin(transcript *t, const uint8_t responder_public[CW_WG_KEY]) {
    static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
    static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
    cw_crypto_hash(t->chaining_key, construction, sizeof construction - 1, NULL, 0);
    cw_crypto_hash(t->hash, t->chaining_key, sizeof t->chaining_key, identifier, sizeof identifier - 1);
    mix_hash(t, responder_public, CW_WG_KEY);
}

static transcript resume(const uint8_t hash[CW_WG_KEY], const uint8_t chaining_key[CW_WG_KEY]) {
    transcript t;
    memcpy(t.hash, hash, sizeof t.hash);
    memcpy(t.chaining_key, chaining_key, sizeof t.chaining_key);
    return t;
}

static void keep(uint8_t hash[CW_WG_KEY], uint8_t chaining_key[CW_WG_KEY], const transcript *t) {
    memcpy(hash, t->hash, sizeof t->hash);
    memcpy(chaining_key, t->chaining_key, sizeof t->chaining_key);
}

static bool is_type(const uint8_t type[4], uint8_t expected) { return cw_le32(type) == expected; }

// ---- Keys -----------------------------------------------------------------------------------------------------------

void cw_noise_identity_set(cw_noise_identity *identity, const uint8_t private_key[CW_WG_KEY]) {
    cw_crypto_prepare();
    cw_noise_identity made = {.has_key = !cw_crypto_is_zero(private_key, CW_WG_KEY)};
    if (made.has_key) {
        memcpy(made.private_key, private_key, CW_WG_KEY);
        cw_crypto_clamp(made.private_key);
        cw_crypto_public(made.public_key, made.private_key);
    }
    *identity = made;
    cw_crypto_wipe(&made, sizeof made);
}

bool cw_noise_remote_set(cw_noise_remote *remote, const cw_noise_identity *identity, const uint8_t public_key[CW_WG_KEY]) {
    memmove(remote->public_key, public_key, CW_WG_KEY);
    if (identity->has_key) return cw_crypto_dh(remote->static_static, identity->private_key, remote->public_key);
    cw_crypto_wipe(remote->static_static, CW_WG_KEY);
    return false;
}

// ---- Initiator ------------------------------------------------------------------------------------------------------

bool cw_noise_create_initiation(cw_noise_handshake *handshake, const cw_noise_identity *identity, const cw_noise_remote *remote,
                                uint32_t local_index, const uint8_t timestamp[CW_WG_TIMESTAMP],
                                const uint8_t ephemeral_private[CW_WG_KEY], cw_wg_initiation *message) {
    if (!identity->has_key) return false;
    transcript t;
    uint8_t key[CW_WG_KEY];
    cw_noise_handshake made = {.state = CW_NOISE_INITIATION_CREATED, .local_index = local_index};
    cw_wg_initiation m = {.type = {CW_WG_INITIATION}};
    cw_put_le32(m.sender, local_index);
    memcpy(made.ephemeral_private, ephemeral_private, CW_WG_KEY);
    cw_crypto_clamp(made.ephemeral_private);
    cw_crypto_public(m.ephemeral, made.ephemeral_private);

    begin(&t, remote->public_key);
    mix_ephemeral(&t, m.ephemeral);
    bool ok = mix_dh(&t, made.ephemeral_private, remote->public_key, key);
    if (ok) {
        seal(&t, key, m.encrypted_static, identity->public_key, CW_WG_KEY);
        ok = mix_static_static(&t, remote, key);
    }
    if (ok) {
        seal(&t, key, m.encrypted_timestamp, timestamp, CW_WG_TIMESTAMP);
        keep(made.hash, made.chaining_key, &t);
        *handshake = made;
        *message = m;
    }
    cw_crypto_wipe(&t, sizeof t);
    cw_crypto_wipe(key, sizeof key);
    cw_crypto_wipe(&made, sizeof made);
    return ok;
}

bool cw_noise_consume_response(cw_noise_handshake *handshake, const cw_noise_identity *identity, const cw_noise_remote *remote,
                               const cw_wg_response *message) {
    if (handshake->state != CW_NOISE_INITIATION_CREATED || !identity->has_key) return false;
    if (!is_type(message->type, CW_WG_RESPONSE) || cw_le32(message->receiver) != handshake->local_index) return false;
    uint8_t key[CW_WG_KEY], nothing[1];
    transcript t = resume(handshake->hash, handshake->chaining_key);
    mix_ephemeral(&t, message->ephemeral);
    bool ok = mix_dh(&t, handshake->ephemeral_private, message->ephemeral, NULL) &&
              mix_dh(&t, identity->private_key, message->ephemeral, NULL);
    if (ok) {
        mix_preshared(&t, remote->preshared_key, key);
        ok = open(&t, key, nothing, message->encrypted_nothing, 0);
    }
    if (ok) {
        keep(handshake->hash, handshake->chaining_key, &t);
        memcpy(handshake->remote_ephemeral, message->ephemeral, CW_WG_KEY);
        cw_crypto_wipe(handshake->ephemeral_private, CW_WG_KEY);
        handshake->remote_index = cw_le32(message->sender);
        handshake->state = CW_NOISE_RESPONSE_CONSUMED;
    }
    cw_crypto_wipe(&t, sizeof t);
    cw_crypto_wipe(key, sizeof key);
    return ok;
}

// ---- Responder ------------------------------------------------------------------------------------------------------

bool cw_noise_open_initiation(cw_noise_opened *opened, const cw_noise_identity *identity, const cw_wg_initiation *message) {
    if (!identity->has_key || !is_type(message->type, CW_WG_INITIATION)) return false;
    transcript t;
    uint8_t key[CW_WG_KEY], remote_public[CW_WG_KEY];
    begin(&t, identity->public_key);
    mix_ephemeral(&t, message->ephemeral);
    bool ok = mix_dh(&t, identity->private_key, message->ephemeral, key) &&
              open(&t, key, remote_public, message->encrypted_static, CW_WG_KEY);
    if (ok) {
        keep(opened->hash, opened->chaining_key, &t);
        memcpy(opened->remote_public, remote_public, CW_WG_KEY);
        memcpy(opened->remote_ephemeral, message->ephemeral, CW_WG_KEY);
        opened->sender = cw_le32(message->sender);
    }
    cw_crypto_wipe(&t, sizeof t);
    cw_crypto_wipe(key, sizeof key);
    return ok;
}

bool cw_noise_finish_initiation(cw_noise_handshake *handshake, const cw_noise_opened *opened, const cw_noise_remote *remote,
                                const cw_wg_initiation *message, uint8_t timestamp[CW_WG_TIMESTAMP]) {
    if (!cw_crypto_equal(opened->remote_public, remote->public_key, CW_WG_KEY)) return false;
    uint8_t key[CW_WG_KEY], stamp[CW_WG_TIMESTAMP];
    transcript t = resume(opened->hash, opened->chaining_key);
    bool ok = mix_static_static(&t, remote, key) && open(&t, key, stamp, message->encrypted_timestamp, CW_WG_TIMESTAMP);
    if (ok) {
        cw_noise_handshake made = {.state = CW_NOISE_INITIATION_CONSUMED, .remote_index = opened->sender};
        keep(made.hash, made.chaining_key, &t);
        memcpy(made.remote_ephemeral, opened->remote_ephemeral, CW_WG_KEY);
        *handshake = made;
        memcpy(timestamp, stamp, CW_WG_TIMESTAMP);
        cw_crypto_wipe(&made, sizeof made);
    }
    cw_crypto_wipe(&t, sizeof t);
    cw_crypto_wipe(key, sizeof key);
    return ok;
}

bool cw_noise_create_response(cw_noise_handshake *handshake, const cw_noise_remote *remote, uint32_t local_index,
                              const uint8_t ephemeral_private[CW_WG_KEY], cw_wg_response *message) {
    if (handshake->state != CW_NOISE_INITIATION_CONSUMED) return false;
    uint8_t key[CW_WG_KEY], ephemeral[CW_WG_KEY];
    cw_wg_response m = {.type = {CW_WG_RESPONSE}};
    cw_put_le32(m.sender, local_index);
    cw_put_le32(m.receiver, handshake->remote_index);
    memcpy(ephemeral, ephemeral_private, CW_WG_KEY);
    cw_crypto_clamp(ephemeral);
    cw_crypto_public(m.ephemeral, ephemeral);

    transcript t = resume(handshake->hash, handshake->chaining_key);
    mix_ephemeral(&t, m.ephemeral);
    bool ok = mix_dh(&t, ephemeral, handshake->remote_ephemeral, NULL) && mix_dh(&t, ephemeral, remote->public_key, NULL);
    if (ok) {
        mix_preshared(&t, remote->preshared_key, key);
        seal(&t, key, m.encrypted_nothing, NULL, 0);
        keep(handshake->hash, handshake->chaining_key, &t);
        handshake->local_index = local_index;
        handshake->state = CW_NOISE_RESPONSE_CREATED;
        *message = m;
    }
    cw_crypto_wipe(&t, sizeof t);
    cw_crypto_wipe(key, sizeof key);
    cw_crypto_wipe(ephemeral, sizeof ephemeral);
    return ok;
}

// ---- Either ---------------------------------------------------------------------------------------------------------

bool cw_noise_begin_session(cw_noise_handshake *handshake, uint8_t send_key[CW_WG_KEY], uint8_t receive_key[CW_WG_KEY]) {
    switch (handshake->state) {
    case CW_NOISE_RESPONSE_CONSUMED: cw_crypto_kdf(handshake->chaining_key, NULL, 0, send_key, receive_key, NULL); break;
    case CW_NOISE_RESPONSE_CREATED: cw_crypto_kdf(handshake->chaining_key, NULL, 0, receive_key, send_key, NULL); break;
    default: return false;
    }
    cw_noise_handshake_wipe(handshake);
    return true;
}

void cw_noise_handshake_wipe(cw_noise_handshake *handshake) { cw_crypto_wipe(handshake, sizeof *handshake); }
void cw_noise_opened_wipe(cw_noise_opened *opened) { cw_crypto_wipe(opened, sizeof *opened); }

void cw_noise_timestamp(uint8_t out[CW_WG_TIMESTAMP], uint64_t unix_seconds, uint32_t nanoseconds) {
    // TAI64 counts from 2^62 at 1970; the 10 is what TAI and UTC differed by then. Both fields are big-endian.
    uint64_t seconds = unix_seconds + (UINT64_C(1) << 62) + 10;
    nanoseconds &= ~UINT32_C(0xFFFFFF);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(seconds >> (56 - 8 * i));
    for (int i = 0; i < 4; i++) out[8 + i] = (uint8_t)(nanoseconds >> (24 - 8 * i));
}
