// All timers of a peer (the paper, section 6; the model is the kernel module's timers):
//
//   retransmit handshake   5 s and up to 333 ms after our initiation, until it is answered. After 18 initiations in a row (90 s) the
//                          handshake is given up: what is staged is dropped and counted. New data meanwhile starts the count again.
//                          Who had to wait for its turn (pacing.c), while others were not answered either, gives up after 90 s.
//   new handshake          10 s + 5 s and up to 333 ms after data that we sent, if nothing authenticated came since.
//   passive keepalive      10 s after data that we received, if we sent nothing since. If more data came in between, another one
//                          follows 10 s later.
//   persistent keepalive   the configured interval after anything authenticated, either way.
//   zeroing of keys        3 x 180 s after the last session was derived, or after a handshake was given up if it was not running.
//
// Not timers, but looked at when a packet comes by (data_send.c, data_receive.c): renewal of keys after 120 s by their initiator, or
// after 165 s on receipt; their death after 180 s. A whole second series of initiations is not begun within 5 s of the last
// handshake message (handshake.c).
//
// Workers write down when something happened (the stamps in cw_wg_peer) and do not touch timers. Control keeps one entry in the heap
// for each peer, for the earliest time at which something could be due, and looks at the stamps then. `watched` is true while
// control will look within 10 s, the shortest time in which a stamp can become due; only a stamp set while it is false has to wake
// control, so a steady flow of packets costs one look every 10 s.
#include "control.h"

enum { ATTEMPTS = CW_WG_REKEY_ATTEMPT_TIME / CW_WG_REKEY_TIMEOUT };
#define NEW_HANDSHAKE (CW_WG_KEEPALIVE_TIMEOUT + CW_WG_REKEY_TIMEOUT)

static uint64_t stamp(_Atomic uint64_t *at) { return atomic_load_explicit(at, memory_order_relaxed); }

void cw_wg_timers_authenticated_sent(cw_wg *wg, cw_wg_peer *peer) {
    atomic_store_explicit(&peer->unreplied_since, 0, memory_order_relaxed);
    atomic_store_explicit(&peer->last_traversal, wg->clock.now, memory_order_relaxed);
}

void cw_wg_timers_authenticated_received(cw_wg *wg, cw_wg_peer *peer) {
    atomic_store_explicit(&peer->unanswered_since, 0, memory_order_relaxed);
    atomic_store_explicit(&peer->last_traversal, wg->clock.now, memory_order_relaxed);
    cw_wg_answered(peer, wg->clock.now);
}

// False: whoever is kept alive would begin again soon. Where others stand in a queue for the same endpoint it stays, or queues up again:
// it costs no initiation more, and it comes up with them as soon as the other side is back.
static bool give_up(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_drop_staged(wg, peer);
    peer->given_up++;
    atomic_store_explicit(&peer->unreplied_since, 0, memory_order_relaxed);
    if (peer->zero_keys_at == 0) peer->zero_keys_at = wg->clock.now + 3 * CW_WG_REJECT_AFTER_TIME;
    cw_wg_handshake_count_anew(wg, peer);
    if (peer->keepalive_seconds != 0 && cw_wg_pacing_is_crowded(wg, peer)) return false;
    cw_wg_pacing_leave(wg, peer, CW_WG_NOT_COMPLETED);
    peer->initiations_sent = 0;
    // A worker that saw `handshaking` only leaves `asked_again`; it looks once more after that, and so do we (see cw_wg_ask).
    atomic_store(&peer->handshaking, false);
    if (atomic_exchange(&peer->asked_again, false)) cw_wg_handshake_want(wg, peer, false);
    return true;
}

static void retransmit(cw_wg *wg, cw_wg_peer *peer) {
    peer->retransmit_at = 0;
    bool waits = cw_wg_pacing_is_waiting(peer), in_vain = cw_wg_pacing_time_out(wg, peer);
    if (waits && in_vain) peer->initiations_sent++; // as good as sent
    if (atomic_exchange(&peer->asked_again, false)) cw_wg_handshake_count_anew(wg, peer);
    bool had_its_time = peer->has_waited && in_vain && wg->clock.now >= peer->trying_since + CW_WG_REKEY_ATTEMPT_TIME;
    if ((peer->attempts >= ATTEMPTS || had_its_time) && give_up(wg, peer)) return;
    if (waits) {
        cw_wg_handshake_plan(wg, peer);
        return;
    }
    // The path from our address may be what is broken.
    cw_wg_endpoint_clear_source(wg, peer);
    cw_wg_handshake_want(wg, peer, true);
}

static bool new_handshake_due(cw_wg_peer *peer, uint64_t now) {
    uint64_t since = stamp(&peer->unanswered_since);
    // A worker that clears the stamp at this moment has received something: then nothing is due.
    return since != 0 && now >= since + NEW_HANDSHAKE + peer->jitter && atomic_compare_exchange_strong(&peer->unanswered_since, &since, 0);
}

static void do_what_is_due(cw_wg *wg, cw_wg_peer *peer) {
    uint64_t now = wg->clock.now;
    if (peer->retransmit_at != 0 && now >= peer->retransmit_at) retransmit(wg, peer);
    if (new_handshake_due(peer, now)) {
        atomic_store_explicit(&peer->silent, true, memory_order_relaxed);
        cw_wg_endpoint_clear_source(wg, peer);
        cw_wg_handshake_want(wg, peer, false);
    }
    uint64_t unreplied = stamp(&peer->unreplied_since);
    if (unreplied != 0 && now >= unreplied + CW_WG_KEEPALIVE_TIMEOUT) {
        bool more = atomic_exchange(&peer->more_unreplied, false);
        atomic_store_explicit(&peer->unreplied_since, more ? now : 0, memory_order_relaxed);
        cw_wg_keepalive(wg, peer);
        // Sending it has cleared the stamp.
        if (more) atomic_store_explicit(&peer->unreplied_since, now, memory_order_relaxed);
    }
    if (peer->keepalive_seconds != 0 && now >= stamp(&peer->last_traversal) + peer->keepalive_seconds * CW_WG_SECOND) {
        // Sending sets it as well; this is for the case that nothing can be sent.
        atomic_store_explicit(&peer->last_traversal, now, memory_order_relaxed);
        cw_wg_keepalive(wg, peer);
    }
    if (peer->zero_keys_at != 0 && now >= peer->zero_keys_at) {
        peer->zero_keys_at = 0;
        cw_wg_session_clear(wg, peer);
    }
}

static void earlier(uint64_t *deadline, uint64_t other) {
    if (other < *deadline) *deadline = other;
}

void cw_wg_timers_look(cw_wg *wg, cw_wg_peer *peer) {
    if (!peer->identity->up) return;
    do_what_is_due(wg, peer);
    uint64_t now = wg->clock.now, deadline = UINT64_MAX;
    if (peer->retransmit_at != 0) earlier(&deadline, peer->retransmit_at);
    if (peer->zero_keys_at != 0) earlier(&deadline, peer->zero_keys_at);
    if (peer->keepalive_seconds != 0) earlier(&deadline, stamp(&peer->last_traversal) + peer->keepalive_seconds * CW_WG_SECOND);
    uint64_t unanswered = stamp(&peer->unanswered_since), unreplied = stamp(&peer->unreplied_since);
    if (unanswered == 0 && unreplied == 0) {
        // As with a condition variable: whoever sets a stamp from here on sees false and asks, and what was set before is seen now.
        atomic_store(&peer->watched, false);
        unanswered = atomic_load(&peer->unanswered_since), unreplied = atomic_load(&peer->unreplied_since);
    }
    if (unanswered != 0 || unreplied != 0) {
        atomic_store(&peer->watched, true);
        earlier(&deadline, now + CW_WG_KEEPALIVE_TIMEOUT);
        if (unanswered != 0) earlier(&deadline, unanswered + NEW_HANDSHAKE + peer->jitter);
        if (unreplied != 0) earlier(&deadline, unreplied + CW_WG_KEEPALIVE_TIMEOUT);
    }
    if (deadline != UINT64_MAX) cw_timers_arm(&wg->timers, peer->slot, deadline);
}

// Of the public calls: they may come long after the last step, so wg->clock says nothing to them.
void cw_wg_timers_stop(cw_wg *wg, cw_wg_peer *peer) {
    cw_timers_disarm(&wg->timers, peer->slot);
    cw_wg_pacing_remove(wg, peer);
    peer->retransmit_at = peer->zero_keys_at = 0;
    peer->attempts = 0;
    peer->last_handshake_sent = 0;
    atomic_store(&peer->handshaking, false);
    atomic_store(&peer->asked_again, false);
    atomic_store(&peer->watched, false);
    atomic_store(&peer->more_unreplied, false);
    atomic_store(&peer->sent_last_minute, false);
    atomic_store(&peer->unanswered_since, 0);
    atomic_store(&peer->unreplied_since, 0);
    if (atomic_load_explicit(&peer->silent, memory_order_relaxed)) cw_wg_lose_unanswered(peer);
}
