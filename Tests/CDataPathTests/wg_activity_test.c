// What is to be watched of peers: when they were last heard, what they left unanswered, what got lost, and reading it of many.
#include "wg_pair.h"

static cw_wg_activity activity_of(rig *r, uint32_t engine) {
    cw_wg_activity activity = {0};
    cw_wg_cursor cursor = {0};
    CHECK_EQUAL(cw_wg_activity_read(r->engines[engine].wg, r->engines[engine].identity, &cursor, &activity, 1), 1);
    return activity;
}

static void set_endpoint(rig *r, const cw_wg_endpoint *endpoint) {
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT | CW_WG_PEER_UPDATE_ONLY, .endpoint = *endpoint};
    memcpy(change.public_key, r->engines[1].public_key, 32);
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(r->engines[0].wg, r->engines[0].identity, &change, 1, &done), CW_OK);
}

static void test_peer_says_when_it_was_heard(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    cw_wg_activity activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.identity, r.engines[0].identity);
    CHECK(memcmp(activity.public_key, r.engines[1].public_key, 32) == 0);
    CHECK_EQUAL(activity.endpoint.port, RIG_PORT);
    CHECK_EQUAL(activity.received_at, 0);
    CHECK_EQUAL(activity.handshake_unix_nanoseconds, 0);

    uint64_t began = r.clock.now;
    CHECK(rig_ping(&r, 0, 1));
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.received_at, began); // the response
    CHECK_EQUAL(activity.data_received_at, 0);
    CHECK_EQUAL(activity.unanswered_packets, 1);
    CHECK(activity.handshake_unix_nanoseconds != 0);
    CHECK_EQUAL(activity_of(&r, 1).received_at, began);
    CHECK_EQUAL(activity_of(&r, 1).data_received_at, began);

    rig_pass(&r, SECONDS(3));
    for (int i = 0; i < 4; i++) CHECK(rig_ping(&r, 0, 1));
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.received_at, began);
    CHECK_EQUAL(activity.unanswered_packets, 5);
    rig_pass(&r, SECONDS(8)); // its keepalive, 10 s after the first
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.received_at, began + SECONDS(10));
    CHECK_EQUAL(activity.data_received_at, 0);
    CHECK_EQUAL(activity.unanswered_packets, 0);
    CHECK_EQUAL(activity.lost_unanswered, 0);
    uint64_t answered = r.clock.now;
    CHECK(rig_ping(&r, 1, 0));
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.received_at, answered);
    CHECK_EQUAL(activity.data_received_at, answered);
    cw_wg_peer_info info;
    CHECK_EQUAL(cw_wg_peer_read(r.engines[0].wg, r.engines[0].identity, r.engines[1].public_key, &info), CW_OK);
    CHECK_EQUAL(activity.received_bytes, info.received_bytes);
    CHECK_EQUAL(activity.sent_bytes, info.sent_bytes);
    rig_close(&r);
}

// What is sent into a dead session is lost from the first packet on, but known to be only 15 s later.
static void test_what_a_dead_session_took_is_counted(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(12));
    r.lose = ~UINT64_C(0);
    for (int i = 0; i < 10; i++) rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(14));
    cw_wg_activity activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.unanswered_packets, 10);
    CHECK_EQUAL(activity.lost_unanswered, 0);
    rig_pass(&r, SECONDS(2));
    CHECK_EQUAL(activity_of(&r, 0).lost_unanswered, 10);
    for (int i = 0; i < 7; i++) rig_send(&r, 0, 1, 100);
    rig_pass(&r, SECONDS(1));
    CHECK_EQUAL(activity_of(&r, 0).lost_unanswered, 17);
    CHECK_EQUAL(activity_of(&r, 0).unanswered_packets, 17);

    r.lose = 0;
    rig_pass(&r, SECONDS(10)); // the next initiation is answered
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.unanswered_packets, 0);
    CHECK_EQUAL(activity.lost_unanswered, 17);
    CHECK(rig_ping(&r, 0, 1));
    CHECK(rig_ping(&r, 1, 0));
    CHECK_EQUAL(activity_of(&r, 0).lost_unanswered, 17);
    rig_close(&r);
}

static void test_what_was_on_its_way_when_the_endpoint_changed_is_counted(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(12));
    r.lose = 1 << CW_WG_DATA;
    for (int i = 0; i < 5; i++) rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    cw_wg_endpoint same = rig_endpoint(&r, 1, 4), other = rig_endpoint(&r, 1, 6);
    set_endpoint(&r, &same);
    CHECK_EQUAL(activity_of(&r, 0).lost_unanswered, 0);
    set_endpoint(&r, &other);
    cw_wg_activity activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.lost_unanswered, 5);
    CHECK_EQUAL(activity.unanswered_packets, 0);
    r.lose = 0;
    CHECK(rig_ping(&r, 0, 1));
    CHECK_EQUAL(activity_of(&r, 0).unanswered_packets, 1);
    rig_close(&r);
}

static void test_what_could_not_leave_is_counted_by_cause(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 0, 0, NULL); // no endpoint
    rig_peer(&r, 1, 0, 0, 0, NULL);
    rig_send(&r, 0, 1, 100);
    CHECK_EQUAL(activity_of(&r, 0).lost_no_endpoint, 1);
    cw_wg_count_unroutable(r.engines[0].wg, 0, rig_peer_of(&r, 0, 1));
    CHECK_EQUAL(activity_of(&r, 0).lost_no_endpoint, 2);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_NO_ENDPOINT], 2);

    r.lose = ~UINT64_C(0);
    cw_wg_endpoint endpoint = rig_endpoint(&r, 1, 4);
    set_endpoint(&r, &endpoint);
    for (int i = 0; i < 128 + 3; i++) rig_send(&r, 0, 1, 100); // the stage holds 128
    CHECK_EQUAL(activity_of(&r, 0).lost_staged, 3);
    rig_pass(&r, SECONDS(100)); // nobody answers
    cw_wg_activity activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.lost_staged, 131);
    CHECK_EQUAL(activity.given_up, 1);
    CHECK_EQUAL(activity.lost_unanswered, 0); // nothing was sealed
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_STAGED], 131);

    r.lose = 0;
    CHECK(rig_ping(&r, 0, 1));
    CHECK_EQUAL(activity_of(&r, 0).given_up, 0);
    r.wire.refuse = true;
    rig_send(&r, 0, 1, 100);
    r.wire.refuse = false;
    activity = activity_of(&r, 0);
    CHECK_EQUAL(activity.lost_refused, 1);
    CHECK_EQUAL(activity.unanswered_packets, 1); // the one before
    CHECK_EQUAL(cw_wg_identity_set_up(r.engines[0].wg, r.engines[0].identity, false), CW_OK);
    CHECK_EQUAL(activity_of(&r, 0).lost_staged, 131);
    rig_close(&r);
}

// ---- Many -----------------------------------------------------------------------------------------------------------

enum { IDENTITIES = 300, LARGE = 150 };

static void add_peers(cw_wg *wg, uint32_t identity, uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < first + count; i++) {
        cw_wg_peer_change change = {.public_key = {7, (uint8_t)i, (uint8_t)(i >> 8)}};
        size_t done;
        CHECK_EQUAL(cw_wg_set_peers(wg, identity, &change, 1, &done), CW_OK);
    }
}

static uint32_t number_of(const cw_wg_activity *activity) { return activity->public_key[1] | (uint32_t)activity->public_key[2] << 8; }

static void test_all_identities_are_read_once_each(void) {
    static rig r;
    static cw_wg_activity all[IDENTITIES + LARGE + 1];
    rig_open(&r, 1, NULL);
    cw_wg *wg = r.engines[0].wg;
    uint32_t identities[IDENTITIES];
    for (uint32_t i = 0; i < IDENTITIES; i++) {
        CHECK_EQUAL(cw_wg_identity_add(wg, 0, (uint8_t[32]){1, (uint8_t)i, (uint8_t)(i >> 8)}, &identities[i]), CW_OK);
        if (i < IDENTITIES - 1) add_peers(wg, identities[i], i, 1);
    }
    add_peers(wg, identities[200], IDENTITIES, LARGE); // one has many
    for (uint32_t i = 20; i < 120; i++) CHECK_EQUAL(cw_wg_identity_remove(wg, identities[i]), CW_OK); // and there are holes
    enum { LEFT = IDENTITIES - 1 - 100 + LARGE };
    for (size_t page = 1; page < LEFT + 10; page += 60) {
        cw_wg_cursor cursor = {0};
        size_t count = 0, read;
        uint8_t seen[IDENTITIES + LARGE] = {0};
        do {
            read = cw_wg_activity_read(wg, CW_WG_ALL_IDENTITIES, &cursor, all + count, page);
            count += read;
        } while (read == page && count + page <= sizeof all / sizeof all[0]);
        if (read == page) continue; // no room for one more page
        CHECK_EQUAL(count, LEFT);
        for (size_t i = 0; i < count; i++) {
            uint32_t number = number_of(&all[i]);
            CHECK(number < IDENTITIES + LARGE && !seen[number]++);
            CHECK_EQUAL(all[i].identity, identities[number < IDENTITIES ? number : 200]);
        }
    }
    rig_close(&r);
}

static void test_removal_between_pages_neither_skips_nor_repeats(void) {
    static rig r;
    static cw_wg_activity page[8];
    rig_open(&r, 1, NULL);
    cw_wg *wg = r.engines[0].wg;
    uint32_t identity = r.engines[0].identity, other;
    size_t done;
    add_peers(wg, identity, 0, 40);
    cw_wg_cursor cursor = {0};
    CHECK_EQUAL(cw_wg_activity_read(wg, identity, &cursor, page, 8), 8);
    // The last one that was read goes, and the one before and behind it; its memory is used again, here and by another identity.
    for (uint8_t i = 6; i < 9; i++) {
        cw_wg_peer_change change = {.public_key = {7, i}, .mask = CW_WG_PEER_REMOVE};
        CHECK_EQUAL(cw_wg_set_peers(wg, identity, &change, 1, &done), CW_OK);
    }
    CHECK_EQUAL(cw_wg_identity_add(wg, 0, (uint8_t[32]){1}, &other), CW_OK);
    add_peers(wg, identity, 40, 1);
    add_peers(wg, other, 100, 2);
    uint32_t expected = 9;
    for (size_t count = 8; count == 8;) {
        count = cw_wg_activity_read(wg, identity, &cursor, page, 8);
        for (size_t i = 0; i < count; i++) CHECK_EQUAL(number_of(&page[i]), expected++);
    }
    CHECK_EQUAL(expected, 41);
    // The identity itself goes: the reading ends.
    CHECK_EQUAL(cw_wg_identity_remove(wg, identity), CW_OK);
    CHECK_EQUAL(cw_wg_activity_read(wg, identity, &cursor, page, 8), 0);
    rig_close(&r);
}

int main(void) {
    RUN(peer_says_when_it_was_heard);
    RUN(what_a_dead_session_took_is_counted);
    RUN(what_was_on_its_way_when_the_endpoint_changed_is_counted);
    RUN(what_could_not_leave_is_counted_by_cause);
    RUN(all_identities_are_read_once_each);
    RUN(removal_between_pages_neither_skips_nor_repeats);
    FINISH();
}
