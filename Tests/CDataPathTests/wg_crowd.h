// Many identities of one engine against one hub.
#ifndef CW_TEST_WG_CROWD_H
#define CW_TEST_WG_CROWD_H

#include "wg_pair.h"

enum { MANY = 2000, SPOKES = 0, HUB = 1 };

typedef struct crowd {
    rig rig;
    uint32_t count;
    uint32_t identities[MANY];
    uint8_t public_keys[MANY][32];
    uint64_t most_outstanding, most_waiting;
} crowd;

static bool watch_window(rig *r, uint32_t sender, memory_datagram *datagram) {
    crowd *c = (crowd *)(void *)r; // the rig is first
    if (sender != SPOKES || datagram->bytes[0] != CW_WG_INITIATION) return true;
    const cw_wg *wg = r->engines[SPOKES].wg;
    if (wg->outstanding > c->most_outstanding) c->most_outstanding = wg->outstanding;
    if (wg->waiting > c->most_waiting) c->most_waiting = wg->waiting;
    return true;
}

static inline void inner_address(uint32_t number, uint8_t out[4]) { memcpy(out, (uint8_t[]){10, 1, (uint8_t)(number >> 8), (uint8_t)number}, 4); }

// `count` identities of one engine, each with the hub as its peer; the hub knows them all.
static inline void crowd_open(crowd *c, uint32_t count, const cw_wg_config *config) {
    memset(c, 0, sizeof *c);
    rig_open(&c->rig, 2, config);
    c->rig.filter = watch_window;
    c->count = count;
    CHECK_EQUAL(cw_wg_identity_remove(c->rig.engines[SPOKES].wg, c->rig.engines[SPOKES].identity), CW_OK);
    cw_wg_peer_change *changes = calloc(count, sizeof *changes);
    cw_prefix *prefixes = calloc(count, sizeof *prefixes);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t private_key[32];
        randombytes_buf(private_key, sizeof private_key);
        cw_wg_public_key(private_key, c->public_keys[i]);
        CHECK_EQUAL(cw_wg_identity_add(c->rig.engines[SPOKES].wg, c->rig.engines[SPOKES].port, private_key, &c->identities[i]), CW_OK);
        prefixes[i] = (cw_prefix){.address.family = 4, .length = 32};
        inner_address(i, prefixes[i].address.bytes);
        changes[i] = (cw_wg_peer_change){.allowed_ip_count = 1, .allowed_ips = &prefixes[i]};
        memcpy(changes[i].public_key, c->public_keys[i], 32);
    }
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(c->rig.engines[HUB].wg, c->rig.engines[HUB].identity, changes, count, &done), CW_OK);
    CHECK_EQUAL(done, count);
    free(changes);
    free(prefixes);
}

static inline void connect_spoke(crowd *c, uint32_t number, uint16_t keepalive) {
    cw_prefix hub = rig_prefix(HUB);
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_KEEPALIVE,
                                .keepalive_seconds = keepalive,
                                .endpoint = rig_endpoint(&c->rig, HUB, 4),
                                .allowed_ip_count = 1,
                                .allowed_ips = &hub};
    memcpy(change.public_key, c->rig.engines[HUB].public_key, 32);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(c->rig.engines[SPOKES].wg, c->identities[number], &change, 1, &done), CW_OK);
}

static inline uint32_t connected(crowd *c) {
    uint32_t up = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        cw_wg_peer_info info;
        if (cw_wg_peer_read(c->rig.engines[SPOKES].wg, c->identities[i], c->rig.engines[HUB].public_key, &info) == CW_OK &&
            info.handshake_unix_nanoseconds != 0)
            up++;
    }
    return up;
}

#endif
