// Identities that come and go while packets of all users flow both ways; an engine that stops, starts and is destroyed under load.
#define _GNU_SOURCE
#include "engine_uplink_rig.h"

static _Atomic bool loading;

static void *load(void *unused) {
    (void)unused;
    for (unsigned i = 0; loading; i++) {
        rig_packet packet = rig_udp(sessions[i % 8].inner, server(), 100, (uint16_t)i, true);
        struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(client.tun)};
        // Less than any machine carries, even with the thread sanitizer: otherwise the queues grow, and each change is seen late.
        if (sendto(client.packets, packet.data, packet.length, 0, (struct sockaddr *)&to, sizeof to) < 0 || i % 4 == 0) rig_sleep(1);
    }
    return NULL;
}

static void drain_client(void) {
    rig_packet got;
    while (rig_receive(&client, &got, 0)) {}
}

static uint64_t echoed(unsigned n) { return rig_counters(&gateway, sessions[n].handle).packets_out; }

static uint64_t down_drops(unsigned n) { return rig_counters(&gateway, sessions[n].handle).drops[CW_DROP_TUNNEL_DOWN]; }

static void await_echo(unsigned n) {
    uint64_t before = echoed(n), until = rig_now() + RIG_PATIENCE;
    while (echoed(n) < before + 20 && rig_now() < until) {
        drain_client();
        rig_sleep(1);
    }
    CHECK(echoed(n) >= before + 20);
}

// Identities go, come back with other keys, and go down and up, while packets of all users flow both ways.
static void test_changes_under_load(void) {
    without_encryption = true;
    start(2, NULL);
    connect_sessions(8, false);
    exchange(8, 1, true);
    hub.echo = true;
    loading = true;
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, load, NULL), 0);
    cw_prefix all = all_of_ipv4();
    for (unsigned n = 0; n < 8; n++) await_echo(n);
    for (unsigned round = 0; round < 24; round++) {
        unsigned n = round % 8;
        uint8_t public_key[CW_WG_KEY_SIZE];
        uint64_t dropped = down_drops(n), until = rig_now() + RIG_PATIENCE;
        CHECK_EQUAL(cw_wg_identity_remove(wireguard, identities[n]), CW_OK);
        while (down_drops(n) < dropped + 5 && rig_now() < until) {
            drain_client();
            rig_sleep(1);
        }
        CHECK(down_drops(n) >= dropped + 5);
        identities[n] = add_identity(100 + round, public_key);
        cw_prefix own = {.address = sessions[n].inner, .length = 32};
        CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, &own, 1), CW_OK);
        CHECK_EQUAL(wg_peer(wireguard, identities[n], hub.public_key, hub.number, &all, 1), CW_OK);
        bind_to(&sessions[n], identities[n]);
        CHECK_EQUAL(cw_wg_identity_set_up(wireguard, identities[(n + 3) % 8], false), CW_OK);
        await_echo(n);
        CHECK_EQUAL(cw_wg_identity_set_up(wireguard, identities[(n + 3) % 8], true), CW_OK);
    }
    for (unsigned n = 0; n < 8; n++) await_echo(n);
    // The engine stops and starts again in the middle of it; the tunnels go on.
    cw_engine_stop(gateway.engine);
    rig_sleep(20);
    CHECK_EQUAL(cw_engine_start(gateway.engine), CW_OK);
    for (unsigned n = 0; n < 8; n++) await_echo(n);
    rig_expect_nothing(&gateway);
    rig_stop(&gateway); // destroyed under load
    loading = false;
    pthread_join(thread, NULL);
    rig_stop(&client);
    end_stop(&hub);
}

int main(void) {
    rig_enter_namespace();
    RUN(changes_under_load);
    FINISH();
}
