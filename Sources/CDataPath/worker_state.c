// The image of a session that CW_EXPORT makes and CW_IMPORT takes: flat, little-endian, versioned, without pointers. The link's own
// image is its last part.
#define _GNU_SOURCE
#include <string.h>

#include "worker.h"

enum { state_magic = 0x53535743, state_version = 2 }; // "CWSS"

typedef struct writer {
    uint8_t *at, *end;
    bool failed;
} writer;

static void put(writer *w, uint64_t value, unsigned size) {
    if ((size_t)(w->end - w->at) < size) {
        w->failed = true;
        return;
    }
    for (unsigned i = 0; i < size; i++) *w->at++ = (uint8_t)(value >> 8 * i);
}

static void put_address(writer *w, const cw_address *address) {
    for (unsigned i = 0; i < 16; i++) put(w, address->bytes[i], 1);
    put(w, address->family, 1);
}

typedef struct reader {
    const uint8_t *at, *end;
    bool failed;
} reader;

static uint64_t get(reader *r, unsigned size) {
    if (r->failed || (size_t)(r->end - r->at) < size) {
        r->failed = true;
        return 0;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) value |= (uint64_t)*r->at++ << 8 * i;
    return value;
}

static cw_address get_address(reader *r) {
    cw_address address = {0};
    for (unsigned i = 0; i < 16; i++) address.bytes[i] = (uint8_t)get(r, 1);
    address.family = (uint8_t)get(r, 1);
    return address;
}

uint32_t cw_state_save(cw_worker *worker, cw_session *session, uint8_t *out, uint32_t capacity) {
    writer w = {out, out + capacity, false};
    put(&w, state_magic, 4);
    put(&w, state_version, 2);
    put(&w, session->local_call_id, 2);
    put(&w, session->peer_call_id, 2);
    put(&w, session->flags, 4);
    put_address(&w, &session->local_address);
    put_address(&w, &session->peer_address);
    put(&w, session->rate, 8);
    put(&w, session->mtu, 2);
    put(&w, session->bound, 1);
    if (session->bound) {
        put_address(&w, &session->gateway_address);
        put(&w, session->tunnel, 4);
        put(&w, session->identity != 0, 1); // whether, not which: the importer knows
        put(&w, session->prefix_count, 2);
        for (uint32_t i = 0; i < session->prefix_count; i++) {
            put_address(&w, &session->prefixes[i].address);
            put(&w, session->prefixes[i].length, 1);
        }
    }
    const uint64_t *counters = (const uint64_t *)&session->live;
    put(&w, sizeof(cw_counters) / sizeof *counters, 2);
    for (size_t i = 0; i < sizeof(cw_counters) / sizeof *counters; i++) put(&w, counters[i], 8);
    if (w.failed) return 0;
    size_t size = cw_link_export(cw_session_link(worker, session), w.at, (size_t)(w.end - w.at));
    return size == 0 ? 0 : (uint32_t)(w.at + size - out);
}

cw_status cw_state_parse(const uint8_t *state, size_t length, cw_saved *saved) {
    reader r = {state, state + length, false};
    *saved = (cw_saved){0};
    if (get(&r, 4) != state_magic || r.failed) return CW_INVALID;
    if (get(&r, 2) != state_version || r.failed) return r.failed ? CW_INVALID : CW_VERSION;
    saved->open.local_call_id = (uint16_t)get(&r, 2);
    saved->open.peer_call_id = (uint16_t)get(&r, 2);
    saved->open.flags = (uint32_t)get(&r, 4);
    saved->open.local_address = get_address(&r);
    saved->open.peer_address = get_address(&r);
    saved->rate = get(&r, 8);
    saved->mtu = (uint16_t)get(&r, 2);
    uint64_t bound = get(&r, 1);
    if (r.failed || bound > 1 || saved->mtu < CW_MINIMUM_MTU || !cw_session_config_valid(&saved->open)) return CW_INVALID;
    if (bound == 1) {
        saved->bound = true;
        saved->bind.gateway_address = get_address(&r);
        saved->bind.tunnel = (uint32_t)get(&r, 4);
        saved->bind.identity = (uint32_t)get(&r, 1);
        saved->bind.mtu = saved->mtu;
        saved->bind.prefix_count = (uint16_t)get(&r, 2);
        if (r.failed || saved->bind.identity > 1 || saved->bind.prefix_count > CW_MAX_PREFIXES) return CW_INVALID;
        for (uint32_t i = 0; i < saved->bind.prefix_count; i++) {
            saved->bind.prefixes[i].address = get_address(&r);
            saved->bind.prefixes[i].length = (uint8_t)get(&r, 1);
        }
        if (r.failed || !cw_bind_valid(&saved->bind)) return CW_INVALID;
    }
    uint64_t *counters = (uint64_t *)&saved->counters;
    if (get(&r, 2) != sizeof(cw_counters) / sizeof *counters) return CW_INVALID;
    for (size_t i = 0; i < sizeof(cw_counters) / sizeof *counters; i++) counters[i] = get(&r, 8);
    if (r.failed) return CW_INVALID;
    saved->link = r.at;
    saved->link_length = (size_t)(r.end - r.at);
    return CW_OK;
}
