// Native sessions: users whose devices are WireGuard peers of the gateway. Device -> WireGuard -> gateway engine -> hub (or TUN), and back,
// beside legacy users who take the same way.
#define _GNU_SOURCE
#include "engine_wg_rig.h"

enum { HUB_KEY = 9000, ACCESS_KEY = 9100, DEVICE_KEY = 9200, DEVICES = 3 };

static rig_side gateway, client;
static wg_end hub, devices[DEVICES];
static cw_wg *wireguard;
static uint32_t access_identity, uplink;
static uint8_t access_public[CW_WG_KEY_SIZE];
static uint16_t access_port;
static rig_session legacy;

static cw_address server(void) { return rig_address("10.200.0.1"); }
static cw_address address_of(unsigned n) {
    char text[32];
    snprintf(text, sizeof text, "10.9.50.%u", n + 1);
    return rig_address(text);
}
static uint64_t handle_of(unsigned n) { return 1000 + n; }
static cw_prefix only(cw_address address) { return (cw_prefix){.address = address, .length = 32}; }

static void open_native(unsigned n) {
    cw_command command = {.type = CW_OPEN_NATIVE, .session = handle_of(n), .open_native = {.identity = access_identity}};
    memcpy(command.open_native.peer, devices[n].public_key, CW_WG_KEY_SIZE);
    rig_submit(&gateway, &command);
}

static cw_command bind_command(unsigned n, uint32_t identity) {
    return (cw_command){
        .type = CW_BIND,
        .session = handle_of(n),
        .bind = {.gateway_address = rig_address("10.9.255.1"), .tunnel = 3, .mtu = 1420, .prefix_count = 1, .identity = identity,
                 .prefixes = {only(address_of(n))}},
    };
}

static void bind_native(unsigned n, uint32_t identity) {
    cw_command command = bind_command(n, identity);
    rig_submit(&gateway, &command);
}

static void settle(void) {
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20);
}

static void start(uint32_t workers, bool user_to_user) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, workers);
    config.wireguard = true;
    config.allow_user_to_user = user_to_user;
    rig_start(&gateway, "cwg0", &config);
    config = rig_config(CW_ROLE_CLIENT, 1);
    rig_start(&client, "cwc0", &config);
    rig_tunnel(&gateway, true, 1420);
    wireguard = cw_engine_wireguard(gateway.engine);
    uint8_t key[CW_WG_KEY_SIZE], uplink_public[CW_WG_KEY_SIZE];
    uint32_t ports[2];
    cw_wg_port_config open = {.ipv4 = true};
    for (int i = 0; i < 2; i++) CHECK_EQUAL(cw_wg_port_open(wireguard, &open, &ports[i]), CW_OK);
    end_key(key, uplink_public, 1);
    CHECK_EQUAL(cw_wg_identity_add(wireguard, ports[0], key, &uplink), CW_OK);
    end_key(key, access_public, ACCESS_KEY);
    CHECK_EQUAL(cw_wg_identity_add(wireguard, ports[1], key, &access_identity), CW_OK);
    access_port = cw_wg_port_number(wireguard, ports[1]);

    cw_prefix all = rig_prefix("0.0.0.0", 0), pool = rig_prefix("10.9.0.0", 16);
    end_start(&hub, HUB_KEY);
    CHECK_EQUAL(wg_peer(hub.wg, hub.identity, uplink_public, 0, &pool, 1), CW_OK);
    CHECK_EQUAL(wg_peer(wireguard, uplink, hub.public_key, hub.number, &all, 1), CW_OK);
    for (unsigned n = 0; n < DEVICES; n++) {
        cw_prefix own = only(address_of(n));
        end_start(&devices[n], DEVICE_KEY + n);
        CHECK_EQUAL(wg_peer(devices[n].wg, devices[n].identity, access_public, access_port, &all, 1), CW_OK);
        CHECK_EQUAL(wg_peer(wireguard, access_identity, devices[n].public_key, 0, &own, 1), CW_OK);
        open_native(n);
        bind_native(n, uplink);
    }
    legacy = rig_session_number(1);
    rig_connect(&gateway, &client, &legacy);
    cw_command command = rig_bind_command(&legacy);
    command.bind.identity = uplink;
    rig_submit(&gateway, &command);
    settle();
}

static void stop(void) {
    rig_expect_nothing(&gateway);
    rig_stop(&gateway);
    rig_stop(&client);
    end_stop(&hub);
    for (unsigned n = 0; n < DEVICES; n++) end_stop(&devices[n]);
}

static uint16_t next_id;

static void expect_up(unsigned n) {
    rig_packet packet = rig_udp(address_of(n), server(), 100 + n, ++next_id, false), hopped = rig_hop(packet);
    end_send(&devices[n], &packet);
    end_expect(&hub, &hopped);
}

static void expect_down(unsigned n) {
    rig_packet packet = rig_udp(server(), address_of(n), 1300 + n, ++next_id, false), hopped = rig_hop(packet);
    end_send(&hub, &packet);
    end_expect(&devices[n], &hopped);
}

static void expect_nothing_anywhere(void) {
    for (unsigned n = 0; n < DEVICES; n++) end_expect_nothing(&devices[n]);
    end_expect_nothing(&hub);
    rig_expect_nothing(&client);
    rig_expect_nothing(&gateway);
}

static void both_ways(uint32_t workers) {
    enum { rounds = 10 };
    start(workers, false);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned n = 0; n < DEVICES; n++) expect_up(n);
        for (unsigned n = 0; n < DEVICES; n++) expect_down(n);
    }
    for (unsigned n = 0; n < DEVICES; n++) {
        CHECK(rig_await(&gateway, handle_of(n), COUNTER(packets_in), rounds));
        CHECK(rig_await(&gateway, handle_of(n), COUNTER(packets_out), rounds));
        cw_counters counters = rig_counters(&gateway, handle_of(n));
        CHECK_EQUAL(counters.bytes_in, rounds * (100 + n));
        CHECK_EQUAL(counters.bytes_out, rounds * (1300 + n));
        CHECK(counters.last_in_nanoseconds != 0 && counters.last_data_nanoseconds >= counters.last_in_nanoseconds);
        CHECK_EQUAL(counters.gre_in + counters.gre_out + counters.control_in + counters.control_out, 0);
        for (unsigned i = 0; i < CW_DROP_COUNT; i++) CHECK_EQUAL(counters.drops[i], 0);
    }
    // The legacy user beside them.
    rig_packet packet = rig_udp(legacy.inner, server(), 500, 1, false), hopped = rig_hop(packet);
    rig_send(&client, &packet);
    end_expect(&hub, &hopped);
    packet = rig_udp(server(), legacy.inner, 500, 2, false);
    hopped = rig_hop(packet);
    end_send(&hub, &packet);
    rig_expect(&client, &hopped);
    for (unsigned n = 0; n < DEVICES; n++) {
        rig_simple(&gateway, CW_CLOSE, handle_of(n));
        const cw_event *closed = rig_await_event(&gateway, CW_EVENT_CLOSED, handle_of(n));
        CHECK(closed != NULL && closed->counters.packets_in == rounds && closed->counters.packets_out == rounds);
    }
    stop();
}

static void test_both_ways(void) { both_ways(1); }
static void test_both_ways_two_workers(void) { both_ways(2); }

// Whoever sends for somebody else is found out, whatever the peer's allowed IPs say.
static void test_wrong_peer(void) {
    start(2, false);
    for (unsigned n = 0; n < DEVICES; n++) expect_up(n);
    uint64_t wrong = 0;
    for (unsigned n = 0; n < DEVICES; n++) {
        unsigned other = (n + 1) % DEVICES;
        cw_prefix theirs = only(address_of(n)), own = only(address_of(other));
        // The other device gets this address, but the session has not been told.
        CHECK_EQUAL(wg_peer(wireguard, access_identity, devices[other].public_key, 0, &theirs, 1), CW_OK);
        rig_packet packet = rig_udp(address_of(n), server(), 100, ++next_id, false);
        end_send(&devices[other], &packet);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_PEER), ++wrong));
        // What is for the session does not go there either.
        packet = rig_udp(server(), address_of(n), 100, ++next_id, false);
        end_send(&hub, &packet);
        CHECK(rig_await(&gateway, handle_of(n), DROPS(CW_DROP_NO_PEER), 1));
        rig_packet got = {0};
        CHECK(end_receive(&hub, &got, RIG_PATIENCE));
        packet = rig_hop(packet);
        rig_check_icmp(&got, address_of(n), server(), 3, 1, 0, &packet);
        CHECK_EQUAL(wg_peer(wireguard, access_identity, devices[n].public_key, 0, &theirs, 1), CW_OK);
        CHECK_EQUAL(wg_peer(wireguard, access_identity, devices[other].public_key, 0, &own, 1), CW_OK);
        expect_up(n);
        expect_down(n);
    }
    // An address of a legacy user, of nobody, and one that the peer may not use.
    cw_prefix foreign[2] = {only(legacy.inner), only(rig_address("10.9.60.1"))};
    CHECK_EQUAL(wg_peer(wireguard, access_identity, devices[0].public_key, 0, foreign, 2), CW_OK);
    for (int i = 0; i < 2; i++) {
        rig_packet packet = rig_udp(foreign[i].address, server(), 100, ++next_id, false);
        end_send(&devices[0], &packet);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_PEER), ++wrong));
    }
    rig_packet packet = rig_udp(address_of(1), server(), 100, ++next_id, false);
    end_send(&devices[0], &packet);
    uint64_t until = rig_now() + RIG_PATIENCE;
    cw_wg_counters engine;
    do cw_wg_counters_read(wireguard, &engine);
    while (engine.drops[CW_WG_DROP_ALLOWED_IP] == 0 && rig_now() < until);
    CHECK_EQUAL(engine.drops[CW_WG_DROP_ALLOWED_IP], 1);
    // The hub does not reach a user whose uplink is another.
    packet = rig_udp(address_of(1), address_of(0), 100, ++next_id, false);
    bind_native(0, 0);
    settle();
    end_send(&hub, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_UPLINK), 1));
    expect_nothing_anywhere();
    stop();
}

// The same checks as for a legacy user's packets.
static void test_checks(void) {
    start(2, false);
    expect_up(0);
    rig_packet packet = rig_udp(address_of(0), rig_address("127.0.0.1"), 100, 1, false);
    end_send(&devices[0], &packet);
    CHECK(rig_await(&gateway, handle_of(0), DROPS(CW_DROP_IP_LOCAL), 1));
    packet = rig_udp(address_of(0), address_of(1), 100, 2, false);
    end_send(&devices[0], &packet);
    packet = rig_udp(address_of(0), legacy.inner, 100, 3, false);
    end_send(&devices[0], &packet);
    CHECK(rig_await(&gateway, handle_of(0), DROPS(CW_DROP_IP_OTHER_USER), 2));
    // Path MTU: 1,400 towards the hub.
    rig_tunnel(&gateway, true, 1400);
    settle();
    packet = rig_udp(address_of(0), server(), 1410, 4, true);
    end_send(&devices[0], &packet);
    rig_packet got = {0}, hopped = rig_hop(packet);
    CHECK(end_receive(&devices[0], &got, RIG_PATIENCE));
    rig_check_icmp(&got, rig_address("10.9.255.1"), address_of(0), 3, 4, 1400, &hopped);
    // An MTU and a rate of its own.
    cw_command update = {.type = CW_UPDATE, .session = handle_of(0),
                         .update = {.mask = CW_UPDATE_MTU | CW_UPDATE_RATE, .mtu = 600, .rate_bits_per_second = 8}};
    rig_submit(&gateway, &update);
    settle();
    packet = rig_udp(server(), address_of(0), 1000, 5, false);
    end_send(&hub, &packet);
    size_t payload = 0;
    for (int i = 0; i < 2; i++) {
        CHECK(end_receive(&devices[0], &got, RIG_PATIENCE));
        CHECK(got.length <= 600 && cw_get16(got.data + 4) == 5);
        payload += got.length - 20;
    }
    CHECK_EQUAL(payload, 980);
    packet = rig_udp(address_of(0), server(), 1000, 6, false);
    for (int i = 0; i < 80; i++) end_send(&devices[0], &packet);
    CHECK(rig_await(&gateway, handle_of(0), DROPS(CW_DROP_RATE), 15)); // 64 KiB may go at once
    for (int i = 0; i < 65; i++) CHECK(end_receive(&hub, &got, RIG_PATIENCE));
    // Bound no more: nothing passes.
    rig_simple(&gateway, CW_UNBIND, handle_of(0));
    settle();
    packet = rig_udp(address_of(0), server(), 100, 7, false);
    end_send(&devices[0], &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_WRONG_PEER), 1));
    packet = rig_udp(server(), address_of(0), 100, 8, false);
    end_send(&hub, &packet);
    CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_IP_NO_SESSION), 1));
    expect_nothing_anywhere();
    stop();
}

// Users of both kinds talk to each other where the configuration lets them.
static void test_users_meet(void) {
    start(2, true);
    for (unsigned n = 0; n < DEVICES; n++) expect_up(n);
    for (unsigned n = 1; n < DEVICES; n++) {
        rig_packet packet = rig_udp(address_of(0), address_of(n), 300, ++next_id, false), hopped = rig_hop(packet);
        end_send(&devices[0], &packet);
        end_expect(&devices[n], &hopped);
        packet = rig_udp(address_of(n), legacy.inner, 300, ++next_id, false);
        hopped = rig_hop(packet);
        end_send(&devices[n], &packet);
        rig_expect(&client, &hopped);
        packet = rig_udp(legacy.inner, address_of(n), 300, ++next_id, false);
        hopped = rig_hop(packet);
        rig_send(&client, &packet);
        end_expect(&devices[n], &hopped);
    }
    end_expect_nothing(&hub);
    stop();
}

// The uplink of a native session may be the TUN: the kernel routes.
static void test_tun_uplink(void) {
    start(2, false);
    for (unsigned n = 0; n < DEVICES; n++) bind_native(n, 0);
    settle();
    for (unsigned n = 0; n < DEVICES; n++) {
        rig_packet packet = rig_udp(address_of(n), server(), 900, ++next_id, false);
        end_send(&devices[n], &packet);
        rig_expect(&gateway, &packet);
        packet = rig_udp(server(), address_of(n), 900, ++next_id, false);
        rig_send(&gateway, &packet);
        end_expect(&devices[n], &packet);
    }
    end_expect_nothing(&hub);
    stop();
}

static void expect_refusal(uint64_t session, cw_command_type type, cw_status reason) {
    const cw_event *event = rig_await_event(&gateway, CW_EVENT_REFUSED, session);
    CHECK(event != NULL && event->refused == type && event->reason == (int32_t)reason);
    gateway.event_count = 0;
}

static void test_refusals(void) {
    start(2, false);
    gateway.event_count = 0;
    uint64_t session = handle_of(0);
    rig_simple(&gateway, CW_EXPORT, session);
    expect_refusal(session, CW_EXPORT, CW_INVALID);
    cw_command command = {.type = CW_REKEY, .session = session, .rekey = {.key_bits = 128}};
    rig_submit(&gateway, &command);
    expect_refusal(session, CW_REKEY, CW_INVALID);
    command = (cw_command){.type = CW_INJECT, .session = session, .inject = {.protocol = 0xC021}};
    rig_submit(&gateway, &command);
    expect_refusal(session, CW_INJECT, CW_INVALID);
    command = (cw_command){.type = CW_UPDATE, .session = session, .update = {.mask = CW_UPDATE_FLAGS}};
    rig_submit(&gateway, &command);
    expect_refusal(session, CW_UPDATE, CW_INVALID);
    command.update = (cw_update){.mask = CW_UPDATE_PEER_ADDRESS, .peer_address = rig_address("127.0.0.1")};
    rig_submit(&gateway, &command);
    expect_refusal(session, CW_UPDATE, CW_INVALID);
    open_native(0);
    expect_refusal(session, CW_OPEN_NATIVE, CW_INVALID);
    command = (cw_command){.type = CW_OPEN_NATIVE, .session = 77};
    CHECK_EQUAL(cw_engine_submit(gateway.engine, &command, 1, NULL), CW_INVALID);
    // One identity is in use; there is room for so many more, and again once a session has gone.
    for (uint32_t i = 1; i <= CW_MAX_ACCESS_IDENTITIES; i++) {
        command = (cw_command){.type = CW_OPEN_NATIVE, .session = 100 + i, .open_native = {.identity = 500000 + i}};
        rig_submit(&gateway, &command);
    }
    expect_refusal(100 + CW_MAX_ACCESS_IDENTITIES, CW_OPEN_NATIVE, CW_FULL);
    rig_simple(&gateway, CW_CLOSE, 101);
    rig_submit(&gateway, &command);
    rig_settle(&gateway);
    CHECK_EQUAL(rig_count_events(&gateway, CW_EVENT_REFUSED), 1); // that of settling
    expect_up(0);
    expect_down(0);
    stop();
}

// Sessions open and close while their devices send.
static void test_comes_and_goes(void) {
    start(2, false);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned n = 0; n < DEVICES; n++) {
            rig_simple(&gateway, CW_CLOSE, handle_of(n));
            rig_packet packet = rig_udp(address_of(n), server(), 100, 0, false);
            for (int i = 0; i < 5; i++) end_send(&devices[n], &packet);
            open_native(n);
            bind_native(n, uplink);
        }
        settle();
        rig_packet got;
        rig_sleep(10);
        while (end_receive(&hub, &got, 0)) CHECK_EQUAL(cw_get16(got.data + 4), 0);
        for (unsigned n = 0; n < DEVICES; n++) {
            expect_up(n);
            expect_down(n);
        }
    }
    stop();
}

int main(void) {
    rig_enter_namespace();
    RUN(both_ways);
    RUN(both_ways_two_workers);
    RUN(wrong_peer);
    RUN(checks);
    RUN(users_meet);
    RUN(tun_uplink);
    RUN(refusals);
    RUN(comes_and_goes);
    FINISH();
}
