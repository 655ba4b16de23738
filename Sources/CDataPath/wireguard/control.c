// The thread for handshakes and timers, and how workers reach it. A step takes the lock for one letter, one peer or one timer at a
// time, so that whoever reads the state never waits for a batch of handshakes.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "data.h"

enum { CW_WG_STEP = 64 }; // of each kind of work in one step

// ---- From workers ----------------------------------------------------------------------------------------------------

void cw_wg_wake(cw_wg *wg) {
    if (!atomic_exchange(&wg->sleeping, false)) return;
    uint64_t one = 1;
    while (write(wg->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void cw_wg_nudge(cw_wg *wg) {
    atomic_store(&wg->nudged, true);
    cw_wg_wake(wg);
}

void cw_wg_ask(cw_wg *wg, cw_wg_peer *peer, uint32_t what) {
    if (what == CW_WG_WANT_HANDSHAKE && atomic_load(&peer->handshaking)) {
        // One is under way: no need to wake anybody for each packet. Control looks at `asked_again` after it has cleared
        // `handshaking`; so if that is still true afterwards, it will see what was stored before.
        if (atomic_load_explicit(&peer->asked_again, memory_order_relaxed)) return;
        atomic_store(&peer->asked_again, true);
        if (atomic_load(&peer->handshaking)) return;
    }
    if (atomic_fetch_or(&peer->attention, what) != 0) return; // it is on the list
    cw_wg_peer *head = atomic_load(&wg->attention);
    do atomic_store_explicit(&peer->attention_next, head, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&wg->attention, &head, peer));
    if (atomic_load(&wg->sleeping)) cw_wg_wake(wg);
}

bool cw_wg_post(cw_wg *wg, const cw_wg_letter *letter) {
    cw_wg_letters *letters = &wg->letters;
    pthread_mutex_lock(&letters->leaf);
    uint32_t count = atomic_load_explicit(&letters->count, memory_order_relaxed);
    bool room = count < CW_WG_HANDSHAKE_QUEUE;
    if (room) {
        letters->ring[(letters->first + count) % CW_WG_HANDSHAKE_QUEUE] = *letter;
        atomic_store(&letters->count, count + 1);
    }
    pthread_mutex_unlock(&letters->leaf);
    if (room && atomic_load(&wg->sleeping)) cw_wg_wake(wg);
    return room;
}

static bool take_letter(cw_wg *wg, cw_wg_letter *letter) {
    cw_wg_letters *letters = &wg->letters;
    if (atomic_load(&letters->count) == 0) return false;
    pthread_mutex_lock(&letters->leaf);
    uint32_t count = atomic_load_explicit(&letters->count, memory_order_relaxed);
    if (count != 0) {
        *letter = letters->ring[letters->first];
        letters->first = (letters->first + 1) % CW_WG_HANDSHAKE_QUEUE;
        atomic_store(&letters->count, count - 1);
    }
    pthread_mutex_unlock(&letters->leaf);
    // Under load: an eighth of the queue is full, or was a moment ago.
    if (count >= CW_WG_HANDSHAKE_QUEUE / 8) wg->loaded_until = wg->clock.now + CW_WG_LOAD_MEMORY;
    return count != 0;
}

// ---- Wishes ----------------------------------------------------------------------------------------------------------

static cw_wg_peer *without(cw_wg_peer *list, const cw_wg_peer *peer) {
    cw_wg_peer *head = NULL, *last = NULL;
    for (cw_wg_peer *next; list != NULL; list = next) {
        next = atomic_load_explicit(&list->attention_next, memory_order_relaxed);
        if (list == peer) continue;
        if (last == NULL) head = list;
        else atomic_store_explicit(&last->attention_next, list, memory_order_relaxed);
        last = list;
    }
    if (last != NULL) atomic_store_explicit(&last->attention_next, NULL, memory_order_relaxed);
    return head;
}

void cw_wg_forget_wishes(cw_wg *wg, cw_wg_peer *peer) {
    if (atomic_load(&peer->attention) == 0) return;
    // The gate is closed and we hold the lock, so nobody adds to either list.
    atomic_store(&wg->attention, without(atomic_load(&wg->attention), peer));
    wg->attending = without(wg->attending, peer);
    atomic_store(&peer->attention, 0);
}

// The list is a stack; who asked first comes first.
static cw_wg_peer *reversed(cw_wg_peer *list) {
    cw_wg_peer *head = NULL;
    for (cw_wg_peer *next; list != NULL; list = next) {
        next = atomic_load_explicit(&list->attention_next, memory_order_relaxed);
        atomic_store_explicit(&list->attention_next, head, memory_order_relaxed);
        head = list;
    }
    return head;
}

static cw_wg_peer *take_wish(cw_wg *wg, uint32_t *wishes) {
    if (wg->attending == NULL) wg->attending = reversed(atomic_exchange(&wg->attention, NULL));
    cw_wg_peer *peer = wg->attending;
    if (peer == NULL) return NULL;
    // In this order: as soon as the wishes are taken a worker may put the peer on the list again.
    wg->attending = atomic_load_explicit(&peer->attention_next, memory_order_relaxed);
    *wishes = atomic_exchange(&peer->attention, 0);
    return peer;
}

// A wish may be older than the keys that it asks for: an answer can overtake the confirmation of the keys that it answers under.
static bool needs_handshake(const cw_wg *wg, const cw_wg_peer *peer) {
    const cw_wg_keypair *pair = peer->current;
    if (!cw_wg_pair_may_send(pair, wg->clock.now)) return true;
    if (atomic_load_explicit(&pair->sent, memory_order_relaxed) >= CW_WG_REKEY_AFTER_MESSAGES) return true;
    return pair->initiator && cw_wg_pair_is_older(pair, wg->clock.now, CW_WG_REKEY_AFTER_TIME);
}

static void grant(cw_wg *wg, cw_wg_peer *peer, uint32_t wishes) {
    if (!peer->identity->up) return;
    if (wishes & CW_WG_WANT_ENDPOINT) {
        pthread_mutex_lock(&peer->leaf);
        cw_wg_route_to moved = peer->moved;
        pthread_mutex_unlock(&peer->leaf);
        cw_wg_endpoint_learn(wg, peer, &moved);
    }
    if (wishes & CW_WG_WANT_CONFIRM && cw_wg_session_confirm(wg, peer)) {
        cw_wg_handshake_complete(wg, peer);
        cw_wg_send_staged(wg, peer, wg->clock.now, false);
    }
    if (wishes & CW_WG_WANT_ANEW || (wishes & CW_WG_WANT_HANDSHAKE && needs_handshake(wg, peer))) cw_wg_handshake_want(wg, peer, false);
    if (wishes & CW_WG_WANT_KEEPALIVE) {
        atomic_store_explicit(&peer->last_traversal, wg->clock.now, memory_order_relaxed);
        cw_wg_keepalive(wg, peer);
    }
    cw_wg_timers_look(wg, peer);
}

static bool has_mail(cw_wg *wg) {
    return atomic_load(&wg->letters.count) != 0 || atomic_load(&wg->attention) != NULL || atomic_load(&wg->nudged);
}

// ---- A step ----------------------------------------------------------------------------------------------------------

uint64_t cw_wg_step(cw_wg *wg, const cw_wg_clock *clock) {
    bool more = true;
    cw_wg_letter letter;
    atomic_store(&wg->nudged, false);
    pthread_mutex_lock(&wg->lock);
    wg->clock = *clock;
    pthread_mutex_unlock(&wg->lock);
    for (int i = 0; i < CW_WG_STEP && more; i++) {
        pthread_mutex_lock(&wg->lock);
        more = take_letter(wg, &letter);
        if (more) cw_wg_handshake_take(wg, &letter);
        pthread_mutex_unlock(&wg->lock);
    }
    more = true;
    for (int i = 0; i < CW_WG_STEP && more; i++) {
        uint32_t wishes;
        pthread_mutex_lock(&wg->lock);
        cw_wg_peer *peer = take_wish(wg, &wishes);
        more = peer != NULL;
        if (more) grant(wg, peer, wishes);
        pthread_mutex_unlock(&wg->lock);
    }
    more = true;
    uint64_t next = 0;
    for (int i = 0; i < CW_WG_STEP && more; i++) {
        uint32_t slot;
        pthread_mutex_lock(&wg->lock);
        more = cw_timers_take(&wg->timers, clock->now, &slot);
        if (!more) next = wg->attending != NULL ? clock->now : cw_timers_next(&wg->timers);
        else if (slot == wg->config.peer_capacity) cw_wg_pacing_tick(wg);
        else cw_wg_timers_look(wg, &wg->peers[slot]);
        pthread_mutex_unlock(&wg->lock);
    }
    return more || has_mail(wg) ? clock->now : next;
}

// ---- The thread ------------------------------------------------------------------------------------------------------

static cw_wg_clock read_clock(void) {
    struct timespec monotonic, wall;
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (cw_wg_clock){
        .now = (uint64_t)monotonic.tv_sec * CW_WG_SECOND + (uint64_t)monotonic.tv_nsec,
        .unix_seconds = (uint64_t)wall.tv_sec,
        .unix_nanoseconds = (uint32_t)wall.tv_nsec,
    };
}

static void sleep_until(cw_wg *wg, uint64_t deadline) {
    // Whoever leaves something looks at `sleeping` afterwards; we look for what was left after we have set it.
    atomic_store(&wg->sleeping, true);
    if (!has_mail(wg) && !atomic_load(&wg->stopping)) {
        uint64_t now = read_clock().now;
        struct timespec wait = {0};
        if (deadline > now) {
            uint64_t left = deadline - now;
            wait = (struct timespec){.tv_sec = (time_t)(left / CW_WG_SECOND), .tv_nsec = (long)(left % CW_WG_SECOND)};
        }
        struct pollfd wake = {.fd = wg->wake_fd, .events = POLLIN};
        (void)ppoll(&wake, 1, deadline == UINT64_MAX ? NULL : &wait, NULL);
    }
    atomic_store(&wg->sleeping, false);
    uint64_t count;
    (void)!read(wg->wake_fd, &count, sizeof count); // non-blocking: nothing there is fine
}

static void *run(void *argument) {
    cw_wg *wg = argument;
    while (!atomic_load(&wg->stopping)) {
        cw_wg_clock clock = read_clock();
        uint64_t deadline = cw_wg_step(wg, &clock);
        if (deadline > clock.now) sleep_until(wg, deadline);
    }
    return NULL;
}

cw_status cw_wg_start(cw_wg *wg) {
    if (wg->thread_runs) return CW_INVALID;
    atomic_store(&wg->stopping, false);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are other threads' business
    int error = pthread_create(&wg->thread, NULL, run, wg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return CW_SYSTEM;
    }
    pthread_setname_np(wg->thread, "causeway-wg");
    wg->thread_runs = true;
    return CW_OK;
}

void cw_wg_stop(cw_wg *wg) {
    if (!wg->thread_runs) return;
    atomic_store(&wg->stopping, true);
    cw_wg_wake(wg);
    pthread_join(wg->thread, NULL);
    wg->thread_runs = false;
}
