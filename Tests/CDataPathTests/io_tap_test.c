// The rings, the ingress rule and the raw socket between them: every packet arrives at exactly one of them. Frames are put on the far end
// of a veth, so that each of their fields is ours to choose.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "io_frames.h"

// ---- Where a packet arrives -----------------------------------------------------------------------------------------

typedef struct ends {
    int32_t fds[WORKERS], raw[WORKERS], rule;
    cw_tap taps[WORKERS];
} ends;

static void open_ends(ends *ends) {
    ends->rule = -1;
    CHECK_EQUAL(cw_open_gre_taps(&config, WORKERS, ends->fds), CW_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        CHECK(cw_tap_map(&ends->taps[i], ends->fds[i], WORKERS));
        CHECK_EQUAL(cw_open_gre(4, i, WORKERS, &ends->raw[i]), CW_OK);
    }
    CHECK_EQUAL(cw_open_gre_rule(&config, &ends->rule), CW_OK);
}

static void close_ends(ends *ends) {
    if (ends->rule >= 0) close(ends->rule);
    for (uint32_t i = 0; i < WORKERS; i++) {
        cw_tap_unmap(&ends->taps[i]);
        close(ends->fds[i]);
        close(ends->raw[i]);
    }
}

static cw_buffer storage[8];

static cw_tapped read_ring(cw_tap *tap) {
    cw_buffer *buffers[8];
    for (int i = 0; i < 8; i++) {
        storage[i].offset = CW_HEADROOM;
        buffers[i] = &storage[i];
    }
    return cw_tap_receive(tap, buffers, 8);
}

// A frame on a veth has arrived when send returns, as a rule; the backlog of a busy machine may take a little longer.
static arrived look(void *opened) {
    ends *ends = opened;
    arrived all = {0};
    for (int patience = 0; patience < 5; patience++) {
        for (int i = 0; i < WORKERS; i++) {
            cw_tapped found = read_ring(&ends->taps[i]);
            all.ring += found.count;
            all.malformed += found.malformed;
            uint8_t packet[FRAME];
            while (recv(ends->raw[i], packet, sizeof packet, MSG_DONTWAIT) > 0) all.raw++;
        }
        rig_sleep(all.ring + all.raw + all.malformed > 0 ? 2 : 10);
    }
    return all;
}

static void test_each_packet_at_one_end(void) {
    ends ends;
    open_ends(&ends);
    check_each_packet(&ends, look, CW_TAP_LONGEST);
    close_ends(&ends);
}

static void test_calls_to_their_workers(void) {
    ends ends;
    open_ends(&ends);
    for (uint16_t call = 0; call < 10; call++) {
        frame made = gre_frame(call, call, NULL, 50);
        put(&made, "far0");
    }
    rig_sleep(200);
    for (uint16_t worker = 0; worker < WORKERS; worker++) {
        cw_tapped found = read_ring(&ends.taps[worker]);
        CHECK_EQUAL(found.count, 5);
        for (uint16_t i = 0; i < found.count; i++) {
            frame made = gre_frame((uint16_t)(2 * i + worker), 2u * i + worker, NULL, 50);
            CHECK_EQUAL(storage[i].length, made.length - 14);
            CHECK(memcmp(cw_buffer_data(&storage[i]), made.bytes + 14, storage[i].length) == 0);
        }
    }
    close_ends(&ends);
}

static void test_a_full_ring_counts(void) {
    enum { sent = 5000, places = 4096 };
    ends ends;
    open_ends(&ends);
    frame made = plain();
    for (int i = 0; i < sent; i++) put(&made, "far0");
    rig_sleep(200);
    uint32_t taken = 0, lost = 0;
    for (int empty = 0; empty < 3;) {
        cw_tapped found = read_ring(&ends.taps[0]);
        taken += found.count;
        lost += found.lost;
        empty = found.count == 0 ? empty + 1 : 0;
    }
    CHECK_EQUAL(taken, places);
    // The ring tells with the next packet.
    put(&made, "far0");
    rig_sleep(200);
    cw_tapped found = read_ring(&ends.taps[0]);
    CHECK_EQUAL(found.count, 1);
    CHECK_EQUAL(lost + found.lost, sent - places);
    put(&made, "far0");
    rig_sleep(200);
    found = cw_tap_discard(&ends.taps[0]);
    CHECK_EQUAL(found.lost, 1);
    CHECK_EQUAL(cw_tap_discard(&ends.taps[0]).lost, 0);
    CHECK_EQUAL(look(&ends).raw, 0);
    close_ends(&ends);
}

static void test_without_the_rule_the_stack_has_everything(void) {
    ends ends;
    open_ends(&ends);
    close(ends.rule);
    ends.rule = -1;
    frame made = plain();
    put(&made, "far0");
    expect(&ends, look, "ring and stack", (arrived){.ring = 1, .raw = 1});
    close_ends(&ends);
}

static void test_the_rule_dies_with_its_process(void) {
    int told[2];
    if (pipe2(told, O_CLOEXEC) != 0) rig_die("pipe2");
    pid_t child = fork();
    if (child == 0) {
        int32_t rule;
        uint8_t status = (uint8_t)cw_open_gre_rule(&config, &rule);
        (void)!write(told[1], &status, 1);
        for (;;) pause();
    }
    uint8_t status = UINT8_MAX;
    CHECK_EQUAL(read(told[0], &status, 1), 1);
    CHECK_EQUAL(status, CW_OK);
    int32_t rule = -1;
    CHECK_EQUAL(cw_open_gre_rule(&config, &rule), CW_SYSTEM); // it is the other process's
    CHECK_EQUAL(errno, EPERM);
    int32_t raw;
    CHECK_EQUAL(cw_open_gre(4, 0, 1, &raw), CW_OK);
    frame made = plain();
    put(&made, "far0");
    rig_sleep(30);
    uint8_t packet[FRAME];
    CHECK(recv(raw, packet, sizeof packet, MSG_DONTWAIT) < 0);
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
    uint64_t until = rig_now() + RIG_PATIENCE;
    ssize_t got;
    do {
        put(&made, "far0");
        rig_sleep(10);
    } while ((got = recv(raw, packet, sizeof packet, MSG_DONTWAIT)) < 0 && rig_now() < until);
    CHECK(got > 0);
    close(raw);
    close(told[0]);
    close(told[1]);
}

static void test_what_is_refused(void) {
    int32_t fds[WORKERS], rule;
    cw_tap_config wrong = config;
    wrong.address_count = 0;
    CHECK_EQUAL(cw_open_gre_taps(&wrong, WORKERS, fds), CW_INVALID);
    CHECK_EQUAL(cw_open_gre_rule(&wrong, &rule), CW_INVALID);
    wrong = config;
    wrong.address_count = CW_MAX_TAP_ADDRESSES + 1;
    CHECK_EQUAL(cw_open_gre_taps(&wrong, WORKERS, fds), CW_INVALID);
    wrong = config;
    wrong.addresses[0].address.family = 6;
    CHECK_EQUAL(cw_open_gre_taps(&wrong, WORKERS, fds), CW_INVALID);
    wrong = config;
    memset(wrong.table, 'x', sizeof wrong.table);
    CHECK_EQUAL(cw_open_gre_taps(&wrong, WORKERS, fds), CW_INVALID);
    CHECK_EQUAL(cw_open_gre_taps(&config, 0, fds), CW_INVALID);
    CHECK_EQUAL(cw_open_gre_taps(&config, CW_MAX_WORKERS + 1, fds), CW_INVALID);
    wrong = config;
    wrong.addresses[0].interface = 9999;
    CHECK_EQUAL(cw_open_gre_rule(&wrong, &rule), CW_SYSTEM);
    CHECK(cw_tap_possible(config.addresses[0].interface));
    CHECK(!cw_tap_possible(if_nametoindex("lo")));
    CHECK(!cw_tap_possible(9999));
}

static void test_many_addresses(void) {
    cw_tap_config many = config;
    many.address_count = CW_MAX_TAP_ADDRESSES;
    for (uint32_t i = 0; i < CW_MAX_TAP_ADDRESSES; i++) {
        many.addresses[i] = config.addresses[0];
        many.addresses[i].address.bytes[3] = (uint8_t)(i + 100);
        many.addresses[i].interface = if_nametoindex(i % 2 == 0 ? "near1" : "near0");
    }
    many.addresses[31] = config.addresses[0];
    int32_t fds[3], rule;
    cw_tap tap;
    CHECK_EQUAL(cw_open_gre_taps(&many, 3, fds), CW_OK);
    CHECK_EQUAL(cw_open_gre_rule(&many, &rule), CW_OK);
    CHECK(cw_tap_map(&tap, fds[1], 3));
    frame made = gre_frame(7, 1, NULL, 10);
    put(&made, "far0");
    rig_sleep(200);
    CHECK_EQUAL(read_ring(&tap).count, 1);
    cw_tap_unmap(&tap);
    close(rule);
    for (int i = 0; i < 3; i++) close(fds[i]);
}

// ---- In an engine -----------------------------------------------------------------------------------------------------

static void put_rule_back(void) {
    int32_t rule = -1;
    CHECK_EQUAL(cw_open_gre_rule(&config, &rule), CW_OK); // ours is gone
    close(rule);
}

static void test_engine_with_rings(void) {
    int descriptors = rig_descriptors();
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, WORKERS);
    CHECK_EQUAL(cw_open_gre_taps(&config, WORKERS, engine.tap_fd), CW_OK);
    CHECK_EQUAL(cw_open_gre_rule(&config, &engine.tap_rule_fd), CW_OK);
    check_engine(&engine, put_rule_back);
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

static void test_sources_are_checked(void) {
    rig_side gateway;
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, 1);
    rig_start(&gateway, "cwt0", &engine);
    cw_prefix wrong[] = {rig_prefix("fd00::", 16), rig_prefix("10.0.0.0", 33)};
    for (int i = 0; i < 2; i++) {
        cw_command command = {.type = CW_SOURCES, .sources = {.blocked_count = 1, .blocked = wrong + i}};
        size_t taken;
        CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, &taken), CW_INVALID);
    }
    cw_prefix one = rig_prefix("10.0.0.0", 8);
    cw_command command = {.type = CW_SOURCES, .sources = {.allowed_count = CW_MAX_SOURCE_PREFIXES, .blocked_count = 1, .allowed = &one, .blocked = &one}};
    size_t taken;
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, &taken), CW_INVALID);
    command.sources = (cw_sources){.allowed_count = 1};
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, &taken), CW_INVALID);
    rig_stop(&gateway);
}

int main(void) {
    set_up();
    RUN(each_packet_at_one_end);
    RUN(calls_to_their_workers);
    RUN(a_full_ring_counts);
    RUN(without_the_rule_the_stack_has_everything);
    RUN(the_rule_dies_with_its_process);
    RUN(what_is_refused);
    RUN(many_addresses);
    RUN(engine_with_rings);
    RUN(sources_are_checked);
    FINISH();
}
