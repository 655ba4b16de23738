// One session sends more than a worker can serve, forty send a little: nothing of theirs is lost or late, and what is lost of the flood is
// counted as such. Workers are stepped by hand with a clock of ours, so what is served in a step is what a worker serves in a step, however
// slow the machine is. Sockets are UDP on the loopback interface; no privileges needed.
#define _GNU_SOURCE
#include <unistd.h>

#include "harness.h"
#include "pair.h"
#include "worker.h"

enum { LIGHT = 40, SESSIONS = LIGHT + 1, BATCH = 8, STEPS = 3000, STEP = 5000000 }; // nanoseconds
enum { FLOOD = 2 * BATCH + 4 }; // packets of the flood in each step: more than are served, in either direction
_Static_assert(CW_WORKER_SERVES * BATCH < FLOOD, "");

static cw_engine *engine;
static int tun_ends[2], gre_ends[2];
static uint64_t now;
static uint32_t access_identity;
static uint64_t sent[SESSIONS]; // the flood is number 0
static uint32_t sequence[SESSIONS];

static void submit(cw_command command) {
    size_t taken;
    CHECK_EQUAL(cw_engine_submit(engine, &command, 1, &taken), CW_OK);
}

static uint64_t handle_of(unsigned n) { return n + 1; }
static cw_address inner_of(unsigned n) { return (cw_address){.bytes = {10, 0, 0, (uint8_t)(n + 1)}, .family = 4}; }
// All of one worker: the last one.
static uint16_t call_of(unsigned n) { return (uint16_t)((n + 1) * engine->config.worker_count + engine->config.worker_count - 1); }
static cw_worker *home(void) { return &engine->workers[engine->config.worker_count - 1]; }
static cw_session *session_of(unsigned n) {
    for (uint32_t slot = 0; slot < home()->slots; slot++)
        if (cw_session_at(home(), slot)->handle == handle_of(n)) return cw_session_at(home(), slot);
    abort();
}

static void step(unsigned worker) {
    const struct epoll_event ready[] = {{.events = EPOLLIN, .data.u64 = (uint32_t)engine->workers[worker].gre_fd},
                                        {.events = EPOLLIN, .data.u64 = (uint32_t)engine->workers[worker].tun.fd}};
    (void)cw_worker_step(&engine->workers[worker], ready, 2, now);
    uint8_t ignored[2048];
    while (recv(tun_ends[worker], ignored, sizeof ignored, 0) > 0) {} // as a TUN does
}

static void start(uint32_t workers, bool native) {
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.worker_count = workers;
    config.session_capacity = 64 * workers;
    config.batch_size = BATCH;
    config.wireguard = native;
    for (uint32_t i = 0; i < workers; i++) {
        int tun[2], gre[2];
        pair(tun);
        pair(gre);
        config.tun_fd[i] = tun[0];
        config.gre_fd[i] = gre[0];
        tun_ends[i] = tun[1];
        gre_ends[i] = gre[1];
    }
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
    memset(sent, 0, sizeof sent);
    memset(sequence, 0, sizeof sequence);
    now = 1000000000;
    if (native) {
        uint32_t port;
        cw_wg_port_config open = {.ipv4 = true};
        const uint8_t key[CW_WG_KEY_SIZE] = {8, [31] = 64};
        CHECK_EQUAL(cw_wg_port_open(cw_engine_wireguard(engine), &open, &port), CW_OK);
        CHECK_EQUAL(cw_wg_identity_add(cw_engine_wireguard(engine), port, key, &access_identity), CW_OK);
    }
    submit((cw_command){.type = CW_TUNNEL, .tunnel = {.index = 0, .mtu = 1500, .up = true}});
    for (unsigned n = 0; n < SESSIONS; n++) {
        cw_command open = {.type = CW_OPEN, .session = handle_of(n)}, bind = {.type = CW_BIND, .session = handle_of(n)};
        open.open = (cw_session_config){
            .local_call_id = call_of(n), .peer_call_id = 7, .peer_address = {.bytes = {127, 0, 0, 9}, .family = 4}};
        if (native) {
            open = (cw_command){.type = CW_OPEN_NATIVE, .session = handle_of(n), .open_native = {.identity = access_identity}};
            open.open_native.peer[0] = (uint8_t)n;
        }
        bind.bind = (cw_bind){.mtu = 1400, .prefix_count = 1, .prefixes = {{.address = inner_of(n), .length = 32}}};
        submit(open);
        submit(bind);
        for (uint32_t i = 0; i < workers; i++) step(i);
    }
}

static void stop(void) {
    uint32_t workers = engine->config.worker_count;
    cw_engine_destroy(engine);
    for (uint32_t i = 0; i < workers; i++) {
        close(tun_ends[i]);
        close(gre_ends[i]);
    }
}

// ---- Packets ----------------------------------------------------------------------------------------------------------

enum { INNER = 40, OUTER = 20 + 12 + 4 };

static void inner_packet(uint8_t *p, unsigned n, bool down) {
    const cw_address server = {.bytes = {192, 0, 2, 1}, .family = 4}, user = inner_of(n);
    memset(p, 0, INNER);
    p[0] = 0x45;
    p[3] = INNER;
    p[8] = 64;
    p[9] = 17;
    memcpy(p + 12, down ? server.bytes : user.bytes, 4);
    memcpy(p + 16, down ? user.bytes : server.bytes, 4);
    cw_put16(p + 10, cw_checksum(cw_sum(0, p, 20)));
}

typedef bool putter(unsigned n); // false: it was lost on its way to the worker

static bool put_gre(unsigned n) {
    uint8_t p[OUTER + INNER] = {0x45, [3] = OUTER + INNER, [8] = 64, [9] = 47, [12] = 127, 0, 0, 9, 127, 0, 0, 1, 0x30, 0x01, 0x88, 0x0B};
    cw_put16(p + 24, 4 + INNER);
    cw_put16(p + 26, call_of(n));
    cw_put16(p + 30, (uint16_t)sequence[n]++);
    memcpy(p + 32, (uint8_t[]){0xFF, 0x03, 0x00, 0x21}, 4);
    inner_packet(p + OUTER, n, false);
    return send(gre_ends[0], p, sizeof p, 0) == sizeof p;
}

static bool put_tun(unsigned n) {
    uint8_t frame[CW_TUN_HEADER + INNER] = {0};
    inner_packet(frame + CW_TUN_HEADER, n, true);
    return send(tun_ends[0], frame, sizeof frame, 0) == sizeof frame;
}

static bool hand_over(unsigned n, bool down, const cw_origin *origin) {
    cw_worker *worker = &engine->workers[0];
    const cw_session *session = session_of(n);
    cw_worker_refill(worker, 0);
    cw_buffer *buffer = cw_pool_take(&worker->pool);
    uint64_t lost = worker->live.drops[CW_DROP_OVERFLOW];
    if (buffer == NULL) return false;
    buffer->offset = CW_HEADROOM;
    buffer->length = INNER;
    inner_packet(cw_buffer_data(buffer), n, down);
    cw_worker_hand_over(worker, cw_route_make(home()->index, session->slot, session->generation), origin, buffer, now);
    return worker->live.drops[CW_DROP_OVERFLOW] == lost;
}
static bool put_from_other_worker(unsigned n) { return hand_over(n, true, &(cw_origin){.way = CW_FROM_UPLINK}); }
static bool put_native(unsigned n) {
    return hand_over(n, false, &(cw_origin){.way = CW_FROM_NATIVE, .identity = access_identity, .peer = {(uint8_t)n}});
}

// ---- What became of them ----------------------------------------------------------------------------------------------

static uint64_t served(unsigned n, bool down) {
    const cw_counters *live = &session_of(n)->live;
    return down ? live->packets_out + live->drops[CW_DROP_SEND_FAILED] : live->packets_in; // our sockets refuse GRE's addresses
}
static uint64_t refused(unsigned n) { return session_of(n)->live.drops[CW_DROP_FAIR_SHARE]; }

// The flood comes first in each step, so that the others find whatever queue there is as full as it gets.
static void flood(uint32_t workers, bool down, putter *put) {
    start(workers, put == put_native);
    unsigned late = 0, lost = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned light = 1 + i % LIGHT;
        for (unsigned packet = 0; packet < FLOOD; packet++) sent[0] += put(0);
        if (put(light)) sent[light]++;
        else lost++;
        now += STEP;
        for (uint32_t worker = 0; worker < workers; worker++) step(worker);
        // Behind for a moment, everybody waits; then nobody but the flood, and all that the others sent leaves at once.
        if (i > 4 * CW_TURNS_PATIENCE / STEP) late += served(light, down) != sent[light];
    }
    for (unsigned i = 0; i < 200; i++, now += STEP)
        for (uint32_t worker = 0; worker < workers; worker++) step(worker);
    CHECK_EQUAL(late, 0);
    CHECK_EQUAL(lost, 0);
    for (unsigned n = 1; n < SESSIONS; n++) {
        CHECK_EQUAL(served(n, down), sent[n]);
        CHECK_EQUAL(refused(n), 0);
    }
    CHECK(refused(0) > STEPS);
    CHECK_EQUAL(served(0, down) + refused(0), sent[0]);
    stop();
}

static void test_from_a_user(void) { flood(1, false, put_gre); }
static void test_to_a_user(void) { flood(1, true, put_tun); }
static void test_to_a_user_of_another_worker(void) { flood(2, true, put_from_other_worker); }
static void test_from_a_native_user(void) { flood(1, false, put_native); }

// What waits for a turn when its session closes is counted with what else was lost of it.
static void test_closing(void) {
    enum { waiting = 3 * CW_WORKER_SERVES * BATCH };
    start(1, false);
    for (unsigned i = 0; i < waiting; i++) CHECK(hand_over(0, true, &(cw_origin){.way = CW_FROM_UPLINK}));
    submit((cw_command){.type = CW_CLOSE, .session = handle_of(0)});
    step(0);
    static cw_event events[64];
    size_t count = cw_engine_poll(engine, events, 64), closed = 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].type != CW_EVENT_CLOSED) continue;
        closed++;
        CHECK_EQUAL(events[i].session, handle_of(0));
        CHECK_EQUAL(events[i].counters.drops[CW_DROP_NOT_OPEN], waiting);
    }
    CHECK_EQUAL(closed, 1);
    CHECK_EQUAL(home()->down.packets, 0);
    stop();
}

int main(void) {
    RUN(from_a_user);
    RUN(to_a_user);
    RUN(to_a_user_of_another_worker);
    RUN(from_a_native_user);
    RUN(closing);
    FINISH();
}
