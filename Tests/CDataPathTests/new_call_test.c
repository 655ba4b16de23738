// A client that is faster than we are: its first packet is there while the command that opens its session waits behind many others. It is
// the packet of a session, and what the other commands send is not lost for it. The worker is stepped by hand; sockets are UDP on the
// loopback interface; no privileges needed.
#define _GNU_SOURCE
#include <unistd.h>

#include "harness.h"
#include "pair.h"
#include "worker.h"

enum { OTHER = 1, NEW = 2, FRAME = 8, FRAMES = 400 }; // more than a worker sends in a step, or has buffers for

static cw_engine *engine;
static int gre_ends[2];

static void submit(cw_command command) {
    size_t taken;
    CHECK_EQUAL(cw_engine_submit(engine, &command, 1, &taken), CW_OK);
    CHECK_EQUAL(taken, 1);
}

static void open_session(unsigned n) {
    submit((cw_command){
        .type = CW_OPEN, .session = n,
        .open = {.local_call_id = (uint16_t)n, .peer_call_id = 7, .peer_address = {.bytes = {127, 0, 0, 9}, .family = 4}}});
}

static void send_frames(unsigned n, unsigned count) {
    static const uint8_t frame[FRAME] = {9, 1, 0, FRAME};
    for (unsigned i = 0; i < count; i++)
        submit((cw_command){.type = CW_INJECT, .session = n, .inject = {.protocol = 0xC021, .length = FRAME, .payload = frame}});
}

// A Configure-Request in GRE in IPv4, as a raw socket has it.
static void put_request(uint16_t call) {
    enum { payload = 8, outer = 20 + 12 };
    uint8_t p[outer + payload] = {0x45, [3] = outer + payload, [8] = 64, [9] = 47, [12] = 127, 0, 0, 9, 127, 0, 0, 1, 0x30, 0x01, 0x88, 0x0B};
    cw_put16(p + 24, payload);
    cw_put16(p + 26, call);
    memcpy(p + outer, (uint8_t[payload]){0xFF, 0x03, 0xC0, 0x21, 1, 1, 0, 4}, payload);
    CHECK_EQUAL(send(gre_ends[0], p, sizeof p, 0), (ssize_t)sizeof p);
}

static const cw_session *session_of(unsigned n) {
    for (uint32_t slot = 0; slot < engine->workers[0].slots; slot++)
        if (cw_session_at(&engine->workers[0], slot)->handle == n) return cw_session_at(&engine->workers[0], slot);
    return NULL;
}

static void step(void) {
    const struct epoll_event ready = {.events = EPOLLIN, .data.u64 = (uint32_t)engine->workers[0].gre_fd};
    (void)cw_worker_step(&engine->workers[0], &ready, 1, cw_now());
}

static void start(void) {
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.worker_count = 1;
    config.session_capacity = 8;
    config.batch_size = 16;
    pair(gre_ends);
    config.gre_fd[0] = gre_ends[1];
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
}

static void stop(void) {
    cw_engine_destroy(engine);
    close(gre_ends[0]);
}

static uint64_t unknown(void) { return engine->workers[0].live.drops[CW_DROP_GRE_UNKNOWN_CALL]; }

static void test_a_packet_before_its_session(void) {
    start();
    open_session(OTHER);
    step();
    send_frames(OTHER, FRAMES);
    open_session(NEW);
    put_request(NEW);
    step();
    CHECK_EQUAL(unknown(), 0);
    const cw_session *new = session_of(NEW), *other = session_of(OTHER);
    CHECK(new != NULL && other != NULL);
    if (new != NULL) CHECK_EQUAL(new->live.control_in, 1);
    if (other != NULL) CHECK_EQUAL(other->live.drops[CW_DROP_OVERFLOW], 0);
    stop();
}

// A session that went while its packets were read is no session, and its last packets are nobody's.
static void test_a_packet_after_its_session(void) {
    start();
    open_session(OTHER);
    step();
    submit((cw_command){.type = CW_CLOSE, .session = OTHER});
    put_request(OTHER);
    put_request(NEW);
    step();
    CHECK_EQUAL(unknown(), 2);
    CHECK(session_of(OTHER) == NULL);
    stop();
}

// The command that closes a session comes with the miss of another one's packet, between two packets of its own.
static void test_a_session_that_ends_in_between(void) {
    start();
    open_session(OTHER);
    step();
    send_frames(OTHER, 100);
    submit((cw_command){.type = CW_CLOSE, .session = OTHER});
    open_session(NEW);
    put_request(OTHER);
    put_request(NEW);
    put_request(OTHER);
    step();
    CHECK_EQUAL(unknown(), 1);
    CHECK(session_of(OTHER) == NULL && session_of(NEW) != NULL);
    stop();
}

int main(void) {
    RUN(a_packet_before_its_session);
    RUN(a_packet_after_its_session);
    RUN(a_session_that_ends_in_between);
    FINISH();
}
