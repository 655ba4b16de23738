// Memory of a worker's sessions. What every session needs lies side by side, several to a page; what few of them need (many prefixes, RC4
// streams of stateful MPPE, keys ahead) has tables of its own, of which only what is used becomes resident.
#define _GNU_SOURCE
#include "worker.h"

#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "mppe.h"

enum { line = 64, stocks_most = 4096 };

static size_t lines(size_t size) { return (size + line - 1) / line * line; }

// Stocks of keys for both directions of each session, or of as many as are likely to be busy within a few seconds.
static uint32_t stocks_needed(uint32_t slots) { return slots < stocks_most / 2 ? 2 * slots : stocks_most; }

bool cw_sessions_create(cw_worker *worker) {
    worker->link_offset = lines(sizeof(cw_session));
    worker->stride = worker->link_offset + lines(cw_link_size());
    worker->memory = cw_map_secret(worker->slots * worker->stride);
    worker->streams = cw_map_secret(worker->slots * sizeof *worker->streams);
    worker->prefixes = cw_map(worker->slots * sizeof *worker->prefixes);
    bool stocks = cw_mppe_stocks_create(&worker->stocks, &worker->engine->kernels, stocks_needed(worker->slots));
    worker->shared = (cw_link_shared){
        .limits = worker->engine->limits,
        .kernels = &worker->engine->kernels,
        .stocks = &worker->stocks,
    };
    return worker->memory != NULL && worker->streams != NULL && worker->prefixes != NULL && stocks;
}

void cw_sessions_destroy(cw_worker *worker) {
    for (uint32_t slot = 0; worker->memory != NULL && slot < worker->slots && worker->open_sessions > 0; slot++) {
        cw_session *session = cw_session_at(worker, slot);
        if (session->handle == 0) continue;
        if (session->access == 0) cw_link_wipe(cw_session_link(worker, session), &worker->pool);
        explicit_bzero(session, worker->stride);
        worker->open_sessions--;
    }
    cw_mppe_stocks_destroy(&worker->stocks);
    cw_unmap(worker->memory, worker->slots * worker->stride);
    cw_unmap(worker->streams, worker->slots * sizeof *worker->streams);
    cw_unmap(worker->prefixes, worker->slots * sizeof *worker->prefixes);
}

void cw_sessions_trim(cw_worker *worker) {
    cw_mppe_stocks_trim(&worker->stocks);
    if (worker->open_sessions > 0) return;
    (void)cw_give_back(worker->streams, worker->slots * sizeof *worker->streams);
    (void)cw_give_back(worker->prefixes, worker->slots * sizeof *worker->prefixes);
}

static bool is_free(const cw_worker *worker, size_t page, size_t size) {
    size_t last = ((page + 1) * size - 1) / worker->stride;
    for (size_t slot = page * size / worker->stride; slot <= last && slot < worker->slots; slot++)
        if (cw_session_at(worker, (uint32_t)slot)->handle != 0) return false;
    return true;
}

// A page goes back to the system with the last of the sessions on it.
void cw_session_discard(cw_worker *worker, cw_session *session) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE), at = session->slot * worker->stride;
    explicit_bzero(session, worker->stride);
    for (size_t page = at / size; page <= (at + worker->stride - 1) / size; page++)
        if (is_free(worker, page, size)) (void)cw_give_back(worker->memory + page * size, size);
}

void cw_session_set_prefixes(cw_worker *worker, cw_session *session, const cw_prefix *prefixes, uint32_t count) {
    cw_prefix *to = count <= CW_OWN_PREFIXES ? session->own_prefixes : worker->prefixes[session->slot];
    if (count > 0) memcpy(to, prefixes, count * sizeof *prefixes);
    session->prefixes = to;
    session->prefix_count = count;
    if (session->access == 0) cw_link_set_prefixes(cw_session_link(worker, session), to, count);
}
