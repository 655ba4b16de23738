// The rings, the ingress rule and the raw socket between them: every packet arrives at exactly one of them. Frames are put on the far end
// of a veth, so that each of their fields is ours to choose.
#define _GNU_SOURCE
#include "io.h"

#include <net/if_arp.h>
#include <signal.h>
#include <sys/wait.h>

#include "engine_rig.h"

enum { WORKERS = 2, FRAME = 4096 };

static uint8_t our_mac[6];
static int wire; // packet socket on the far end
static cw_tap_config config;

static void run(const char *command) {
    if (system(command) != 0) rig_die(command);
}

static void set_up(void) {
    rig_enter_namespace();
    run("ip link add near0 type veth peer name far0 && ip link set near0 mtu 9000 up && ip link set far0 mtu 9000 up && "
        "ip address add 10.77.0.1/24 dev near0 && ip address add 10.77.1.1/24 dev near0 && "
        "ip link add near1 type veth peer name far1 && ip link set near1 up && ip link set far1 up && "
        "ip route add 10.88.0.0/16 dev near0 && ip neighbour add 10.77.0.2 lladdr 02:00:00:00:00:02 dev near0");
    rig_write("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/near0/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/near1/rp_filter", "0");
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, "near0");
    if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) rig_die("SIOCGIFHWADDR");
    memcpy(our_mac, request.ifr_hwaddr.sa_data, sizeof our_mac);
    close(fd);
    wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (wire < 0) rig_die("packet socket");
    config = (cw_tap_config){.address_count = 1, .table = "causeway-test"};
    config.addresses[0] = (cw_tap_address){if_nametoindex("near0"), rig_address("10.77.0.1")};
}

// ---- Frames -----------------------------------------------------------------------------------------------------------

typedef struct frame {
    uint8_t bytes[FRAME];
    size_t length, ip; // where the IP header begins
} frame;

static void finish(frame *made) {
    uint8_t *ip = made->bytes + made->ip;
    size_t header = (ip[0] & 15u) * 4;
    cw_put16(ip + 10, 0);
    cw_put16(ip + 10, cw_checksum(cw_sum(0, ip, header)));
}

// GRE of a call, with so many bytes behind its header.
static frame gre_frame(uint16_t call_id, uint32_t sequence, const void *payload, size_t length) {
    frame made = {.length = 14 + 20 + 12 + length, .ip = 14};
    uint8_t *ip = made.bytes + 14, *gre = ip + 20;
    memcpy(made.bytes, our_mac, 6);
    memcpy(made.bytes + 6, (const uint8_t[]){2, 0, 0, 0, 0, 2}, 6);
    cw_put16(made.bytes + 12, ETH_P_IP);
    ip[0] = 0x45;
    cw_put16(ip + 2, (uint16_t)(made.length - 14));
    cw_put16(ip + 4, (uint16_t)sequence);
    ip[8] = 64;
    ip[9] = IPPROTO_GRE;
    memcpy(ip + 12, rig_address("10.77.0.2").bytes, 4);
    memcpy(ip + 16, rig_address("10.77.0.1").bytes, 4);
    gre[0] = 0x30;
    gre[1] = 0x01;
    cw_put16(gre + 2, 0x880B);
    cw_put16(gre + 4, (uint16_t)length);
    cw_put16(gre + 6, call_id);
    cw_put32(gre + 8, sequence);
    if (payload != NULL) memcpy(gre + 12, payload, length);
    finish(&made);
    return made;
}

static frame plain(void) { return gre_frame(10, 1, NULL, 100); }

static void put(const frame *made, const char *far) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(far)};
    if (sendto(wire, made->bytes, made->length, 0, (struct sockaddr *)&to, sizeof to) < 0) rig_die("sendto");
}

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

typedef struct arrived {
    unsigned ring, malformed, raw;
} arrived;

// A frame on a veth has arrived when send returns, as a rule; the backlog of a busy machine may take a little longer.
static arrived look(ends *ends) {
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

static void expect(ends *ends, const char *what, arrived expected) {
    arrived got = look(ends);
    if (got.ring == expected.ring && got.malformed == expected.malformed && got.raw == expected.raw) return;
    fprintf(stderr, "%s: ring %u, malformed %u, raw %u\n", what, got.ring, got.malformed, got.raw);
    CHECK(false);
}

static const arrived in_ring = {.ring = 1}, in_raw = {.raw = 1}, nowhere = {0};

static void test_each_packet_at_one_end(void) {
    ends ends;
    open_ends(&ends);
    frame made = plain();
    put(&made, "far0");
    expect(&ends, "plain", in_ring);
    cw_put16(made.bytes + 14 + 6, 0x4000);
    finish(&made);
    put(&made, "far0");
    expect(&ends, "with DF", in_ring);

    made = gre_frame(10, 1, NULL, CW_TAP_LONGEST - 32);
    put(&made, "far0");
    expect(&ends, "the longest", in_ring);
    made = gre_frame(10, 1, NULL, CW_TAP_LONGEST - 31);
    put(&made, "far0");
    expect(&ends, "longer", in_raw);

    // Two fragments: the stack puts them together.
    made = gre_frame(10, 2, NULL, 200);
    frame part = made;
    cw_put16(part.bytes + 14 + 2, 20 + 104);
    cw_put16(part.bytes + 14 + 6, 0x2000);
    part.length = 14 + 20 + 104;
    finish(&part);
    put(&part, "far0");
    expect(&ends, "first fragment alone", nowhere);
    memmove(made.bytes + 34, made.bytes + 34 + 104, 108);
    cw_put16(made.bytes + 14 + 2, 20 + 108);
    cw_put16(made.bytes + 14 + 6, 104 / 8);
    made.length = 14 + 20 + 108;
    finish(&made);
    put(&made, "far0");
    expect(&ends, "both fragments", in_raw);

    made = plain();
    memmove(made.bytes + 14 + 24, made.bytes + 14 + 20, made.length - 34);
    memset(made.bytes + 34, 1, 4); // no operation
    made.bytes[14] = 0x46;
    made.length += 4;
    cw_put16(made.bytes + 14 + 2, (uint16_t)(made.length - 14));
    finish(&made);
    put(&made, "far0");
    expect(&ends, "with options", in_raw);

    made = plain();
    made.bytes[14 + 16 + 2] = 1; // 10.77.1.1
    finish(&made);
    put(&made, "far0");
    expect(&ends, "another address of ours", in_raw);

    made = plain();
    struct ifreq request = {0};
    strcpy(request.ifr_name, "near1");
    if (ioctl(ends.raw[0], SIOCGIFHWADDR, &request) != 0) rig_die("SIOCGIFHWADDR");
    memcpy(made.bytes, request.ifr_hwaddr.sa_data, 6);
    put(&made, "far1");
    expect(&ends, "through another interface", in_raw);

    made = plain();
    made.bytes[5] ^= 1;
    put(&made, "far0");
    expect(&ends, "for another station", nowhere);

    made = plain();
    made.bytes[14 + 20 + 1] = 0; // version 0
    put(&made, "far0");
    expect(&ends, "plain GRE", nowhere);

    made = plain();
    made.bytes[14 + 9] = 17;
    finish(&made);
    put(&made, "far0");
    expect(&ends, "not GRE", nowhere);

    made = plain();
    memmove(made.bytes + 18, made.bytes + 14, made.length - 14);
    memcpy(made.bytes + 12, (const uint8_t[]){0x81, 0x00, 0x00, 0x05, 0x08, 0x00}, 6);
    made.length += 4;
    put(&made, "far0");
    expect(&ends, "of a VLAN", nowhere);

    made = plain();
    made.bytes[14 + 8]--; // without the checksum
    put(&made, "far0");
    expect(&ends, "wrong checksum", (arrived){.malformed = 1});
    made = plain();
    made.length -= 40;
    put(&made, "far0");
    expect(&ends, "cut off", (arrived){.malformed = 1});
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
    expect(&ends, "ring and stack", (arrived){.ring = 1, .raw = 1});
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

static void put_data(const rig_session *session, uint32_t sequence, const rig_packet *inner) {
    uint8_t frame_bytes[RIG_PACKET] = {0xFF, 0x03, 0x00, 0x21};
    memcpy(frame_bytes + 4, inner->data, inner->length);
    frame made = gre_frame(session->gateway_call, sequence, frame_bytes, inner->length + 4);
    put(&made, "far0");
}

static void test_engine_with_rings(void) {
    int descriptors = rig_descriptors();
    rig_side gateway;
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, WORKERS);
    CHECK_EQUAL(cw_open_gre_taps(&config, WORKERS, engine.tap_fd), CW_OK);
    CHECK_EQUAL(cw_open_gre_rule(&config, &engine.tap_rule_fd), CW_OK);
    rig_start(&gateway, "cwt0", &engine);
    rig_tunnel(&gateway, true, 1420);
    for (unsigned n = 0; n < WORKERS; n++) {
        rig_session session = rig_session_number(n);
        cw_command open = {
            .type = CW_OPEN,
            .session = session.handle,
            .open = {.local_call_id = session.gateway_call, .peer_call_id = session.client_call,
                     .local_address = rig_address("10.77.0.1"), .peer_address = rig_address("10.77.0.2")},
        };
        cw_command bind = rig_bind_command(&session);
        rig_submit(&gateway, &open);
        rig_submit(&gateway, &bind);
        rig_settle(&gateway);
        for (uint32_t i = 1; i <= 50; i++) {
            rig_packet inner = rig_udp(session.inner, rig_address("10.200.0.1"), 60 + 20 * i, (uint16_t)i, true);
            put_data(&session, i, &inner);
            rig_expect(&gateway, &inner);
        }
        CHECK(rig_await(&gateway, session.handle, COUNTER(gre_in), 50)); // each once
        cw_counters counters = rig_counters(&gateway, session.handle);
        CHECK_EQUAL(counters.drops[CW_DROP_GRE_DUPLICATE], 0);

        cw_prefix blocked[] = {rig_prefix("10.77.0.2", 32)}, others[] = {rig_prefix("10.78.0.0", 16)};
        cw_command sources = {.type = CW_SOURCES, .sources = {.blocked_count = 1, .blocked = blocked}};
        rig_packet inner = rig_udp(session.inner, rig_address("10.200.0.1"), 100, 51, true);
        uint64_t before = rig_counters(&gateway, 0).drops[CW_DROP_GRE_BLOCKED];
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200); // the other worker's
        put_data(&session, 51, &inner);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_BLOCKED), before + 1));
        sources.sources = (cw_sources){.allowed_count = 1, .allowed = others};
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200);
        put_data(&session, 52, &inner);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_BLOCKED), before + 2));
        rig_expect_nothing(&gateway);
        sources.sources = (cw_sources){0};
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200);
        put_data(&session, 51, &inner);
        rig_expect(&gateway, &inner);
    }
    // Asleep between packets, not looking at the rings all the time.
    double cpu = rig_cpu_seconds();
    rig_sleep(500);
    CHECK(rig_cpu_seconds() - cpu < 0.1);
    cw_engine_stop(gateway.engine);
    int32_t rule = -1;
    CHECK_EQUAL(cw_open_gre_rule(&config, &rule), CW_OK); // ours is gone
    close(rule);
    rig_stop(&gateway);
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
