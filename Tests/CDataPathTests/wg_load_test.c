// Under load: cookies, the limit of each source, the bounded queue.
#include "wg_pair.h"

// Fills the queue of handshake messages with rubbish.
static void flood(rig *r, uint32_t number, uint32_t count) {
    cw_wg_letter letter = {.port = r->engines[number].port, .length = sizeof(cw_wg_initiation)};
    letter.from.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xC6336401)};
    letter.bytes[0] = CW_WG_INITIATION;
    for (uint32_t i = 0; i < count; i++) CHECK(cw_wg_post(r->engines[number].wg, &letter));
}

static void test_queue_is_bounded(void) {
    static rig r;
    rig_open(&r, 1, NULL);
    flood(&r, 0, CW_WG_HANDSHAKE_QUEUE);
    cw_wg_letter letter = {.port = 1, .length = 4};
    CHECK(!cw_wg_post(r.engines[0].wg, &letter));
    rig_settle(&r);
    CHECK(cw_wg_post(r.engines[0].wg, &letter));
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_MAC1], CW_WG_HANDSHAKE_QUEUE);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_MALFORMED], 1);
    rig_close(&r);
}

static void test_below_an_eighth_of_the_queue_nobody_needs_a_cookie(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8 - 2);
    CHECK(rig_ping(&r, 0, 1));
    CHECK_EQUAL(r.seen[3], 0);
    rig_close(&r);
}

static void test_cookie_under_load_and_recovery(void) {
    for (uint8_t family = 4; family <= 6; family += 2) {
        static rig r;
        rig_open(&r, 2, NULL);
        rig_peer(&r, 0, 1, family, 0, NULL);
        rig_peer(&r, 1, 0, 0, 0, NULL);
        flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8);
        CHECK(!rig_ping(&r, 0, 1));
        CHECK_EQUAL(r.seen[3], 1);
        CHECK_EQUAL(rig_counters(&r, 1).cookies_out, 1);
        CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_UNDER_LOAD], 1);
        CHECK_EQUAL(rig_counters(&r, 0).cookies_in, 1);
        CHECK_EQUAL(r.seen[1], 1); // it is not answered at once but with the next attempt
        rig_pass(&r, SECONDS(4.9));
        flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8); // still under load: with the cookie it goes through
        rig_pass(&r, SECONDS(0.5));
        CHECK_EQUAL(r.seen[1], 2);
        CHECK_EQUAL(r.seen[3], 1);
        CHECK_EQUAL(r.engines[1].packets, 1);
        rig_close(&r);
    }
}

static void test_load_is_remembered_for_a_second(void) {
    for (int later = 0; later < 2; later++) {
        static rig r;
        rig_open(&r, 2, NULL);
        rig_peer(&r, 0, 1, 4, 0, NULL);
        rig_peer(&r, 1, 0, 0, 0, NULL);
        flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8);
        rig_settle(&r);
        rig_pass(&r, SECONDS(later ? 1 : 0.999));
        CHECK(rig_ping(&r, 0, 1) == (later != 0));
        CHECK_EQUAL(r.seen[3], later ? 0 : 1);
        rig_close(&r);
    }
}

static void test_rate_of_one_source_is_limited_under_load(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.engines[1].wg->loaded_until = UINT64_MAX;
    CHECK(!rig_ping(&r, 0, 1)); // for the cookie
    r.lose = 1 << CW_WG_RESPONSE;
    for (int i = 0; i < 30; i++) rig_begin_handshake(&r, 0, 1);
    cw_wg_counters counters = rig_counters(&r, 1);
    CHECK_EQUAL(counters.initiations_in, 31);
    CHECK_EQUAL(counters.cookies_out, 1);
    CHECK_EQUAL(counters.drops[CW_WG_DROP_UNDER_LOAD], 1 + 25); // 5 at once
    rig_pass(&r, SECONDS(1));
    rig_begin_handshake(&r, 0, 1);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_UNDER_LOAD], 1 + 25);
    rig_close(&r);
}

static void test_cookie_is_bound_to_the_address(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8);
    CHECK(!rig_ping(&r, 0, 1));
    memory_move(&r.engines[0].host, "192.0.2.77", NULL);
    rig_pass(&r, SECONDS(4.9));
    flood(&r, 1, CW_WG_HANDSHAKE_QUEUE / 8);
    rig_pass(&r, SECONDS(0.5));
    CHECK_EQUAL(r.seen[3], 2);
    CHECK_EQUAL(r.engines[1].packets, 0);
    rig_close(&r);
}

static void test_response_needs_a_cookie_too_when_we_are_under_load(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    flood(&r, 0, CW_WG_HANDSHAKE_QUEUE / 8);
    CHECK(!rig_ping(&r, 0, 1));
    CHECK_EQUAL(r.seen_from[0][3], 1);
    CHECK_EQUAL(rig_counters(&r, 1).cookies_in, 1);
    rig_pass(&r, SECONDS(5.4));
    CHECK_EQUAL(r.engines[1].packets, 1);
    rig_close(&r);
}

int main(void) {
    RUN(queue_is_bounded);
    RUN(below_an_eighth_of_the_queue_nobody_needs_a_cookie);
    RUN(cookie_under_load_and_recovery);
    RUN(load_is_remembered_for_a_second);
    RUN(rate_of_one_source_is_limited_under_load);
    RUN(cookie_is_bound_to_the_address);
    RUN(response_needs_a_cookie_too_when_we_are_under_load);
    FINISH();
}
