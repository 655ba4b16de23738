// Between a worker and its queue of the TUN: super-packets become packets of sessions, and packets of sessions become super-packets where
// they can. What is for the TUN is collected until the end of a step, and counted when it is written.
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "worker.h"

// ---- Into the TUN -----------------------------------------------------------------------------------------------------

// Whose packet it is, and how many of the user's bytes it completes; in the buffer while it waits to be written.
static void set_owner(cw_buffer *buffer, const cw_session *session, uint32_t bytes) {
    buffer->arrived = session == NULL ? 0 : (uint64_t)(session->slot + 1) << 32 | bytes;
}

static void settle(cw_worker *worker, cw_buffer *buffer, bool written, uint64_t now) {
    uint32_t owner = (uint32_t)(buffer->arrived >> 32), bytes = (uint32_t)buffer->arrived;
    cw_session *session = owner == 0 ? NULL : cw_session_at(worker, owner - 1);
    if (!written) {
        cw_worker_drop(worker, session, buffer, CW_DROP_SEND_FAILED);
        return;
    }
    if (bytes != 0) {
        cw_worker_touch(worker, session);
        cw_session_count_in(session, bytes, now);
    }
    cw_pool_give(&worker->pool, buffer);
}

void cw_worker_flush_tun(cw_worker *worker, uint64_t now) {
    cw_coalescer *coalescer = &worker->tun.coalescer;
    if (coalescer->packets == 0) return;
    for (uint32_t i = 0; i < coalescer->count; i++) {
        bool written = cw_tun_write_merge(&worker->tun, i);
        if (!written && worker->tun.fd >= 0 && cw_tun_is_dead(errno)) cw_worker_fail(worker, &worker->tun.fd, errno);
        for (cw_buffer *buffer = coalescer->merges[i].first, *next; buffer != NULL; buffer = next) {
            next = buffer->next;
            settle(worker, buffer, written, now);
        }
    }
    cw_coalesce_reset(coalescer);
}

void cw_worker_write_tun(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint32_t bytes, uint64_t now) {
    if (worker->tun.coalescer.packets == CW_MAX_BATCH) cw_worker_flush_tun(worker, now);
    set_owner(buffer, session, bytes);
    cw_coalesce_add(&worker->tun.coalescer, buffer);
}

// ---- From the TUN -----------------------------------------------------------------------------------------------------

static void route_to_client(cw_worker *worker, cw_buffer *buffer, uint64_t now) {
    cw_ip ip;
    if (!cw_ip_parse(cw_buffer_data(buffer), buffer->length, &ip)) {
        cw_worker_drop(worker, NULL, buffer, CW_DROP_IP_MALFORMED);
        return;
    }
    cw_route route = cw_trie_find(&worker->routes, ip.family, worker->config->role == CW_ROLE_GATEWAY ? ip.destination : ip.source);
    if (route == 0) cw_worker_drop(worker, NULL, buffer, CW_DROP_IP_NO_SESSION);
    else cw_worker_hand_over(worker, route, &(cw_origin){.way = CW_FROM_UPLINK}, buffer, now);
}

// A packet longer than a buffer, which only a TUN with a jumbo MTU can bring. It becomes packets that fit; what the session's MTU asks
// for is left to the ordinary way.
static void route_jumbo(cw_worker *worker, uint8_t *packet, size_t length, uint64_t now) {
    const cw_address none = {0};
    cw_ip ip;
    cw_buffer *buffer;
    if (!cw_ip_parse(packet, length, &ip)) {
        worker->live.drops[CW_DROP_IP_MALFORMED]++;
        return;
    }
    if (ip.dont_fragment) {
        worker->live.drops[CW_DROP_IP_TOO_BIG]++;
        if (cw_worker_icmp(worker, NULL, &none, &ip, CW_ICMP_TOO_BIG, CW_BUFFER_DATA, now, &buffer))
            cw_worker_route_inner(worker, 0, buffer, now);
        return;
    }
    cw_fragmenter fragmenter;
    cw_fragment_begin(&fragmenter, &ip, CW_BUFFER_DATA);
    while ((buffer = cw_pool_take(&worker->pool)) != NULL) {
        buffer->length = (uint16_t)cw_fragment_next(&fragmenter, cw_buffer_data(buffer));
        if (buffer->length == 0) {
            cw_pool_give(&worker->pool, buffer);
            return;
        }
        route_to_client(worker, buffer, now);
    }
    worker->live.drops[CW_DROP_OVERFLOW]++;
}

static cw_buffer *take_buffer(cw_worker *worker, uint64_t now) {
    if (worker->pool.available == 0) cw_worker_send_waiting(worker, now); // what waits holds them
    return cw_pool_take(&worker->pool);
}

// Returns how many packets it was.
static uint32_t route_super(cw_worker *worker, cw_split *split, uint64_t now) {
    bool fits = cw_split_longest(split) <= CW_BUFFER_DATA;
    cw_worker_refill(worker, CW_MAX_BATCH);
    for (;;) {
        cw_buffer *buffer = fits ? take_buffer(worker, now) : NULL;
        size_t length = cw_split_next(split, buffer != NULL ? cw_buffer_data(buffer) : worker->segment);
        if (length == 0) {
            if (buffer != NULL) cw_pool_give(&worker->pool, buffer);
            return split->index;
        }
        if (buffer != NULL) {
            buffer->length = (uint16_t)length;
            route_to_client(worker, buffer, now);
        } else if (!fits) {
            route_jumbo(worker, worker->segment, length, now);
        } else {
            worker->live.drops[CW_DROP_OVERFLOW]++;
        }
    }
}

void cw_worker_read_tun(cw_worker *worker, uint64_t now) {
    enum { most = 4 }; // times what is served in a step, if the worker stays behind and sessions compete: see turns.h
    uint32_t limit = worker->config->batch_size;
    if (cw_turns_overloaded(&worker->down, now)) limit *= most * CW_WORKER_SERVES;
    bool more = true;
    // So many packets, give or take a super-packet's; and no more reads than that if nothing comes of them.
    for (uint32_t reads = 0, packets = 0; reads < limit && packets < limit && worker->tun.fd >= 0; reads++) {
        if (cw_turns_full(&worker->down) || cw_worker_may_read(worker, 1) == 0) break;
        if (worker->pool.available == 0) cw_worker_refill(worker, 0);
        cw_split split;
        cw_buffer *buffer = cw_pool_take(&worker->pool);
        cw_tun_result result = cw_tun_read(&worker->tun, buffer, CW_BUFFER_DATA, &split);
        if (result == CW_TUN_PACKET) {
            route_to_client(worker, buffer, now);
            packets++;
            continue;
        }
        int error = errno;
        if (buffer != NULL) cw_pool_give(&worker->pool, buffer);
        if (result == CW_TUN_EMPTY) {
            more = false;
            break;
        }
        switch (result) {
        case CW_TUN_SUPER: packets += route_super(worker, &split, now); break;
        case CW_TUN_MALFORMED: worker->live.drops[CW_DROP_IP_MALFORMED]++; break;
        case CW_TUN_LOST: worker->live.drops[CW_DROP_OVERFLOW]++; break;
        default: cw_worker_fail(worker, &worker->tun.fd, error); break;
        }
    }
    worker->more_from_uplink = worker->more_from_uplink || (more && worker->tun.fd >= 0);
    cw_worker_flush(worker, now);
}
