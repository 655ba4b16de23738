// Engines end to end: 100 sessions over two workers each, commands and their refusals, events, counters, no leak.
#define _GNU_SOURCE
#include "engine_rig.h"

enum { SESSIONS = 100, ROUNDS = 20 };

static cw_address hub(void) { return rig_address("10.200.0.1"); }

static uint64_t total_drops(const cw_counters *counters) {
    uint64_t sum = 0;
    for (int i = 0; i < CW_DROP_COUNT; i++) sum += counters->drops[i];
    return sum;
}

static void start_pair(rig_side *gateway, rig_side *client, uint32_t workers) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, workers);
    rig_start(gateway, "cwg0", &config);
    config = rig_config(CW_ROLE_CLIENT, workers);
    rig_start(client, "cwc0", &config);
    rig_tunnel(gateway, true, 1420);
}

// Every packet of every session arrives once, unchanged, in order within its session, and is counted once.
static void exchange(rig_side *from, rig_side *to, const rig_session *sessions, bool upstream) {
    static unsigned next[SESSIONS];
    memset(next, 0, sizeof next);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned n = 0; n < SESSIONS; n++) {
            cw_address inner = sessions[n].inner;
            rig_packet packet = rig_udp(upstream ? inner : hub(), upstream ? hub() : inner, 60 + n + round * 50, (uint16_t)round, true);
            rig_send(from, &packet);
        }
        for (unsigned n = 0; n < SESSIONS; n++) {
            rig_packet got;
            if (!rig_receive(to, &got, RIG_PATIENCE)) {
                CHECK(!"a packet is missing");
                return;
            }
            const uint8_t *inner = got.data + (upstream ? 12 : 16);
            unsigned index = inner[2] * 200u + inner[3] - 1;
            CHECK(index < SESSIONS);
            if (index >= SESSIONS) return;
            rig_packet expected = rig_udp(upstream ? sessions[index].inner : hub(), upstream ? hub() : sessions[index].inner,
                                          60 + index + next[index] * 50, (uint16_t)next[index], true);
            CHECK(rig_same(&got, &expected));
            next[index]++;
        }
    }
}

static void test_hundred_sessions(void) {
    int descriptors = rig_descriptors();
    rig_side gateway, client;
    rig_session sessions[SESSIONS];
    start_pair(&gateway, &client, 2);
    for (unsigned n = 0; n < SESSIONS; n++) {
        sessions[n] = rig_session_number(n);
        rig_connect(&gateway, &client, &sessions[n]);
    }
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20); // routes on the other worker
    exchange(&client, &gateway, sessions, true);
    exchange(&gateway, &client, sessions, false);
    uint64_t bytes = 0;
    for (unsigned round = 0; round < ROUNDS; round++) bytes += 60 + round * 50;
    for (unsigned n = 0; n < SESSIONS; n++) {
        rig_side *sides[2] = {&gateway, &client};
        for (int i = 0; i < 2; i++) {
            CHECK(rig_await(sides[i], sessions[n].handle, COUNTER(packets_in), ROUNDS));
            CHECK(rig_await(sides[i], sessions[n].handle, COUNTER(packets_out), ROUNDS));
            cw_counters counters = rig_counters(sides[i], sessions[n].handle);
            CHECK_EQUAL(counters.bytes_in, bytes + ROUNDS * n);
            CHECK_EQUAL(counters.bytes_out, bytes + ROUNDS * n);
            CHECK_EQUAL(total_drops(&counters), 0);
            CHECK_EQUAL(counters.lost, 0);
            CHECK(counters.gre_in >= ROUNDS && counters.gre_out >= ROUNDS);
            CHECK(counters.last_data_nanoseconds != 0 && counters.last_in_nanoseconds != 0);
            CHECK(counters.key_changes >= 2 * ROUNDS - 2);
        }
    }
    for (unsigned n = 0; n < SESSIONS; n++) {
        rig_simple(&gateway, CW_CLOSE, sessions[n].handle);
        const cw_event *closed = rig_await_event(&gateway, CW_EVENT_CLOSED, sessions[n].handle);
        CHECK(closed != NULL && closed->counters.packets_in == ROUNDS && closed->counters.packets_out == ROUNDS);
        uint64_t handle = sessions[n].handle;
        cw_counters counters;
        bool found = true;
        cw_engine_session_counters(gateway.engine, &handle, 1, &counters, &found);
        CHECK(!found);
    }
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_CLOSED), SESSIONS);
    // With the sessions gone their packets belong to nobody.
    rig_packet packet = rig_udp(hub(), sessions[0].inner, 100, 1, true);
    rig_send(&gateway, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    rig_stop(&gateway);
    rig_stop(&client);
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

static void inject(rig_side *side, uint64_t session, uint16_t protocol, const char *text) {
    cw_command command = {
        .type = CW_INJECT,
        .session = session,
        .inject = {.protocol = protocol, .length = (uint16_t)strlen(text), .payload = (const uint8_t *)text},
    };
    rig_submit(side, &command);
}

// OPEN and INJECT in one submission: the frame leaves.
static void test_control_frames(void) {
    rig_side gateway, client;
    start_pair(&gateway, &client, 2);
    rig_session session = rig_session_number(0);
    rig_open(&client, &session, false);
    rig_settle(&client);
    rig_sleep(20);
    rig_open(&gateway, &session, true);
    inject(&gateway, session.handle, 0xC021, "configure request");
    inject(&gateway, session.handle, 0xC223, "challenge");
    const cw_event *event = rig_await_event(&client, CW_EVENT_CONTROL, session.handle);
    CHECK(event != NULL && event->protocol == 0xC021 && event->length == 17);
    CHECK(event != NULL && memcmp(event->payload, "configure request", 17) == 0);
    inject(&client, session.handle, 0xC021, "configure ack");
    event = rig_await_event(&gateway, CW_EVENT_CONTROL, session.handle);
    CHECK(event != NULL && event->length == 13 && memcmp(event->payload, "configure ack", 13) == 0);
    CHECK(rig_await(&client, session.handle, COUNTER(control_in), 2));
    CHECK(rig_await(&gateway, session.handle, COUNTER(control_out), 2));
    // Two frames arrived at the client; its acknowledgment rides on its answer.
    CHECK(rig_await(&gateway, session.handle, COUNTER(gre_in), 1));
    // Nothing rides back from the gateway: its acknowledgment comes alone after the delay.
    CHECK(rig_await(&client, session.handle, COUNTER(gre_in), 3));
    // The last words of a session leave before it is closed.
    inject(&gateway, session.handle, 0xC021, "terminate");
    rig_simple(&gateway, CW_CLOSE, session.handle);
    CHECK(rig_await(&client, session.handle, COUNTER(control_in), 3));
    rig_stop(&gateway);
    rig_stop(&client);
}

static void expect_refusal(rig_side *side, uint64_t session, cw_command_type type, cw_status reason) {
    const cw_event *event = rig_await_event(side, CW_EVENT_REFUSED, session);
    CHECK(event != NULL && event->refused == type && event->reason == (int32_t)reason);
    side->event_count = 0;
}

static void test_refusals(void) {
    rig_side gateway;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    config.session_capacity = 2;
    rig_start(&gateway, "cwg0", &config);
    rig_session a = rig_session_number(0), b = rig_session_number(1), c = rig_session_number(2);
    rig_simple(&gateway, CW_CLOSE, 77);
    expect_refusal(&gateway, 77, CW_CLOSE, CW_NOT_FOUND);
    rig_open(&gateway, &a, true);
    rig_open(&gateway, &a, true);
    expect_refusal(&gateway, a.handle, CW_OPEN, CW_INVALID);
    c.gateway_call = a.gateway_call;
    rig_open(&gateway, &c, true);
    expect_refusal(&gateway, c.handle, CW_OPEN, CW_INVALID);
    c.gateway_call = 4711;
    rig_open(&gateway, &b, true);
    rig_open(&gateway, &c, true);
    expect_refusal(&gateway, c.handle, CW_OPEN, CW_FULL);
    rig_simple(&gateway, CW_CLOSE, b.handle);
    rig_open(&gateway, &c, true); // the slot is free for the next command already
    rig_simple(&gateway, CW_CLOSE, c.handle);
    CHECK(rig_await_event(&gateway, CW_EVENT_CLOSED, c.handle) != NULL);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_REFUSED), 0);
    rig_stop(&gateway);
}

static void test_invalid_commands(void) {
    rig_side gateway;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 1);
    rig_start(&gateway, "cwg0", &config);
    rig_session session = rig_session_number(0);
    cw_command good = rig_bind_command(&session), bad[12];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad[i] = good;
    bad[0].session = 0;
    bad[1].bind.tunnel = 256;
    bad[2].bind.mtu = 67;
    bad[3].bind.prefix_count = 0;
    bad[4].bind.prefix_count = CW_MAX_PREFIXES + 1;
    bad[5].bind.prefixes[0].length = 33;
    bad[6].bind.prefixes[0] = rig_prefix("10.9.0.1", 24); // bits behind the length
    bad[7].bind.prefixes[0].address.family = 5;
    bad[8] = (cw_command){.type = CW_REKEY, .session = 1, .rekey = {.key_bits = 64}};
    bad[9] = (cw_command){.type = CW_INJECT, .session = 1, .inject = {.length = CW_MAX_CONTROL_FRAME + 1, .payload = (const uint8_t *)""}};
    bad[10] = (cw_command){.type = CW_OPEN, .session = 1, .open = {.peer_address = rig_address("2001:db8::1")}};
    bad[11] = (cw_command){.type = CW_UPDATE, .session = 1, .update = {.mask = CW_UPDATE_MTU, .mtu = 67}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t taken = 9;
        cw_command both[2] = {{.type = CW_TUNNEL, .tunnel = {.index = 1, .mtu = 1400, .up = true}}, bad[i]};
        CHECK_EQUAL(cw_engine_submit(gateway.engine, both, 2, &taken), CW_INVALID);
        CHECK_EQUAL(taken, 1);
    }
    rig_settle(&gateway);
    CHECK_EQUAL(gateway.event_count, 1); // only the settling one
    rig_stop(&gateway);
}

static void test_invalid_configurations(void) {
    cw_engine_config good = rig_config(CW_ROLE_GATEWAY, 1), bad[10];
    cw_engine *engine;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad[i] = good;
    bad[0].worker_count = 0;
    bad[1].worker_count = CW_MAX_WORKERS + 1;
    bad[2].session_capacity = 0;
    bad[3].session_capacity = 65536;
    bad[4].batch_size = 0;
    bad[5].batch_size = CW_MAX_BATCH + 1;
    bad[6].command_capacity = 1000;
    bad[7].event_capacity = 0;
    bad[8].reorder_packets = 257;
    bad[9].reorder_microseconds = 1000001;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_EQUAL(cw_engine_create(&bad[i], &engine), CW_INVALID);
    // Without descriptors it runs and moves nothing; create and destroy leave nothing behind, at the largest size as well.
    int descriptors = rig_descriptors();
    good.worker_count = 8;
    good.session_capacity = 65535;
    good.batch_size = CW_MAX_BATCH;
    CHECK_EQUAL(cw_engine_create(&good, &engine), CW_OK);
    CHECK_EQUAL(cw_engine_start(engine), CW_OK);
    CHECK_EQUAL(cw_engine_start(engine), CW_INVALID);
    cw_engine_stop(engine);
    CHECK_EQUAL(cw_engine_start(engine), CW_OK);
    cw_engine_destroy(engine);
    CHECK_EQUAL(rig_descriptors(), descriptors);
    // A descriptor that cannot be watched: create fails, and leaves it open.
    good.gre_fd[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    good.tun_fd[0] = open("/proc/self/stat", O_RDONLY | O_CLOEXEC); // a regular file: EPERM
    CHECK_EQUAL(cw_engine_create(&good, &engine), CW_SYSTEM);
    CHECK_EQUAL(close(good.gre_fd[0]), 0);
    CHECK_EQUAL(close(good.tun_fd[0]), 0);
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

// A small event ring that nobody reads: control frames are dropped and counted, what must not be lost waits.
static void test_full_event_ring(void) {
    rig_side gateway, client;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 1);
    config.event_capacity = 8;
    rig_start(&gateway, "cwg0", &config);
    config = rig_config(CW_ROLE_CLIENT, 1);
    rig_start(&client, "cwc0", &config);
    enum { many = 20, frames = 50 };
    rig_session sessions[many];
    for (unsigned n = 0; n < many; n++) {
        sessions[n] = rig_session_number(n);
        sessions[n].clear = true;
        rig_connect(&gateway, &client, &sessions[n]);
    }
    rig_sleep(50);
    for (unsigned i = 0; i < frames; i++) inject(&client, sessions[0].handle, 0xC021, "echo");
    CHECK(rig_await(&gateway, sessions[0].handle, COUNTER(control_in), frames));
    cw_counters counters = rig_counters(&gateway, sessions[0].handle);
    uint64_t dropped = counters.drops[CW_DROP_OVERFLOW];
    CHECK_EQUAL(dropped, frames - 6); // two slots are kept for what must not be lost
    for (unsigned n = 0; n < many; n++) rig_simple(&gateway, CW_CLOSE, sessions[n].handle);
    rig_simple(&gateway, CW_CLOSE, 999);
    rig_sleep(30);
    double before = rig_cpu_seconds();
    rig_sleep(200); // blocked, not spinning
    CHECK(rig_cpu_seconds() - before < 0.05);
    for (unsigned n = 0; n < many; n++) CHECK(rig_await_event(&gateway, CW_EVENT_CLOSED, sessions[n].handle) != NULL);
    CHECK(rig_await_event(&gateway, CW_EVENT_REFUSED, 999) != NULL);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_CLOSED), many);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_CONTROL) + dropped, frames);
    rig_stop(&gateway);
    rig_stop(&client);
}

// A full command ring says so, and takes commands again once the engine runs.
static void test_full_command_ring(void) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    cw_engine *engine;
    config.command_capacity = 8;
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
    cw_command tunnels[32];
    for (unsigned i = 0; i < 32; i++) tunnels[i] = (cw_command){.type = CW_TUNNEL, .tunnel = {.index = i, .mtu = 1400, .up = true}};
    size_t taken = 0, again = 0;
    CHECK_EQUAL(cw_engine_submit(engine, tunnels, 32, &taken), CW_FULL);
    CHECK(taken > 0 && taken <= 8);
    CHECK_EQUAL(cw_engine_start(engine), CW_OK);
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (taken < 32 && rig_now() < until) {
        (void)cw_engine_submit(engine, tunnels + taken, 32 - taken, &again);
        taken += again;
        rig_sleep(1);
    }
    CHECK_EQUAL(taken, 32);
    cw_engine_destroy(engine);
}

static void test_idle_sleeps(void) {
    rig_side gateway, client;
    start_pair(&gateway, &client, 2);
    for (unsigned n = 0; n < 20; n++) {
        rig_session session = rig_session_number(n);
        rig_connect(&gateway, &client, &session);
    }
    rig_sleep(100);
    double before = rig_cpu_seconds();
    rig_sleep(300);
    CHECK(rig_cpu_seconds() - before < 0.05);
    rig_stop(&gateway);
    rig_stop(&client);
}

int main(void) {
    rig_enter_namespace();
    RUN(hundred_sessions);
    RUN(control_frames);
    RUN(refusals);
    RUN(invalid_commands);
    RUN(invalid_configurations);
    RUN(full_event_ring);
    RUN(full_command_ring);
    RUN(idle_sleeps);
    FINISH();
}
