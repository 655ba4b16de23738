#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "worker.h"

// Events that must not be lost wait for room; control frames may only fill the ring up to this reserve.
static uint32_t reserve_of(const cw_ring *ring) { return ring->capacity / 8 + 1; }

bool cw_worker_event_room(cw_worker *worker) {
    if (cw_ring_room(&worker->events) > 0) return true;
    atomic_store(&worker->event_blocked, 1);
    return cw_ring_room(&worker->events) > 0; // the consumer may have made room before it could see the flag
}

cw_event *cw_worker_event(cw_worker *worker, cw_event_type type, uint64_t session) {
    cw_event *event = cw_ring_reserve(&worker->events);
    memset(event, 0, offsetof(cw_event, payload));
    event->type = type;
    event->worker = worker->index;
    event->session = session;
    worker->events_pushed = true;
    return event;
}

void cw_worker_control_event(cw_worker *worker, cw_session *session, const cw_buffer *buffer) {
    if (buffer->length > CW_MAX_CONTROL_FRAME) {
        session->live.drops[CW_DROP_PPP_MALFORMED]++;
        return;
    }
    if (cw_ring_room(&worker->events) <= reserve_of(&worker->events)) {
        session->live.drops[CW_DROP_OVERFLOW]++;
        return;
    }
    cw_event *event = cw_worker_event(worker, CW_EVENT_CONTROL, session->handle);
    event->protocol = buffer->protocol;
    event->length = buffer->length;
    memcpy(event->payload, buffer->storage + buffer->offset, buffer->length);
}

// People read it: a few a second say as much as all, and a stranger must not fill the ring.
void cw_worker_unknown_call(cw_worker *worker, uint32_t source, uint16_t call_id, uint64_t now) {
    enum { told_per_second = 8 };
    if (now - worker->unknown_since >= 1000000000) {
        worker->unknown_since = now;
        worker->unknown_told = 0;
    }
    if (worker->unknown_told == told_per_second || cw_ring_room(&worker->events) <= reserve_of(&worker->events)) return;
    worker->unknown_told++;
    cw_event *event = cw_worker_event(worker, CW_EVENT_UNKNOWN_CALL, 0);
    event->address.family = 4;
    memcpy(event->address.bytes, &source, sizeof source);
    event->call_id = call_id;
}

static bool deliver_notices(cw_worker *worker, cw_session *session) {
    if ((session->notices & CW_NOTICE_LOST) != 0) {
        if (!cw_worker_event_room(worker)) return false;
        cw_worker_event(worker, CW_EVENT_DECRYPT_LOST, session->handle);
        session->notices &= (uint8_t)~CW_NOTICE_LOST;
    }
    if ((session->notices & CW_NOTICE_ADDRESS) != 0) {
        if (!cw_worker_event_room(worker)) return false;
        cw_worker_event(worker, CW_EVENT_ADDRESS_CHANGED, session->handle)->address = session->peer_address;
        session->notices = 0;
    }
    return true;
}

void cw_worker_notice(cw_worker *worker, cw_session *session, uint8_t notice) {
    bool listed = session->notices != 0;
    session->notices |= notice;
    if (listed || deliver_notices(worker, session)) return;
    session->next_notice = worker->notices;
    worker->notices = session;
}

void cw_worker_forget_notices(cw_worker *worker, cw_session *session) {
    for (cw_session **at = &worker->notices; session->notices != 0 && *at != NULL; at = &(*at)->next_notice) {
        if (*at != session) continue;
        *at = session->next_notice;
        break;
    }
    session->notices = 0;
}

void cw_worker_flush_notices(cw_worker *worker) {
    if (worker->failed_errno != 0 && cw_worker_event_room(worker)) {
        cw_worker_event(worker, CW_EVENT_WORKER_FAILED, 0)->reason = worker->failed_errno;
        worker->failed_errno = 0;
    }
    while (worker->notices != NULL && deliver_notices(worker, worker->notices)) worker->notices = worker->notices->next_notice;
}

void cw_worker_flush_events(cw_worker *worker) {
    if (!worker->events_pushed) return;
    worker->events_pushed = false;
    cw_ring_publish(&worker->events);
    uint64_t one = 1; // EAGAIN would mean that the counter is at its limit: readable all the same
    while (write(worker->engine->event_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

// ---- Counters: the owner counts in plain memory and publishes copies of what changed, once after each round --------------

void cw_worker_touch(cw_worker *worker, cw_session *session) {
    if (session->dirty) return;
    session->dirty = true;
    session->next_dirty = worker->dirty;
    worker->dirty = session;
}

void cw_worker_drop(cw_worker *worker, cw_session *session, cw_buffer *buffer, cw_drop cause) {
    if (session != NULL) cw_worker_touch(worker, session);
    (session != NULL ? &session->live : &worker->live)->drops[cause]++;
    cw_pool_give(&worker->pool, buffer);
}

void cw_counters_publish(_Atomic uint64_t *shown, const cw_counters *live) {
    const uint64_t *words = (const uint64_t *)live;
    for (size_t i = 0; i < sizeof *live / sizeof *words; i++) atomic_store_explicit(&shown[i], words[i], memory_order_relaxed);
}

void cw_counters_load(const _Atomic uint64_t *shown, cw_counters *out) {
    uint64_t *words = (uint64_t *)out;
    // Acquire, so that a handle read afterwards is at least as new as the counters.
    for (size_t i = 0; i < sizeof *out / sizeof *words; i++) words[i] = atomic_load_explicit(&shown[i], memory_order_acquire);
}

void cw_worker_publish(cw_worker *worker) {
    for (cw_session *session = worker->dirty; session != NULL; session = session->next_dirty) {
        session->dirty = false;
        cw_counters_publish(worker->shown_sessions[session->slot].counters, &session->live);
    }
    worker->dirty = NULL;
    cw_counters_publish(worker->shown, &worker->live);
}
