// The public calls: ports, identities, peers, as `wg set` and `wg show` use them.
#include <errno.h>

#include "wg_pair.h"

static cw_status set(rig *r, uint32_t engine, const cw_wg_peer_change *changes, size_t count, size_t *done) {
    return cw_wg_set_peers(r->engines[engine].wg, r->engines[engine].identity, changes, count, done);
}

static cw_prefix v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint8_t length) {
    return (cw_prefix){.address = {.family = 4, .bytes = {a, b, c, d}}, .length = length};
}

static cw_wg_peer_info info_of(rig *r, uint32_t engine, const uint8_t public_key[32]) {
    cw_wg_peer_info info = {0};
    (void)cw_wg_peer_read(r->engines[engine].wg, r->engines[engine].identity, public_key, &info);
    return info;
}

static bool exists(rig *r, uint32_t engine, const uint8_t public_key[32]) {
    cw_wg_peer_info info;
    return cw_wg_peer_read(r->engines[engine].wg, r->engines[engine].identity, public_key, &info) == CW_OK;
}

// ---- The engine ------------------------------------------------------------------------------------------------------

static void test_configuration_has_limits(void) {
    cw_wg_config good, bad;
    cw_wg_config_defaults(&good);
    CHECK_EQUAL(good.worker_count, 1);
    CHECK_EQUAL(good.identity_capacity, 4096);
    CHECK_EQUAL(good.peer_capacity, 8192);
    CHECK_EQUAL(good.staged_packets, 128);
    CHECK_EQUAL(good.outstanding, 64);
    CHECK_EQUAL(good.scan_budget, 200000);
    cw_wg *wg = NULL;
    for (int i = 0; i < 9; i++) {
        bad = good;
        if (i == 0) bad.worker_count = 0;
        if (i == 1) bad.worker_count = CW_MAX_WORKERS + 1;
        if (i == 2) bad.identity_capacity = 0;
        if (i == 3) bad.identity_capacity = 65536;
        if (i == 4) bad.peer_capacity = 0;
        if (i == 5) bad.peer_capacity = 262145;
        if (i == 6) bad.staged_packets = 129;
        if (i == 7) bad.outstanding = 0;
        if (i == 8) bad.outstanding = 4097;
        CHECK_EQUAL(cw_wg_create(&bad, &wg), CW_INVALID);
    }
    CHECK(wg == NULL);
    CHECK_EQUAL(cw_wg_create(&good, &wg), CW_OK);
    cw_wg_destroy(wg);
    cw_wg_destroy(NULL);
}

static void test_instructions_that_nobody_has_are_no_want_of_memory(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    cw_wg *wg = NULL;
    const char *before = getenv("CAUSEWAY_ISA");
    char *kept = before == NULL ? NULL : strdup(before);
    setenv("CAUSEWAY_ISA", "abacus", 1);
    CHECK_EQUAL(cw_wg_create(&config, &wg), CW_INVALID);
    CHECK(wg == NULL);
    if (kept == NULL) unsetenv("CAUSEWAY_ISA");
    else setenv("CAUSEWAY_ISA", kept, 1);
    free(kept);
    CHECK_EQUAL(cw_wg_create(&config, &wg), CW_OK);
    cw_wg_destroy(wg);
}

static void test_every_drop_has_a_name_of_its_own(void) {
    for (int i = 0; i < CW_WG_DROP_WG_COUNT; i++) {
        CHECK(strcmp(cw_wg_drop_name(i), "unknown") != 0);
        for (int j = 0; j < i; j++) CHECK(strcmp(cw_wg_drop_name(i), cw_wg_drop_name(j)) != 0);
    }
    CHECK(strcmp(cw_wg_drop_name(CW_WG_DROP_WG_COUNT), "unknown") == 0);
}

static void test_public_key_of_a_private_key(void) { // RFC 7748 section 6.1
    uint8_t private_key[32], public_key[32];
    from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", private_key, 32);
    cw_wg_public_key(private_key, public_key);
    CHECK(equals_hex(public_key, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    CHECK_EQUAL(private_key[0], 0x58); // clamped
    CHECK_EQUAL(private_key[31], 0x6b);
}

// ---- Ports and identities --------------------------------------------------------------------------------------------

static void test_ports(void) {
    static rig r;
    rig_open(&r, 1, NULL);
    cw_wg *wg = r.engines[0].wg;
    uint32_t port = 0;
    CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.port = 1}, &port), CW_INVALID); // no family
    CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.ipv4 = true, .fwmark = 7}, &port), CW_OK);
    CHECK(port != 0 && port != r.engines[0].port);
    CHECK(cw_wg_port_number(wg, port) != 0);
    CHECK_EQUAL(cw_wg_port_number(wg, r.engines[0].port), RIG_PORT);
    CHECK_EQUAL(cw_wg_port_number(wg, 0), 0);
    CHECK_EQUAL(cw_wg_port_number(wg, CW_WG_MAX_PORTS + 1), 0);
    CHECK_EQUAL(cw_wg_port_set_fwmark(wg, port, 9), CW_OK);
    CHECK_EQUAL(cw_wg_port_set_fwmark(wg, 200, 9), CW_NOT_FOUND);
    CHECK_EQUAL(cw_wg_port_close(wg, r.engines[0].port), CW_INVALID); // in use
    CHECK_EQUAL(cw_wg_identity_set_port(wg, r.engines[0].identity, port), CW_OK);
    cw_wg_identity_info info;
    CHECK_EQUAL(cw_wg_identity_read(wg, r.engines[0].identity, &info), CW_OK);
    CHECK_EQUAL(info.port, port);
    CHECK_EQUAL(info.listen_port, cw_wg_port_number(wg, port));
    CHECK_EQUAL(info.fwmark, 9);
    CHECK_EQUAL(cw_wg_port_close(wg, r.engines[0].port), CW_OK);
    CHECK_EQUAL(cw_wg_port_close(wg, r.engines[0].port), CW_NOT_FOUND);
    CHECK_EQUAL(cw_wg_identity_set_port(wg, r.engines[0].identity, r.engines[0].port), CW_INVALID);
    CHECK_EQUAL(cw_wg_identity_set_port(wg, r.engines[0].identity, 0), CW_OK); // none
    CHECK_EQUAL(cw_wg_port_close(wg, port), CW_OK);
    for (uint32_t i = 0; i < CW_WG_MAX_PORTS; i++) CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.ipv4 = true}, &port), CW_OK);
    CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.ipv4 = true}, &port), CW_FULL);
    rig_close(&r);
}

static void test_handles_are_not_used_again_soon(void) {
    static rig r;
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.identity_capacity = 2;
    rig_open(&r, 1, &config);
    cw_wg *wg = r.engines[0].wg;
    uint8_t key[32] = {1};
    uint32_t handle, other;
    CHECK_EQUAL(cw_wg_identity_add(wg, 99, key, &handle), CW_INVALID);
    CHECK_EQUAL(cw_wg_identity_add(wg, 0, key, &handle), CW_OK);
    CHECK_EQUAL(cw_wg_identity_add(wg, 0, key, &other), CW_FULL);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQUAL(cw_wg_identity_remove(wg, handle), CW_OK);
        CHECK_EQUAL(cw_wg_identity_remove(wg, handle), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_identity_add(wg, 0, key, &other), CW_OK);
        CHECK(other != handle && other != 0);
        cw_wg_identity_info info;
        CHECK_EQUAL(cw_wg_identity_read(wg, handle, &info), CW_NOT_FOUND);
        handle = other;
    }
    cw_wg_peer_info peer;
    uint32_t wrong[] = {0, 0xFFFF, 0xFFFFFFFF, handle + (1u << 16)};
    size_t done;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQUAL(cw_wg_identity_set_key(wg, wrong[i], key), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_identity_set_port(wg, wrong[i], 0), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_identity_set_up(wg, wrong[i], true), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_identity_set_mtu(wg, wrong[i], 0), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_set_peers(wg, wrong[i], NULL, 0, &done), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_remove_all_peers(wg, wrong[i]), CW_NOT_FOUND);
        CHECK_EQUAL(cw_wg_peers_read(wg, wrong[i], &(cw_wg_cursor){0}, &peer, 1), 0);
    }
    rig_close(&r);
}

static void test_identity_reads_as_it_was_set(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    cw_wg_identity_info info;
    CHECK_EQUAL(cw_wg_identity_read(r.engines[0].wg, r.engines[0].identity, &info), CW_OK);
    CHECK(memcmp(info.private_key, r.engines[0].private_key, 32) == 0);
    CHECK(memcmp(info.public_key, r.engines[0].public_key, 32) == 0);
    CHECK(info.up && info.has_key);
    CHECK_EQUAL(info.peer_count, 1);
    CHECK_EQUAL(info.listen_port, RIG_PORT);
    rig_close(&r);
}

static void test_down_and_up(void) {
    static rig r;
    rig_open_pair(&r, 25);
    CHECK_EQUAL(cw_wg_identity_set_up(r.engines[0].wg, r.engines[0].identity, false), CW_OK);
    uint64_t sent = r.wire.sent;
    CHECK(!rig_ping(&r, 1, 0)); // nobody opens it
    CHECK(!rig_ping(&r, 0, 1)); // nobody takes it
    rig_pass(&r, SECONDS(60));
    CHECK_EQUAL(r.seen_from[0][1], 1);
    CHECK(r.wire.sent > sent); // the other side's attempts
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_HANDSHAKE] + rig_counters(&r, 0).responses_out, 0);
    CHECK_EQUAL(cw_wg_identity_set_up(r.engines[0].wg, r.engines[0].identity, true), CW_OK);
    rig_settle(&r); // its persistent keepalive
    CHECK_EQUAL(r.seen_from[0][1], 2);
    CHECK(rig_ping(&r, 0, 1));
    CHECK(rig_ping(&r, 1, 0));
    rig_close(&r);
}

static void test_port_change_keeps_sessions(void) {
    static rig r;
    rig_open_pair(&r, 0);
    uint32_t port;
    CHECK_EQUAL(cw_wg_port_open(r.engines[0].wg, &(cw_wg_port_config){.port = 4000, .ipv4 = true}, &port), CW_OK);
    CHECK_EQUAL(cw_wg_identity_set_port(r.engines[0].wg, r.engines[0].identity, port), CW_OK);
    CHECK_EQUAL(rig_peer_of(&r, 0, 1)->endpoint.from.v4.s_addr, 0); // it may not be an address of the new port
    CHECK_EQUAL(cw_wg_port_close(r.engines[0].wg, r.engines[0].port), CW_OK);
    CHECK(rig_ping(&r, 0, 1)); // from the new port, which the other side learns
    CHECK(rig_ping(&r, 1, 0));
    CHECK_EQUAL(r.seen[1], 1);
    CHECK_EQUAL(info_of(&r, 1, r.engines[0].public_key).endpoint.port, 4000);
    rig_close(&r);
}

static void test_key_change_ends_sessions_and_begins_new_ones(void) {
    static rig r;
    rig_open_pair(&r, 25);
    uint8_t key[32], public_key[32];
    randombytes_buf(key, sizeof key);
    cw_wg_public_key(key, public_key);
    // The other side knows us by the new key.
    memcpy(r.engines[0].public_key, public_key, 32);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    CHECK_EQUAL(cw_wg_identity_set_key(r.engines[0].wg, r.engines[0].identity, key), CW_OK);
    CHECK(rig_peer_of(&r, 0, 1)->current == NULL);
    rig_settle(&r); // at once
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 2);
    CHECK(rig_ping(&r, 1, 0));
    // The same key again changes nothing.
    CHECK_EQUAL(cw_wg_identity_set_key(r.engines[0].wg, r.engines[0].identity, key), CW_OK);
    CHECK(rig_peer_of(&r, 0, 1)->current != NULL);
    // No key: nothing can be said any more.
    memset(key, 0, sizeof key);
    CHECK_EQUAL(cw_wg_identity_set_key(r.engines[0].wg, r.engines[0].identity, key), CW_OK);
    CHECK(!rig_ping(&r, 0, 1));
    cw_wg_identity_info info;
    CHECK_EQUAL(cw_wg_identity_read(r.engines[0].wg, r.engines[0].identity, &info), CW_OK);
    CHECK(!info.has_key);
    CHECK_EQUAL(info.peer_count, 1);
    CHECK_EQUAL(r.seen[1], 2);
    rig_close(&r);
}

// ---- Peers -----------------------------------------------------------------------------------------------------------

static void test_peer_that_would_be_ourselves_is_passed_over(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    cw_wg_peer_change change = {0};
    memcpy(change.public_key, r.engines[0].public_key, 32);
    size_t done;
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK);
    CHECK_EQUAL(done, 1);
    CHECK(!exists(&r, 0, r.engines[0].public_key));
    // And one that becomes ourselves goes.
    rig_peer(&r, 0, 1, 4, 0, NULL);
    CHECK(exists(&r, 0, r.engines[1].public_key));
    CHECK_EQUAL(cw_wg_identity_set_key(r.engines[0].wg, r.engines[0].identity, r.engines[1].private_key), CW_OK);
    CHECK(!exists(&r, 0, r.engines[1].public_key));
    rig_close(&r);
}

static void test_update_only_and_remove(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    cw_wg_peer_change change = {.mask = CW_WG_PEER_UPDATE_ONLY | CW_WG_PEER_KEEPALIVE, .keepalive_seconds = 7};
    memcpy(change.public_key, r.engines[1].public_key, 32);
    size_t done;
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK);
    CHECK(!exists(&r, 0, r.engines[1].public_key));
    rig_peer(&r, 0, 1, 4, 0, NULL);
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK);
    CHECK_EQUAL(info_of(&r, 0, r.engines[1].public_key).keepalive_seconds, 7);
    change.mask = CW_WG_PEER_REMOVE;
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK);
    CHECK(!exists(&r, 0, r.engines[1].public_key));
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK); // gone already: fine, as with `wg set`
    // Removed and made again in one call.
    rig_peer(&r, 0, 1, 4, 9, NULL);
    cw_wg_peer_change both[3] = {change, change, change};
    both[2].mask = 0;
    CHECK_EQUAL(set(&r, 0, both, 3, &done), CW_OK);
    CHECK_EQUAL(done, 3);
    CHECK(exists(&r, 0, r.engines[1].public_key));
    CHECK_EQUAL(info_of(&r, 0, r.engines[1].public_key).keepalive_seconds, 0);
    rig_close(&r);
}

static void test_what_is_invalid_stops_the_call_there(void) {
    static rig r;
    rig_open(&r, 1, NULL);
    cw_prefix prefix = v4(10, 0, 0, 0, 33);
    cw_wg_peer_change changes[3] = {{.public_key = {1}}, {.public_key = {2}}, {.public_key = {3}}};
    size_t done;
    for (int i = 0; i < 5; i++) {
        changes[1] = (cw_wg_peer_change){.public_key = {2}};
        if (i == 0) changes[1].mask = 1u << 30;
        if (i == 1) changes[1].allowed_ip_count = 1, changes[1].allowed_ips = &prefix;
        if (i == 2) changes[1].mask = CW_WG_PEER_ENDPOINT, changes[1].endpoint.address.family = 5;
        if (i == 3) changes[1].mask = CW_WG_PEER_ENDPOINT, changes[1].endpoint.address.family = 4; // port 0
        if (i == 4) changes[1].mask = CW_WG_PEER_REMOVE | 1u << 30;
        CHECK_EQUAL(set(&r, 0, changes, 3, &done), CW_INVALID);
        CHECK_EQUAL(done, 1);
        CHECK(exists(&r, 0, changes[0].public_key));
        CHECK(!exists(&r, 0, changes[1].public_key));
        CHECK(!exists(&r, 0, changes[2].public_key));
        CHECK_EQUAL(cw_wg_remove_all_peers(r.engines[0].wg, r.engines[0].identity), CW_OK);
    }
    rig_close(&r);
}

static void test_allowed_ips_move_and_are_replaced(void) {
    static rig r;
    rig_open(&r, 1, NULL);
    cw_prefix ours[3] = {v4(10, 1, 0, 0, 16), v4(10, 2, 3, 4, 24), v4(0, 0, 0, 0, 0)};
    cw_prefix theirs[1] = {v4(10, 2, 3, 0, 24)};
    cw_wg_peer_change changes[2] = {{.public_key = {1}, .allowed_ip_count = 3, .allowed_ips = ours},
                                    {.public_key = {2}, .allowed_ip_count = 1, .allowed_ips = theirs}};
    size_t done;
    CHECK_EQUAL(set(&r, 0, changes, 2, &done), CW_OK);
    cw_prefix out[8];
    cw_wg *wg = r.engines[0].wg;
    uint32_t identity = r.engines[0].identity;
    CHECK_EQUAL(cw_wg_allowed_ips_read(wg, identity, changes[0].public_key, out, 8), 2); // 10.2.3.0/24 went to the second
    CHECK_EQUAL(info_of(&r, 0, changes[0].public_key).allowed_ip_count, 2);
    CHECK_EQUAL(cw_wg_allowed_ips_read(wg, identity, changes[1].public_key, out, 8), 1);
    CHECK_EQUAL(out[0].address.bytes[3], 0); // host bits do not count
    CHECK_EQUAL(out[0].length, 24);
    changes[0].mask = CW_WG_PEER_REPLACE_ALLOWED_IPS;
    changes[0].allowed_ip_count = 1;
    CHECK_EQUAL(set(&r, 0, changes, 1, &done), CW_OK);
    CHECK_EQUAL(cw_wg_allowed_ips_read(wg, identity, changes[0].public_key, out, 8), 1);
    CHECK_EQUAL(out[0].length, 16);
    CHECK_EQUAL(cw_wg_allowed_ips_read(wg, identity, (uint8_t[32]){9}, out, 8), 0);
    rig_close(&r);
}

static void test_many_peers_are_read_in_the_order_of_their_making(void) {
    static rig r;
    enum { COUNT = 300 };
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.peer_capacity = COUNT;
    rig_open(&r, 1, &config);
    static cw_wg_peer_change changes[COUNT + 1];
    static cw_wg_peer_info infos[COUNT];
    for (int i = 0; i <= COUNT; i++) changes[i] = (cw_wg_peer_change){.public_key = {5, (uint8_t)i, (uint8_t)(i >> 8)}};
    size_t done;
    CHECK_EQUAL(set(&r, 0, changes, COUNT + 1, &done), CW_FULL);
    CHECK_EQUAL(done, COUNT);
    cw_wg_cursor cursor = {0};
    for (size_t first = 0; first < COUNT;) {
        size_t count = cw_wg_peers_read(r.engines[0].wg, r.engines[0].identity, &cursor, infos + first, 70);
        CHECK_EQUAL(count, first + 70 <= COUNT ? 70 : COUNT - first);
        first += count;
    }
    for (int i = 0; i < COUNT; i++) CHECK(memcmp(infos[i].public_key, changes[i].public_key, 32) == 0);
    CHECK_EQUAL(cw_wg_peers_read(r.engines[0].wg, r.engines[0].identity, &cursor, infos, 1), 0);
    // Every second one goes, and every other can still be found.
    for (int i = 0; i < COUNT; i += 2) {
        changes[i].mask = CW_WG_PEER_REMOVE;
        CHECK_EQUAL(set(&r, 0, &changes[i], 1, &done), CW_OK);
    }
    for (int i = 0; i < COUNT; i++) CHECK(exists(&r, 0, changes[i].public_key) == (i % 2 != 0));
    CHECK_EQUAL(cw_wg_remove_all_peers(r.engines[0].wg, r.engines[0].identity), CW_OK);
    for (int i = 0; i < COUNT; i++) changes[i].mask = 0;
    CHECK_EQUAL(set(&r, 0, changes, COUNT, &done), CW_OK);
    for (int i = 0; i < COUNT; i++) CHECK(exists(&r, 0, changes[i].public_key));
    rig_close(&r);
}

static void test_peer_shows_what_happened(void) {
    static rig r;
    uint8_t key[32] = {9, 9};
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 25, key);
    rig_peer(&r, 1, 0, 0, 0, key);
    CHECK(rig_ping(&r, 0, 1));
    cw_wg_peer_info info = info_of(&r, 0, r.engines[1].public_key);
    CHECK(memcmp(info.preshared_key, key, 32) == 0);
    CHECK_EQUAL(info.keepalive_seconds, 25);
    CHECK_EQUAL(info.endpoint.port, RIG_PORT);
    CHECK_EQUAL(info.handshake_unix_nanoseconds, UINT64_C(1700000000123456789));
    // An initiation and a packet of 100 bytes padded to 112; a response. 148 + 144, 92: as `wg show` counts.
    CHECK_EQUAL(info.sent_bytes, 148 + 112 + 32);
    CHECK_EQUAL(info.received_bytes, 92);
    CHECK_EQUAL(info.initiations_sent, 0);
    CHECK_EQUAL(info_of(&r, 1, r.engines[0].public_key).received_bytes, 148 + 112 + 32);
    CHECK_EQUAL(info_of(&r, 1, r.engines[0].public_key).sent_bytes, 92);
    r.lose = ~UINT64_C(0);
    rig_pass(&r, SECONDS(200));
    CHECK(info_of(&r, 0, r.engines[1].public_key).initiations_sent > 2);
    CHECK_EQUAL(info_of(&r, 0, r.engines[1].public_key).handshake_unix_nanoseconds, UINT64_C(1700000000123456789));
    rig_close(&r);
}

static void test_peer_is_removed_with_packets_waiting(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 25, NULL);
    r.lose = 1 << CW_WG_INITIATION;
    for (int i = 0; i < 10; i++) rig_send(&r, 0, 1, 100);
    // Before control has looked at its wish, and after.
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(cw_wg_remove_all_peers(r.engines[0].wg, r.engines[0].identity), CW_OK);
        CHECK(!rig_ping(&r, 0, 1));
        CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_NO_PEER], 1 + i);
        CHECK_EQUAL(rig_counters(&r, 0).outstanding, 0);
        rig_peer(&r, 0, 1, 4, 25, NULL);
        rig_send(&r, 0, 1, 100);
        rig_settle(&r);
        CHECK_EQUAL(rig_counters(&r, 0).outstanding, 1);
    }
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 11);
    r.lose = 0;
    rig_peer(&r, 1, 0, 0, 0, NULL);
    rig_pass(&r, SECONDS(6));
    CHECK_EQUAL(r.engines[1].packets, 1);
    // With a session: its index means nothing any more.
    CHECK_EQUAL(cw_wg_remove_all_peers(r.engines[0].wg, r.engines[0].identity), CW_OK);
    CHECK(!rig_ping(&r, 1, 0));
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_UNKNOWN_INDEX], 1);
    rig_close(&r);
}

static void test_identity_is_removed_with_everything(void) {
    static rig r;
    rig_open_pair(&r, 25);
    CHECK_EQUAL(cw_wg_identity_remove(r.engines[0].wg, r.engines[0].identity), CW_OK);
    CHECK(!rig_ping(&r, 1, 0));
    CHECK(!rig_ping(&r, 0, 1));
    rig_pass(&r, SECONDS(100));
    CHECK_EQUAL(r.seen_from[0][1], 1);
    CHECK_EQUAL(r.engines[0].wg->peer_count, 0);
    CHECK_EQUAL(r.engines[0].wg->timers.count, 0);
    for (uint32_t i = 0; i <= r.engines[0].wg->by_key_mask; i++) CHECK_EQUAL(r.engines[0].wg->by_key[i], 0);
    for (uint32_t i = 0; i <= r.engines[0].wg->by_endpoint_mask; i++) CHECK(r.engines[0].wg->by_endpoint[i] == NULL);
    // Nothing of its keys is left.
    static const cw_wg_peer none;
    const uint8_t *memory = (const uint8_t *)&r.engines[0].wg->peers[0];
    CHECK(memcmp(memory, &none, sizeof none) == 0);
    CHECK_EQUAL(r.engines[0].wg->identities[1].keys.has_key, false);
    CHECK(sodium_is_zero(r.engines[0].wg->identities[1].keys.private_key, 32));
    rig_close(&r);
}

static void test_small_order_key_can_be_set_but_says_nothing(void) {
    static rig r;
    rig_open(&r, 1, NULL);
    cw_prefix prefix = v4(10, 0, 0, 9, 32);
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_KEEPALIVE,
                                .keepalive_seconds = 1,
                                .allowed_ip_count = 1,
                                .allowed_ips = &prefix,
                                .endpoint = rig_endpoint(&r, 0, 4)};
    size_t done;
    CHECK_EQUAL(set(&r, 0, &change, 1, &done), CW_OK); // the public key 0
    rig_pass(&r, SECONDS(10));
    CHECK_EQUAL(r.seen[1], 0);
    CHECK_EQUAL(rig_counters(&r, 0).outstanding, 0);
    CHECK(exists(&r, 0, change.public_key));
    rig_close(&r);
}

int main(void) {
    RUN(configuration_has_limits);
    RUN(instructions_that_nobody_has_are_no_want_of_memory);
    RUN(every_drop_has_a_name_of_its_own);
    RUN(public_key_of_a_private_key);
    RUN(ports);
    RUN(handles_are_not_used_again_soon);
    RUN(identity_reads_as_it_was_set);
    RUN(down_and_up);
    RUN(port_change_keeps_sessions);
    RUN(key_change_ends_sessions_and_begins_new_ones);
    RUN(peer_that_would_be_ourselves_is_passed_over);
    RUN(update_only_and_remove);
    RUN(what_is_invalid_stops_the_call_there);
    RUN(allowed_ips_move_and_are_replaced);
    RUN(many_peers_are_read_in_the_order_of_their_making);
    RUN(peer_shows_what_happened);
    RUN(peer_is_removed_with_packets_waiting);
    RUN(identity_is_removed_with_everything);
    RUN(small_order_key_can_be_set_but_says_nothing);
    FINISH();
}
