// Life of a worker: creation, waking, and the memory that follows the load.
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

enum { pool_minimum = 2048, pool_maximum = 16384 };

uint64_t cw_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// ---- Creation ---------------------------------------------------------------------------------------------------------

static bool watch(cw_worker *worker, int fd) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = (uint32_t)fd}; // never CW_WG_EPOLL
    return fd < 0 || epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0;
}

static bool watch_tap(cw_worker *worker, int fd) {
    return fd < 0 || (cw_tap_map(&worker->tap, fd, worker->config->worker_count) && watch(worker, fd));
}

static bool watch_xsks(cw_worker *worker) {
    return cw_xsks_create(&worker->xsks, worker->config->xdp, worker->index) && watch(worker, worker->xsks.fd);
}

// Buffers for what moves in a step, and for what the sessions' reorder queues may hold at one time.
static uint32_t buffers_needed(const cw_engine_config *config, uint32_t slots) {
    uint64_t held = (uint64_t)slots * config->reorder_packets / 4;
    if (held < pool_minimum) held = pool_minimum;
    if (held > pool_maximum) held = pool_maximum;
    return 8 * config->batch_size + (uint32_t)held;
}

bool cw_worker_create(cw_worker *worker, struct cw_engine *engine, uint32_t index) {
    const cw_engine_config *config = &engine->config;
    worker->engine = engine;
    worker->config = config;
    worker->index = index;
    worker->gre_fd = worker->tap.fd = worker->xsks.fd = worker->frame_fd = worker->tun.fd = -1; // not ours before create has succeeded
    worker->slots = cw_table_slots(config->session_capacity, config->worker_count);
    worker->buffer_count = buffers_needed(config, worker->slots);
    worker->delivered_capacity = 2 * config->batch_size + config->reorder_packets + 2;
    worker->trim_at = UINT64_MAX;
    worker->poll_nanoseconds = (uint64_t)config->poll_microseconds * 1000;
    worker->icmp_bucket = cw_bucket_full(config->icmp_rate, config->icmp_rate, cw_now());

    worker->identification = (uint32_t)cw_now() + index;
    bool sessions = cw_sessions_create(worker);
    worker->shown_sessions = cw_map(worker->slots * sizeof *worker->shown_sessions);
    worker->by_call = cw_map((65536 / config->worker_count + 1) * sizeof *worker->by_call);
    worker->buffers = cw_map(worker->buffer_count * sizeof *worker->buffers);
    worker->segment = cw_map(CW_TUN_LONGEST + 1);
    worker->delivered = calloc(worker->delivered_capacity, sizeof *worker->delivered);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool tun = cw_tun_create(&worker->tun, &engine->offloads);
    bool routes = cw_trie_create(&worker->routes, config->session_capacity * CW_MAX_PREFIXES);
    bool timers = cw_timers_create(&worker->timers, worker->slots);
    bool commands = cw_ring_create(&worker->commands, sizeof(cw_work), config->command_capacity);
    bool events = cw_ring_create(&worker->events, sizeof(cw_event), config->event_capacity);
    bool memory = sessions && worker->shown_sessions != NULL && worker->by_call != NULL && worker->buffers != NULL &&
                  worker->segment != NULL && worker->delivered != NULL && tun && routes && timers && commands && events;
    return memory && worker->epoll_fd >= 0 && worker->wake_fd >= 0 && watch(worker, worker->wake_fd) &&
           watch(worker, config->gre_fd[index]) && watch_tap(worker, config->tap_fd[index]) && watch_xsks(worker) &&
           watch(worker, config->tun_fd[index]);
}

void cw_worker_destroy(cw_worker *worker) {
    if (worker->commands.slots != NULL) {
        for (cw_work *work; (work = cw_ring_peek(&worker->commands)) != NULL; cw_ring_release(&worker->commands))
            cw_worker_discard_command(work);
    }
    cw_sessions_destroy(worker);
    cw_ring_destroy(&worker->commands);
    cw_ring_destroy(&worker->events);
    cw_trie_destroy(&worker->routes);
    cw_timers_destroy(&worker->timers);
    cw_unmap(worker->shown_sessions, worker->slots * sizeof *worker->shown_sessions);
    cw_unmap(worker->by_call, (65536 / worker->config->worker_count + 1) * sizeof *worker->by_call);
    cw_unmap(worker->buffers, worker->buffer_count * sizeof *worker->buffers);
    cw_unmap(worker->segment, CW_TUN_LONGEST + 1);
    cw_tun_destroy(&worker->tun);
    free(worker->delivered);
    free(worker->local_addresses);
    free(worker->sources);
    cw_tap_unmap(&worker->tap);
    cw_xsks_destroy(&worker->xsks);
    if (worker->epoll_fd >= 0) close(worker->epoll_fd);
    if (worker->wake_fd >= 0) close(worker->wake_fd);
}

// ---- Waking -----------------------------------------------------------------------------------------------------------

void cw_worker_nudge(cw_worker *worker) {
    uint64_t one = 1;
    while (write(worker->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void cw_worker_wake(cw_worker *worker) {
    // The worker stores `sleeping` before it looks at its rings, we publish before we look at `sleeping`: one of us sees the other.
    if (atomic_load(&worker->sleeping) != 0 && atomic_exchange(&worker->sleeping, 0) != 0) cw_worker_nudge(worker);
}

// ---- Memory -----------------------------------------------------------------------------------------------------------

void cw_worker_refill(cw_worker *worker, uint32_t more) {
    // Buffers are brought in as they are needed for the first time: memory follows the load.
    uint32_t wanted = 4 * worker->config->batch_size + more;
    while (worker->pool.available < wanted && worker->buffers_used < worker->buffer_count)
        cw_pool_give(&worker->pool, &worker->buffers[worker->buffers_used++]);
}

bool cw_worker_trim(cw_worker *worker) {
    uint32_t workers = worker->config->worker_count;
    cw_ring_trim(&worker->events);
    cw_sessions_trim(worker);
    for (uint32_t to = 0; to < workers; to++)
        if (to != worker->index) cw_ring_trim(&worker->engine->handoffs[worker->index * workers + to]);
    if (worker->open_sessions == 0) { // no entry of either table says anything
        (void)cw_give_back(worker->by_call, (65536 / workers + 1) * sizeof *worker->by_call);
        (void)cw_give_back(worker->shown_sessions, worker->slots * sizeof *worker->shown_sessions);
    }
    // No packet is held anywhere: begin anew with a few buffers.
    bool much = worker->buffers_used > 4 * worker->config->batch_size && worker->pool.available == worker->buffers_used;
    if (much && cw_give_back(worker->buffers, worker->buffers_used * sizeof *worker->buffers)) {
        worker->pool = (cw_pool){0};
        worker->buffers_used = 0;
    }
    return worker->stocks.lent > 0;
}

void cw_worker_fail(cw_worker *worker, int *fd, int reason) {
    // It stays open until destroy, but is not looked at again: a dead descriptor is always ready.
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    *fd = -1;
    worker->failed_errno = reason;
}
