// Workers that are stepped by hand, so that what threads do by chance happens for certain: one worker is behind with its commands while
// another has gone on. Sockets are pairs; no privileges needed.
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "worker.h"

static cw_engine *engine;
static int tun_ends[2], gre_ends[2];

static void start(void) {
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.worker_count = 2;
    config.session_capacity = 4;
    for (int i = 0; i < 2; i++) {
        int tun[2], gre[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun) != 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, gre) != 0)
            exit(1);
        config.tun_fd[i] = tun[0];
        config.gre_fd[i] = gre[0];
        tun_ends[i] = tun[1];
        gre_ends[i] = gre[1];
    }
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
}

static void stop(void) {
    cw_engine_destroy(engine);
    for (int i = 0; i < 2; i++) {
        close(tun_ends[i]);
        close(gre_ends[i]);
    }
}

static void submit(cw_command command) {
    size_t taken;
    CHECK_EQUAL(cw_engine_submit(engine, &command, 1, &taken), CW_OK);
}

static void run_commands(unsigned worker) {
    while (cw_worker_commands(&engine->workers[worker], 1, 64)) {}
    cw_worker_refill(&engine->workers[worker], 0);
}

static void open_and_bind(uint64_t handle, uint16_t call, uint8_t last) {
    cw_command open = {
        .type = CW_OPEN,
        .session = handle,
        .open = {.local_call_id = call, .peer_call_id = 7, .peer_address = {.bytes = {127, 0, 0, 1}, .family = 4}},
    };
    cw_command bind = {.type = CW_BIND, .session = handle, .bind = {.mtu = 1400, .prefix_count = 1}};
    bind.bind.prefixes[0] = (cw_prefix){.address = {.bytes = {10, 0, 0, last}, .family = 4}, .length = 32};
    submit(open);
    submit(bind);
}

// A packet for 10.0.0.`last` waits in worker 0's TUN queue.
static bool put_into_tun(uint8_t last, int flags) {
    uint8_t frame[CW_TUN_HEADER + 40] = {0}, *p = frame + CW_TUN_HEADER;
    p[0] = 0x45;
    p[3] = 40;
    p[8] = 64;
    p[9] = 17;
    memcpy(p + 12, (uint8_t[]){192, 0, 2, 1, 10, 0, 0, last}, 8);
    cw_put16(p + 10, cw_checksum(cw_sum(0, p, 20)));
    return send(tun_ends[0], frame, sizeof frame, flags) == sizeof frame;
}

// One goes where worker 0 believes.
static void send_to(uint8_t last) {
    CHECK(put_into_tun(last, 0));
    cw_worker_read_tun(&engine->workers[0], 1);
    cw_worker_take_handoffs(&engine->workers[1], 1);
    cw_worker_send_waiting(&engine->workers[1], 1);
}

static uint64_t seen_by(unsigned slot) { // a socket pair refuses the address, so a packet that was sent counts there
    cw_session *session = cw_session_at(&engine->workers[1], slot);
    return session->live.drops[CW_DROP_SEND_FAILED] + session->live.packets_out;
}

static void test_stale_route(void) {
    start();
    open_and_bind(1, 1, 1); // odd call IDs live on worker 1
    run_commands(0);
    run_commands(1);
    send_to(1);
    CHECK_EQUAL(seen_by(0), 1);
    // The session closes and another takes its slot, while worker 0 has not heard of either.
    submit((cw_command){.type = CW_CLOSE, .session = 1});
    open_and_bind(2, 3, 2);
    run_commands(1);
    CHECK_EQUAL(cw_session_at(&engine->workers[1], 0)->handle, 2);
    send_to(1);
    CHECK_EQUAL(seen_by(0), 0);
    CHECK_EQUAL(engine->workers[1].live.drops[CW_DROP_IP_NO_SESSION], 1);
    run_commands(0);
    send_to(1);
    CHECK_EQUAL(engine->workers[0].live.drops[CW_DROP_IP_NO_SESSION], 1);
    send_to(2);
    CHECK_EQUAL(seen_by(0), 1);
    stop();
}

// The other way round: worker 0 knows the new route before worker 1 has opened the session.
static void test_early_route(void) {
    start();
    open_and_bind(1, 1, 1);
    run_commands(0);
    send_to(1);
    CHECK_EQUAL(engine->workers[1].live.drops[CW_DROP_IP_NO_SESSION], 1);
    run_commands(1);
    send_to(1);
    CHECK_EQUAL(seen_by(0), 1);
    stop();
}

// More packets than the ring between two workers holds: the rest is counted, and the ring serves again once it is read.
static void test_full_handoff_ring(void) {
    start();
    open_and_bind(1, 1, 1);
    run_commands(0);
    run_commands(1);
    cw_worker *from = &engine->workers[0], *to = &engine->workers[1];
    uint32_t capacity = engine->handoffs[1].capacity, extra = 10;
    cw_route route = cw_route_make(1, 0, cw_session_at(to, 0)->generation);
    for (uint32_t i = 0; i < capacity + extra; i++) {
        cw_worker_refill(from, 0);
        cw_buffer *buffer = cw_pool_take(&from->pool);
        CHECK(buffer != NULL);
        memset(cw_buffer_data(buffer), 0, 40);
        buffer->length = 40; // not a packet: the receiver counts it
        cw_worker_hand_over(from, route, &(cw_origin){.way = CW_FROM_UPLINK}, buffer, 1);
    }
    CHECK_EQUAL(from->live.drops[CW_DROP_OVERFLOW], extra);
    cw_worker_flush(from, 1);
    while (cw_worker_has_handoffs(to)) {
        cw_worker_take_handoffs(to, 1);
        cw_worker_send_waiting(to, 1);
    }
    while (to->down.packets > 0) cw_worker_send_waiting(to, 1);
    CHECK_EQUAL(cw_session_at(to, 0)->live.drops[CW_DROP_IP_MALFORMED], capacity);
    send_to(1);
    CHECK_EQUAL(seen_by(0), 1);
    stop();
}

static bool was_nudged(cw_worker *worker) {
    uint64_t times;
    return read(worker->wake_fd, &times, sizeof times) == sizeof times;
}

// The other worker does not run for a while: what is for it stays in the TUN's queue, and nothing is lost. It wakes the reader when half
// of its ring is free again.
static void test_held_back(void) {
    start();
    open_and_bind(1, 1, 1);
    run_commands(0);
    run_commands(1);
    cw_worker *from = &engine->workers[0], *to = &engine->workers[1];
    uint32_t capacity = engine->handoffs[1].capacity, put = 0, steps = 0;
    CHECK(!was_nudged(from));
    while (from->held_back == 0 && steps++ < capacity) {
        if (put_into_tun(1, MSG_DONTWAIT)) put++;
        cw_worker_refill(from, 0);
        cw_worker_read_tun(from, 1);
    }
    uint32_t waiting = cw_ring_count(&engine->handoffs[1]);
    CHECK(from->held_back != 0 && waiting >= capacity / 2 && waiting < capacity);
    CHECK_EQUAL(waiting, put);
    CHECK(put_into_tun(1, MSG_DONTWAIT)); // and stays there
    cw_worker_read_tun(from, 1);
    CHECK_EQUAL(cw_ring_count(&engine->handoffs[1]), waiting);
    // Its turns are full before the ring is empty: it takes the rest when they have gone.
    cw_worker_take_handoffs(to, 1);
    CHECK(cw_turns_full(&to->down));
    CHECK_EQUAL(from->held_back == 0, cw_ring_count(&engine->handoffs[1]) <= capacity / 2);
    for (uint32_t i = 0; i < capacity && seen_by(0) < put; i++) {
        cw_worker_send_waiting(to, 1);
        cw_worker_take_handoffs(to, 1);
    }
    CHECK(from->held_back == 0 && was_nudged(from) && !was_nudged(from));
    cw_worker_read_tun(from, 1);
    cw_worker_take_handoffs(to, 1);
    cw_worker_send_waiting(to, 1);
    CHECK_EQUAL(seen_by(0), put + 1);
    CHECK_EQUAL(from->live.drops[CW_DROP_OVERFLOW] + to->live.drops[CW_DROP_OVERFLOW], 0);
    stop();
}

static double processor_seconds(pthread_t thread) {
    clockid_t clock;
    struct timespec used;
    CHECK(pthread_getcpuclockid(thread, &clock) == 0 && clock_gettime(clock, &used) == 0);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

// The reader is a thread, the other worker goes by hand: held back, the reader sleeps although there is something to read; it is woken each
// time there is room, and every packet of a long burst comes through.
static void test_held_back_asleep(void) {
    enum { packets = 5000, patience = 5000 }; // milliseconds
    start();
    open_and_bind(1, 1, 1);
    run_commands(0);
    run_commands(1);
    cw_worker *from = &engine->workers[0], *to = &engine->workers[1];
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, cw_worker_main, from), 0);
    uint32_t put = 0, held = 0, waited = 0;
    while (seen_by(0) < packets && waited < patience) {
        while (put < packets && put_into_tun(1, MSG_DONTWAIT)) put++;
        bool now_held = atomic_load(&from->held_back) != 0;
        if (now_held && held++ == 0) {
            if (put_into_tun(1, MSG_DONTWAIT)) put++; // there is something to read
            poll(NULL, 0, 20);
            double before = processor_seconds(thread);
            poll(NULL, 0, 100);
            CHECK(processor_seconds(thread) - before < 0.02);
        }
        if (now_held || put == packets) {
            cw_worker_take_handoffs(to, 1);
            while (to->down.packets > 0) cw_worker_send_waiting(to, 1);
        }
        poll(NULL, 0, 1);
        waited++;
    }
    CHECK_EQUAL(seen_by(0), packets);
    CHECK(held > 1);
    atomic_store(&engine->stopping, true);
    cw_worker_nudge(from);
    pthread_join(thread, NULL);
    CHECK_EQUAL(from->live.drops[CW_DROP_OVERFLOW] + to->live.drops[CW_DROP_OVERFLOW], 0);
    stop();
}

// A session whose notice waits for room in the event ring closes: the notice goes with it, others stay.
static void test_notice_of_closed_session(void) {
    start();
    cw_worker *worker = &engine->workers[1];
    open_and_bind(1, 1, 1);
    open_and_bind(2, 3, 2);
    run_commands(1);
    while (cw_ring_room(&worker->events) > 0) cw_worker_event(worker, CW_EVENT_REFUSED, 99);
    cw_worker_notice(worker, cw_session_at(worker, 0), CW_NOTICE_LOST);
    cw_worker_notice(worker, cw_session_at(worker, 1), CW_NOTICE_LOST);
    cw_worker_notice(worker, cw_session_at(worker, 1), CW_NOTICE_LOST); // said once is enough
    CHECK(worker->notices != NULL);
    submit((cw_command){.type = CW_CLOSE, .session = 1});
    run_commands(1);
    CHECK(worker->commands_blocked);
    cw_worker_flush_events(worker);
    static cw_event events[2048];
    size_t capacity = worker->events.capacity;
    CHECK_EQUAL(cw_engine_poll(engine, events, 2048), capacity);
    run_commands(1);
    cw_worker_flush_notices(worker);
    cw_worker_flush_events(worker);
    CHECK_EQUAL(cw_engine_poll(engine, events, 2048), 2);
    CHECK(events[0].type == CW_EVENT_CLOSED && events[0].session == 1);
    CHECK(events[1].type == CW_EVENT_DECRYPT_LOST && events[1].session == 2);
    CHECK(worker->notices == NULL);
    stop();
}

// Each worker is on one processor of ours, two of them on two if there are; and one that polls answers all the same when it sleeps, when it
// is woken and when it stops.
static void test_processors_and_polling(void) {
    cpu_set_t ours, allowed, seen;
    CHECK(sched_getaffinity(0, sizeof ours, &ours) == 0);
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.worker_count = 2;
    config.pin_workers = true;
    config.poll_microseconds = 1000;
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
    CHECK_EQUAL(cw_engine_start(engine), CW_OK);
    for (uint64_t handle = 1; handle <= 200; handle++) {
        cw_event events[8];
        struct pollfd wait = {.fd = cw_engine_event_fd(engine), .events = POLLIN};
        submit((cw_command){.type = CW_UNBIND, .session = handle}); // refused by the first worker
        size_t count = 0;
        while (count == 0 && poll(&wait, 1, 5000) == 1) count = cw_engine_poll(engine, events, 8);
        CHECK(count == 1 && events[0].type == CW_EVENT_REFUSED && events[0].session == handle);
    }
    CPU_ZERO(&seen);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_getaffinity_np(engine->workers[i].thread, sizeof allowed, &allowed) == 0);
        CHECK_EQUAL(CPU_COUNT(&allowed), 1);
        CPU_OR(&seen, &seen, &allowed);
    }
    CHECK_EQUAL(CPU_COUNT(&seen), CPU_COUNT(&ours) > 1 ? 2 : 1);
    CPU_AND(&allowed, &seen, &ours);
    CHECK(CPU_EQUAL(&allowed, &seen));
    cw_engine_destroy(engine);
    config.poll_microseconds = 1001;
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_INVALID);
}

int main(void) {
    RUN(stale_route);
    RUN(early_route);
    RUN(full_handoff_ring);
    RUN(held_back);
    RUN(held_back_asleep);
    RUN(notice_of_closed_session);
    RUN(processors_and_polling);
    FINISH();
}
