// Sessions whose uplink is a WireGuard identity, end to end and back. Nothing may ever come out of the gateway's TUN.
#define _GNU_SOURCE
#include "engine_uplink_rig.h"

static void check_counters(unsigned count, unsigned rounds) {
    for (unsigned n = 0; n < count; n++) {
        uint64_t handle = sessions[n].handle, bytes = 0;
        for (unsigned round = 0; round < rounds; round++) bytes += numbered(n, round, true).length;
        CHECK(rig_await(&gateway, handle, COUNTER(packets_in), rounds));
        CHECK(rig_await(&gateway, handle, COUNTER(packets_out), rounds));
        cw_counters counters = rig_counters(&gateway, handle);
        CHECK_EQUAL(counters.bytes_in, bytes);
        CHECK_EQUAL(counters.bytes_out, bytes);
        for (unsigned i = 0; i < CW_DROP_COUNT; i++) CHECK_EQUAL(counters.drops[i], 0);
    }
    cw_counters totals = rig_counters(&gateway, 0);
    for (unsigned i = 0; i < CW_DROP_COUNT; i++) // the other engine's GRE packets are seen as well: one network namespace
        CHECK(totals.drops[i] == 0 || i == CW_DROP_GRE_UNKNOWN_CALL);
    cw_wg_counters engine;
    cw_wg_counters_read(wireguard, &engine);
    CHECK_EQUAL(engine.packets_in, (uint64_t)count * rounds);
    CHECK_EQUAL(engine.packets_out, (uint64_t)count * rounds);
    for (unsigned i = 0; i < CW_WG_DROP_WG_COUNT; i++) CHECK_EQUAL(engine.drops[i], 0);
}

static void both_ways(uint32_t workers, unsigned count, bool shared) {
    enum { rounds = 20 };
    int descriptors = rig_descriptors();
    start(workers, NULL);
    connect_sessions(count, shared);
    exchange(count, rounds, true);
    exchange(count, rounds, false);
    check_counters(count, rounds);
    cw_wg_counters engine;
    cw_wg_counters_read(wireguard, &engine);
    CHECK_EQUAL(engine.handshakes, shared ? 1 : count);
    stop();
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

static void test_shared_identity(void) { both_ways(1, 20, true); }
static void test_shared_identity_two_workers(void) { both_ways(2, 20, true); }
static void test_identity_for_each_user(void) { both_ways(2, MOST, false); }

static uint64_t total(cw_drop cause) { return rig_counters(&gateway, 0).drops[cause]; }

// A packet for a session comes from nowhere but its own identity.
static void test_wrong_uplink(void) {
    start(2, NULL);
    connect_sessions(4, false);
    exchange(4, 1, true);
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE];
    for (unsigned n = 0; n < 4; n++) { // the hub sends what is for user n through the identity of user n ^ 1, on another worker, or n ^ 2
        cw_prefix prefix = {.address = sessions[n].inner, .length = 32};
        end_key(private_key, public_key, (n ^ (n < 2 ? 1 : 2)) + 1);
        CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, &prefix, 1), CW_OK);
        rig_packet packet = numbered(n, 1, false);
        end_send(&hub, &packet);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_UPLINK), n + 1));
    }
    // Nor from the TUN, where any process of the host could send it.
    rig_packet packet = numbered(0, 2, false);
    rig_send(&gateway, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_UPLINK), 5));
    // And a session of the TUN gets nothing from an identity; what it sends leaves through the TUN.
    bind_to(&sessions[1], 0);
    settle();
    packet = numbered(1, 3, false);
    end_send(&hub, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_UPLINK), 6));
    rig_send(&gateway, &packet);
    rig_expect(&client, &packet);
    packet = numbered(1, 4, true);
    rig_send(&client, &packet);
    rig_expect(&gateway, &packet);
    // Nobody has this address.
    packet = rig_udp(server(), rig_address("10.9.99.1"), 80, 1, false);
    cw_prefix prefix = {.address = rig_address("10.9.99.1"), .length = 32};
    CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, &prefix, 1), CW_OK);
    end_send(&hub, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    rig_expect_nothing(&client);
    end_expect_nothing(&hub);
    stop();
}

static void expect_icmp(uint8_t type, uint8_t code, uint16_t mtu, const rig_packet *about) {
    rig_packet got = {0};
    CHECK(rig_receive(&client, &got, RIG_PATIENCE));
    cw_address to = {.family = 4};
    memcpy(to.bytes, about->data + 12, 4);
    rig_check_icmp(&got, rig_address("10.9.255.1"), to, type, code, mtu, about);
}

// What cannot go to the hub is dropped, counted and answered.
static void test_fails_closed(void) {
    start(2, NULL);
    connect_sessions(2, false);
    exchange(2, 1, true);
    uint64_t user = sessions[0].handle;
    rig_packet packet = numbered(0, 5, true);

    rig_tunnel(&gateway, false, 1420);
    settle();
    rig_send(&client, &packet);
    expect_icmp(3, 0, 0, &packet);
    CHECK(rig_await(&gateway, user, DROPS(CW_DROP_TUNNEL_DOWN), 1));
    rig_tunnel(&gateway, true, 1420);
    settle();

    CHECK_EQUAL(cw_wg_identity_set_up(wireguard, identities[0], false), CW_OK);
    rig_send(&client, &packet);
    expect_icmp(3, 1, 0, &packet);
    CHECK(rig_await(&gateway, user, DROPS(CW_DROP_TUNNEL_DOWN), 2));
    CHECK_EQUAL(cw_wg_identity_set_up(wireguard, identities[0], true), CW_OK);

    // The hub takes only these; and no endpoint is known for what another peer takes.
    cw_prefix some = rig_prefix("10.200.0.0", 16), other = rig_prefix("10.201.0.0", 16);
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE];
    end_key(private_key, public_key, 555);
    cw_wg_peer_change only = {.mask = CW_WG_PEER_REPLACE_ALLOWED_IPS, .allowed_ip_count = 1, .allowed_ips = &some};
    memcpy(only.public_key, hub.public_key, sizeof only.public_key);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(wireguard, identities[0], &only, 1, &done), CW_OK);
    CHECK_EQUAL(wg_peer(wireguard, identities[0], public_key, 0, &other, 1), CW_OK);
    rig_send(&client, &packet);
    rig_packet hopped = rig_hop(packet);
    end_expect(&hub, &hopped);
    for (unsigned i = 0; i < 2; i++) {
        packet = rig_udp(sessions[0].inner, rig_address(i == 0 ? "10.201.0.1" : "10.202.0.1"), 700, (uint16_t)i, false);
        rig_send(&client, &packet);
        expect_icmp(3, 1, 0, &packet);
        CHECK(rig_await(&gateway, user, DROPS(CW_DROP_NO_PEER), i + 1));
    }
    cw_wg_counters engine;
    cw_wg_counters_read(wireguard, &engine);
    CHECK_EQUAL(engine.drops[CW_WG_DROP_NO_ENDPOINT], 1);
    CHECK_EQUAL(engine.drops[CW_WG_DROP_NO_PEER], 1);

    CHECK_EQUAL(cw_wg_identity_remove(wireguard, identities[0]), CW_OK);
    packet = numbered(0, 6, true);
    rig_send(&client, &packet);
    expect_icmp(3, 1, 0, &packet);
    CHECK(rig_await(&gateway, user, DROPS(CW_DROP_TUNNEL_DOWN), 3));
    packet = numbered(1, 6, true); // the other user's goes on
    rig_send(&client, &packet);
    hopped = rig_hop(packet);
    end_expect(&hub, &hopped);
    end_expect_nothing(&hub);
    stop();
}

// TTL, path MTU and fragments, both ways. Errors go back where the packet came from; those for the hub speak with the address that the
// packet was for, since no other is allowed to this peer.
static void test_router(void) {
    start(2, NULL);
    connect_sessions(2, true);
    exchange(2, 1, true);
    rig_packet packet = numbered(0, 5, true), got = {0};
    packet.data[8] = 2;
    packet = rig_hop(packet); // TTL 1
    rig_send(&client, &packet);
    expect_icmp(11, 0, 0, &packet);
    CHECK(rig_await(&gateway, sessions[0].handle, DROPS(CW_DROP_IP_EXPIRED), 1));

    packet = numbered(1, 5, false);
    packet.data[8] = 2;
    packet = rig_hop(packet);
    end_send(&hub, &packet);
    CHECK(end_receive(&hub, &got, RIG_PATIENCE));
    rig_check_icmp(&got, sessions[1].inner, server(), 11, 0, 0, &packet);
    CHECK(rig_await(&gateway, sessions[1].handle, DROPS(CW_DROP_IP_EXPIRED), 1));

    rig_tunnel(&gateway, true, 1200);
    settle();
    packet = rig_udp(sessions[0].inner, server(), 1201, 77, true);
    rig_send(&client, &packet);
    rig_packet hopped = rig_hop(packet);
    expect_icmp(3, 4, 1200, &hopped);
    packet = rig_udp(sessions[0].inner, server(), 1300, 78, false);
    rig_send(&client, &packet);
    size_t payload = 0;
    for (unsigned i = 0; i < 2; i++) {
        CHECK(end_receive(&hub, &got, RIG_PATIENCE));
        CHECK_EQUAL(cw_checksum(cw_sum(0, got.data, 20)), 0);
        CHECK(got.length <= 1200 && got.data[8] == 63 && cw_get16(got.data + 4) == 78);
        CHECK(memcmp(got.data + 20, packet.data + 20 + payload, got.length - 20) == 0);
        payload += got.length - 20;
    }
    CHECK_EQUAL(payload, 1280);
    CHECK(rig_await(&gateway, sessions[0].handle, COUNTER(packets_in), 2)); // one of the exchange

    packet = rig_udp(server(), sessions[0].inner, 1410, 79, true); // the link's MTU is 1,400
    end_send(&hub, &packet);
    CHECK(end_receive(&hub, &got, RIG_PATIENCE));
    hopped = rig_hop(packet);
    rig_check_icmp(&got, sessions[0].inner, server(), 3, 4, 1400, &hopped);
    packet = rig_udp(server(), sessions[0].inner, 1410, 80, false);
    end_send(&hub, &packet);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(rig_receive(&client, &got, RIG_PATIENCE));
        CHECK(got.length <= 1400 && cw_get16(got.data + 4) == 80);
    }
    end_expect_nothing(&hub);
    rig_expect_nothing(&client);
    stop();
}

static void test_ipv6_inside(void) {
    start(2, NULL);
    connect_sessions(2, false);
    cw_address own = rig_address("fd00:9::1"), far = rig_address("2001:db8::7");
    cw_command bind = rig_bind_command(&sessions[0]);
    bind.bind.prefix_count = 2;
    bind.bind.prefixes[1] = rig_prefix("fd00:9::", 64);
    rig_submit(&client, &bind);
    bind.bind.identity = identities[0];
    rig_submit(&gateway, &bind);
    settle();
    rig_packet packet = rig_udp6(own, far, 1300), hopped = rig_hop(packet), got = {0};
    rig_send(&client, &packet); // the hub's allowed IPs are of IPv4 only
    CHECK(rig_receive(&client, &got, RIG_PATIENCE));
    CHECK(got.length == 1280 && got.data[6] == CW_IPPROTO_ICMPV6 && got.data[40] == 1 && got.data[41] == 3);
    CHECK(memcmp(got.data + 8, far.bytes, 16) == 0 && memcmp(got.data + 24, own.bytes, 16) == 0);
    CHECK(rig_await(&gateway, sessions[0].handle, DROPS(CW_DROP_NO_PEER), 1));
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE];
    cw_prefix all = rig_prefix("::", 0);
    end_key(private_key, public_key, 1);
    CHECK_EQUAL(wg_peer(wireguard, identities[0], hub.public_key, 0, &all, 1), CW_OK);
    CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, &bind.bind.prefixes[1], 1), CW_OK);
    rig_send(&client, &packet);
    end_expect(&hub, &hopped);
    packet = rig_udp6(far, own, 1300);
    hopped = rig_hop(packet);
    end_send(&hub, &packet);
    rig_expect(&client, &hopped);
    packet.data[7] = 1;
    end_send(&hub, &packet);
    CHECK(end_receive(&hub, &got, RIG_PATIENCE));
    CHECK(got.length == 1280 && got.data[40] == 3 && got.data[41] == 0 && memcmp(got.data + 8, own.bytes, 16) == 0);
    rig_expect_nothing(&client);
    stop();
}

static void shorter_batches(cw_engine_config *config) { config->batch_size = 4; }

// With batches of another size, and users who talk to each other as well.
static void users_meet(cw_engine_config *config) {
    config->allow_user_to_user = true;
    shorter_batches(config);
}

static void test_users_meet(void) {
    start(2, users_meet);
    connect_sessions(4, false);
    exchange(4, 5, true);
    exchange(4, 5, false);
    rig_packet packet = rig_udp(sessions[0].inner, sessions[1].inner, 300, 1, false), hopped = rig_hop(packet);
    rig_send(&client, &packet);
    rig_expect(&client, &hopped);
    packet = rig_udp(sessions[0].inner, sessions[2].inner, 300, 2, false); // on the same worker
    rig_send(&client, &packet);
    hopped = rig_hop(packet);
    rig_expect(&client, &hopped);
    end_expect_nothing(&hub);
    stop();
}

// An exported session takes up its uplink only where the importer says, and never changes from WireGuard to the TUN.
static void test_import(void) {
    start(2, NULL);
    connect_sessions(2, false);
    exchange(2, 1, true);
    rig_simple(&gateway, CW_EXPORT, sessions[0].handle);
    const cw_event *event = rig_await_event(&gateway, CW_EVENT_EXPORTED, sessions[0].handle);
    CHECK(event != NULL);
    if (event == NULL) return;
    cw_command command = {.type = CW_IMPORT, .session = sessions[0].handle};
    command.import_state = (cw_import){.length = event->length, .state = event->payload};
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, NULL), CW_INVALID);
    command.import_state.identity = identities[0];
    rig_submit(&gateway, &command);
    settle();
    rig_packet packet = numbered(0, 9, true), hopped = rig_hop(packet);
    rig_send(&client, &packet);
    end_expect(&hub, &hopped);
    packet = numbered(0, 9, false);
    hopped = rig_hop(packet);
    end_send(&hub, &packet);
    rig_expect(&client, &hopped);
    // The other way round as well.
    bind_to(&sessions[1], 0);
    rig_simple(&gateway, CW_EXPORT, sessions[1].handle);
    event = rig_await_event(&gateway, CW_EVENT_EXPORTED, sessions[1].handle);
    CHECK(event != NULL);
    if (event == NULL) return;
    command.session = sessions[1].handle;
    command.import_state = (cw_import){.identity = identities[1], .length = event->length, .state = event->payload};
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, NULL), CW_INVALID);
    command.import_state.identity = 0;
    rig_submit(&gateway, &command);
    stop();
}

static void test_refusals(void) {
    cw_engine_config config = rig_config(CW_ROLE_CLIENT, 1);
    cw_engine *engine;
    config.wireguard = true;
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_INVALID);
    config = rig_config(CW_ROLE_GATEWAY, 2);
    config.wireguard = true;
    config.wireguard_config.identity_capacity = 0;
    int descriptors = rig_descriptors();
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_INVALID);
    CHECK_EQUAL(rig_descriptors(), descriptors);
    // Without a WireGuard engine no command may name an identity.
    config.wireguard = false;
    CHECK_EQUAL(cw_engine_create(&config, &engine), CW_OK);
    rig_session session = rig_session_number(0);
    cw_command command = rig_bind_command(&session);
    command.bind.identity = 1;
    CHECK_EQUAL(cw_engine_submit(engine, &command, 1, NULL), CW_INVALID);
    command = (cw_command){.type = CW_OPEN_NATIVE, .session = 1, .open_native = {.identity = 1}};
    CHECK_EQUAL(cw_engine_submit(engine, &command, 1, NULL), CW_INVALID);
    cw_engine_destroy(engine);
}

static void test_idle_sleeps(void) {
    start(2, NULL);
    connect_sessions(20, false);
    exchange(20, 1, true);
    rig_sleep(100);
    double before = rig_cpu_seconds();
    rig_sleep(300);
    CHECK(rig_cpu_seconds() - before < 0.05);
    CHECK_EQUAL(total(CW_DROP_OVERFLOW), 0);
    stop();
}

int main(void) {
    rig_enter_namespace();
    RUN(shared_identity);
    RUN(shared_identity_two_workers);
    RUN(identity_for_each_user);
    RUN(wrong_uplink);
    RUN(fails_closed);
    RUN(router);
    RUN(ipv6_inside);
    RUN(users_meet);
    RUN(import);
    RUN(refusals);
    RUN(idle_sleeps);
    FINISH();
}
