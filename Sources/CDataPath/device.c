// Life of a device, and the loop of its workers. A worker has no timers: it sleeps until its queue of the TUN or one of its UDP
// sockets is ready.
#define _GNU_SOURCE
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "memory.h"
#include "worker.h"

enum { watching_wake = 1, watching_tun = 2, ready_at_once = 16 };

// ---- Creation ---------------------------------------------------------------------------------------------------------

void cw_device_config_defaults(cw_device_config *config) {
    *config = (cw_device_config){.worker_count = 1, .batch_size = 64, .icmp_rate = 100};
    for (int i = 0; i < CW_MAX_WORKERS; i++) config->tun_fd[i] = -1;
    cw_wg_config_defaults(&config->wireguard);
    config->wireguard.identity_capacity = 8;
}

static bool is_valid(const cw_device_config *config) {
    if (config->worker_count == 0 || config->worker_count > CW_MAX_WORKERS) return false;
    if (config->batch_size == 0 || config->batch_size > CW_MAX_BATCH) return false;
    for (uint32_t i = 0; i < config->worker_count; i++)
        if (config->tun_fd[i] < 0) return false;
    return true;
}

static bool watch(const cw_device_worker *worker, int fd, uint64_t what) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = what};
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &interest) == 0;
}

static bool create_worker(cw_device *device, uint32_t index) {
    cw_device_worker *worker = &device->workers[index];
    worker->device = device;
    worker->index = index;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->buffers = cw_map(CW_DEVICE_BUFFERS * sizeof *worker->buffers);
    bool tun = cw_tun_create(&worker->tun, &device->offloads);
    worker->tun.fd = device->config.tun_fd[index];
    worker->icmp_bucket = cw_bucket_full(device->config.icmp_rate, device->config.icmp_rate, cw_now());
    return worker->epoll_fd >= 0 && worker->wake_fd >= 0 && worker->buffers != NULL && tun &&
           watch(worker, worker->wake_fd, watching_wake) && watch(worker, worker->tun.fd, watching_tun);
}

static void free_device(cw_device *device) {
    // Sockets leave the workers' epoll sets with it.
    if (device->wg != NULL) cw_wg_destroy(device->wg);
    for (uint32_t i = 0; device->workers != NULL && i < device->config.worker_count; i++) {
        cw_device_worker *worker = &device->workers[i];
        if (worker->device == NULL) continue;
        // Inner packets in the clear have been here.
        if (worker->buffers != NULL) cw_discard(worker->buffers, CW_DEVICE_BUFFERS * sizeof *worker->buffers);
        cw_unmap(worker->buffers, CW_DEVICE_BUFFERS * sizeof *worker->buffers);
        cw_tun_destroy(&worker->tun);
        if (worker->epoll_fd >= 0) close(worker->epoll_fd);
        if (worker->wake_fd >= 0) close(worker->wake_fd);
    }
    if (device->event_fd >= 0) close(device->event_fd);
    free(device->workers);
    free(device);
}

static cw_status create_parts(cw_device *device) {
    uint32_t count = device->config.worker_count;
    device->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (device->event_fd < 0 || !cw_tun_set_up(device->config.tun_fd, count, &device->offloads)) return CW_SYSTEM;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (count * sizeof *device->workers + 63) / 64 * 64) != 0) return CW_NO_MEMORY;
    device->workers = memory;
    memset(memory, 0, count * sizeof *device->workers);
    cw_status status = cw_wg_create(&device->config.wireguard, &device->wg);
    for (uint32_t i = 0; status == CW_OK && i < count; i++) {
        errno = 0;
        if (!create_worker(device, i)) status = errno == ENOMEM || errno == 0 ? CW_NO_MEMORY : CW_SYSTEM;
        else status = cw_wg_attach(device->wg, i, device->workers[i].epoll_fd);
    }
    return status;
}

cw_status cw_device_create(const cw_device_config *config, cw_device **out) {
    if (config == NULL || out == NULL || !is_valid(config)) return CW_INVALID;
    cw_device *device = calloc(1, sizeof *device);
    if (device == NULL) return CW_NO_MEMORY;
    device->config = *config;
    device->config.wireguard.worker_count = config->worker_count;
    cw_status status = create_parts(device);
    if (status != CW_OK) {
        int saved = errno;
        free_device(device);
        errno = saved;
        return status;
    }
    *out = device;
    return CW_OK;
}

// ---- The loop ---------------------------------------------------------------------------------------------------------

static void notify(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void cw_device_refill(cw_device_worker *worker) {
    // For what one step can take: a batch from the TUN, and as many as the engine holds before it hands them over.
    enum { wanted = 3 * CW_MAX_BATCH };
    while (worker->pool.available < wanted && worker->buffers_used < CW_DEVICE_BUFFERS)
        cw_pool_give(&worker->pool, &worker->buffers[worker->buffers_used++]);
}

void cw_device_fail(cw_device_worker *worker, int reason) {
    // It stays open until destroy, but is not looked at again: a dead descriptor is always ready.
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->tun.fd, NULL);
    worker->tun.fd = -1;
    int32_t none = 0;
    (void)atomic_compare_exchange_strong(&worker->device->failure, &none, reason);
    notify(worker->device->event_fd);
}

static void publish(cw_device_worker *worker) {
    const uint64_t *live = (const uint64_t *)&worker->live;
    for (size_t i = 0; i < sizeof worker->live / sizeof *live; i++) atomic_store_explicit(&worker->shown[i], live[i], memory_order_relaxed);
}

static void step(cw_device_worker *worker, const struct epoll_event *ready, int count) {
    cw_wg *wg = worker->device->wg;
    uint64_t now = cw_now();
    bool tun_ready = false;
    cw_device_refill(worker);
    cw_wg_enter(wg, worker->index);
    for (int i = 0; i < count; i++) {
        uint64_t what = ready[i].data.u64;
        if ((what & CW_WG_EPOLL) != 0) cw_wg_receive(wg, worker->index, what, &worker->pool, now, cw_device_take, worker);
        else if (what == watching_tun) tun_ready = true;
    }
    cw_device_deliver(worker);
    // One bounded step each; epoll is level-triggered and brings back what was left.
    if (tun_ready && worker->tun.fd >= 0) cw_device_read_tun(worker, now);
    cw_wg_flush(wg, worker->index, &worker->pool, now);
    cw_wg_leave(wg, worker->index);
    publish(worker);
}

static void *worker_main(void *argument) {
    cw_device_worker *worker = argument;
    char name[16];
    snprintf(name, sizeof name, "causeway-w%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    while (!atomic_load_explicit(&worker->device->stopping, memory_order_acquire)) {
        struct epoll_event ready[ready_at_once];
        int count = epoll_wait(worker->epoll_fd, ready, ready_at_once, -1);
        if (count > 0) step(worker, ready, count);
    }
    return NULL;
}

// ---- Life -------------------------------------------------------------------------------------------------------------

static void join_workers(cw_device *device, uint32_t count) {
    atomic_store_explicit(&device->stopping, true, memory_order_release);
    for (uint32_t i = 0; i < count; i++) notify(device->workers[i].wake_fd);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ignored;
        pthread_join(device->workers[i].thread, NULL);
        (void)!read(device->workers[i].wake_fd, &ignored, sizeof ignored);
    }
}

cw_status cw_device_start(cw_device *device) {
    if (device->running) return CW_INVALID;
    atomic_store_explicit(&device->stopping, false, memory_order_release);
    // The threads inherit the mask: signals belong to the rest of the process.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    uint32_t started = 0;
    int error = 0;
    cw_status status = cw_wg_start(device->wg);
    for (; status == CW_OK && started < device->config.worker_count; started++) {
        error = pthread_create(&device->workers[started].thread, NULL, worker_main, &device->workers[started]);
        if (error != 0) status = CW_SYSTEM;
        if (error != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    device->running = status == CW_OK;
    if (error != 0) {
        join_workers(device, started);
        cw_wg_stop(device->wg);
        errno = error;
    }
    return status;
}

void cw_device_stop(cw_device *device) {
    if (!device->running) return;
    join_workers(device, device->config.worker_count);
    cw_wg_stop(device->wg);
    device->running = false;
}

void cw_device_destroy(cw_device *device) {
    if (device == NULL) return;
    cw_device_stop(device);
    cw_device_config config = device->config;
    free_device(device);
    for (uint32_t i = 0; i < config.worker_count; i++) close(config.tun_fd[i]);
}

cw_wg *cw_device_wireguard(cw_device *device) { return device->wg; }
void cw_device_set_identity(cw_device *device, uint32_t identity) { atomic_store(&device->identity, identity); }
int32_t cw_device_event_fd(const cw_device *device) { return device->event_fd; }
int32_t cw_device_failure(const cw_device *device) { return atomic_load(&device->failure); }

void cw_device_counters_read(const cw_device *device, cw_device_counters *out) {
    uint64_t *sums = (uint64_t *)out;
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < device->config.worker_count; i++)
        for (size_t j = 0; j < sizeof *out / sizeof *sums; j++)
            sums[j] += atomic_load_explicit(&device->workers[i].shown[j], memory_order_relaxed);
}
