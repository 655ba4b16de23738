// What the gateway lets through and what not, end to end: each packet arrives or is counted under its cause, and the sender hears of it
// where the RFCs say so.
#define _GNU_SOURCE
#include "engine_rig.h"
#include "icmp.h"

static rig_side gateway, client;
static rig_session alice, bob; // on different workers

static cw_address hub(void) { return rig_address("10.200.0.1"); }

static void start(bool user_to_user, bool local) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    config.allow_user_to_user = user_to_user;
    config.allow_local_destinations = local;
    rig_start(&gateway, "cwg0", &config);
    config = rig_config(CW_ROLE_CLIENT, 2);
    rig_start(&client, "cwc0", &config);
    rig_tunnel(&gateway, true, 1420);
    alice = rig_session_number(0);
    bob = rig_session_number(1);
    rig_connect(&gateway, &client, &alice);
    rig_connect(&gateway, &client, &bob);
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20); // routes on the other worker
}

static void stop(void) {
    rig_stop(&gateway);
    rig_stop(&client);
}

static void send_up(cw_address source, cw_address destination) {
    rig_packet packet = rig_udp(source, destination, 100, 1, false);
    rig_send(&client, &packet);
}

// Still alive, and nothing else came out before.
static void expect_flow(void) {
    static uint16_t id = 500;
    rig_packet packet = rig_udp(alice.inner, hub(), 200, ++id, false);
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    packet = rig_udp(hub(), bob.inner, 200, ++id, false);
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
}

static void expect_icmp(rig_side *side, cw_address from, cw_address to, uint8_t type, uint8_t code, uint16_t mtu, const rig_packet *about) {
    rig_packet got = {0};
    CHECK(rig_receive(side, &got, RIG_PATIENCE));
    rig_check_icmp(&got, from, to, type, code, mtu, about);
}

static void test_destinations(void) {
    start(false, false);
    cw_address mine[2] = {rig_address("192.0.2.1"), rig_address("2001:db8::1")};
    cw_command command = {.type = CW_LOCAL_ADDRESSES, .local_addresses = {2, mine}};
    rig_submit(&gateway, &command);
    rig_settle(&gateway);
    rig_sleep(20);
    const char *local[] = {"192.0.2.1", "127.0.0.1", "169.254.169.254", "224.0.0.5", "239.1.2.3", "255.255.255.255",
                           "0.0.0.0",   "240.0.0.1", "10.9.255.1"}; // the last is our end of the link
    size_t count = sizeof local / sizeof *local;
    for (size_t i = 0; i < count; i++) send_up(alice.inner, rig_address(local[i]));
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_LOCAL), count));
    send_up(alice.inner, bob.inner);
    send_up(alice.inner, alice.inner);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_OTHER_USER), 2));
    expect_flow();
    rig_expect_nothing(&client);
    // The set is replaced, not extended.
    command.local_addresses.count = 0;
    rig_submit(&gateway, &command);
    rig_settle(&gateway);
    rig_sleep(20);
    rig_packet packet = rig_udp(alice.inner, rig_address("192.0.2.1"), 100, 9, false);
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    stop();
}

static void test_allowed_destinations(void) {
    start(true, true);
    rig_packet packet = rig_udp(alice.inner, rig_address("224.0.0.5"), 100, 1, false);
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    send_up(alice.inner, rig_address("255.255.255.255"));
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_LOCAL), 1));
    // To another user, whose session lives on the other worker: straight back down, one hop older.
    packet = rig_udp(alice.inner, bob.inner, 300, 2, false);
    rig_send(&client, &packet);
    packet.data[8]--;
    cw_put16(packet.data + 10, 0);
    cw_put16(packet.data + 10, cw_checksum(cw_sum(0, packet.data, 20)));
    rig_expect(&client, &packet);
    CHECK(rig_await(&gateway, alice.handle, COUNTER(packets_in), 2));
    CHECK(rig_await(&gateway, bob.handle, COUNTER(packets_out), 1));
    // At its last hop: the sender is told.
    packet.data[8] = 1;
    cw_put16(packet.data + 10, 0);
    cw_put16(packet.data + 10, cw_checksum(cw_sum(0, packet.data, 20)));
    rig_send(&client, &packet);
    expect_icmp(&client, rig_address("10.9.255.1"), alice.inner, 11, 0, 0, &packet);
    // Too big for the other user: the error goes to the sender's session, not to the TUN.
    cw_command update = {.type = CW_UPDATE, .session = bob.handle, .update = {.mask = CW_UPDATE_MTU, .mtu = 576}};
    rig_submit(&gateway, &update);
    rig_settle(&gateway);
    packet = rig_udp(alice.inner, bob.inner, 1000, 3, true);
    rig_send(&client, &packet);
    packet.data[8]--;
    cw_put16(packet.data + 10, 0);
    cw_put16(packet.data + 10, cw_checksum(cw_sum(0, packet.data, 20)));
    expect_icmp(&client, rig_address("10.9.255.1"), alice.inner, 3, 4, 576, &packet);
    rig_expect_nothing(&gateway);
    // To oneself is refused even so.
    send_up(alice.inner, alice.inner);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_OTHER_USER), 1));
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_EXPIRED), 1));
    stop();
}

// The client side believes that it may use more prefixes than the gateway has bound.
static void test_sources(void) {
    start(false, false);
    cw_command bind = rig_bind_command(&alice);
    bind.bind.prefix_count = 3;
    bind.bind.prefixes[1] = rig_prefix("172.16.5.0", 24);
    bind.bind.prefixes[2] = rig_prefix("10.9.0.2", 32); // bob's
    rig_submit(&client, &bind);
    rig_settle(&client);
    rig_sleep(20);
    send_up(rig_address("172.16.5.9"), hub());
    send_up(bob.inner, hub());
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_SOURCE), 2));
    rig_expect_nothing(&gateway);
    // A site behind the user's router: bound live on both sides, both ways.
    bind.bind.prefix_count = 2;
    rig_submit(&gateway, &bind);
    rig_submit(&client, &bind);
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20);
    rig_packet packet = rig_udp(rig_address("172.16.5.9"), hub(), 100, 1, false);
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    packet = rig_udp(hub(), rig_address("172.16.5.200"), 100, 1, false);
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
    // And taken away again.
    bind.bind.prefix_count = 1;
    rig_submit(&gateway, &bind);
    rig_settle(&gateway);
    rig_sleep(20);
    rig_send(&gateway, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    send_up(rig_address("172.16.5.9"), hub());
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_SOURCE), 3));
    stop();
}

static void test_tunnel_down(void) {
    start(false, false);
    rig_tunnel(&gateway, false, 1420);
    rig_settle(&gateway);
    rig_sleep(20);
    rig_packet packet = rig_udp(alice.inner, hub(), 700, 1, false);
    rig_send(&client, &packet);
    expect_icmp(&client, rig_address("10.9.255.1"), alice.inner, 3, 0, 0, &packet);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_TUNNEL_DOWN), 1));
    CHECK(rig_await(&gateway, alice.handle, COUNTER(icmp_sent), 1));
    rig_expect_nothing(&gateway);
    rig_tunnel(&gateway, true, 1420);
    rig_settle(&gateway);
    rig_sleep(20);
    expect_flow();
    // A tunnel that was never brought up is down.
    cw_command bind = rig_bind_command(&bob);
    bind.bind.tunnel = 200;
    rig_submit(&gateway, &bind);
    rig_settle(&gateway);
    rig_sleep(20);
    send_up(bob.inner, hub());
    CHECK(rig_await(&gateway, bob.handle, DROPS(CW_DROP_TUNNEL_DOWN), 1));
    rig_expect_nothing(&gateway);
    stop();
}

// Puts fragments together; true when the original came out of fragments of at most `mtu` bytes.
static bool reassembles(rig_side *side, const rig_packet *original, size_t mtu) {
    rig_packet whole = {0}, piece;
    size_t have = 0, total = SIZE_MAX;
    while (have < total && rig_receive(side, &piece, RIG_PATIENCE)) {
        size_t header = (piece.data[0] & 15u) * 4, offset = (size_t)(cw_get16(piece.data + 6) & 0x1FFF) * 8, size = piece.length - header;
        if (piece.length > mtu || cw_get16(piece.data + 2) != piece.length || cw_checksum(cw_sum(0, piece.data, header)) != 0) return false;
        if (memcmp(piece.data + 4, original->data + 4, 2) != 0 || 20 + offset + size > sizeof whole.data) return false;
        memcpy(whole.data + 20 + offset, piece.data + header, size);
        have += size;
        if ((cw_get16(piece.data + 6) & 0x2000) == 0) total = offset + size;
    }
    return have == original->length - 20 && total == have && memcmp(whole.data + 20, original->data + 20, have) == 0;
}

static void test_too_big(void) {
    start(false, false);
    rig_tunnel(&gateway, true, 1280);
    rig_settle(&gateway);
    rig_sleep(20);
    // Up, over the tunnel's MTU.
    rig_packet packet = rig_udp(alice.inner, hub(), 1400, 7, true);
    rig_send(&client, &packet);
    expect_icmp(&client, rig_address("10.9.255.1"), alice.inner, 3, 4, 1280, &packet);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_TOO_BIG), 1));
    packet = rig_udp(alice.inner, hub(), 1400, 8, false);
    rig_send(&client, &packet);
    CHECK(reassembles(&gateway, &packet, 1280));
    CHECK(rig_await(&gateway, alice.handle, COUNTER(packets_in), 1));
    CHECK(rig_await(&gateway, alice.handle, COUNTER(bytes_in), 1400));
    // Down, over the session's MTU.
    cw_command update = {.type = CW_UPDATE, .session = alice.handle, .update = {.mask = CW_UPDATE_MTU, .mtu = 1000}};
    rig_submit(&gateway, &update);
    rig_settle(&gateway);
    packet = rig_udp(hub(), alice.inner, 1001, 9, true);
    rig_send(&gateway, &packet);
    expect_icmp(&gateway, rig_address("10.9.255.1"), hub(), 3, 4, 1000, &packet);
    packet = rig_udp(hub(), alice.inner, 1001, 10, false);
    rig_send(&gateway, &packet);
    CHECK(reassembles(&client, &packet, 1000));
    packet = rig_udp(hub(), alice.inner, 1000, 11, true);
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
    // Longer than a buffer (the TUN's own MTU is 9000 here).
    packet = rig_udp(hub(), alice.inner, 4000, 12, false);
    rig_send(&gateway, &packet);
    CHECK(reassembles(&client, &packet, 1000));
    packet = rig_udp(hub(), alice.inner, 4000, 13, true);
    rig_send(&gateway, &packet);
    expect_icmp(&gateway, alice.inner, hub(), 3, 4, CW_BUFFER_DATA, &packet);
    stop();
}

static rig_packet tcp_syn(cw_address source, cw_address destination, uint16_t mss) {
    rig_packet packet = rig_udp(source, destination, 44, 1, true);
    uint8_t *p = packet.data, *tcp = p + 20;
    p[9] = CW_IPPROTO_TCP;
    cw_put16(p + 10, 0);
    cw_put16(p + 10, cw_checksum(cw_sum(0, p, 20)));
    memset(tcp, 0, 24);
    tcp[12] = 6 << 4;
    tcp[13] = 2;
    tcp[20] = 2;
    tcp[21] = 4;
    cw_put16(tcp + 22, mss);
    cw_put16(tcp + 16, cw_checksum(cw_sum(24 + CW_IPPROTO_TCP + cw_sum(0, p + 12, 8), tcp, 24)));
    return packet;
}

static void test_mss(void) {
    start(false, false);
    rig_tunnel(&gateway, true, 1380);
    cw_command update = {.type = CW_UPDATE, .session = bob.handle, .update = {.mask = CW_UPDATE_MTU, .mtu = 1300}};
    rig_submit(&gateway, &update);
    rig_settle(&gateway);
    rig_sleep(20);
    rig_packet packet = tcp_syn(alice.inner, hub(), 1460), expected = tcp_syn(alice.inner, hub(), 1340);
    rig_send(&client, &packet);
    rig_expect(&gateway, &expected); // min(1400 client, 1380) - 40, checksum included
    packet = tcp_syn(hub(), bob.inner, 1460);
    expected = tcp_syn(hub(), bob.inner, 1260);
    rig_send(&gateway, &packet);
    rig_expect(&client, &expected);
    packet = tcp_syn(hub(), bob.inner, 1200);
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
    stop();
}

static void test_rate(void) {
    start(false, false);
    // 80 kbit/s: the burst of 64 KiB passes at once, the rest does not.
    cw_command update = {.type = CW_UPDATE, .session = alice.handle, .update = {.mask = CW_UPDATE_RATE, .rate_bits_per_second = 80000}};
    rig_submit(&gateway, &update);
    rig_settle(&gateway);
    for (unsigned i = 0; i < 100; i++) {
        rig_packet packet = rig_udp(hub(), alice.inner, 1000, (uint16_t)i, true);
        rig_send(&gateway, &packet);
    }
    uint64_t until = rig_now() + RIG_PATIENCE;
    cw_counters counters;
    do counters = rig_counters(&gateway, alice.handle);
    while (counters.packets_out + counters.drops[CW_DROP_RATE] < 100 && rig_now() < until);
    CHECK_EQUAL(counters.packets_out + counters.drops[CW_DROP_RATE], 100);
    CHECK(counters.packets_out >= 65 && counters.packets_out < 80);
    CHECK_EQUAL(rig_counters(&gateway, bob.handle).drops[CW_DROP_RATE], 0);
    stop();
}

// ---- The outer side ---------------------------------------------------------------------------------------------------

static void send_gre(const char *source, uint16_t call, uint32_t sequence, const uint8_t *frame, size_t length) {
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_GRE);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    inet_pton(AF_INET, source, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0) rig_die("raw socket");
    uint8_t packet[2048] = {0x30, 0x01, 0x88, 0x0B};
    cw_put16(packet + 4, (uint16_t)length);
    cw_put16(packet + 6, call);
    cw_put32(packet + 8, sequence);
    memcpy(packet + 12, frame, length);
    if (sendto(fd, packet, 12 + length, 0, (struct sockaddr *)&to, sizeof to) < 0) rig_die("sendto");
    close(fd);
}

static size_t data_frame(uint8_t *frame, const rig_packet *packet) {
    static const uint8_t header[] = {0xFF, 0x03, 0x00, 0x21};
    memcpy(frame, header, sizeof header);
    memcpy(frame + sizeof header, packet->data, packet->length);
    return sizeof header + packet->length;
}

static void test_outer_source(void) {
    static const uint8_t echo[] = {0xFF, 0x03, 0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0};
    start(false, false);
    send_gre("127.0.0.3", alice.gateway_call, 1, echo, sizeof echo);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_GRE_WRONG_SOURCE), 1));
    CHECK_EQUAL(rig_counters(&gateway, alice.handle).gre_in, 0);
    uint64_t unknown = rig_counters(&gateway, 0).drops[CW_DROP_GRE_UNKNOWN_CALL];
    send_gre("127.0.0.2", 5, 1, echo, sizeof echo);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_UNKNOWN_CALL), unknown + 1));
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_CONTROL), 0);
    expect_flow();
    stop();
}

// Who sends GRE for no session is told, but not for every packet of a flood.
static void test_unknown_call_is_told(void) {
    static const uint8_t echo[] = {0xFF, 0x03, 0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0};
    start(false, false);
    send_gre("127.0.0.2", 5, 1, echo, sizeof echo);
    const cw_event *event = rig_await_event(&gateway, CW_EVENT_UNKNOWN_CALL, 0);
    cw_address stranger = rig_address("127.0.0.2");
    CHECK(event != NULL && memcmp(&event->address, &stranger, sizeof stranger) == 0);
    if (event != NULL) CHECK_EQUAL(event->call_id, 5);
    uint64_t unknown = rig_counters(&gateway, 0).drops[CW_DROP_GRE_UNKNOWN_CALL], begun = rig_now();
    for (uint32_t i = 0; i < 200; i++) send_gre("127.0.0.2", 6, i, echo, sizeof echo);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_UNKNOWN_CALL), unknown + 200));
    rig_poll(&gateway);
    // One second's worth for each second that it took, and two that began or ended within.
    CHECK(rig_count_events(&gateway, CW_EVENT_UNKNOWN_CALL) <= 8 * ((rig_now() - begun) / 1000000000 + 2));
    expect_flow();
    stop();
}

static void test_address_change(void) {
    static const uint8_t terminate[] = {0xFF, 0x03, 0xC0, 0x21, 5, 1, 0, 4};
    uint8_t frame[2048];
    start(false, false);
    rig_session roamer = rig_session_number(2);
    roamer.flags = CW_ALLOW_ADDRESS_CHANGE;
    roamer.clear = true;
    rig_connect(&gateway, &client, &roamer);
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20);
    rig_packet packet = rig_udp(roamer.inner, hub(), 200, 1, false);
    rig_send(&client, &packet); // GRE sequence 1
    rig_expect(&gateway, &packet);
    // Neither a control frame nor data with a foreign inner source moves the session.
    send_gre("127.0.0.4", roamer.gateway_call, 2, terminate, sizeof terminate);
    CHECK(rig_await(&gateway, roamer.handle, DROPS(CW_DROP_GRE_WRONG_SOURCE), 1));
    packet = rig_udp(bob.inner, hub(), 200, 2, false);
    send_gre("127.0.0.4", roamer.gateway_call, 3, frame, data_frame(frame, &packet));
    CHECK(rig_await(&gateway, roamer.handle, DROPS(CW_DROP_IP_SOURCE), 1));
    rig_poll(&gateway);
    CHECK(rig_find_event(&gateway, CW_EVENT_ADDRESS_CHANGED, 0) == NULL);
    CHECK(rig_find_event(&gateway, CW_EVENT_CONTROL, 0) == NULL);
    // Data that is the session's own does.
    packet = rig_udp(roamer.inner, hub(), 200, 3, false);
    send_gre("127.0.0.3", roamer.gateway_call, 4, frame, data_frame(frame, &packet));
    rig_expect(&gateway, &packet);
    const cw_event *event = rig_await_event(&gateway, CW_EVENT_ADDRESS_CHANGED, roamer.handle);
    cw_address moved = rig_address("127.0.0.3");
    CHECK(event != NULL && memcmp(&event->address, &moved, sizeof moved) == 0);
    // Now the old address is the foreign one, and control frames pass from the new one.
    send_gre("127.0.0.2", roamer.gateway_call, 5, terminate, sizeof terminate);
    CHECK(rig_await(&gateway, roamer.handle, DROPS(CW_DROP_GRE_WRONG_SOURCE), 2));
    send_gre("127.0.0.3", roamer.gateway_call, 6, terminate, sizeof terminate);
    CHECK(rig_await_event(&gateway, CW_EVENT_CONTROL, roamer.handle) != NULL);
    stop();
}

// Data needs BIND and, where it is required, encryption.
static void test_not_open(void) {
    uint8_t frame[2048];
    start(false, false);
    rig_session half = rig_session_number(2);
    rig_open(&gateway, &half, true);
    rig_settle(&gateway);
    rig_packet packet = rig_udp(half.inner, hub(), 200, 1, false);
    send_gre("127.0.0.2", half.gateway_call, 1, frame, data_frame(frame, &packet));
    CHECK(rig_await(&gateway, half.handle, DROPS(CW_DROP_NOT_OPEN), 1));
    rig_simple(&gateway, CW_UNBIND, alice.handle);
    rig_settle(&gateway);
    rig_sleep(20);
    send_up(alice.inner, hub());
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_NOT_OPEN), 1));
    packet = rig_udp(hub(), alice.inner, 100, 1, false);
    rig_send(&gateway, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    half.flags = CW_REQUIRE_ENCRYPTION;
    cw_command update = {.type = CW_UPDATE, .session = half.handle, .update = {.mask = CW_UPDATE_FLAGS, .flags = half.flags}};
    cw_command bind = rig_bind_command(&half);
    rig_submit(&gateway, &update);
    rig_submit(&gateway, &bind);
    rig_settle(&gateway);
    rig_sleep(20);
    packet = rig_udp(half.inner, hub(), 200, 1, false);
    send_gre("127.0.0.2", half.gateway_call, 2, frame, data_frame(frame, &packet));
    packet = rig_udp(hub(), half.inner, 200, 1, false);
    rig_send(&gateway, &packet);
    CHECK(rig_await(&gateway, half.handle, DROPS(CW_DROP_UNENCRYPTED), 2));
    rig_expect_nothing(&gateway);
    rig_expect_nothing(&client);
    stop();
}

// The same inner address dials again on the other worker, before and after the old session is closed.
static void test_rebinding(void) {
    start(false, false);
    for (unsigned round = 0; round < 20; round++) {
        rig_session again = rig_session_number(10 + round);
        again.inner = alice.inner;
        again.gateway_call = (uint16_t)(2000 + round); // alternates between the workers
        if (round % 3 == 0) { // the old session goes first
            rig_simple(&gateway, CW_CLOSE, alice.handle);
            rig_simple(&client, CW_CLOSE, alice.handle);
        }
        rig_connect(&gateway, &client, &again);
        if (round % 3 != 0) {
            rig_simple(&gateway, CW_CLOSE, alice.handle);
            rig_simple(&client, CW_CLOSE, alice.handle);
        }
        alice = again;
        rig_settle(&gateway);
        rig_settle(&client);
        rig_sleep(10);
        rig_packet packet = rig_udp(hub(), alice.inner, 300, (uint16_t)round, false);
        rig_send(&gateway, &packet);
        rig_expect(&client, &packet);
        expect_flow();
    }
    stop();
}

static void test_ipv6_inside(void) {
    start(false, false);
    cw_address own = rig_address("fd00:9::1"), far = rig_address("2001:db8::7");
    cw_command bind = rig_bind_command(&alice);
    bind.bind.prefix_count = 2;
    bind.bind.prefixes[1] = rig_prefix("fd00:9::", 64);
    rig_submit(&gateway, &bind);
    rig_submit(&client, &bind);
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20);
    rig_packet packet = rig_udp6(own, far, 1300), got = {0};
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    packet = rig_udp6(far, own, 1300);
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
    packet = rig_udp6(own, rig_address("ff02::1"), 100);
    rig_send(&client, &packet);
    packet = rig_udp6(own, rig_address("::ffff:10.0.0.1"), 100);
    rig_send(&client, &packet);
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_IP_LOCAL), 2));
    // Too big both ways. Our end has no IPv6 address, so the destination speaks for us.
    rig_tunnel(&gateway, true, 1280);
    rig_settle(&gateway);
    rig_sleep(20);
    packet = rig_udp6(own, far, 1300);
    rig_send(&client, &packet);
    CHECK(rig_receive(&client, &got, RIG_PATIENCE));
    CHECK(got.length == 1280 && got.data[6] == CW_IPPROTO_ICMPV6 && got.data[40] == 2 && cw_get32(got.data + 44) == 1280);
    CHECK(memcmp(got.data + 8, far.bytes, 16) == 0 && memcmp(got.data + 24, own.bytes, 16) == 0);
    packet = rig_udp6(far, own, 1401);
    rig_send(&gateway, &packet);
    CHECK(rig_receive(&gateway, &got, RIG_PATIENCE));
    CHECK(got.length == 1280 && got.data[40] == 2 && cw_get32(got.data + 44) == 1400);
    stop();
}

// What cannot be written or read counts and passes: an interface that is down is not a dead one.
static void test_interface_down(void) {
    start(false, false);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "cwg0"};
    CHECK_EQUAL(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    send_up(alice.inner, hub());
    CHECK(rig_await(&gateway, alice.handle, DROPS(CW_DROP_SEND_FAILED), 1));
    rig_interface_up("cwg0", 0);
    close(fd);
    // The packet socket was told ENETDOWN.
    rig_packet got;
    (void)rig_receive(&gateway, &got, 0);
    expect_flow();
    rig_poll(&gateway);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_WORKER_FAILED), 0);
    stop();
}

// The client encrypts with keys that we do not have: we ask for a new negotiation, once, and no packet comes through.
static void test_lost_keys(void) {
    start(false, false);
    cw_command rekey = {.type = CW_REKEY, .session = alice.handle};
    rekey.rekey = (cw_rekey){.direction = CW_TRANSMIT, .key_bits = 128, .flags = CW_MPPE_STATELESS, .start_key = {1, 2, 3}};
    rig_submit(&client, &rekey);
    rig_settle(&client);
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (rig_find_event(&gateway, CW_EVENT_DECRYPT_LOST, alice.handle) == NULL && rig_now() < until) {
        send_up(alice.inner, hub());
        rig_sleep(20);
        rig_poll(&gateway);
    }
    CHECK(rig_find_event(&gateway, CW_EVENT_DECRYPT_LOST, alice.handle) != NULL);
    rig_expect_nothing(&gateway);
    CHECK_EQUAL(rig_counters(&gateway, alice.handle).packets_in, 0);
    // With the right keys it goes on.
    rekey.rekey.direction = CW_RECEIVE;
    rig_submit(&gateway, &rekey);
    rekey.rekey.direction = CW_TRANSMIT;
    rig_submit(&client, &rekey);
    rig_settle(&gateway);
    rig_settle(&client);
    expect_flow();
    stop();
}

int main(void) {
    rig_enter_namespace();
    RUN(destinations);
    RUN(allowed_destinations);
    RUN(sources);
    RUN(tunnel_down);
    RUN(too_big);
    RUN(mss);
    RUN(rate);
    RUN(outer_source);
    RUN(unknown_call_is_told);
    RUN(address_change);
    RUN(not_open);
    RUN(rebinding);
    RUN(ipv6_inside);
    RUN(interface_down);
    RUN(lost_keys);
    FINISH();
}
