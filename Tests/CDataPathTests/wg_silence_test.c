// Many identities against a hub that does not answer: everybody learns it in time, and everybody is back soon after the hub.
#include "wg_crowd.h"

static crowd c;

static cw_wg_activity activity_of(uint32_t number) {
    cw_wg_activity activity = {0};
    cw_wg_cursor cursor = {0};
    CHECK_EQUAL(cw_wg_activity_read(c.rig.engines[SPOKES].wg, c.identities[number], &cursor, &activity, 1), 1);
    return activity;
}

static void send_data(uint32_t number) {
    uint8_t address[4], hub[4] = {10, 0, 0, HUB + 1};
    inner_address(number, address);
    rig_send_as(&c.rig, SPOKES, c.identities[number], address, hub, 100);
}

static cw_wg_config one_at_a_time(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.outstanding = 1;
    return config;
}

static uint32_t windows_of(const cw_wg *wg) {
    uint32_t count = 0;
    for (uint32_t i = 0; i <= wg->by_endpoint_mask; i++) count += wg->windows[i] != NULL;
    return count;
}

static void test_all_learn_that_the_hub_is_away_and_are_back_soon_after_it(void) {
    crowd_open(&c, MANY, NULL);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < MANY; i++) connect_spoke(&c, i, 25);
    send_data(MANY - 1);
    rig_pass(&c.rig, SECONDS(16)); // three times the time-out: one attempt may have been before anybody knew
    for (uint32_t i = 0; i < MANY; i++) CHECK(activity_of(i).initiations_sent > 0);
    CHECK_EQUAL(activity_of(MANY - 1).given_up, 0);
    rig_pass(&c.rig, SECONDS(90)); // REKEY_ATTEMPT_TIME
    for (uint32_t i = 0; i < MANY; i++) CHECK(activity_of(i).given_up == 1);
    CHECK_EQUAL(activity_of(MANY - 1).lost_staged, 1);
    // No more left than the window lets through, and what control does for those who wait is a look at each within the time-out.
    CHECK(c.rig.seen[1] <= 64 * (106 / 5 + 1));
    CHECK(rig_counters(&c.rig, SPOKES).outstanding <= 64);
    CHECK(c.rig.steps < 2 * MANY * (106 / 5 + 1));
    // Somebody whom nothing keeps alive may be resting, but not longer than the keepalive's interval.
    rig_pass(&c.rig, SECONDS(200));
    CHECK_EQUAL(connected(&c), 0);
    c.rig.lose = 0;
    rig_pass(&c.rig, SECONDS(7));
    CHECK_EQUAL(connected(&c), MANY);
    for (uint32_t i = 0; i < MANY; i += 37) {
        cw_wg_activity activity = activity_of(i);
        CHECK_EQUAL(activity.given_up, 0);
        CHECK_EQUAL(activity.initiations_sent, 0);
    }
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 0);
    rig_close(&c.rig);
}

static void test_who_is_not_kept_alive_leaves_the_queue(void) {
    crowd_open(&c, 200, NULL);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < 200; i++) connect_spoke(&c, i, 0);
    for (uint32_t i = 0; i < 200; i++) send_data(i);
    rig_pass(&c.rig, SECONDS(50));
    CHECK(rig_counters(&c.rig, SPOKES).waiting > 0);
    rig_pass(&c.rig, SECONDS(56));
    for (uint32_t i = 0; i < 200; i++) {
        cw_wg_activity activity = activity_of(i);
        CHECK_EQUAL(activity.given_up, 1);
        CHECK_EQUAL(activity.lost_staged, 1);
        CHECK_EQUAL(activity.initiations_sent, 0);
    }
    cw_wg_counters counters = rig_counters(&c.rig, SPOKES);
    CHECK_EQUAL(counters.waiting, 0);
    CHECK_EQUAL(counters.outstanding, 0);
    CHECK_EQUAL(windows_of(c.rig.engines[SPOKES].wg), 0);
    uint64_t sent = c.rig.seen[1];
    rig_pass(&c.rig, SECONDS(60));
    CHECK_EQUAL(c.rig.seen[1], sent);
    // New data begins anew.
    c.rig.lose = 0;
    send_data(150);
    rig_settle(&c.rig);
    CHECK(activity_of(150).handshake_unix_nanoseconds != 0);
    rig_close(&c.rig);
}

// Waiting long for a hub that answers, if slowly, is no failure.
static void test_slow_hub_is_not_away(void) {
    enum { COUNT = 600 };
    crowd_open(&c, COUNT, NULL);
    c.rig.engines[HUB].wg->loaded_until = UINT64_MAX;
    for (uint32_t i = 0; i < COUNT; i++) connect_spoke(&c, i, 25);
    rig_pass(&c.rig, SECONDS(20));
    CHECK(rig_counters(&c.rig, SPOKES).waiting > 100);
    for (uint32_t i = 0; i < COUNT; i++) {
        cw_wg_activity activity = activity_of(i);
        CHECK_EQUAL(activity.given_up, 0);
        if (cw_wg_pacing_is_waiting(cw_wg_identity_find(c.rig.engines[SPOKES].wg, c.identities[i])->first))
            CHECK(activity.initiations_sent <= 1); // of its own, which got a cookie
    }
    rig_pass(&c.rig, SECONDS(COUNT / 18 - 5));
    CHECK_EQUAL(connected(&c), COUNT);
    CHECK_EQUAL(windows_of(c.rig.engines[SPOKES].wg), 1); // the cookie is remembered
    c.rig.engines[HUB].wg->loaded_until = 0;
    rig_pass(&c.rig, SECONDS(300));
    CHECK_EQUAL(windows_of(c.rig.engines[SPOKES].wg), 0);
    rig_close(&c.rig);
}

static void test_turn_that_came_while_there_was_no_port_is_not_the_last(void) {
    cw_wg_config config = one_at_a_time();
    crowd_open(&c, 2, &config);
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < 2; i++) {
        connect_spoke(&c, i, 0);
        send_data(i);
        rig_settle(&c.rig);
    }
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 1);
    CHECK_EQUAL(cw_wg_identity_set_port(c.rig.engines[SPOKES].wg, c.identities[1], 0), CW_OK);
    rig_pass(&c.rig, SECONDS(6));
    CHECK_EQUAL(c.rig.seen[1], 2); // both by the first
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 0);
    c.rig.lose = 0;
    CHECK_EQUAL(cw_wg_identity_set_port(c.rig.engines[SPOKES].wg, c.identities[1], c.rig.engines[SPOKES].port), CW_OK);
    rig_settle(&c.rig);
    send_data(1);
    rig_pass(&c.rig, SECONDS(6)); // the first has the only place until its time-out
    CHECK_EQUAL(connected(&c), 2);
    rig_close(&c.rig);
}

static void move(uint32_t number, uint8_t family) {
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_UPDATE_ONLY, .endpoint = rig_endpoint(&c.rig, HUB, family)};
    memcpy(change.public_key, c.rig.engines[HUB].public_key, 32);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(c.rig.engines[SPOKES].wg, c.identities[number], &change, 1, &done), CW_OK);
}

static bool only_v6(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r, (void)sender;
    return datagram->to.to.any.sa_family == AF_INET6;
}

// Neither those who wait nor those whose initiation is under way are bound to the place that does not answer.
static void test_attempts_follow_the_endpoint_at_once(void) {
    cw_wg_config config = one_at_a_time();
    crowd_open(&c, 3, &config);
    c.rig.filter = only_v6;
    for (uint32_t i = 0; i < 3; i++) {
        connect_spoke(&c, i, 0);
        send_data(i);
        rig_settle(&c.rig);
    }
    rig_pass(&c.rig, SECONDS(1));
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).waiting, 2);
    CHECK_EQUAL(connected(&c), 0);
    move(2, 6);
    rig_settle(&c.rig);
    CHECK_EQUAL(connected(&c), 1);
    move(0, 6);
    rig_settle(&c.rig);
    CHECK_EQUAL(connected(&c), 2);
    CHECK_EQUAL(c.rig.engines[HUB].packets, 2); // what was staged is not lost
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 1); // the last one's turn has come
    move(1, 0); // nowhere
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 0);
    CHECK_EQUAL(windows_of(c.rig.engines[SPOKES].wg), 0);
    move(1, 6);
    rig_settle(&c.rig);
    CHECK_EQUAL(connected(&c), 3);
    CHECK_EQUAL(c.rig.engines[HUB].packets, 3);
    rig_close(&c.rig);
}

static void test_endpoints_by_the_thousand(void) {
    crowd_open(&c, MANY, NULL);
    cw_wg *wg = c.rig.engines[SPOKES].wg;
    c.rig.lose = 1 << CW_WG_INITIATION;
    for (uint32_t i = 0; i < MANY; i++) {
        cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_KEEPALIVE,
                                    .keepalive_seconds = 25,
                                    .endpoint = rig_endpoint(&c.rig, HUB, 4)};
        change.endpoint.port = (uint16_t)(1000 + i);
        memcpy(change.public_key, c.rig.engines[HUB].public_key, 32);
        size_t done;
        CHECK_EQUAL(cw_wg_set_peers(wg, c.identities[i], &change, 1, &done), CW_OK);
    }
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, MANY); // a window each
    for (uint32_t i = 0; i < MANY; i += 2) CHECK_EQUAL(cw_wg_identity_remove(wg, c.identities[i]), CW_OK);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, MANY / 2);
    for (uint32_t i = 1; i < MANY; i += 2) CHECK_EQUAL(cw_wg_identity_set_up(wg, c.identities[i], false), CW_OK);
    rig_settle(&c.rig);
    CHECK_EQUAL(rig_counters(&c.rig, SPOKES).outstanding, 0);
    CHECK_EQUAL(windows_of(wg), 0);
    rig_close(&c.rig);
}

int main(void) {
    RUN(all_learn_that_the_hub_is_away_and_are_back_soon_after_it);
    RUN(who_is_not_kept_alive_leaves_the_queue);
    RUN(slow_hub_is_not_away);
    RUN(turn_that_came_while_there_was_no_port_is_not_the_last);
    RUN(attempts_follow_the_endpoint_at_once);
    RUN(endpoints_by_the_thousand);
    FINISH();
}
