// The Noise_IKpsk2 handshake as values (the WireGuard paper, section 5.4): messages and keys in, messages and keys out. No I/O, no
// clock, no randomness of its own; a function that returns false has changed nothing (but see cw_noise_remote_set). States:
//
//   initiator: any -create_initiation-> INITIATION_CREATED -consume_response-> RESPONSE_CONSUMED -begin_session-> NONE
//   responder: any -finish_initiation-> INITIATION_CONSUMED -create_response-> RESPONSE_CREATED -begin_session-> NONE
#ifndef CW_WG_NOISE_H
#define CW_WG_NOISE_H

#include <stdbool.h>

#include "wire.h"

// A local private key with what follows from it.
typedef struct cw_noise_identity {
    uint8_t private_key[CW_WG_KEY], public_key[CW_WG_KEY];
    bool has_key; // an all-zero private key means none
} cw_noise_identity;

// What is known of the other side.
typedef struct cw_noise_remote {
    uint8_t public_key[CW_WG_KEY];
    uint8_t preshared_key[CW_WG_KEY]; // zero: none
    uint8_t static_static[CW_WG_KEY]; // DH(own private, its public)
} cw_noise_remote;

typedef enum cw_noise_state {
    CW_NOISE_NONE = 0,
    CW_NOISE_INITIATION_CREATED,
    CW_NOISE_INITIATION_CONSUMED,
    CW_NOISE_RESPONSE_CREATED,
    CW_NOISE_RESPONSE_CONSUMED,
} cw_noise_state;

typedef struct cw_noise_handshake {
    cw_noise_state state;
    uint32_t local_index, remote_index;
    uint8_t ephemeral_private[CW_WG_KEY];
    uint8_t remote_ephemeral[CW_WG_KEY];
    uint8_t hash[CW_WG_KEY];
    uint8_t chaining_key[CW_WG_KEY];
} cw_noise_handshake;

// An initiation whose static key has been decrypted; the caller finds the peer by `remote_public`.
typedef struct cw_noise_opened {
    uint8_t remote_public[CW_WG_KEY];
    uint8_t remote_ephemeral[CW_WG_KEY];
    uint8_t hash[CW_WG_KEY];
    uint8_t chaining_key[CW_WG_KEY];
    uint32_t sender;
} cw_noise_opened;

void cw_noise_identity_set(cw_noise_identity *identity, const uint8_t private_key[CW_WG_KEY]); // clamps, derives; zero: no key
// False: the public key is of small order, or the identity has no key; it is set nevertheless, with static_static zero, and
// handshakes fail. The preshared key stays as it is.
bool cw_noise_remote_set(cw_noise_remote *remote, const cw_noise_identity *identity, const uint8_t public_key[CW_WG_KEY]);

// Initiator. mac1 and mac2 are left zero for cookie.h. `ephemeral_private` is 32 random bytes (clamped here).
bool cw_noise_create_initiation(cw_noise_handshake *handshake, const cw_noise_identity *identity, const cw_noise_remote *remote,
                                uint32_t local_index, const uint8_t timestamp[CW_WG_TIMESTAMP],
                                const uint8_t ephemeral_private[CW_WG_KEY], cw_wg_initiation *message);
bool cw_noise_consume_response(cw_noise_handshake *handshake, const cw_noise_identity *identity, const cw_noise_remote *remote,
                               const cw_wg_response *message);

// Responder. Whoever calls has checked mac1, which alone protects `sender`. First open with the identity alone; then find the peer; then finish, which yields the timestamp. Whether that
// timestamp is newer than the last is the caller's to check, before it commits `handshake`.
bool cw_noise_open_initiation(cw_noise_opened *opened, const cw_noise_identity *identity, const cw_wg_initiation *message);
bool cw_noise_finish_initiation(cw_noise_handshake *handshake, const cw_noise_opened *opened, const cw_noise_remote *remote,
                                const cw_wg_initiation *message, uint8_t timestamp[CW_WG_TIMESTAMP]);
bool cw_noise_create_response(cw_noise_handshake *handshake, const cw_noise_remote *remote, uint32_t local_index,
                              const uint8_t ephemeral_private[CW_WG_KEY], cw_wg_response *message);

// After RESPONSE_CREATED (responder) or RESPONSE_CONSUMED (initiator): the transport keys. Wipes the handshake.
bool cw_noise_begin_session(cw_noise_handshake *handshake, uint8_t send_key[CW_WG_KEY], uint8_t receive_key[CW_WG_KEY]);
void cw_noise_handshake_wipe(cw_noise_handshake *handshake); // keeps nothing
void cw_noise_opened_wipe(cw_noise_opened *opened);

// TAI64N of a wall-clock time, the low 24 bits of the nanoseconds cleared so that it does not tell the time of sending exactly.
void cw_noise_timestamp(uint8_t out[CW_WG_TIMESTAMP], uint64_t unix_seconds, uint32_t nanoseconds);

#endif
