// The three key slots of a peer (the paper, sections 5.4.5 and 6.2), moved exactly as the kernel module moves them:
//
//   an initiator's new keypair   becomes current at once: the response proved that the responder has it. The old current, or a `next`
//                                that was never confirmed, becomes previous.
//   a responder's new keypair    becomes next; previous and an older next go. The first data under it makes it current.
#include <sodium.h>
#include <string.h>

#include "control.h"

// Closed. Nothing finds the keypair any more; the caller gives it back once the gate is open.
static cw_wg_keypair *unlink_pair(cw_wg *wg, cw_wg_keypair **slot) {
    cw_wg_keypair *pair = *slot;
    *slot = NULL;
    if (pair != NULL) cw_wg_index_remove(wg, pair->local_index);
    return pair;
}

static void give_back(cw_wg *wg, cw_wg_keypair *pair) {
    if (pair != NULL) cw_wg_keypair_give(wg, pair);
}

bool cw_wg_session_begin(cw_wg *wg, cw_wg_peer *peer, cw_noise_handshake *handshake, const cw_wg_route_to *endpoint) {
    cw_wg_keypair *pair = cw_wg_keypair_take(wg);
    if (pair == NULL) return false;
    pair->peer = peer;
    pair->initiator = handshake->state == CW_NOISE_RESPONSE_CONSUMED;
    pair->local_index = handshake->local_index;
    pair->remote_index = handshake->remote_index;
    pair->born = wg->clock.now;
    if (!cw_noise_begin_session(handshake, pair->send_key, pair->receive_key)) {
        cw_wg_keypair_give(wg, pair);
        return false;
    }
    cw_wg_keypair *old[2];
    cw_gate_close(&wg->gate);
    old[0] = unlink_pair(wg, &peer->previous);
    if (pair->initiator) {
        if (peer->next_pair != NULL) {
            old[1] = unlink_pair(wg, &peer->current);
            peer->previous = peer->next_pair;
            peer->next_pair = NULL;
        } else {
            old[1] = NULL;
            peer->previous = peer->current;
        }
        peer->current = pair;
    } else {
        old[1] = unlink_pair(wg, &peer->next_pair);
        peer->next_pair = pair;
    }
    cw_wg_index_set_pair(wg, pair->local_index, pair);
    cw_wg_endpoint_set(wg, peer, endpoint);
    cw_gate_open(&wg->gate);
    give_back(wg, old[0]);
    give_back(wg, old[1]);
    peer->zero_keys_at = wg->clock.now + 3 * CW_WG_REJECT_AFTER_TIME;
    peer->jitter = randombytes_uniform((uint32_t)CW_WG_REKEY_TIMEOUT_JITTER + 1); // of the handshake that silence will cause
    return true;
}

bool cw_wg_session_confirm(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_keypair *next = peer->next_pair;
    if (next == NULL) return false;
    // The data may have come under an older `next` that another handshake has replaced since.
    pthread_spin_lock(&next->replay_lock);
    bool received = next->replay.next != 0;
    pthread_spin_unlock(&next->replay_lock);
    if (!received) return false;
    cw_gate_close(&wg->gate);
    cw_wg_keypair *old = unlink_pair(wg, &peer->previous);
    peer->previous = peer->current;
    peer->current = next;
    peer->next_pair = NULL;
    cw_gate_open(&wg->gate);
    give_back(wg, old);
    return true;
}

void cw_wg_session_detach(cw_wg *wg, cw_wg_peer *peer, cw_wg_keypair *pairs[3]) {
    pairs[0] = unlink_pair(wg, &peer->previous);
    pairs[1] = unlink_pair(wg, &peer->current);
    pairs[2] = unlink_pair(wg, &peer->next_pair);
    cw_wg_index_remove(wg, peer->handshake.local_index);
    cw_noise_handshake_wipe(&peer->handshake);
}

void cw_wg_session_clear(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_keypair *pairs[3];
    cw_gate_close(&wg->gate);
    cw_wg_session_detach(wg, peer, pairs);
    cw_gate_open(&wg->gate);
    for (int i = 0; i < 3; i++) give_back(wg, pairs[i]);
}
