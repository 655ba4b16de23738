// Sessions that move between engines, descriptors that die, buffers that run out.
#define _GNU_SOURCE
#include <linux/rtnetlink.h>

#include "engine_rig.h"

static cw_address hub(void) { return rig_address("10.200.0.1"); }

static void start_gateway(rig_side *gateway, const char *tun, uint32_t workers) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, workers);
    rig_start(gateway, tun, &config);
    rig_tunnel(gateway, true, 1420);
}

static void start_client(rig_side *client, uint32_t workers) {
    cw_engine_config config = rig_config(CW_ROLE_CLIENT, workers);
    rig_start(client, "cwc0", &config);
}

static void settle(rig_side *side) {
    rig_settle(side);
    rig_sleep(20);
}

static void exchange(rig_side *gateway, rig_side *client, const rig_session *session, unsigned count) {
    static uint16_t id;
    for (unsigned i = 0; i < count; i++) {
        rig_packet packet = rig_udp(session->inner, hub(), 100 + i, ++id, true);
        rig_send(client, &packet);
        rig_expect(gateway, &packet);
        packet = rig_udp(hub(), session->inner, 200 + i, ++id, true);
        rig_send(gateway, &packet);
        rig_expect(client, &packet);
    }
}

static void import(rig_side *side, uint64_t handle, const uint8_t *state, uint32_t length) {
    cw_command command = {.type = CW_IMPORT, .session = handle, .import_state = {.length = length, .state = state}};
    rig_submit(side, &command);
}

enum { MOVED = 10 };

// From an engine with two workers to one with three, and back into the first under other handles. The clients notice nothing.
static void test_export_and_import(void) {
    rig_side first, second, client;
    rig_session sessions[MOVED];
    start_gateway(&first, "cwg0", 2);
    start_gateway(&second, "cwg1", 3);
    start_client(&client, 2);
    for (unsigned n = 0; n < MOVED; n++) {
        sessions[n] = rig_session_number(n);
        sessions[n].clear = n == 3;
        rig_connect(&first, &client, &sessions[n]);
    }
    settle(&first);
    settle(&client);
    for (unsigned n = 0; n < MOVED; n++) exchange(&first, &client, &sessions[n], 3);
    for (unsigned n = 0; n < MOVED; n++) {
        rig_simple(&first, CW_EXPORT, sessions[n].handle);
        const cw_event *event = rig_await_event(&first, CW_EVENT_EXPORTED, sessions[n].handle);
        CHECK(event != NULL && event->length > 0 && event->length <= CW_SESSION_STATE_SIZE);
        if (event == NULL) return;
        import(&second, sessions[n].handle, event->payload, event->length);
    }
    settle(&second);
    CHECK_EQUAL(rig_count_events(&first, CW_EVENT_CLOSED), 0);
    for (unsigned n = 0; n < MOVED; n++) {
        exchange(&second, &client, &sessions[n], 3);
        CHECK(rig_await(&second, sessions[n].handle, COUNTER(packets_in), 6)); // the counters moved along
        CHECK(rig_await(&second, sessions[n].handle, COUNTER(packets_out), 6));
    }
    // The first engine knows nothing of them any more.
    rig_packet packet = rig_udp(hub(), sessions[0].inner, 100, 1, true);
    rig_send(&first, &packet);
    CHECK(rig_await(&first, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    for (unsigned n = 0; n < MOVED; n++) {
        rig_simple(&second, CW_EXPORT, sessions[n].handle);
        const cw_event *event = rig_await_event(&second, CW_EVENT_EXPORTED, sessions[n].handle);
        if (event == NULL) {
            CHECK(!"not exported");
            return;
        }
        import(&first, 100 + sessions[n].handle, event->payload, event->length);
    }
    settle(&first);
    for (unsigned n = 0; n < MOVED; n++) exchange(&first, &client, &sessions[n], 2);
    rig_stop(&first);
    rig_stop(&second);
    rig_stop(&client);
}

static void test_import_refusals(void) {
    rig_side gateway;
    rig_session session = rig_session_number(0);
    start_gateway(&gateway, "cwg0", 2);
    cw_command bind = rig_bind_command(&session);
    rig_open(&gateway, &session, true);
    rig_rekey(&gateway, &session, true);
    rig_submit(&gateway, &bind);
    rig_simple(&gateway, CW_EXPORT, session.handle);
    const cw_event *event = rig_await_event(&gateway, CW_EVENT_EXPORTED, session.handle);
    CHECK(event != NULL);
    if (event == NULL) return;
    uint8_t state[CW_SESSION_STATE_SIZE];
    uint32_t length = event->length;
    memcpy(state, event->payload, length);
    cw_command command = {.type = CW_IMPORT, .session = 5, .import_state = {.length = length, .state = state}};
    size_t taken;
    for (uint32_t cut = 0; cut < length; cut++) {
        command.import_state.length = cut;
        cw_status status = cw_engine_submit(gateway.engine, &command, 1, &taken);
        CHECK(status != CW_OK && taken == 0);
    }
    command.import_state.length = length;
    state[4] ^= 0x80;
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, &taken), CW_VERSION);
    state[4] ^= 0x80;
    state[0] ^= 1;
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, &taken), CW_INVALID);
    state[0] ^= 1;
    import(&gateway, 5, state, length);
    import(&gateway, 6, state, length); // the same call ID a second time
    event = rig_await_event(&gateway, CW_EVENT_REFUSED, 6);
    CHECK(event != NULL && event->refused == CW_IMPORT && event->reason == CW_INVALID);
    rig_simple(&gateway, CW_CLOSE, 5);
    CHECK(rig_await_event(&gateway, CW_EVENT_CLOSED, 5) != NULL);
    // One that is still in the ring when the engine ends is freed with it.
    cw_engine_stop(gateway.engine);
    import(&gateway, 7, state, length);
    rig_stop(&gateway);
}

static void delete_interface(const char *name) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name)},
    };
    uint8_t answer[4096];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK(send(fd, &request, sizeof request, 0) > 0);
    CHECK(recv(fd, answer, sizeof answer, 0) > 0);
    CHECK_EQUAL(if_nametoindex(name), 0);
    close(fd);
}

// The TUN is deleted under a running gateway: each worker says so once, nothing spins, sessions and control frames go on.
static void test_deleted_tun(void) {
    rig_side gateway, client;
    rig_session session = rig_session_number(0);
    start_gateway(&gateway, "cwg0", 2);
    start_client(&client, 2);
    rig_connect(&gateway, &client, &session);
    settle(&gateway);
    settle(&client);
    exchange(&gateway, &client, &session, 1);
    delete_interface("cwg0");
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (rig_count_events(&gateway, CW_EVENT_WORKER_FAILED) < 2 && rig_now() < until) {
        rig_sleep(5);
        rig_poll(&gateway);
    }
    double before = rig_cpu_seconds();
    rig_sleep(200);
    CHECK(rig_cpu_seconds() - before < 0.05);
    rig_packet packet = rig_udp(session.inner, hub(), 100, 1, false);
    rig_send(&client, &packet);
    CHECK(rig_await(&gateway, session.handle, DROPS(CW_DROP_SEND_FAILED), 1));
    cw_command inject = {.type = CW_INJECT, .session = session.handle, .inject = {.protocol = 0xC021, .length = 4, .payload = (const uint8_t *)"bye!"}};
    rig_submit(&gateway, &inject);
    CHECK(rig_await_event(&client, CW_EVENT_CONTROL, session.handle) != NULL);
    rig_poll(&gateway);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_WORKER_FAILED), 2);
    const cw_event *failed = rig_find_event(&gateway, CW_EVENT_WORKER_FAILED, 0);
    CHECK(failed != NULL && failed->reason == EBADFD);
    rig_stop(&gateway);
    rig_stop(&client);
}

// Nobody is at the other end: no route. Counted, and the engine stays.
static void test_unreachable_peer(void) {
    rig_side gateway;
    rig_session session = rig_session_number(0);
    start_gateway(&gateway, "cwg0", 1);
    cw_command bind = rig_bind_command(&session);
    rig_open(&gateway, &session, true);
    rig_submit(&gateway, &bind);
    cw_command update = {
        .type = CW_UPDATE, .session = session.handle, .update = {.mask = CW_UPDATE_PEER_ADDRESS, .peer_address = rig_address("198.51.100.1")}};
    rig_submit(&gateway, &update);
    settle(&gateway);
    for (unsigned i = 0; i < 3; i++) {
        rig_packet packet = rig_udp(hub(), session.inner, 100, (uint16_t)i, false);
        rig_send(&gateway, &packet);
    }
    CHECK(rig_await(&gateway, session.handle, DROPS(CW_DROP_SEND_FAILED), 3));
    CHECK_EQUAL(rig_counters(&gateway, session.handle).packets_out, 0);
    rig_poll(&gateway);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_WORKER_FAILED), 0);
    rig_stop(&gateway);
}

// A burst of many packets in both directions at once, with commands in between: all arrive or are counted.
static void test_burst_is_accounted(void) {
    enum { count = 3000, users = 8 };
    rig_side gateway, client;
    rig_session sessions[users];
    start_gateway(&gateway, "cwg0", 2);
    start_client(&client, 2);
    for (unsigned n = 0; n < users; n++) {
        sessions[n] = rig_session_number(n);
        rig_connect(&gateway, &client, &sessions[n]);
    }
    settle(&gateway);
    settle(&client);
    unsigned up = 0, down = 0;
    rig_packet packet, got;
    for (unsigned i = 0; i < count; i++) {
        const rig_session *session = &sessions[i % users];
        packet = rig_udp(session->inner, hub(), 60 + i % 1200, (uint16_t)i, true);
        rig_send(&client, &packet);
        packet = rig_udp(hub(), session->inner, 60 + i % 1200, (uint16_t)i, true);
        rig_send(&gateway, &packet);
        if (i % 100 == 0) rig_tunnel(&gateway, true, 1420);
        while (rig_receive(&gateway, &got, 0)) up++;
        while (rig_receive(&client, &got, 0)) down++;
    }
    for (uint64_t last = rig_now(); up + down < 2 * count && rig_now() < last + 1500; rig_sleep(1)) {
        while (rig_receive(&gateway, &got, 0)) up++, last = rig_now();
        while (rig_receive(&client, &got, 0)) down++, last = rig_now();
    }
    uint64_t sent_up = 0, sent_down = 0, arrived_up = 0, arrived_down = 0;
    for (unsigned n = 0; n < users; n++) {
        cw_counters g = rig_counters(&gateway, sessions[n].handle), c = rig_counters(&client, sessions[n].handle);
        sent_up += c.packets_out;
        sent_down += g.packets_out;
        arrived_up += g.packets_in;
        arrived_down += c.packets_in;
        CHECK_EQUAL(g.drops[CW_DROP_MPPE_UNVERIFIED] + c.drops[CW_DROP_MPPE_UNVERIFIED], 0);
    }
    uint64_t lost_up = rig_counters(&client, 0).drops[CW_DROP_OVERFLOW], lost_down = rig_counters(&gateway, 0).drops[CW_DROP_OVERFLOW];
    CHECK_EQUAL(arrived_up, up);
    CHECK_EQUAL(arrived_down, down);
    CHECK_EQUAL(sent_up, arrived_up);
    CHECK_EQUAL(sent_down, arrived_down);
    // What is missing was refused by the TUN's own queue (the kernel's), or by a ring between workers.
    CHECK(sent_up + lost_up <= count && sent_up > count / 2);
    CHECK(sent_down + lost_down <= count && sent_down > count / 2);
    rig_stop(&gateway);
    rig_stop(&client);
}

// Memory of closed sessions goes back to the system.
static long resident_kilobytes(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (fscanf(file, "%ld %ld", &ignored, &pages) != 2) pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_memory_is_returned(void) {
    enum { many = 2000 };
    rig_side gateway;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    config.command_capacity = config.event_capacity = 64; // their slots stay resident once used
    rig_start(&gateway, "cwg0", &config);
    settle(&gateway);
    long before = resident_kilobytes(), open;
    for (unsigned n = 0; n < many; n++) {
        rig_session session = rig_session_number(n);
        cw_command bind = rig_bind_command(&session);
        rig_open(&gateway, &session, true);
        rig_rekey(&gateway, &session, true);
        rig_submit(&gateway, &bind);
    }
    settle(&gateway);
    open = resident_kilobytes();
    for (unsigned n = 0; n < many; n++) {
        rig_simple(&gateway, CW_CLOSE, n + 1);
        if (n % 50 == 0) rig_poll(&gateway);
    }
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (rig_count_events(&gateway, CW_EVENT_CLOSED) < many && rig_now() < until) {
        rig_sleep(1);
        rig_poll(&gateway);
    }
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_CLOSED), many);
    // What stays is the table and what others may read of a slot; the test's own events go.
    free(gateway.events);
    gateway.events = NULL;
    long after = resident_kilobytes();
    printf("resident: %ld kB before, %ld kB with %d sessions, %ld kB after\n", before, open, many, after);
    CHECK(open - before > many * 2);
    CHECK(open - after > many * 3 / 4);
    rig_stop(&gateway);
}

int main(void) {
    rig_enter_namespace();
    RUN(export_and_import);
    RUN(import_refusals);
    RUN(deleted_tun);
    RUN(unreachable_peer);
    RUN(burst_is_accounted);
    // A sanitizer's own memory grows with what was ever touched.
    if (SANITIZED) printf("memory_is_returned: not under a sanitizer\n");
    else RUN(memory_is_returned);
    FINISH();
}
