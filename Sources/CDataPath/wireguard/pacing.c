// Who of ours may initiate, and when. A hub answers all it can, but when it is under load it wants a cookie first and then allows one
// source address about 20 handshakes a second, 5 at once (the kernel module's limits; the paper, section 5.3). Thousands of
// identities behind one address have to share that, so for each endpoint there is a window:
//
//   - at most `size` initiations wait for a response; the others stand in a queue, first come first served;
//   - while nobody is answered, those who stand there count as if they were trying (timers.c), so that everybody knows at
//     about the same time that the hub is away; they go as soon as somebody is answered;
//   - a response makes the window one greater, up to the configured limit; a response or a time-out lets the next one go;
//   - a cookie reply halves the window, not below one, and its sender comes again with its next attempt;
//   - while a cookie is fresh the hub was short of time lately: initiations then leave one by one, just below its rate;
//   - a cookie speaks of the sender's address and port, not of its identity: every identity that uses the same port towards the
//     same hub key uses it, so the hub refuses one of them instead of all.
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

enum { IDLE = 0, WAITING, OUTSTANDING };

// 18 a second: below the 20 that a hub allows, so that its count and ours may disagree a little.
#define SPACING (CW_WG_SECOND / 18)
#define COOKIE_IS_FRESH (CW_WG_COOKIE_LIFETIME - CW_WG_COOKIE_LATENCY)

typedef struct cw_wg_window {
    struct cw_wg_window *chain; // in wg->windows: by hash of the endpoint
    struct cw_wg_window *attended_next, *attended_previous;
    bool attended;           // the next tick looks at it: while it is loaded, or because somebody left it outside of a step
    cw_wg_route_to endpoint; // only `to` counts
    uint32_t size, outstanding, waiting;
    cw_wg_peer *first, *last;
    bool in_vain;         // an initiation timed out, and none was answered since
    uint64_t answered;    // ns; 0: never
    uint64_t next_allowed; // while a cookie is fresh
    // The last cookie from there.
    uint64_t cookie_received; // ns; 0: none
    uint32_t cookie_port;     // ours, to which it was bound
    uint8_t cookie_key[CW_WG_KEY]; // of the hub
    uint8_t cookie[CW_WG_MAC];
} cw_wg_window;

static bool is_loaded(const cw_wg_window *window, uint64_t now) {
    return window->cookie_received != 0 && now < window->cookie_received + COOKIE_IS_FRESH;
}

// ---- All of them: found by endpoint, kept while somebody is in them or a cookie is fresh ------------------------------

static cw_wg_window **chain_of(cw_wg *wg, const cw_wg_route_to *endpoint) {
    return &wg->windows[cw_wg_endpoint_place(wg, endpoint)];
}

static cw_wg_window *find(cw_wg *wg, const cw_wg_route_to *endpoint) {
    cw_wg_window *window = *chain_of(wg, endpoint);
    while (window != NULL && !cw_wg_same_address(&window->endpoint, endpoint)) window = window->chain;
    return window;
}

static cw_wg_window *window_for(cw_wg *wg, const cw_wg_route_to *endpoint) {
    cw_wg_window *window = find(wg, endpoint);
    if (window != NULL) return window;
    window = calloc(1, sizeof *window);
    if (window == NULL) return NULL;
    window->endpoint = *endpoint;
    window->size = wg->config.outstanding;
    cw_wg_window **chain = chain_of(wg, endpoint);
    window->chain = *chain;
    *chain = window;
    return window;
}

static void attend(cw_wg *wg, cw_wg_window *window) {
    if (window->attended) return;
    window->attended = true;
    window->attended_previous = NULL;
    window->attended_next = wg->attended;
    if (wg->attended != NULL) wg->attended->attended_previous = window;
    wg->attended = window;
}

static void attend_no_more(cw_wg *wg, cw_wg_window *window) {
    if (!window->attended) return;
    window->attended = false;
    if (window->attended_next != NULL) window->attended_next->attended_previous = window->attended_previous;
    if (window->attended_previous != NULL) window->attended_previous->attended_next = window->attended_next;
    else wg->attended = window->attended_next;
}

static void destroy(cw_wg *wg, cw_wg_window *window) {
    attend_no_more(wg, window);
    cw_wg_window **at = chain_of(wg, &window->endpoint);
    while (*at != window) at = &(*at)->chain;
    *at = window->chain;
    sodium_memzero(window, sizeof *window);
    free(window);
}

static void destroy_if_unused(cw_wg *wg, cw_wg_window *window) {
    if (window->outstanding == 0 && window->waiting == 0 && !is_loaded(window, wg->clock.now)) destroy(wg, window);
}

// ---- Places in them ---------------------------------------------------------------------------------------------------

bool cw_wg_pacing_is_idle(const cw_wg_peer *peer) { return peer->pacing == IDLE; }
bool cw_wg_pacing_is_waiting(const cw_wg_peer *peer) { return peer->pacing == WAITING; }

bool cw_wg_pacing_is_crowded(cw_wg *wg, const cw_wg_peer *peer) {
    const cw_wg_window *window = find(wg, &peer->endpoint);
    return window != NULL && window->waiting > 0;
}

static void append(cw_wg *wg, cw_wg_window *window, cw_wg_peer *peer) {
    peer->pacing = WAITING;
    peer->window = window;
    peer->pacing_next = NULL;
    peer->pacing_previous = window->last;
    if (window->last != NULL) window->last->pacing_next = peer;
    else window->first = peer;
    window->last = peer;
    window->waiting++;
    wg->waiting++;
}

static void take_out(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_window *window = peer->window;
    if (peer->pacing == WAITING) {
        if (peer->pacing_next != NULL) peer->pacing_next->pacing_previous = peer->pacing_previous;
        else window->last = peer->pacing_previous;
        if (peer->pacing_previous != NULL) peer->pacing_previous->pacing_next = peer->pacing_next;
        else window->first = peer->pacing_next;
        window->waiting--;
        wg->waiting--;
    } else {
        window->outstanding--;
        wg->outstanding--;
    }
    peer->pacing_next = peer->pacing_previous = NULL;
    peer->window = NULL;
    peer->pacing = IDLE;
}

static void pump(cw_wg *wg, cw_wg_window *window) {
    uint64_t now = wg->clock.now;
    while (window->first != NULL && window->outstanding < window->size) {
        bool loaded = is_loaded(window, now);
        if (loaded && now < window->next_allowed) {
            cw_timers_arm(&wg->timers, wg->config.peer_capacity, window->next_allowed);
            return;
        }
        cw_wg_peer *peer = window->first;
        take_out(wg, peer);
        peer->window = window;
        peer->pacing = OUTSTANDING;
        window->outstanding++;
        wg->outstanding++;
        if (!cw_wg_handshake_send(wg, peer)) take_out(wg, peer);
        else if (loaded) window->next_allowed = now + SPACING;
    }
}

void cw_wg_pacing_enter(cw_wg *wg, cw_wg_peer *peer) {
    if (peer->pacing != IDLE) return;
    cw_wg_window *window = window_for(wg, &peer->endpoint);
    if (window == NULL) { // no memory: once more when the next attempt would be due
        cw_wg_handshake_plan(wg, peer);
        return;
    }
    append(wg, window, peer);
    pump(wg, window);
    if (peer->pacing == WAITING) {
        peer->has_waited = true;
        cw_wg_handshake_plan(wg, peer);
    }
    destroy_if_unused(wg, window);
}

void cw_wg_pacing_leave(cw_wg *wg, cw_wg_peer *peer, cw_wg_outcome outcome) {
    if (peer->pacing == IDLE) return;
    cw_wg_window *window = peer->window;
    if (outcome == CW_WG_COMPLETED) {
        if (peer->pacing == OUTSTANDING && window->size < wg->config.outstanding) window->size++;
        window->answered = wg->clock.now;
        window->in_vain = false;
    }
    take_out(wg, peer);
    pump(wg, window);
    destroy_if_unused(wg, window);
}

bool cw_wg_pacing_time_out(cw_wg *wg, cw_wg_peer *peer) {
    if (peer->pacing == IDLE) return false;
    cw_wg_window *window = peer->window;
    if (peer->pacing == OUTSTANDING) window->in_vain = true;
    bool in_vain = window->in_vain && wg->clock.now >= window->answered + CW_WG_REKEY_TIMEOUT;
    if (peer->pacing == OUTSTANDING) cw_wg_pacing_leave(wg, peer, CW_WG_NOT_COMPLETED);
    return in_vain;
}

// The clock is that of the last step, which may be long ago: the next one looks at the window.
void cw_wg_pacing_remove(cw_wg *wg, cw_wg_peer *peer) {
    if (peer->pacing == IDLE) return;
    attend(wg, peer->window);
    take_out(wg, peer);
    cw_timers_arm(&wg->timers, wg->config.peer_capacity, wg->clock.now);
    cw_wg_nudge(wg);
}

void cw_wg_pacing_cookie(cw_wg *wg, cw_wg_peer *peer) {
    if (peer->pacing != OUTSTANDING) return;
    cw_wg_window *window = peer->window;
    window->size = window->size > 1 ? window->size / 2 : 1;
    window->answered = window->cookie_received = wg->clock.now;
    window->in_vain = false;
    window->cookie_port = peer->identity->port;
    memcpy(window->cookie_key, peer->remote.public_key, CW_WG_KEY);
    memcpy(window->cookie, peer->jar.cookie, CW_WG_MAC);
    if (window->next_allowed < wg->clock.now) window->next_allowed = wg->clock.now + SPACING;
    attend(wg, window);
    cw_timers_arm(&wg->timers, wg->config.peer_capacity, wg->clock.now + COOKIE_IS_FRESH); // then it may go
    take_out(wg, peer);
    pump(wg, window);
}

void cw_wg_pacing_share_cookie(cw_wg *wg, cw_wg_peer *peer) {
    const cw_wg_window *window = peer->window;
    if (window == NULL || !is_loaded(window, wg->clock.now) || window->cookie_received <= peer->jar.received) return;
    if (window->cookie_port != peer->identity->port || memcmp(window->cookie_key, peer->remote.public_key, CW_WG_KEY) != 0) return;
    memcpy(peer->jar.cookie, window->cookie, CW_WG_MAC);
    peer->jar.received = window->cookie_received;
}

void cw_wg_pacing_tick(cw_wg *wg) {
    for (cw_wg_window *window = wg->attended, *next; window != NULL; window = next) {
        next = window->attended_next;
        pump(wg, window);
        if (is_loaded(window, wg->clock.now)) {
            cw_timers_arm(&wg->timers, wg->config.peer_capacity, window->cookie_received + COOKIE_IS_FRESH);
            continue;
        }
        attend_no_more(wg, window);
        destroy_if_unused(wg, window);
    }
}

void cw_wg_pacing_destroy(cw_wg *wg) {
    for (uint32_t i = 0; i <= wg->by_endpoint_mask; i++)
        while (wg->windows[i] != NULL) destroy(wg, wg->windows[i]);
}
