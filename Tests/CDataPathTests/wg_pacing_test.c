// Many identities behind one address against one hub: who may initiate when, and whom a hub's initiation is for.
#include "wg_crowd.h"

static crowd c;

// ---- Windows ---------------------------------------------------------------------------------------------------------

static void test_all_come_up_and_no_more_than_64_are_under_way(void) {
    crowd_open(&c, MANY, NULL);
    for (uint32_t i = 0; i < MANY; i++) connect_spoke(&c, i, 25);
    rig_pass(&c.rig, SECONDS(1));
    CHECK_EQUAL(connected(&c), MANY);
    CHECK_EQUAL(c.most_outstanding, 64);
    CHECK(c.most_waiting > 0);
    CHECK_EQUAL(c.rig.seen[1], MANY);
    cw_wg_counters counters = rig_counters(&c.rig, SPOKES);
    CHECK_EQUAL(counters.waiting, 0);
    CHECK_EQUAL(counters.outstanding, 0);
    CHECK_EQUAL(counters.handshakes, MANY);
    // Each is a peer of its own.
    uint8_t address[4];
    uint8_t hub[4] = {10, 0, 0, HUB + 1};
    for (uint32_t i = 0; i < MANY; i += 97) {
        inner_address(i, address);
        uint64_t before = c.rig.engines[SPOKES].packets;
        rig_send_as(&c.rig, HUB, c.rig.engines[HUB].identity, hub, address, 100);
        rig_settle(&c.rig);
        CHECK_EQUAL(c.rig.engines[SPOKES].packets, before + 1);
        CHECK_EQUAL(c.rig.engines[SPOKES].last_identity, c.identities[i]);
    }
    rig_close(&c.rig);
}

static void test_all_come_up_against_a_hub_that_answers_with_cookies(void) {
    crowd_open(&c, MANY, NULL);
    c.rig.engines[HUB].wg->loaded_until = UINT64_MAX; // never has time
    for (uint32_t i = 0; i < MANY; i++) connect_spoke(&c, i, 25);
    uint32_t up = 0;
    uint64_t begin = c.rig.clock.now, took = 0;
    for (int second = 0; second < 300 && up < MANY; second += 5) {
        rig_pass(&c.rig, SECONDS(5));
        up = connected(&c);
        took = c.rig.clock.now - begin;
    }
    CHECK_EQUAL(up, MANY);
    // 20 a second is all that such a hub allows one address; the first were under way before it asked for cookies.
    CHECK(took <= SECONDS(MANY / 18 + 15));
    CHECK(took >= SECONDS(MANY / 20 - 10));
    // One cookie serves all, so it had to refuse only what was under way then.
    CHECK(c.rig.seen[3] <= 64 + 8);
    CHECK(rig_counters(&c.rig, HUB).drops[CW_WG_DROP_UNDER_LOAD] <= 64 + 20);
    rig_close(&c.rig);
}

static void test_cookie_reply_halves_the_window_and_completions_widen_it(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 8;
    crowd_open(&c, 40, &config);
    c.rig.engines[HUB].wg->loaded_until = c.rig.clock.now + SECONDS(1);
    for (uint32_t i = 0; i < 40; i++) connect_spoke(&c, i, 25);
    rig_pass(&c.rig, SECONDS(0.01));
    CHECK_EQUAL(c.most_outstanding, 8);
    CHECK_EQUAL(c.rig.seen[3], 8); // eight replies: 8, 4, 2, 1, 1, ...
    CHECK(rig_counters(&c.rig, SPOKES).waiting >= 31);
    c.most_outstanding = 0;
    rig_pass(&c.rig, SECONDS(1.1)); // no longer loaded, but still paced
    CHECK(c.rig.seen[1] <= 8 + 21);
    CHECK(c.most_outstanding <= 8);
    rig_pass(&c.rig, SECONDS(5));
    CHECK_EQUAL(connected(&c), 40);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 0);
    rig_close(&c.rig);
}

static void test_window_is_seen_in_silence(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 8;
    crowd_open(&c, 60, &config);
    c.rig.engines[HUB].wg->loaded_until = c.rig.clock.now + 1; // the first eight get cookies
    for (uint32_t i = 0; i < 60; i++) connect_spoke(&c, i, 25);
    rig_settle(&c.rig);
    CHECK_EQUAL(c.rig.seen[3], 8);
    c.rig.lose = 1 << CW_WG_INITIATION;
    rig_pass(&c.rig, SECONDS(4)); // time for 72 at the rate of a hub under load
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 1);
    c.rig.lose = 0;
    while (rig_counters(&c.rig, SPOKES).handshakes < 4) rig_pass(&c.rig, SECONDS(0.01));
    c.rig.lose = 1 << CW_WG_INITIATION;
    rig_pass(&c.rig, SECONDS(3));
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 5); // one more for each of the four that completed
    rig_close(&c.rig);
}

static bool hub_is_cut_off(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r;
    return !(sender == HUB && datagram->bytes[0] == CW_WG_INITIATION);
}

static void test_who_answers_the_hub_while_waiting_tries_again_later(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 1;
    crowd_open(&c, 2, &config);
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT, .endpoint = rig_endpoint(&c.rig, SPOKES, 4)};
    memcpy(change.public_key, c.public_keys[1], 32);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(c.rig.engines[HUB].wg, c.rig.engines[HUB].identity, &change, 1, &done), CW_OK);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < 2; i++) connect_spoke(&c, i, 25);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 1);
    c.rig.lose = 1 << CW_WG_RESPONSE; // it consumes the hub's initiation, and that is all that comes
    uint8_t hub[4] = {10, 0, 0, HUB + 1}, address[4];
    inner_address(1, address);
    rig_send_as(&c.rig, HUB, c.rig.engines[HUB].identity, hub, address, 100);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).responses_out, 1);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 0);
    c.rig.lose = 0;
    c.rig.filter = hub_is_cut_off;
    rig_pass(&c.rig, SECONDS(12));
    CHECK_EQUAL(connected(&c), 2);
    rig_close(&c.rig);
}

static void test_silence_lets_the_next_go_after_the_time_out(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 4;
    crowd_open(&c, 12, &config);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < 12; i++) connect_spoke(&c, i, 25);
    rig_pass(&c.rig, SECONDS(4.9));
    CHECK_EQUAL(c.rig.seen[1], 4);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 4);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 8);
    rig_pass(&c.rig, SECONDS(0.5));
    CHECK_EQUAL(c.rig.seen[1], 8); // others than the first four
    rig_pass(&c.rig, SECONDS(5.4));
    CHECK_EQUAL(c.rig.seen[1], 12);
    c.rig.lose = 0;
    rig_pass(&c.rig, SECONDS(6));
    CHECK_EQUAL(connected(&c), 12);
    rig_close(&c.rig);
}

static void test_hub_that_was_away_gets_everybody_back(void) {
    crowd_open(&c, 300, NULL);
    for (uint32_t i = 0; i < 300; i++) connect_spoke(&c, i, 25);
    rig_pass(&c.rig, SECONDS(1));
    CHECK_EQUAL(connected(&c), 300);
    uint64_t handshakes = rig_counters(&c.rig, SPOKES).handshakes;
    c.rig.lose = ~UINT64_C(0);
    rig_pass(&c.rig, SECONDS(400));
    uint64_t tried = c.rig.seen[1];
    rig_pass(&c.rig, SECONDS(50));
    CHECK(c.rig.seen[1] - tried <= 64 * 11); // the window holds for what is in vain, too
    CHECK(c.rig.seen[1] > tried);
    c.rig.lose = 0;
    rig_pass(&c.rig, SECONDS(30));
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).handshakes, handshakes + 300);
    rig_close(&c.rig);
}

static void test_hubs_have_windows_of_their_own(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 1;
    crowd_open(&c, 4, &config);
    c.rig.lose = 1 << CW_WG_INITIATION;
    connect_spoke(&c, 0, 25);
    connect_spoke(&c, 1, 25);
    rig_settle(&c.rig);
    CHECK_EQUAL(c.rig.seen[1], 1);
    // The same hub at another address does not wait for the first.
    for (uint32_t i = 2; i < 4; i++) {
        cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_KEEPALIVE,
                                    .keepalive_seconds = 25,
                                    .endpoint = rig_endpoint(&c.rig, HUB, 6)};
        memcpy(change.public_key, c.rig.engines[HUB].public_key, 32);
        size_t done;
        CHECK_EQUAL(cw_wg_set_peers(c.rig.engines[SPOKES].wg, c.identities[i], &change, 1, &done), CW_OK);
    }
    rig_settle(&c.rig);
    CHECK_EQUAL(c.rig.seen[1], 2);
    rig_close(&c.rig);
}

static void test_who_waits_can_be_removed(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 2;
    crowd_open(&c, 10, &config);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < 10; i++) connect_spoke(&c, i, 25);
    rig_settle(&c.rig);
    cw_wg *wg = c.rig.engines[SPOKES].wg;
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 8);
    CHECK_EQUAL(cw_wg_identity_remove(wg, c.identities[9]), CW_OK);
    CHECK_EQUAL(cw_wg_identity_remove(wg, c.identities[5]), CW_OK);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 6);
    CHECK_EQUAL(cw_wg_identity_remove(wg, c.identities[0]), CW_OK); // its place goes to the next
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting + rig_counters(&c.rig, SPOKES).outstanding, 7);
    for (uint32_t i = 1; i < 9; i++) {
        if (i != 5) CHECK_EQUAL(cw_wg_identity_set_up(wg, c.identities[i], false), CW_OK);
    }
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 0);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 0);
    rig_close(&c.rig);
}

static void test_who_is_still_to_be_attended_to_can_be_removed(void) {
    crowd_open(&c, 200, NULL);
    for (uint32_t i = 0; i < 200; i++) connect_spoke(&c, i, 25);
    cw_wg *wg = c.rig.engines[SPOKES].wg;
    (void)cw_wg_step(wg, &c.rig.clock); // does a part of the list
    CHECK(wg->attending != NULL);
    for (uint32_t i = 100; i < 200; i += 33) CHECK_EQUAL(cw_wg_identity_remove(wg, c.identities[i]), CW_OK);
    rig_pass(&c.rig, SECONDS(1));
    CHECK_EQUAL(connected(&c), 196);
    rig_close(&c.rig);
}

// ---- Whom a foreign initiation is for --------------------------------------------------------------------------------

// Lets the sessions die; then the hub is the one who has something to say.
static void test_initiation_of_the_hub_finds_its_identity(void) {
    crowd_open(&c, 200, NULL);
    for (uint32_t i = 0; i < 200; i++) connect_spoke(&c, i, 0);
    uint8_t hub[4] = {10, 0, 0, HUB + 1}, address[4];
    for (uint32_t i = 0; i < 200; i++) {
        inner_address(i, address);
        rig_send_as(&c.rig, SPOKES, c.identities[i], address, hub, 100);
    }
    rig_settle(&c.rig);
    CHECK_EQUAL(c.rig.engines[HUB].packets, 200);
    rig_pass(&c.rig, SECONDS(200));
    inner_address(123, address);
    rig_send_as(&c.rig, HUB, c.rig.engines[HUB].identity, hub, address, 100);
    rig_settle(&c.rig);
    CHECK_EQUAL(c.rig.seen_from[HUB][1], 1);
    CHECK_EQUAL(c.rig.engines[SPOKES].packets, 1);
    CHECK_EQUAL(c.rig.engines[SPOKES].last_identity, c.identities[123]);

    // From an address that is nobody's hub it is not even tried.
    rig_pass(&c.rig, SECONDS(200));
    memory_move(&c.rig.engines[HUB].host, "192.0.2.99", NULL);
    uint64_t tokens = c.rig.engines[SPOKES].wg->scan_bucket.tokens;
    rig_send_as(&c.rig, HUB, c.rig.engines[HUB].identity, hub, address, 100);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).drops[CW_WG_DROP_MAC1], 1);
    CHECK_EQUAL(c.rig.engines[SPOKES].wg->scan_bucket.tokens, tokens);
    rig_close(&c.rig);
}

static void test_scan_has_a_budget(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.scan_budget = 50;
    crowd_open(&c, 200, &config);
    for (uint32_t i = 0; i < 200; i++) connect_spoke(&c, i, 0);
    rig_settle(&c.rig);
    memory_datagram forged = {.length = sizeof(cw_wg_initiation), .bytes = {CW_WG_INITIATION}};
    forged.from.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(RIG_PORT), .sin_addr = c.rig.engines[HUB].host.v4};
    forged.to.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(RIG_PORT), .sin_addr = c.rig.engines[SPOKES].host.v4};
    for (int i = 0; i < 3; i++) rig_inject(&c.rig, &forged);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).drops[CW_WG_DROP_SCAN_BUDGET], 3);
    rig_close(&c.rig);
}

static void test_only_the_endpoint_itself_is_tried(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.peer_capacity = 8; // few lists, so that strangers share the hub's
    crowd_open(&c, 4, &config);
    for (uint32_t i = 0; i < 4; i++) connect_spoke(&c, i, 0);
    rig_settle(&c.rig);
    uint64_t tokens = c.rig.engines[SPOKES].wg->scan_bucket.tokens;
    memory_datagram forged = {.length = sizeof(cw_wg_initiation), .bytes = {CW_WG_INITIATION}};
    forged.to.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(RIG_PORT), .sin_addr = c.rig.engines[SPOKES].host.v4};
    for (uint16_t port = 1; port <= 200; port++) {
        forged.from.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = c.rig.engines[HUB].host.v4};
        rig_inject(&c.rig, &forged);
    }
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).drops[CW_WG_DROP_MAC1], 200);
    CHECK_EQUAL(c.rig.engines[SPOKES].wg->scan_bucket.tokens, tokens);
    rig_close(&c.rig);
}

static void test_identity_alone_on_its_port_is_found_from_anywhere(void) {
    crowd_open(&c, 20, NULL);
    cw_wg *wg = c.rig.engines[SPOKES].wg;
    uint32_t port;
    CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.port = 51000, .ipv4 = true}, &port), CW_OK);
    uint32_t access;
    CHECK_EQUAL(cw_wg_identity_add(wg, port, c.rig.engines[SPOKES].private_key, &access), CW_OK);
    cw_prefix hub = rig_prefix(HUB);
    cw_wg_peer_change change = {.allowed_ip_count = 1, .allowed_ips = &hub};
    memcpy(change.public_key, c.rig.engines[HUB].public_key, 32);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(wg, access, &change, 1, &done), CW_OK); // no endpoint: it comes from wherever it is
    rig_peer(&c.rig, HUB, SPOKES, 4, 0, NULL);
    change = (cw_wg_peer_change){.mask = CW_WG_PEER_ENDPOINT, .endpoint = rig_endpoint(&c.rig, SPOKES, 4)};
    change.endpoint.port = 51000;
    memcpy(change.public_key, c.rig.engines[SPOKES].public_key, 32);
    CHECK_EQUAL(cw_wg_set_peers(c.rig.engines[HUB].wg, c.rig.engines[HUB].identity, &change, 1, &done), CW_OK);
    CHECK(rig_ping(&c.rig, HUB, SPOKES));
    CHECK_EQUAL(c.rig.engines[SPOKES].last_identity, access);
    rig_close(&c.rig);
}

int main(void) {
    RUN(all_come_up_and_no_more_than_64_are_under_way);
    RUN(all_come_up_against_a_hub_that_answers_with_cookies);
    RUN(cookie_reply_halves_the_window_and_completions_widen_it);
    RUN(window_is_seen_in_silence);
    RUN(who_answers_the_hub_while_waiting_tries_again_later);
    RUN(silence_lets_the_next_go_after_the_time_out);
    RUN(hub_that_was_away_gets_everybody_back);
    RUN(hubs_have_windows_of_their_own);
    RUN(who_waits_can_be_removed);
    RUN(who_is_still_to_be_attended_to_can_be_removed);
    RUN(initiation_of_the_hub_finds_its_identity);
    RUN(scan_has_a_budget);
    RUN(only_the_endpoint_itself_is_tried);
    RUN(identity_alone_on_its_port_is_found_from_anywhere);
    FINISH();
}
