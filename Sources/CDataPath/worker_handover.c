// Packets whose session lives on another worker, through a ring for each pair of workers.
//
// Nothing that a hub or the TUN sent is lost between workers: whoever reads for others reads only what their rings have room for, and leaves
// the rest where it is, in the kernel's queues. The other worker may not run for milliseconds (more threads than processors; a send that
// carries the receiver's stack along, on the same host), in which this one would fill any ring. Held back, it goes on with everything else,
// and is woken when the ring is half empty. What comes from users and finds a ring full is dropped and counted.
#define _GNU_SOURCE
#include <string.h>

#include "worker.h"

static cw_ring *ring_between(const cw_worker *worker, uint32_t from, uint32_t to) {
    return &worker->engine->handoffs[from * worker->config->worker_count + to];
}

static cw_session *find_route(cw_worker *worker, cw_route route) {
    cw_session *session = cw_session_at(worker, cw_route_slot(route));
    return session->handle != 0 && session->generation == cw_route_generation(route) ? session : NULL;
}

// ---- To others --------------------------------------------------------------------------------------------------------

void cw_worker_hand_over(cw_worker *worker, cw_route route, const cw_origin *origin, cw_buffer *buffer, uint64_t now) {
    uint32_t to = cw_route_worker(route);
    if (to == worker->index) {
        cw_session *session = find_route(worker, route);
        if (session == NULL) cw_worker_drop(worker, NULL, buffer, CW_DROP_IP_NO_SESSION);
        else cw_worker_arrive(worker, session, origin, buffer, now);
        return;
    }
    // A copy, so that each buffer stays with the worker whose pool it came from.
    cw_handoff *handoff = cw_ring_reserve(ring_between(worker, worker->index, to));
    if (handoff == NULL) {
        cw_worker_drop(worker, NULL, buffer, CW_DROP_OVERFLOW);
        return;
    }
    handoff->route = route;
    handoff->origin = *origin;
    handoff->length = buffer->length;
    memcpy(handoff->data, cw_buffer_data(buffer), buffer->length);
    worker->handed_to |= UINT64_C(1) << to;
    cw_pool_give(&worker->pool, buffer);
}

void cw_worker_publish_handoffs(cw_worker *worker) {
    for (uint64_t left = worker->handed_to; left != 0; left &= left - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(left);
        cw_ring_publish(ring_between(worker, worker->index, to));
        cw_worker_wake(&worker->engine->workers[to]);
    }
    worker->handed_to = 0;
}

static uint32_t reads_that_fit(cw_worker *worker, uint32_t most) {
    // What one read brings: UDP_GRO puts 64 datagrams together, later kernels send 128 at once on the same host; segments of a TUN's
    // super-packet are as many or fewer at usual lengths.
    enum { usual = 64 };
    uint32_t fit = most;
    for (uint32_t to = 0; to < worker->config->worker_count && fit > 0; to++) {
        if (to == worker->index) continue;
        uint32_t room = cw_ring_room(ring_between(worker, worker->index, to)) / usual, reads = room > 0 ? room - 1 : 0;
        if (reads < fit) fit = reads;
    }
    return fit;
}

uint32_t cw_worker_may_read(cw_worker *worker, uint32_t most) {
    uint32_t reads = reads_that_fit(worker, most);
    if (reads > 0) return reads;
    // Announced before it is looked at again, and the consumer makes room before it looks here: one of us sees the other.
    atomic_store(&worker->held_back, 1);
    reads = reads_that_fit(worker, most);
    if (reads > 0) atomic_store(&worker->held_back, 0);
    return reads;
}

// ---- From others ------------------------------------------------------------------------------------------------------

static void take(cw_worker *worker, const cw_handoff *handoff, uint64_t now) {
    cw_session *session = find_route(worker, handoff->route);
    cw_buffer *buffer = session == NULL ? NULL : cw_pool_take(&worker->pool);
    if (session == NULL) {
        worker->live.drops[CW_DROP_IP_NO_SESSION]++;
    } else if (buffer == NULL) {
        cw_worker_touch(worker, session);
        session->live.drops[CW_DROP_OVERFLOW]++;
    } else {
        buffer->offset = CW_HEADROOM;
        buffer->length = (uint16_t)handoff->length;
        memcpy(cw_buffer_data(buffer), handoff->data, handoff->length);
        cw_worker_arrive(worker, session, &handoff->origin, buffer, now);
    }
}

bool cw_worker_is_full(const cw_worker *worker) {
    return cw_turns_full(&worker->down) || (worker->access_count > 0 && cw_turns_full(&worker->up));
}

// What is in the ring joins the turns, all of it if there is room: there each session has its place, and here it would hold others up.
static bool drain(cw_worker *worker, cw_ring *ring, uint64_t now) {
    uint32_t taken = 0;
    for (cw_handoff *handoff; taken < ring->capacity && !cw_worker_is_full(worker) && (handoff = cw_ring_peek(ring)) != NULL; taken++) {
        if (taken % worker->config->batch_size == 0) cw_worker_refill(worker, 0);
        take(worker, handoff, now);
        cw_ring_release(ring);
    }
    return taken > 0;
}

void cw_worker_take_handoffs(cw_worker *worker, uint64_t now) {
    uint32_t workers = worker->config->worker_count;
    for (uint32_t i = 1; i < workers; i++) {
        // Beginning with another one each time, for when there is no room for all.
        uint32_t from = (worker->index + 1 + (worker->handoff_first + i) % (workers - 1)) % workers;
        cw_ring *ring = ring_between(worker, from, worker->index);
        if (!drain(worker, ring, now) || cw_ring_count(ring) > ring->capacity / 2) continue;
        cw_worker *producer = &worker->engine->workers[from];
        if (atomic_load(&producer->held_back) != 0 && atomic_exchange(&producer->held_back, 0) != 0) cw_worker_nudge(producer);
    }
    worker->handoff_first++;
}

bool cw_worker_has_handoffs(cw_worker *worker) {
    for (uint32_t from = 0; from < worker->config->worker_count; from++)
        if (from != worker->index && cw_ring_waiting(ring_between(worker, from, worker->index))) return true;
    return false;
}
