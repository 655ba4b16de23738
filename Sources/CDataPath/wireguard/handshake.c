// Handshake messages in and out (the paper, sections 5.3 and 5.4; states in noise.h).
//
// Crossing initiations: the newest wins, as in the kernel module. Consuming an initiation forgets our own, whose response is then
// refused; if that happens on both sides neither has keys to send with, and the retransmission of whoever's jitter is shorter settles it.
#include <sodium.h>
#include <string.h>

#include "control.h"
#include "data.h"

// ---- Ours ------------------------------------------------------------------------------------------------------------

static void plan_from(cw_wg *wg, cw_wg_peer *peer, uint64_t from) {
    peer->jitter = randombytes_uniform((uint32_t)CW_WG_REKEY_TIMEOUT_JITTER + 1);
    peer->retransmit_at = from + CW_WG_REKEY_TIMEOUT + peer->jitter;
    cw_timers_arm(&wg->timers, peer->slot, peer->retransmit_at);
}

void cw_wg_handshake_plan(cw_wg *wg, cw_wg_peer *peer) { plan_from(wg, peer, wg->clock.now); }

void cw_wg_handshake_count_anew(const cw_wg *wg, cw_wg_peer *peer) {
    peer->attempts = 0;
    peer->has_waited = false;
    peer->trying_since = wg->clock.now;
}

void cw_wg_handshake_want(cw_wg *wg, cw_wg_peer *peer, bool retry) {
    if (!cw_wg_is_live(wg, peer->identity) || peer->endpoint.to.any.sa_family == AF_UNSPEC) {
        atomic_store(&peer->handshaking, false);
        return;
    }
    if (!retry) cw_wg_handshake_count_anew(wg, peer);
    atomic_store(&peer->handshaking, true);
    if (!cw_wg_pacing_is_idle(peer)) return;
    if (peer->last_handshake_sent != 0 && wg->clock.now < peer->last_handshake_sent + CW_WG_REKEY_TIMEOUT) {
        // Too soon after the last one. The kernel module leaves it at that until another packet comes; we keep the wish.
        if (peer->retransmit_at == 0) plan_from(wg, peer, peer->last_handshake_sent);
        return;
    }
    peer->retransmit_at = 0;
    cw_wg_pacing_enter(wg, peer);
}

bool cw_wg_handshake_stop(cw_wg *wg, cw_wg_peer *peer) {
    if (!atomic_load(&peer->handshaking)) return false;
    cw_wg_pacing_remove(wg, peer);
    peer->retransmit_at = peer->last_handshake_sent = 0; // the next one need not wait: the new place has not heard of us
    return true;
}

// Greater than every one before, also when the clock was set back: the other side remembers the greatest.
static void next_timestamp(cw_wg *wg, cw_wg_peer *peer) {
    uint8_t timestamp[CW_WG_TIMESTAMP];
    cw_noise_timestamp(timestamp, wg->clock.unix_seconds, wg->clock.unix_nanoseconds);
    if (memcmp(timestamp, peer->sent_timestamp, sizeof timestamp) <= 0) {
        memcpy(timestamp, peer->sent_timestamp, sizeof timestamp);
        uint32_t nanoseconds = 0;
        for (int i = 8; i < CW_WG_TIMESTAMP; i++) nanoseconds = nanoseconds << 8 | timestamp[i];
        nanoseconds += 1u << 24; // the step that is left of the time of day
        if (nanoseconds >= CW_WG_SECOND) {
            nanoseconds = 0;
            for (int i = 7; i >= 0 && ++timestamp[i] == 0; i--) {}
        }
        for (int i = 0; i < 4; i++) timestamp[8 + i] = (uint8_t)(nanoseconds >> (24 - 8 * i));
    }
    memcpy(peer->sent_timestamp, timestamp, sizeof timestamp);
}

static uint32_t new_index(cw_wg *wg, cw_wg_peer *peer) {
    cw_gate_close(&wg->gate);
    cw_wg_index_remove(wg, peer->handshake.local_index);
    uint32_t index = cw_wg_index_add(wg, peer);
    cw_gate_open(&wg->gate);
    cw_noise_handshake_wipe(&peer->handshake);
    return index;
}

static void remove_index(cw_wg *wg, uint32_t index) {
    cw_gate_close(&wg->gate);
    cw_wg_index_remove(wg, index);
    cw_gate_open(&wg->gate);
}

static bool send_signed(cw_wg *wg, cw_wg_peer *peer, void *message, size_t length, size_t tally) {
    if (!cw_cookie_sign(&peer->jar, wg->clock.now, message, length)) return false;
    peer->last_handshake_sent = wg->clock.now;
    cw_wg_timers_authenticated_sent(wg, peer);
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), tally, 1);
    atomic_fetch_add_explicit(&peer->sent_bytes, length, memory_order_relaxed);
    // What the socket refuses is counted there; the retransmission comes anyway.
    (void)cw_wg_send_message(wg, peer->identity->port, &peer->endpoint, message, length);
    return true;
}

bool cw_wg_handshake_send(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_identity *identity = peer->identity;
    if (!cw_wg_is_live(wg, identity) || peer->endpoint.to.any.sa_family == AF_UNSPEC) { // since it began to wait for its turn
        atomic_store(&peer->handshaking, false);
        return false;
    }
    uint32_t index = new_index(wg, peer);
    if (index == 0) {
        cw_wg_handshake_plan(wg, peer);
        return false;
    }
    next_timestamp(wg, peer);
    cw_wg_initiation message;
    uint8_t ephemeral[CW_WG_KEY];
    randombytes_buf(ephemeral, sizeof ephemeral);
    bool made =
        cw_noise_create_initiation(&peer->handshake, &identity->keys, &peer->remote, index, peer->sent_timestamp, ephemeral, &message);
    sodium_memzero(ephemeral, sizeof ephemeral);
    if (!made) { // the other's public key is of small order: there is nobody to talk to
        remove_index(wg, index);
        peer->retransmit_at = 0;
        atomic_store(&peer->handshaking, false);
        return false;
    }
    cw_wg_pacing_share_cookie(wg, peer);
    peer->attempts++;
    peer->initiations_sent++;
    cw_wg_handshake_plan(wg, peer);
    return send_signed(wg, peer, &message, sizeof message, CW_WG_TALLY(initiations_out));
}

void cw_wg_keepalive(cw_wg *wg, cw_wg_peer *peer) {
    if (cw_wg_pair_may_send(peer->current, wg->clock.now)) cw_wg_send_staged(wg, peer, wg->clock.now, true);
    else cw_wg_handshake_want(wg, peer, atomic_load(&peer->handshaking)); // one that is under way does not begin again
}

void cw_wg_handshake_complete(cw_wg *wg, cw_wg_peer *peer) {
    peer->retransmit_at = 0;
    peer->attempts = 0;
    peer->initiations_sent = 0;
    peer->given_up = 0;
    peer->handshake_unix_nanoseconds = wg->clock.unix_seconds * CW_WG_SECOND + wg->clock.unix_nanoseconds;
    atomic_store(&peer->sent_last_minute, false);
    atomic_store(&peer->handshaking, false);
    atomic_store(&peer->asked_again, false);
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY(handshakes), 1);
    cw_wg_pacing_leave(wg, peer, CW_WG_COMPLETED);
}

// ---- Theirs ----------------------------------------------------------------------------------------------------------

static size_t source_of(const cw_wg_route_to *from, uint8_t out[18]) {
    if (from->to.any.sa_family == AF_INET) {
        memcpy(out, &from->to.v4.sin_addr, 4);
        memcpy(out + 4, &from->to.v4.sin_port, 2);
        return 6;
    }
    memcpy(out, &from->to.v6.sin6_addr, 16);
    memcpy(out + 16, &from->to.v6.sin6_port, 2);
    return 18;
}

static void send_cookie(cw_wg *wg, const cw_wg_identity *identity, const cw_wg_letter *letter, const uint8_t *source, size_t length) {
    if (cw_cookie_is_stale(&wg->cookie_secret, wg->clock.now)) {
        uint8_t random[CW_WG_KEY];
        randombytes_buf(random, sizeof random);
        cw_cookie_refresh(&wg->cookie_secret, wg->clock.now, random);
        sodium_memzero(random, sizeof random);
    }
    uint8_t nonce[CW_WG_COOKIE_NONCE];
    randombytes_buf(nonce, sizeof nonce);
    cw_wg_cookie_reply reply;
    if (!cw_cookie_create_reply(&wg->cookie_secret, &identity->cookie_keys, letter->bytes, letter->length, source, length, nonce, &reply))
        return;
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY(cookies_out), 1);
    (void)cw_wg_send_message(wg, letter->port, &letter->from, (const uint8_t *)&reply, sizeof reply);
}

// MAC1 was right. Under load only who shows that they receive at their address goes on, and only so often (section 5.3).
static bool admit(cw_wg *wg, const cw_wg_identity *identity, const cw_wg_letter *letter) {
    uint64_t now = wg->clock.now;
    if (now >= wg->loaded_until) return true;
    uint8_t source[18];
    size_t length = source_of(&letter->from, source);
    if (!cw_cookie_check_mac2(&wg->cookie_secret, now, letter->bytes, letter->length, source, length)) {
        send_cookie(wg, identity, letter, source, length);
    } else {
        cw_address address = {.family = length == 6 ? 4 : 6};
        memcpy(address.bytes, source, length - 2);
        if (cw_limiter_allow(wg->limiter, &address, now)) return true;
    }
    cw_wg_drop_here(wg, CW_WG_DROP_UNDER_LOAD, 1);
    return false;
}

// The sender is proven: it is where we send from now on, and it is alive.
static void heard(cw_wg *wg, cw_wg_peer *peer, const cw_wg_letter *letter) {
    atomic_fetch_add_explicit(&peer->received_bytes, letter->length, memory_order_relaxed);
    cw_wg_timers_authenticated_received(wg, peer);
}

static void respond(cw_wg *wg, cw_wg_peer *peer, cw_noise_handshake *handshake, const cw_wg_letter *letter) {
    bool ours_was_under_way = peer->retransmit_at != 0 || !cw_wg_pacing_is_idle(peer);
    cw_wg_pacing_leave(wg, peer, CW_WG_NOT_COMPLETED);
    uint32_t index = new_index(wg, peer);
    uint8_t ephemeral[CW_WG_KEY];
    randombytes_buf(ephemeral, sizeof ephemeral);
    cw_wg_response message;
    bool begun = index != 0 && cw_noise_create_response(handshake, &peer->remote, index, ephemeral, &message) &&
                 cw_wg_session_begin(wg, peer, handshake, &letter->from);
    sodium_memzero(ephemeral, sizeof ephemeral);
    if (begun) send_signed(wg, peer, &message, sizeof message, CW_WG_TALLY(responses_out));
    else remove_index(wg, index);
    // If the other side's confirmation never comes we try again, but not at once.
    if (ours_was_under_way) cw_wg_handshake_plan(wg, peer);
}

static void take_initiation(cw_wg *wg, const cw_wg_letter *letter) {
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY(initiations_in), 1);
    cw_wg_identity *identity = cw_wg_scan(wg, letter);
    if (identity == NULL || !admit(wg, identity, letter)) return;

    cw_wg_initiation message;
    memcpy(&message, letter->bytes, sizeof message);
    cw_noise_opened opened;
    cw_noise_handshake handshake = {0};
    uint8_t timestamp[CW_WG_TIMESTAMP];
    cw_wg_peer *peer = NULL;
    bool opens = cw_noise_open_initiation(&opened, &identity->keys, &message);
    if (opens) {
        peer = cw_wg_peer_find(wg, identity, opened.remote_public);
        opens = peer != NULL && cw_noise_finish_initiation(&handshake, &opened, &peer->remote, &message, timestamp);
    }
    cw_noise_opened_wipe(&opened);
    uint64_t now = wg->clock.now;
    if (!opens || memcmp(timestamp, peer->latest_timestamp, sizeof timestamp) <= 0) {
        cw_wg_drop_here(wg, CW_WG_DROP_HANDSHAKE, 1);
    } else if (peer->last_initiation_consumed != 0 && now < peer->last_initiation_consumed + CW_WG_INITIATION_SPACING) {
        cw_wg_drop_here(wg, CW_WG_DROP_HANDSHAKE_FLOOD, 1);
    } else {
        memcpy(peer->latest_timestamp, timestamp, sizeof timestamp);
        peer->last_initiation_consumed = now;
        heard(wg, peer, letter);
        respond(wg, peer, &handshake, letter);
        cw_wg_timers_look(wg, peer);
    }
    cw_noise_handshake_wipe(&handshake);
}

// The peer that a receiver index stands for, if the message came in on the port of its identity.
static cw_wg_peer *peer_at(cw_wg *wg, const cw_wg_letter *letter, const uint8_t index[4], bool handshake_only) {
    const cw_wg_index_entry *entry = cw_wg_index_find(wg, cw_le32(index));
    if (entry != NULL && !(handshake_only && entry->pair != NULL) && entry->peer->identity->port == letter->port &&
        cw_wg_is_live(wg, entry->peer->identity))
        return entry->peer;
    cw_wg_drop_here(wg, CW_WG_DROP_UNKNOWN_INDEX, 1);
    return NULL;
}

static void take_response(cw_wg *wg, const cw_wg_letter *letter) {
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY(responses_in), 1);
    cw_wg_response message;
    memcpy(&message, letter->bytes, sizeof message);
    cw_wg_peer *peer = peer_at(wg, letter, message.receiver, true);
    if (peer == NULL) return;
    const cw_wg_identity *identity = peer->identity;
    if (!cw_cookie_check_mac1(&identity->cookie_keys, letter->bytes, letter->length)) {
        cw_wg_drop_here(wg, CW_WG_DROP_MAC1, 1);
        return;
    }
    if (!admit(wg, identity, letter)) return;
    if (!cw_noise_consume_response(&peer->handshake, &identity->keys, &peer->remote, &message)) {
        cw_wg_drop_here(wg, CW_WG_DROP_HANDSHAKE, 1);
        return;
    }
    if (!cw_wg_session_begin(wg, peer, &peer->handshake, &letter->from)) return; // no memory: the retransmission tries again
    heard(wg, peer, letter);
    cw_wg_handshake_complete(wg, peer);
    // The responder cannot send before it has heard from us under the new keys.
    cw_wg_send_staged(wg, peer, wg->clock.now, true);
    cw_wg_timers_look(wg, peer);
}

static void take_cookie(cw_wg *wg, const cw_wg_letter *letter) {
    cw_wg_cookie_reply message;
    memcpy(&message, letter->bytes, sizeof message);
    cw_wg_peer *peer = peer_at(wg, letter, message.receiver, false);
    if (peer == NULL) return;
    if (!cw_cookie_consume_reply(&peer->jar, wg->clock.now, &message)) {
        cw_wg_drop_here(wg, CW_WG_DROP_HANDSHAKE, 1);
        return;
    }
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY(cookies_in), 1);
    cw_wg_pacing_cookie(wg, peer);
}

void cw_wg_handshake_take(cw_wg *wg, const cw_wg_letter *letter) {
    if (letter->port == 0 || letter->port > CW_WG_MAX_PORTS || wg->ports[letter->port].udp == NULL) return; // closed meanwhile
    uint32_t type = letter->length < 4 ? 0 : cw_le32(letter->bytes);
    if (type == CW_WG_INITIATION && letter->length == sizeof(cw_wg_initiation)) take_initiation(wg, letter);
    else if (type == CW_WG_RESPONSE && letter->length == sizeof(cw_wg_response)) take_response(wg, letter);
    else if (type == CW_WG_COOKIE && letter->length == sizeof(cw_wg_cookie_reply)) take_cookie(wg, letter);
    else cw_wg_drop_here(wg, CW_WG_DROP_MALFORMED, 1);
}
