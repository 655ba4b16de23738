// What the parts of control give each other. All of it under wg->lock; with the gate open unless it says "closed".
#ifndef CW_WG_CONTROL_H
#define CW_WG_CONTROL_H

#include "state.h"

enum { CW_WG_CHANGES = 64 }; // peers that are changed with one closing of the gate

// ---- control.c ------------------------------------------------------------------------------------------------------
void cw_wg_wake(cw_wg *wg);  // after something was left where control looks before it sleeps
void cw_wg_nudge(cw_wg *wg); // a timer was armed by somebody else: another step, please
void cw_wg_forget_wishes(cw_wg *wg, cw_wg_peer *peer); // closed; takes the peer off the attention list

static inline void cw_wg_drop_here(cw_wg *wg, cw_wg_drop drop, uint64_t count) {
    cw_wg_tally_add(wg, cw_wg_control_tally(wg), CW_WG_TALLY_DROP(drop), count);
}

// What is staged for the peer is lost.
static inline void cw_wg_drop_staged(cw_wg *wg, cw_wg_peer *peer) {
    uint32_t count = cw_wg_stage_drop(wg, peer);
    cw_wg_drop_here(wg, CW_WG_DROP_STAGED, count);
    cw_wg_lose(&peer->lost_staged, count);
}

// ---- peer.c ---------------------------------------------------------------------------------------------------------
cw_wg_identity *cw_wg_identity_find(cw_wg *wg, uint32_t handle); // NULL: no such identity
cw_wg_peer *cw_wg_peer_find(cw_wg *wg, const cw_wg_identity *identity, const uint8_t public_key[CW_WG_KEY]);
cw_wg_peer *cw_wg_peer_add(cw_wg *wg, cw_wg_identity *identity, const uint8_t public_key[CW_WG_KEY]); // NULL: peer_capacity is used up
// In two steps, so that many go with one closing of the gate.
void cw_wg_peer_detach(cw_wg *wg, cw_wg_peer *peer);                    // closed: no worker reaches it any more
void cw_wg_peer_free(cw_wg *wg, cw_wg_peer *peer);
bool cw_wg_same_address(const cw_wg_route_to *left, const cw_wg_route_to *right); // where to; not from where
void cw_wg_endpoint_set(cw_wg *wg, cw_wg_peer *peer, const cw_wg_route_to *endpoint); // closed
void cw_wg_endpoint_learn(cw_wg *wg, cw_wg_peer *peer, const cw_wg_route_to *endpoint); // closes the gate if something changes
void cw_wg_endpoint_clear_source(cw_wg *wg, cw_wg_peer *peer);          // the same
bool cw_wg_is_live(const cw_wg *wg, const cw_wg_identity *identity);    // up, with a key and a port

// ---- session.c: the key slots ---------------------------------------------------------------------------------------
// From a handshake that is RESPONSE_CREATED or RESPONSE_CONSUMED; its index becomes the keypair's. Takes the endpoint over.
bool cw_wg_session_begin(cw_wg *wg, cw_wg_peer *peer, cw_noise_handshake *handshake, const cw_wg_route_to *endpoint);
bool cw_wg_session_confirm(cw_wg *wg, cw_wg_peer *peer); // `next` becomes current; false: nothing was received under it
void cw_wg_session_clear(cw_wg *wg, cw_wg_peer *peer);   // keys and handshake; closes the gate
// The same in two steps for many peers: pairs[0...2] are to be given back once the gate is open.
void cw_wg_session_detach(cw_wg *wg, cw_wg_peer *peer, cw_wg_keypair *pairs[3]); // closed

// ---- handshake.c ----------------------------------------------------------------------------------------------------
void cw_wg_handshake_want(cw_wg *wg, cw_wg_peer *peer, bool retry); // begins one unless one is under way
bool cw_wg_handshake_send(cw_wg *wg, cw_wg_peer *peer);             // pacing's: an initiation leaves; false: impossible
void cw_wg_handshake_plan(cw_wg *wg, cw_wg_peer *peer);             // the next look at it, when an attempt of now would have timed out
void cw_wg_handshake_count_anew(const cw_wg *wg, cw_wg_peer *peer); // its attempts
bool cw_wg_handshake_stop(cw_wg *wg, cw_wg_peer *peer);             // of the public calls: the endpoint is another; whether one was under way
void cw_wg_handshake_take(cw_wg *wg, const cw_wg_letter *letter);
void cw_wg_handshake_complete(cw_wg *wg, cw_wg_peer *peer);
void cw_wg_keepalive(cw_wg *wg, cw_wg_peer *peer); // sends one, or begins a handshake

// ---- timers.c -------------------------------------------------------------------------------------------------------
void cw_wg_timers_look(cw_wg *wg, cw_wg_peer *peer); // does what is due and arms the rest
void cw_wg_timers_stop(cw_wg *wg, cw_wg_peer *peer);
void cw_wg_timers_authenticated_sent(cw_wg *wg, cw_wg_peer *peer); // by control
void cw_wg_timers_authenticated_received(cw_wg *wg, cw_wg_peer *peer);

// ---- pacing.c -------------------------------------------------------------------------------------------------------
void cw_wg_pacing_enter(cw_wg *wg, cw_wg_peer *peer); // sends now or when its turn comes
typedef enum cw_wg_outcome { CW_WG_COMPLETED, CW_WG_NOT_COMPLETED } cw_wg_outcome;
void cw_wg_pacing_leave(cw_wg *wg, cw_wg_peer *peer, cw_wg_outcome outcome); // does nothing for one that is not in it
// The time-out of an initiation is over, whether it was sent, which frees its place, or still waits. True: nobody is answered at its endpoint.
bool cw_wg_pacing_time_out(cw_wg *wg, cw_wg_peer *peer);
void cw_wg_pacing_remove(cw_wg *wg, cw_wg_peer *peer);       // of the public calls: the next one goes with the next step
void cw_wg_pacing_cookie(cw_wg *wg, cw_wg_peer *peer);       // a cookie reply came
void cw_wg_pacing_share_cookie(cw_wg *wg, cw_wg_peer *peer); // before an initiation is signed
void cw_wg_pacing_tick(cw_wg *wg);                           // its timer
bool cw_wg_pacing_is_idle(const cw_wg_peer *peer);
bool cw_wg_pacing_is_waiting(const cw_wg_peer *peer);                // for its turn
bool cw_wg_pacing_is_crowded(cw_wg *wg, const cw_wg_peer *peer);     // others wait for their turn at its endpoint
void cw_wg_pacing_destroy(cw_wg *wg);

// ---- scan.c ---------------------------------------------------------------------------------------------------------
uint32_t cw_wg_endpoint_place(const cw_wg *wg, const cw_wg_route_to *endpoint); // its hash: 0...wg->by_endpoint_mask
void cw_wg_scan_enter(cw_wg *wg, cw_wg_peer *peer); // its endpoint has been set
void cw_wg_scan_leave(cw_wg *wg, cw_wg_peer *peer); // before its endpoint changes
cw_wg_identity *cw_wg_scan(cw_wg *wg, const cw_wg_letter *letter); // NULL: for nobody; counted

#endif
