#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "worker.h"

enum { rate_burst_divisor = 10, rate_burst_minimum = 65536 }; // a tenth of a second may go at once, and any single packet

static uint32_t *call_entry(cw_worker *worker, uint16_t call_id) {
    return &worker->by_call[call_id / worker->config->worker_count];
}

static uint32_t outer4(const cw_address *address) {
    uint32_t raw = 0;
    if (address->family == 4) memcpy(&raw, address->bytes, sizeof raw);
    return raw;
}

static cw_session *find(cw_worker *worker, const cw_work *work) {
    cw_session *session = cw_session_at(worker, work->slot);
    return session->handle == work->session && session->generation == work->generation ? session : NULL;
}

static void set_rate(cw_session *session, uint64_t bits_per_second, uint64_t now) {
    uint64_t rate = bits_per_second / 8, burst = rate / rate_burst_divisor;
    if (bits_per_second != 0 && rate == 0) rate = 1;
    if (burst < rate_burst_minimum) burst = rate_burst_minimum;
    session->rate = bits_per_second;
    session->rate_in = session->rate_out = cw_bucket_full(rate, burst, now);
}

static void set_flags(cw_worker *worker, cw_session *session, uint32_t flags) {
    session->flags = flags;
    cw_link_set_flags(cw_session_link(worker, session), flags);
}

// What every kind of session has.
static cw_session *begin_session(cw_worker *worker, const cw_work *work, uint64_t now) {
    cw_session *session = cw_session_at(worker, work->slot); // all zero: never used, or discarded by free_session
    session->handle = work->session;
    session->generation = work->generation;
    session->slot = work->slot;
    session->mtu = CW_MINIMUM_MTU;
    set_rate(session, 0, now);
    worker->open_sessions++;
    cw_counters_publish(worker->shown_sessions[session->slot].counters, &session->live);
    atomic_store_explicit(&worker->shown_sessions[session->slot].handle, session->handle, memory_order_release);
    return session;
}

static void open_native(cw_worker *worker, const cw_work *work, uint64_t now) {
    cw_session *session = begin_session(worker, work, now);
    session->access = work->open_native.identity;
    memcpy(session->peer, work->open_native.peer, sizeof session->peer);
}

static cw_session *open_session(cw_worker *worker, const cw_work *work, const cw_session_config *config, uint64_t now) {
    cw_session *session = begin_session(worker, work, now);
    session->local_call_id = config->local_call_id;
    session->peer_call_id = config->peer_call_id;
    session->flags = config->flags;
    session->local_address = config->local_address;
    session->peer_address = config->peer_address;
    session->local4 = outer4(&config->local_address);
    session->peer4 = outer4(&config->peer_address);
    cw_link_init(cw_session_link(worker, session), &worker->shared, &worker->streams[session->slot], config->flags, &session->live);
    *call_entry(worker, config->local_call_id) = work->slot + 1;
    return session;
}

static void bind_session(cw_worker *worker, cw_session *session, const cw_bind *bind) {
    session->bound = true;
    session->mtu = bind->mtu;
    session->tunnel = bind->tunnel;
    session->identity = bind->identity;
    session->gateway_address = bind->gateway_address;
    cw_session_set_prefixes(worker, session, bind->prefixes, bind->prefix_count);
    if (session->access == 0) cw_link_set_open(cw_session_link(worker, session), true);
}

static void unbind_session(cw_worker *worker, cw_session *session) {
    session->bound = false;
    cw_session_set_prefixes(worker, session, NULL, 0);
    if (session->access == 0) cw_link_set_open(cw_session_link(worker, session), false);
}

// The slot may be opened again by the next command. None of the session's packets are left: every step flushes what it queued.
static void free_session(cw_worker *worker, cw_session *session) {
    cw_worker_publish(worker); // takes it off the list
    cw_worker_forget_notices(worker, session);
    cw_timers_disarm(&worker->timers, session->slot);
    worker->open_sessions--;
    if (session->access == 0) {
        *call_entry(worker, session->local_call_id) = 0;
        cw_link_wipe(cw_session_link(worker, session), &worker->pool);
    }
    atomic_store_explicit(&worker->shown_sessions[session->slot].handle, 0, memory_order_relaxed);
    cw_session_discard(worker, session);
}

// What still waits for a turn has no session any more.
static void drop_waiting(cw_worker *worker, cw_session *session) {
    session->live.drops[CW_DROP_NOT_OPEN] += session->up.packets.count + session->down.packets.count;
    cw_turns_leave(&worker->up, &session->up, &worker->pool);
    cw_turns_leave(&worker->down, &session->down, &worker->pool);
}

static void close_session(cw_worker *worker, cw_session *session) {
    drop_waiting(worker, session);
    cw_event *event = cw_worker_event(worker, CW_EVENT_CLOSED, session->handle);
    event->counters = session->live;
    free_session(worker, session);
}

static void refuse(cw_worker *worker, uint64_t session, uint32_t command, cw_status reason) {
    cw_event *event = cw_worker_event(worker, CW_EVENT_REFUSED, session);
    event->refused = command;
    event->reason = (int32_t)reason;
}

static void export_session(cw_worker *worker, cw_session *session) {
    drop_waiting(worker, session);
    cw_event *event = cw_worker_event(worker, CW_EVENT_EXPORTED, session->handle);
    event->length = cw_state_save(worker, session, event->payload, sizeof event->payload);
    free_session(worker, session);
}

static void import_session(cw_worker *worker, const cw_work *work, uint64_t now) {
    cw_saved saved; // parsed and tried by submit already
    if (cw_state_parse(work->block, work->length, &saved) != CW_OK) return;
    saved.bind.identity = work->identity;
    cw_session *session = open_session(worker, work, &saved.open, now);
    session->live = saved.counters;
    session->mtu = saved.mtu;
    set_rate(session, saved.rate, now);
    size_t used;
    (void)cw_link_import(cw_session_link(worker, session), saved.link, saved.link_length, &used);
    if (saved.bound) bind_session(worker, session, &saved.bind);
    else unbind_session(worker, session);
    cw_worker_touch(worker, session);
    cw_worker_arm(worker, session, now);
}

static void update_session(cw_worker *worker, cw_session *session, const cw_update *update, uint64_t now) {
    if ((update->mask & CW_UPDATE_FLAGS) != 0) set_flags(worker, session, update->flags);
    if ((update->mask & CW_UPDATE_MTU) != 0) session->mtu = update->mtu;
    if ((update->mask & CW_UPDATE_RATE) != 0) set_rate(session, update->rate_bits_per_second, now);
    if ((update->mask & CW_UPDATE_PEER_ADDRESS) != 0) {
        session->peer_address = update->peer_address;
        session->peer4 = outer4(&update->peer_address);
    }
}

static void inject(cw_worker *worker, cw_session *session, const cw_work *work, uint64_t now) {
    cw_buffer *buffer = cw_pool_take(&worker->pool);
    cw_worker_touch(worker, session);
    if (buffer == NULL) {
        session->live.drops[CW_DROP_OVERFLOW]++;
        return;
    }
    buffer->offset = CW_HEADROOM;
    buffer->length = (uint16_t)work->length;
    memcpy(cw_buffer_data(buffer), work->inject.payload, work->length);
    cw_link_send_control(cw_session_link(worker, session), now, session->peer_call_id, work->inject.protocol, buffer);
    cw_worker_post(worker, session, buffer, 0);
    cw_worker_arm(worker, session, now);
}

static void change_routes(cw_worker *worker, const cw_work *work) {
    const cw_prefix *prefix = work->routes.prefixes;
    for (uint32_t i = 0; i < work->routes.remove_count; i++) cw_trie_remove(&worker->routes, prefix++, work->routes.route);
    // The pool has room for every prefix of every session.
    for (uint32_t i = 0; i < work->routes.add_count; i++) cw_trie_set(&worker->routes, prefix++, work->routes.route);
}

static void set_local_addresses(cw_worker *worker, cw_work *work) {
    free(worker->local_addresses);
    worker->local_addresses = work->block;
    worker->local_count = work->length / (uint32_t)sizeof(cw_address);
    work->block = NULL;
}

static void set_sources(cw_worker *worker, cw_work *work) {
    free(worker->sources);
    worker->sources = work->block;
    worker->source_count = work->length / (uint32_t)sizeof(cw_source_range);
    work->block = NULL;
}

void cw_worker_discard_command(cw_work *work) {
    if (work->type == CW_IMPORT || work->type == CW_LOCAL_ADDRESSES || work->type == CW_SOURCES) {
        if (work->block != NULL) explicit_bzero(work->block, work->length);
        free(work->block);
        work->block = NULL;
    } else if (work->type == CW_REKEY) {
        explicit_bzero(&work->rekey, sizeof work->rekey);
    } else if (work->type == CW_INJECT) {
        explicit_bzero(work->inject.payload, work->length); // CHAP responses and the like
    }
}

static void apply(cw_worker *worker, cw_work *work, uint64_t now) {
    switch (work->type) {
    case CW_OPEN: open_session(worker, work, &work->open, now); return;
    case CW_OPEN_NATIVE: open_native(worker, work, now); return;
    case CW_IMPORT: import_session(worker, work, now); return;
    case CW_TUNNEL:
        worker->tunnels[work->tunnel.index].mtu = work->tunnel.mtu;
        worker->tunnels[work->tunnel.index].up = work->tunnel.up;
        return;
    case CW_LOCAL_ADDRESSES: set_local_addresses(worker, work); return;
    case CW_SOURCES: set_sources(worker, work); return;
    case CW_WORK_ACCESS: cw_worker_set_access(worker, work->access.identity, work->access.opened); return;
    case CW_WORK_ROUTES: change_routes(worker, work); return;
    case CW_WORK_REFUSE: refuse(worker, work->session, work->refuse.command, work->refuse.reason); return;
    }
    cw_session *session = find(worker, work);
    if (session == NULL) return; // submit knows which sessions exist; a mismatch must not touch another one
    switch (work->type) {
    case CW_UPDATE: update_session(worker, session, &work->update, now); break;
    case CW_REKEY:
        cw_link_rekey(cw_session_link(worker, session), &work->rekey);
        cw_worker_touch(worker, session);
        cw_worker_arm(worker, session, now);
        break;
    case CW_BIND: bind_session(worker, session, &work->bind); break;
    case CW_UNBIND: unbind_session(worker, session); break;
    case CW_INJECT: inject(worker, session, work, now); break;
    case CW_CLOSE:
        cw_worker_flush(worker, now); // an injected Terminate-Ack leaves before its session goes
        close_session(worker, session);
        break;
    case CW_EXPORT:
        cw_worker_flush(worker, now);
        export_session(worker, session);
        break;
    }
}

static bool makes_event(const cw_work *work) {
    return work->type == CW_CLOSE || work->type == CW_EXPORT || work->type == CW_WORK_REFUSE;
}

bool cw_worker_commands(cw_worker *worker, uint64_t now, uint32_t limit) {
    worker->commands_blocked = false;
    for (uint32_t i = 0; i < limit; i++) {
        cw_work *work = cw_ring_peek(&worker->commands);
        if (work == NULL) return false;
        if (makes_event(work) && !cw_worker_event_room(worker)) {
            worker->commands_blocked = true;
            return false;
        }
        apply(worker, work, now);
        cw_worker_discard_command(work);
        cw_ring_release(&worker->commands);
    }
    return true;
}
