// Timers of a worker: none of its own. It sleeps until a descriptor is ready, a ring has something, or the earliest deadline of a
// session's link (acknowledgment, reorder hold, Reset-Request) has come; and, after work, once more a few seconds later to give
// memory back.
//
// A batch is what is there when it looks: nothing ever waits for a batch to fill.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

enum { commands_per_round = 64, ready_per_round = 16, trim_seconds = 3 };

// ---- Processors -------------------------------------------------------------------------------------------------------

static int nth_processor(const cpu_set_t *set, uint32_t n) {
    int processor = 0;
    while (!CPU_ISSET(processor, set) || n-- > 0) processor++;
    return processor;
}

// On its own processor, if it is to have one. Whoever has only one to share gains nothing by looking without sleeping.
static void settle(cw_worker *worker) {
    cpu_set_t allowed, own;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return; // more processors than the set has room for
    uint32_t count = (uint32_t)CPU_COUNT(&allowed);
    if (count == 1) worker->poll_nanoseconds = 0;
    if (!worker->config->pin_workers || count == 0) return;
    CPU_ZERO(&own);
    CPU_SET(nth_processor(&allowed, worker->index % count), &own);
    (void)sched_setaffinity(0, sizeof own, &own); // without it everything works all the same
}

// ---- Waiting ----------------------------------------------------------------------------------------------------------

static bool has_ring_work(cw_worker *worker) {
    return (!worker->commands_blocked && cw_ring_waiting(&worker->commands)) || cw_worker_has_handoffs(worker);
}

// Held back, it looks at everything but what it may not read, which would be ready all the time.
static int look_aside(const cw_worker *worker, const struct timespec *until, struct epoll_event *ready) {
    struct pollfd waiting[] = {
        {worker->wake_fd, POLLIN, 0}, {worker->gre_fd, POLLIN, 0}, {worker->tap.fd, POLLIN, 0}, {worker->xsks.fd, POLLIN, 0}};
    int count = 0;
    if (ppoll(waiting, sizeof waiting / sizeof *waiting, until, NULL) <= 0) return 0;
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++)
        if (waiting[i].revents != 0) ready[count++] = (struct epoll_event){.events = EPOLLIN, .data.u64 = (uint32_t)waiting[i].fd};
    return count;
}

static int look(cw_worker *worker, const struct timespec *until, struct epoll_event *ready, int capacity) {
    if (atomic_load_explicit(&worker->held_back, memory_order_relaxed) != 0) return look_aside(worker, until, ready);
    int count = epoll_pwait2(worker->epoll_fd, ready, capacity, until, NULL);
    return count < 0 ? 0 : count;
}

static uint64_t next_deadline(const cw_worker *worker) {
    uint64_t deadline = cw_timers_next(&worker->timers);
    return deadline < worker->trim_at ? deadline : worker->trim_at;
}

// Looks again and again for a little while. 0: there was nothing, or something that has no descriptor.
static int poll_for_work(cw_worker *worker, struct epoll_event *ready, int capacity) {
    const struct timespec at_once = {0, 0};
    uint64_t until = cw_now() + worker->poll_nanoseconds, deadline = next_deadline(worker);
    if (deadline < until) until = deadline;
    do {
        int count = look(worker, &at_once, ready, capacity);
        if (count > 0 || has_ring_work(worker)) return count;
    } while (cw_now() < until);
    return 0;
}

static int wait_for_work(cw_worker *worker, bool more, struct epoll_event *ready, int capacity) {
    const struct timespec at_once = {0, 0};
    while (!more && cw_worker_can_idle(worker)) {
        int count = look(worker, &at_once, ready, capacity);
        if (count > 0 || has_ring_work(worker)) return count;
        cw_worker_idle(worker);
    }
    if (!more && worker->polling) {
        int count = poll_for_work(worker, ready, capacity);
        if (count > 0) return count;
    }
    struct timespec timeout = {0, 0}, *until = &timeout;
    uint64_t began = cw_now();
    atomic_store(&worker->sleeping, 1);
    if (!more && !has_ring_work(worker)) {
        uint64_t deadline = next_deadline(worker);
        if (deadline == UINT64_MAX) {
            until = NULL;
        } else if (deadline > began) {
            timeout.tv_sec = (time_t)((deadline - began) / 1000000000u);
            timeout.tv_nsec = (long)((deadline - began) % 1000000000u);
        }
    }
    int count = look(worker, until, ready, capacity);
    atomic_store(&worker->sleeping, 0);
    // Polling pays where it would have found what ended this sleep.
    worker->polling = count > 0 && cw_now() - began < worker->poll_nanoseconds;
    return count;
}

// ---- The loop ---------------------------------------------------------------------------------------------------------

bool cw_worker_step(cw_worker *worker, const struct epoll_event *ready, int count, uint64_t now) {
    bool gre_ready = false, tap_ready = false, xsks_ready = false, tun_ready = false;
    for (int i = 0; i < count; i++) {
        if ((ready[i].data.u64 & CW_WG_EPOLL) != 0) continue;
        if (ready[i].data.fd == worker->gre_fd) gre_ready = true;
        else if (ready[i].data.fd == worker->tap.fd) tap_ready = true;
        else if (ready[i].data.fd == worker->xsks.fd) xsks_ready = true;
        else if (ready[i].data.fd == worker->tun.fd) tun_ready = true;
        else if (ready[i].data.fd == worker->wake_fd) {
            uint64_t ignored;
            (void)!read(worker->wake_fd, &ignored, sizeof ignored);
        }
    }
    cw_worker_refill(worker, 0);
    // One bounded step each; epoll is level-triggered and brings back what was left.
    cw_worker_enter(worker);
    bool more = cw_worker_commands(worker, now, commands_per_round);
    cw_worker_flush(worker, now);
    if (tap_ready) cw_worker_receive_tapped(worker, now);
    if (xsks_ready) cw_worker_receive_xsks(worker, now);
    if (gre_ready && worker->gre_fd >= 0) cw_worker_receive(worker, now);
    if (worker->up.packets > 0) cw_worker_receive_waiting(worker, now);
    cw_worker_leave(worker);
    for (int i = 0; i < count; i++)
        if ((ready[i].data.u64 & CW_WG_EPOLL) != 0) cw_worker_read_wireguard(worker, ready[i].data.u64, now);
    cw_worker_refill(worker, 0);
    cw_worker_enter(worker);
    cw_worker_take_handoffs(worker, now);
    cw_worker_leave(worker);
    cw_worker_enter(worker);
    if (tun_ready && worker->tun.fd >= 0) cw_worker_read_tun(worker, now);
    cw_worker_expire(worker, now);
    cw_worker_send_waiting(worker, now);
    cw_worker_leave(worker);
    bool unsent = cw_xsks_kick(&worker->xsks); // in every step, whatever else waits
    if (worker->up.packets > 0 || worker->down.packets > 0 || unsent) more = true;
    if (worker->up.packets == 0 && !worker->more_to_receive) cw_turns_caught_up(&worker->up);
    if (worker->down.packets == 0 && !worker->more_from_uplink) cw_turns_caught_up(&worker->down);
    worker->more_to_receive = worker->more_from_uplink = false;
    cw_worker_flush_notices(worker);
    cw_worker_flush_events(worker);
    cw_worker_publish(worker);
    return more;
}

void *cw_worker_main(void *argument) {
    cw_worker *worker = argument;
    char name[16];
    snprintf(name, sizeof name, "causeway-w%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    settle(worker);
    bool more = true;
    while (!atomic_load_explicit(&worker->engine->stopping, memory_order_acquire)) {
        struct epoll_event ready[ready_per_round];
        int count = wait_for_work(worker, more, ready, ready_per_round);
        uint64_t now = cw_now();
        if (worker->trim_at <= now) {
            // Keys that were used lately stay until the next time.
            worker->trim_at = cw_worker_trim(worker) ? now + trim_seconds * UINT64_C(1000000000) : UINT64_MAX;
        }
        if (worker->trim_at == UINT64_MAX && (count > 0 || more)) worker->trim_at = now + trim_seconds * UINT64_C(1000000000);
        more = cw_worker_step(worker, ready, count, now);
    }
    cw_worker_flush_events(worker);
    cw_worker_publish(worker);
    return NULL;
}
