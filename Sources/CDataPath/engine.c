#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { handoff_minimum = 512, handoff_maximum = 1024, handoff_total = 2048 };

void cw_engine_config_defaults(cw_engine_config *config) {
    *config = (cw_engine_config){
        .role = CW_ROLE_GATEWAY,
        .worker_count = 1,
        .session_capacity = 4096,
        .batch_size = 32,
        .command_capacity = 1024,
        .event_capacity = 1024,
        .reorder_packets = 64,
        .reorder_microseconds = 50000,
        .ack_microseconds = 100000,
        .control_rate = 50,
        .control_burst = 100,
        .key_budget = 8192,
        .icmp_rate = 100,
    };
    cw_wg_config_defaults(&config->wireguard_config);
    for (int i = 0; i < CW_MAX_WORKERS; i++) config->gre_fd[i] = config->tap_fd[i] = config->frame_fd[i] = config->tun_fd[i] = -1;
    config->tap_rule_fd = -1;
}

// Rings between workers hold what one step of the WireGuard engine reads, and as much again where there are few workers.
static uint32_t handoff_capacity(uint32_t workers) {
    uint32_t capacity = handoff_maximum;
    while (capacity > handoff_minimum && capacity * workers > handoff_total) capacity /= 2;
    return capacity;
}

static void free_engine(cw_engine *engine) {
    uint32_t workers = engine->config.worker_count;
    if (engine->wireguard != NULL) cw_wg_destroy(engine->wireguard); // its sockets are in the workers' epoll sets
    for (uint32_t i = 0; engine->workers != NULL && i < workers; i++)
        if (engine->workers[i].engine != NULL) cw_worker_destroy(&engine->workers[i]);
    for (uint32_t i = 0; engine->handoffs != NULL && i < workers * workers; i++) cw_ring_destroy(&engine->handoffs[i]);
    if (engine->table.records != NULL) cw_table_destroy(&engine->table);
    if (engine->hops != NULL) cw_hops_destroy(engine->hops);
    free(engine->hops);
    if (engine->event_fd >= 0) close(engine->event_fd);
    if (engine->probe != NULL) explicit_bzero(engine->probe, cw_link_size());
    pthread_mutex_destroy(&engine->lock);
    free(engine->workers);
    free(engine->handoffs);
    free(engine->probe);
    free(engine);
}

static void *allocate_aligned(size_t size) {
    void *memory = NULL;
    size = (size + 63) / 64 * 64;
    if (posix_memalign(&memory, 64, size) != 0) return NULL;
    memset(memory, 0, size);
    return memory;
}

static bool create_hops(cw_engine *engine) {
    bool wanted = false;
    for (uint32_t i = 0; i < engine->config.worker_count; i++) wanted = wanted || engine->config.frame_fd[i] >= 0;
    if (!wanted) return true;
    engine->hops = allocate_aligned(sizeof *engine->hops);
    return engine->hops != NULL && cw_hops_create(engine->hops, engine->config.session_capacity, engine->config.worker_count);
}

static bool create_parts(cw_engine *engine) {
    uint32_t workers = engine->config.worker_count;
    engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->workers = allocate_aligned(workers * sizeof *engine->workers);
    engine->handoffs = allocate_aligned((size_t)workers * workers * sizeof *engine->handoffs);
    engine->probe = allocate_aligned(cw_link_size());
    if (engine->event_fd < 0 || engine->workers == NULL || engine->handoffs == NULL || engine->probe == NULL) return false;
    if (!cw_tun_set_up(engine->config.tun_fd, workers, &engine->offloads)) return false;
    if (!create_hops(engine)) return false;
    if (!cw_table_create(&engine->table, engine->config.session_capacity, workers)) return false;
    for (uint32_t from = 0; from < workers; from++)
        for (uint32_t to = 0; to < workers; to++)
            if (from != to && !cw_ring_create(&engine->handoffs[from * workers + to], sizeof(cw_handoff), handoff_capacity(workers)))
                return false;
    for (uint32_t i = 0; i < workers; i++)
        if (!cw_worker_create(&engine->workers[i], engine, i)) return false;
    return true;
}

static cw_status create_wireguard(cw_engine *engine) {
    if (!engine->config.wireguard) return CW_OK;
    cw_wg_config config = engine->config.wireguard_config;
    config.worker_count = engine->config.worker_count;
    cw_status status = cw_wg_create(&config, &engine->wireguard);
    for (uint32_t i = 0; status == CW_OK && i < config.worker_count; i++)
        status = cw_wg_attach(engine->wireguard, i, engine->workers[i].epoll_fd);
    for (uint32_t i = 0; status == CW_OK && i < config.worker_count; i++) engine->workers[i].wireguard = engine->wireguard;
    return status;
}

static bool choose_kernels(cw_engine *engine) {
    const cw_cpu cpu = cw_cpu_probe();
    cw_isa isa;
    if (cw_isa_choose(&cpu, cw_isa_forced(), &isa) != CW_ISA_CHOSEN) return false;
    const cw_cpu limited = cw_cpu_limited(&cpu, isa);
    engine->kernels = cw_mppe_kernels_measure(&limited);
    return true;
}

cw_status cw_engine_create(const cw_engine_config *config, cw_engine **out) {
    if (config == NULL || out == NULL || !cw_config_valid(config)) return CW_INVALID;
    cw_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return CW_NO_MEMORY;
    if (!choose_kernels(engine)) { // what the environment asks for is not to be had
        free(engine);
        return CW_INVALID;
    }
    engine->config = *config;
    engine->limits = (cw_link_limits){
        .reorder_packets = config->reorder_packets,
        .reorder_nanoseconds = (uint64_t)config->reorder_microseconds * 1000,
        .ack_nanoseconds = (uint64_t)config->ack_microseconds * 1000,
        .control_rate = config->control_rate,
        .control_burst = config->control_burst,
        .key_budget = config->key_budget,
    };
    pthread_mutex_init(&engine->lock, NULL);
    errno = 0;
    if (!create_parts(engine)) {
        int saved = errno;
        free_engine(engine);
        errno = saved;
        return saved == ENOMEM || saved == 0 ? CW_NO_MEMORY : CW_SYSTEM;
    }
    cw_status status = create_wireguard(engine);
    if (status != CW_OK) {
        int saved = errno;
        free_engine(engine);
        errno = saved;
        return status;
    }
    for (uint32_t i = 0; i < config->worker_count; i++) { // they are ours from here on
        engine->workers[i].gre_fd = config->gre_fd[i];
        engine->workers[i].frame_fd = config->frame_fd[i];
        engine->workers[i].tun.fd = config->tun_fd[i];
    }
    *out = engine;
    return CW_OK;
}

static void join_workers(cw_engine *engine, uint32_t count) {
    atomic_store_explicit(&engine->stopping, true, memory_order_release);
    for (uint32_t i = 0; i < count; i++) cw_worker_nudge(&engine->workers[i]);
    for (uint32_t i = 0; i < count; i++) pthread_join(engine->workers[i].thread, NULL);
}

cw_status cw_engine_start(cw_engine *engine) {
    if (engine->running) return CW_INVALID;
    if (engine->wireguard != NULL) {
        cw_status status = cw_wg_start(engine->wireguard);
        if (status != CW_OK) return status;
    }
    if (engine->hops != NULL && !cw_hops_start(engine->hops)) {
        int saved = errno;
        if (engine->wireguard != NULL) cw_wg_stop(engine->wireguard);
        errno = saved;
        return CW_SYSTEM;
    }
    atomic_store_explicit(&engine->stopping, false, memory_order_release);
    // The threads inherit the mask: signals belong to the rest of the process.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    uint32_t started = 0;
    int error = 0;
    for (; started < engine->config.worker_count; started++) {
        error = pthread_create(&engine->workers[started].thread, NULL, cw_worker_main, &engine->workers[started]);
        if (error != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        join_workers(engine, started);
        if (engine->hops != NULL) cw_hops_stop(engine->hops);
        if (engine->wireguard != NULL) cw_wg_stop(engine->wireguard);
        errno = error;
        return CW_SYSTEM;
    }
    engine->running = true;
    return CW_OK;
}

// Before the rings are left alone: what arrives from here on is the stack's again.
static void end_rule(cw_engine *engine) {
    if (engine->config.tap_rule_fd >= 0) close(engine->config.tap_rule_fd);
    engine->config.tap_rule_fd = -1;
    if (engine->config.xdp != NULL) cw_xdp_detach(engine->config.xdp);
}

void cw_engine_stop(cw_engine *engine) {
    if (!engine->running) return;
    end_rule(engine);
    join_workers(engine, engine->config.worker_count);
    if (engine->hops != NULL) cw_hops_stop(engine->hops);
    if (engine->wireguard != NULL) cw_wg_stop(engine->wireguard);
    engine->running = false;
}

void cw_engine_destroy(cw_engine *engine) {
    if (engine == NULL) return;
    cw_engine_stop(engine);
    end_rule(engine);
    int32_t fds[4 * CW_MAX_WORKERS];
    cw_xdp *xdp = engine->config.xdp;
    uint32_t count = 0;
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        fds[count++] = engine->config.gre_fd[i];
        fds[count++] = engine->config.tap_fd[i];
        fds[count++] = engine->config.frame_fd[i];
        fds[count++] = engine->config.tun_fd[i];
    }
    free_engine(engine);
    while (count > 0)
        if (fds[--count] >= 0) close(fds[count]);
    cw_xdp_destroy(xdp);
}

cw_wg *cw_engine_wireguard(const cw_engine *engine) { return engine->wireguard; }

int32_t cw_engine_event_fd(const cw_engine *engine) { return engine->event_fd; }

void cw_engine_departures(const cw_engine *engine, cw_departures *out) {
    *out = (cw_departures){0};
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        out->at_interface += atomic_load_explicit(&engine->workers[i].sent_at_interface, memory_order_relaxed);
        out->through_stack += atomic_load_explicit(&engine->workers[i].sent_through_stack, memory_order_relaxed);
    }
}

const char *cw_engine_isa(const cw_engine *engine) { return cw_mppe_kernels_name(&engine->kernels); }

// ---- Events and counters ----------------------------------------------------------------------------------------------

static size_t payload_size(const cw_event *event) {
    if (event->type == CW_EVENT_CLOSED) return sizeof event->counters;
    return event->length;
}

static size_t poll_worker(cw_worker *worker, cw_event *events, size_t capacity) {
    size_t count = 0;
    for (cw_event *event; count < capacity && (event = cw_ring_peek(&worker->events)) != NULL; count++) {
        size_t size = payload_size(event);
        memcpy(&events[count], event, offsetof(cw_event, payload) + size);
        if (event->type == CW_EVENT_EXPORTED) explicit_bzero(event->payload, size); // keys
        cw_ring_release(&worker->events);
    }
    if (count > 0 && atomic_exchange(&worker->event_blocked, 0) != 0) cw_worker_nudge(worker);
    return count;
}

size_t cw_engine_poll(cw_engine *engine, cw_event *events, size_t capacity) {
    // Cleared before the rings are read: what is pushed afterwards makes it readable again.
    uint64_t ignored;
    (void)!read(engine->event_fd, &ignored, sizeof ignored);
    uint32_t workers = engine->config.worker_count;
    size_t count = 0;
    for (uint32_t i = 0; i < workers; i++)
        count += poll_worker(&engine->workers[(engine->poll_first + i) % workers], events + count, capacity - count);
    engine->poll_first = (engine->poll_first + 1) % workers;
    if (count == capacity) { // there may be more
        uint64_t one = 1;
        (void)!write(engine->event_fd, &one, sizeof one);
    }
    return count;
}

void cw_engine_session_counters(cw_engine *engine, const uint64_t *sessions, size_t count, cw_counters *out, bool *found) {
    for (size_t i = 0; i < count; i++) {
        memset(&out[i], 0, sizeof out[i]);
        pthread_mutex_lock(&engine->lock);
        const cw_record *record = cw_table_find(&engine->table, sessions[i]);
        cw_public *shown = record == NULL ? NULL : &engine->workers[record->worker].shown_sessions[record->slot];
        pthread_mutex_unlock(&engine->lock);
        found[i] = shown != NULL;
        // Until the worker has opened the session the slot is somebody else's, and this one has counted nothing.
        if (shown == NULL || atomic_load_explicit(&shown->handle, memory_order_acquire) != sessions[i]) continue;
        cw_counters_load(shown->counters, &out[i]);
        if (atomic_load_explicit(&shown->handle, memory_order_relaxed) != sessions[i]) memset(&out[i], 0, sizeof out[i]);
    }
}

void cw_engine_counters(cw_engine *engine, cw_counters *out) {
    memset(out, 0, sizeof *out);
    uint64_t *sums = (uint64_t *)out;
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        cw_counters counters;
        cw_counters_load(engine->workers[i].shown, &counters);
        for (size_t j = 0; j < sizeof counters / sizeof *sums; j++) sums[j] += ((const uint64_t *)&counters)[j];
    }
}
