// Sessions of legacy clients whose uplinks are WireGuard identities: client engine -> GRE -> gateway engine -> WireGuard over loopback -> hub.
#ifndef CW_ENGINE_UPLINK_RIG_H
#define CW_ENGINE_UPLINK_RIG_H

#include "engine_wg_rig.h"

enum { MOST = 200, HUB_KEY = 9000 };

static rig_side gateway, client;
static wg_end hub;
static cw_wg *wireguard; // the gateway's
static uint32_t port;
static uint16_t number;
static rig_session sessions[MOST];
static uint32_t identities[MOST]; // of each session

static inline cw_address server(void) { return rig_address("10.200.0.1"); }

static inline uint32_t add_identity(unsigned key, uint8_t public_key[CW_WG_KEY_SIZE]) {
    uint8_t private_key[CW_WG_KEY_SIZE];
    uint32_t identity = 0;
    end_key(private_key, public_key, key);
    CHECK_EQUAL(cw_wg_identity_add(wireguard, port, private_key, &identity), CW_OK);
    return identity;
}

static inline void start(uint32_t workers, void (*change)(cw_engine_config *)) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, workers);
    config.wireguard = true;
    if (change != NULL) change(&config);
    rig_start(&gateway, "cwg0", &config);
    config = rig_config(CW_ROLE_CLIENT, workers);
    rig_start(&client, "cwc0", &config);
    rig_tunnel(&gateway, true, 1420);
    wireguard = cw_engine_wireguard(gateway.engine);
    CHECK(wireguard != NULL);
    CHECK(cw_engine_wireguard(client.engine) == NULL);
    cw_wg_port_config open = {.ipv4 = true};
    CHECK_EQUAL(cw_wg_port_open(wireguard, &open, &port), CW_OK);
    number = cw_wg_port_number(wireguard, port);
    end_start(&hub, HUB_KEY);
}

static inline void stop(void) {
    rig_expect_nothing(&gateway);
    rig_stop(&gateway);
    rig_stop(&client);
    end_stop(&hub);
}

static inline void bind_to(const rig_session *session, uint32_t identity) {
    cw_command bind = rig_bind_command(session);
    bind.bind.identity = identity;
    rig_submit(&gateway, &bind);
}

static inline void connect_session(const rig_session *session, uint32_t identity) {
    rig_side *sides[2] = {&gateway, &client};
    for (int i = 0; i < 2; i++) {
        rig_open(sides[i], session, i == 0);
        if (!session->clear) rig_rekey(sides[i], session, i == 0);
    }
    cw_command bind = rig_bind_command(session);
    rig_submit(&client, &bind);
    bind_to(session, identity);
}

static inline void settle(void) {
    rig_settle(&gateway);
    rig_settle(&client);
    rig_sleep(20); // routes on the other worker
}

static inline cw_prefix all_of_ipv4(void) { return rig_prefix("0.0.0.0", 0); }

static bool without_encryption; // of the legacy link: MPPE is slow under the thread sanitizer

// `count` sessions with an identity each, or all with one.
static inline void connect_sessions(unsigned count, bool shared) {
    cw_prefix all = all_of_ipv4(), own[MOST];
    uint8_t public_key[CW_WG_KEY_SIZE];
    for (unsigned n = 0; n < count; n++) {
        sessions[n] = rig_session_number(n);
        sessions[n].clear = without_encryption;
        own[n] = (cw_prefix){.address = sessions[n].inner, .length = 32};
        if (n == 0 || !shared) {
            identities[n] = add_identity(n + 1, public_key);
            CHECK_EQUAL(wg_peer(wireguard, identities[n], hub.public_key, hub.number, &all, 1), CW_OK);
        } else {
            identities[n] = identities[0];
        }
        if (!shared) CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, &own[n], 1), CW_OK);
        connect_session(&sessions[n], identities[n]);
    }
    if (shared) CHECK_EQUAL(wg_peer(hub.wg, hub.identity, public_key, 0, own, count), CW_OK);
    settle();
}

static inline rig_packet numbered(unsigned n, unsigned round, bool up) {
    cw_address inner = sessions[n].inner;
    return rig_udp(up ? inner : server(), up ? server() : inner, 60 + (n * 13 + round * 57) % 1300, (uint16_t)(n * 64 + round), true);
}

// Every packet of every session arrives once, unchanged but for its TTL, in order within its session.
static inline void exchange(unsigned count, unsigned rounds, bool up) {
    static unsigned next[MOST];
    memset(next, 0, sizeof next);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned n = 0; n < count; n++) {
            rig_packet packet = numbered(n, round, up);
            if (up) rig_send(&client, &packet);
            else end_send(&hub, &packet);
        }
        // Bursts that fit the stage of one peer and the queue of a TUN.
        for (unsigned n = 0; n < count; n++) {
            rig_packet got = {0};
            if (up ? !end_receive(&hub, &got, RIG_PATIENCE) : !rig_receive(&client, &got, RIG_PATIENCE)) {
                CHECK(!"a packet is missing");
                return;
            }
            unsigned id = cw_get16(got.data + 4), session = id / 64;
            CHECK(session < count);
            if (session >= count) return;
            rig_packet expected = numbered(session, next[session]++, up);
            expected = rig_hop(expected);
            CHECK(rig_same(&got, &expected));
        }
    }
}

#endif
