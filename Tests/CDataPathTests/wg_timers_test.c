// Every timer of a peer with a virtual clock, two engines back to back.
#include "wg_pair.h"

#define JITTER CW_WG_REKEY_TIMEOUT_JITTER

static bool within(uint64_t value, uint64_t least, uint64_t most) { return value >= least && value <= most; }

// ---- Retransmission --------------------------------------------------------------------------------------------------

static void test_initiations_are_repeated_18_times_and_then_given_up(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.lose = 1 << CW_WG_RESPONSE;
    for (int i = 0; i < 3; i++) rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(89));
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 0);
    rig_pass(&r, SECONDS(600));
    CHECK_EQUAL(r.seen_from[0][1], 18);
    bool differ = false;
    for (int i = 1; i < 18; i++) {
        uint64_t gap = r.times[0][i] - r.times[0][i - 1];
        CHECK(within(gap, CW_WG_REKEY_TIMEOUT, CW_WG_REKEY_TIMEOUT + JITTER));
        if (i > 1 && gap != r.times[0][i - 1] - r.times[0][i - 2]) differ = true;
    }
    CHECK(differ);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 3);
    CHECK_EQUAL(rig_counters(&r, 0).outstanding, 0);
    cw_wg_peer_info info;
    CHECK_EQUAL(cw_wg_peer_read(r.engines[0].wg, r.engines[0].identity, r.engines[1].public_key, &info), CW_OK);
    CHECK_EQUAL(info.initiations_sent, 0); // nobody is being tried any more

    // New data begins again, and this time it is answered.
    r.lose = 0;
    CHECK(rig_ping(&r, 0, 1));
    CHECK_EQUAL(r.seen_from[0][1], 19);
    rig_close(&r);
}

static void test_new_data_begins_the_count_again(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.lose = 1 << CW_WG_RESPONSE;
    rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(80));
    rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(80));
    CHECK(r.seen_from[0][1] > 18);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 0);
    rig_pass(&r, SECONDS(200));
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 2);
    rig_close(&r);
}

static void test_packets_while_one_waits_do_not_wake_control(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    r.lose = 1 << CW_WG_INITIATION;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    for (int i = 0; i < 1000; i++) {
        rig_send(&r, 0, 1, 100);
        CHECK(atomic_load(&r.engines[0].wg->attention) == NULL);
    }
    rig_settle(&r);
    CHECK_EQUAL(r.seen_from[0][1], 1);
    rig_close(&r);
}

static void test_lost_response_costs_one_attempt(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.lose = 1 << CW_WG_RESPONSE;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    r.lose = 0;
    rig_pass(&r, CW_WG_REKEY_TIMEOUT + JITTER);
    CHECK_EQUAL(r.seen_from[0][1], 2);
    CHECK_EQUAL(r.engines[1].packets, 1);
    rig_close(&r);
}

// ---- Keepalives ------------------------------------------------------------------------------------------------------

static void test_passive_keepalive_after_10_seconds(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(9.999));
    CHECK_EQUAL(r.seen_from[1][4], 0);
    rig_pass(&r, SECONDS(0.001));
    CHECK_EQUAL(r.seen_from[1][4], 1);
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_in, 1);
    rig_pass(&r, SECONDS(60)); // and a keepalive is not answered
    CHECK_EQUAL(r.seen[4], 2);
    CHECK_EQUAL(r.seen[1], 1);
    rig_close(&r);
}

static void test_answer_makes_the_keepalive_needless(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(5));
    CHECK(rig_ping(&r, 1, 0));
    rig_pass(&r, SECONDS(9));
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_out, 0);
    rig_pass(&r, SECONDS(1)); // the other one's, for the answer
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_close(&r);
}

static void test_keepalive_is_in_time_although_another_timer_is_armed(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(60));
    CHECK(rig_ping(&r, 0, 1)); // control will look when this has been unanswered for 15 s
    rig_pass(&r, SECONDS(1));
    CHECK(rig_ping(&r, 1, 0));
    rig_pass(&r, SECONDS(9.999));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 0);
    rig_pass(&r, SECONDS(0.001));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_close(&r);
}

static void test_more_data_asks_for_a_second_keepalive(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(3));
    CHECK(rig_ping(&r, 0, 1));
    rig_pass(&r, SECONDS(7));
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_out, 1);
    rig_pass(&r, SECONDS(9.999));
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_out, 1);
    rig_pass(&r, SECONDS(0.001));
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_out, 2);
    rig_pass(&r, SECONDS(60));
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_out, 2);
    rig_close(&r);
}

static void test_persistent_keepalive(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    rig_peer(&r, 0, 1, 4, 25, NULL); // from no interval to one: a keepalive, hence a handshake, at once
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_pass(&r, SECONDS(24.999));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_pass(&r, SECONDS(0.001));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 2);
    rig_pass(&r, SECONDS(10));
    CHECK(rig_ping(&r, 1, 0)); // anything authenticated puts it off
    rig_pass(&r, SECONDS(10)); // (passive: for the ping)
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 3);
    rig_pass(&r, SECONDS(24.999));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 3);
    rig_pass(&r, SECONDS(0.001));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 4);
    rig_close(&r);
}

static void test_persistent_keepalive_begins_at_once(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(1));
    rig_peer(&r, 0, 1, 0, 25, NULL);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_close(&r);
}

static void test_persistent_keepalive_keeps_a_session_for_hours_and_brings_it_back(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    rig_peer(&r, 0, 1, 4, 25, NULL);
    rig_pass(&r, SECONDS(4 * 3600));
    CHECK(within(rig_counters(&r, 0).handshakes, 4 * 3600 / 150, 4 * 3600 / 120)); // each is renewed at the first keepalive after 120 s
    CHECK_EQUAL(r.seen_from[1][1], 0);
    r.lose = ~UINT64_C(0);
    rig_pass(&r, SECONDS(3600));
    uint64_t tries = r.seen_from[0][1], handshakes = rig_counters(&r, 0).handshakes;
    rig_pass(&r, SECONDS(600));
    CHECK(r.seen_from[0][1] > tries + 60); // it does not give up for good
    r.lose = 0;
    rig_pass(&r, SECONDS(30));
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, handshakes + 1);
    CHECK(rig_ping(&r, 1, 0));
    rig_close(&r);
}

static void test_persistent_keepalive_can_be_changed_and_taken_away(void) {
    static rig r;
    rig_open_pair(&r, 25);
    rig_peer(&r, 0, 1, 0, 5, NULL);
    rig_pass(&r, SECONDS(5));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    size_t done;
    cw_wg_peer_change change = {.mask = CW_WG_PEER_KEEPALIVE};
    memcpy(change.public_key, r.engines[1].public_key, 32);
    CHECK_EQUAL(cw_wg_set_peers(r.engines[0].wg, r.engines[0].identity, &change, 1, &done), CW_OK);
    rig_pass(&r, SECONDS(100));
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out, 1);
    rig_close(&r);
}

// ---- New handshakes --------------------------------------------------------------------------------------------------

static void test_unanswered_data_begins_a_handshake_after_15_seconds(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(60));
    r.lose = ~UINT64_C(0);
    uint64_t at = r.clock.now;
    for (int i = 0; i < 5; i++) { // the first counts, not the last
        rig_send(&r, 0, 1, 100);
        rig_pass(&r, SECONDS(1));
    }
    rig_pass(&r, SECONDS(30));
    CHECK(r.seen_from[0][1] >= 2);
    CHECK(within(r.times[0][1] - at, SECONDS(15), SECONDS(15) + JITTER));
    rig_close(&r);
}

static void test_anything_authenticated_answers(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(60));
    CHECK(rig_ping(&r, 0, 1));
    rig_pass(&r, SECONDS(40)); // the other's passive keepalive after 10 s was the answer
    CHECK_EQUAL(r.seen[1], 1);
    rig_close(&r);
}

static void test_initiator_renews_keys_after_120_seconds(void) {
    static rig r;
    rig_open_pair(&r, 0);
    for (int i = 0; i < 119; i++) {
        rig_pass(&r, SECONDS(1));
        CHECK(rig_ping(&r, 0, 1));
        CHECK(rig_ping(&r, 1, 0));
    }
    CHECK_EQUAL(r.seen[1], 1);
    rig_pass(&r, SECONDS(2));
    CHECK(rig_ping(&r, 1, 0)); // the responder does not
    rig_settle(&r);
    CHECK_EQUAL(r.seen[1], 1);
    CHECK(rig_ping(&r, 0, 1));
    CHECK_EQUAL(r.seen_from[0][1], 2);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 2);
    CHECK_EQUAL(rig_counters(&r, 1).handshakes, 2);
    CHECK(rig_ping(&r, 1, 0));
    CHECK(rig_peer_of(&r, 0, 1)->previous != NULL);
    rig_close(&r);
}

static void test_initiator_that_only_receives_renews_keys_after_165_seconds(void) {
    for (int late = 0; late < 2; late++) {
        static rig r;
        rig_open_pair(&r, 0);
        rig_pass(&r, SECONDS(late ? 165 : 164.999));
        rig_send(&r, 1, 0, 100);
        rig_settle(&r);
        CHECK_EQUAL(r.engines[0].packets, 1);
        CHECK_EQUAL(r.seen_from[0][1], late ? 2 : 1);
        CHECK_EQUAL(r.seen_from[1][1], 0);
        rig_close(&r);
    }
}

static void test_renewal_on_receipt_is_asked_for_once(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(166));
    r.lose = 1 << CW_WG_INITIATION;
    for (int i = 0; i < 4; i++) {
        rig_send(&r, 1, 0, 100);
        rig_pass(&r, SECONDS(1));
    }
    CHECK_EQUAL(r.seen_from[0][1], 2);
    rig_close(&r);
}

static void test_keys_die_after_180_seconds(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(179.999));
    CHECK(rig_ping(&r, 1, 0));
    CHECK(r.seen_from[0][1] == 2); // (on receipt)
    rig_close(&r);

    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(180));
    CHECK(rig_ping(&r, 1, 0)); // under new keys, which the former responder has asked for
    CHECK_EQUAL(r.seen_from[1][1], 1);
    CHECK_EQUAL(r.seen_from[0][1], 1);
    rig_close(&r);
}

static memory_datagram kept;
static bool keep_data(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r, (void)sender;
    if (datagram->bytes[0] != CW_WG_DATA) return true;
    kept = *datagram;
    return false;
}

static void test_old_keys_open_nothing(void) {
    static rig r;
    rig_open_pair(&r, 0);
    r.filter = keep_data;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    r.filter = NULL;
    r.lose = 1 << CW_WG_INITIATION;
    rig_pass(&r, SECONDS(181));
    rig_inject(&r, &kept);
    rig_settle(&r);
    CHECK_EQUAL(r.engines[1].packets, 1);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_EXPIRED], 1);
    rig_close(&r);
}

static void test_keys_are_wiped_after_540_seconds(void) {
    static rig r;
    rig_open_pair(&r, 0);
    CHECK(rig_ping(&r, 1, 0));
    rig_pass(&r, SECONDS(539));
    CHECK(rig_peer_of(&r, 0, 1)->current != NULL);
    CHECK(rig_peer_of(&r, 1, 0)->current != NULL);
    rig_pass(&r, SECONDS(1));
    CHECK(rig_peer_of(&r, 0, 1)->current == NULL);
    CHECK(rig_peer_of(&r, 1, 0)->current == NULL);
    CHECK(rig_ping(&r, 0, 1));
    rig_close(&r);
}

static void test_handshake_that_was_given_up_is_wiped(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    r.lose = 1 << CW_WG_INITIATION;
    rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(100));
    CHECK_EQUAL(rig_peer_of(&r, 0, 1)->handshake.state, CW_NOISE_INITIATION_CREATED); // a late response would still do
    rig_pass(&r, SECONDS(540));
    CHECK_EQUAL(rig_peer_of(&r, 0, 1)->handshake.state, CW_NOISE_NONE);
    rig_close(&r);
}

static void test_wish_right_after_a_handshake_message_is_kept(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    r.lose = 1 << CW_WG_RESPONSE;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    cw_wg_remove_all_peers(r.engines[0].wg, r.engines[0].identity); // it will not confirm
    rig_peer(&r, 0, 1, 4, 0, NULL);
    r.lose = 0;
    rig_send(&r, 1, 0, 100); // staged: `next` is not confirmed, and a response has just left
    rig_settle(&r);
    CHECK_EQUAL(r.seen_from[1][1], 0);
    rig_pass(&r, CW_WG_REKEY_TIMEOUT + JITTER);
    CHECK_EQUAL(r.seen_from[1][1], 1);
    CHECK_EQUAL(r.engines[0].packets, 1);
    rig_close(&r);
}

// ---- Clocks and wakes ------------------------------------------------------------------------------------------------

static void test_timestamps_grow_when_the_clock_is_set_back(void) {
    static rig r;
    rig_open_pair(&r, 0);
    uint8_t before[CW_WG_TIMESTAMP];
    for (int i = 0; i < 100; i++) {
        memcpy(before, rig_peer_of(&r, 0, 1)->sent_timestamp, sizeof before);
        rig_pass(&r, SECONDS(181));
        r.clock.unix_seconds -= i == 0 ? 86400 : 181;
        CHECK(rig_ping(&r, 0, 1));
        CHECK(memcmp(rig_peer_of(&r, 0, 1)->sent_timestamp, before, sizeof before) > 0);
    }
    CHECK_EQUAL(rig_counters(&r, 1).handshakes, 101);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_HANDSHAKE], 0);
    rig_close(&r);
}

static void test_back_and_forth_does_not_wake_control(void) {
    static rig r;
    rig_open_pair(&r, 0);
    CHECK(rig_ping(&r, 1, 0));
    uint32_t wakes = 0;
    for (int i = 0; i < 10000; i++) { // 100 s
        rig_send(&r, i % 2, 1 - i % 2, 100);
        for (int e = 0; e < 2; e++) {
            rig_engine *engine = &r.engines[e];
            memory_pump(engine->wg, &engine->host, &engine->pool, r.clock.now, rig_sink, engine);
            if (atomic_load(&engine->wg->attention) != NULL) wakes++;
        }
        rig_pass(&r, SECONDS(0.01));
    }
    CHECK(wakes <= 2 * 11); // at most one for each engine and 10 s
    CHECK_EQUAL(r.seen[1], 1);
    CHECK_EQUAL(rig_counters(&r, 0).keepalives_out + rig_counters(&r, 1).keepalives_out, 0);
    rig_close(&r);
}

static void test_idle_peers_have_no_timers(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(30));
    r.steps = 0;
    rig_pass(&r, SECONDS(500));
    CHECK(r.steps < 12);
    rig_pass(&r, SECONDS(3600));
    CHECK_EQUAL(rig_settle(&r), UINT64_MAX);
    rig_close(&r);
}

int main(void) {
    RUN(initiations_are_repeated_18_times_and_then_given_up);
    RUN(new_data_begins_the_count_again);
    RUN(packets_while_one_waits_do_not_wake_control);
    RUN(lost_response_costs_one_attempt);
    RUN(passive_keepalive_after_10_seconds);
    RUN(answer_makes_the_keepalive_needless);
    RUN(keepalive_is_in_time_although_another_timer_is_armed);
    RUN(more_data_asks_for_a_second_keepalive);
    RUN(persistent_keepalive);
    RUN(persistent_keepalive_begins_at_once);
    RUN(persistent_keepalive_keeps_a_session_for_hours_and_brings_it_back);
    RUN(persistent_keepalive_can_be_changed_and_taken_away);
    RUN(unanswered_data_begins_a_handshake_after_15_seconds);
    RUN(anything_authenticated_answers);
    RUN(initiator_renews_keys_after_120_seconds);
    RUN(initiator_that_only_receives_renews_keys_after_165_seconds);
    RUN(renewal_on_receipt_is_asked_for_once);
    RUN(keys_die_after_180_seconds);
    RUN(old_keys_open_nothing);
    RUN(keys_are_wiped_after_540_seconds);
    RUN(handshake_that_was_given_up_is_wiped);
    RUN(wish_right_after_a_handshake_message_is_kept);
    RUN(timestamps_grow_when_the_clock_is_set_back);
    RUN(back_and_forth_does_not_wake_control);
    RUN(idle_peers_have_no_timers);
    FINISH();
}
