// Handshakes, two or three engines back to back.
#include "wg_pair.h"

static void receive_all(rig *r, uint32_t number) {
    rig_engine *engine = &r->engines[number];
    memory_pump(engine->wg, &engine->host, &engine->pool, r->clock.now, rig_sink, engine);
}

// ---- Sessions --------------------------------------------------------------------------------------------------------

static void test_first_packet_brings_up_a_session(void) {
    for (uint8_t family = 4; family <= 6; family += 2) {
        static rig r;
        rig_open(&r, 2, NULL);
        rig_peer(&r, 0, 1, family, 0, NULL);
        rig_peer(&r, 1, 0, 0, 0, NULL);
        CHECK(rig_ping(&r, 0, 1)); // staged, then sent once the handshake is complete
        CHECK(rig_ping(&r, 1, 0)); // the responder has learnt where we are
        CHECK_EQUAL(r.seen[1], 1);
        CHECK_EQUAL(r.seen[2], 1);
        CHECK_EQUAL(r.seen[4], 2); // no keepalive was needed as confirmation
        for (uint32_t i = 0; i < 2; i++) {
            cw_wg_counters counters = rig_counters(&r, i);
            CHECK_EQUAL(counters.handshakes, 1);
            CHECK_EQUAL(counters.packets_in, 1);
            CHECK_EQUAL(counters.packets_out, 1);
            for (int drop = 0; drop < CW_WG_DROP_WG_COUNT; drop++) CHECK_EQUAL(counters.drops[drop], 0);
        }
        CHECK_EQUAL(rig_counters(&r, 0).initiations_out, 1);
        CHECK_EQUAL(rig_counters(&r, 1).initiations_in, 1);
        CHECK_EQUAL(rig_counters(&r, 1).responses_out, 1);
        CHECK_EQUAL(rig_counters(&r, 0).responses_in, 1);
        rig_close(&r);
    }
}

static void test_staged_packets_leave_in_order(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    for (uint16_t i = 0; i < 20; i++) rig_send(&r, 0, 1, 100 + i);
    rig_settle(&r);
    CHECK_EQUAL(r.engines[1].packets, 20);
    CHECK_EQUAL(r.engines[1].last_length, 119);
    rig_close(&r);
}

static void test_responder_waits_for_the_first_data(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    r.lose = 1 << CW_WG_DATA;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    CHECK(rig_peer_of(&r, 1, 0)->current == NULL);
    CHECK(rig_peer_of(&r, 1, 0)->next_pair != NULL);
    rig_send(&r, 1, 0, 100); // staged
    rig_settle(&r);
    CHECK_EQUAL(r.seen_from[1][4], 0);
    CHECK_EQUAL(rig_counters(&r, 1).handshakes, 0);
    r.lose = 0;
    CHECK(rig_ping(&r, 0, 1)); // the confirmation, which lets the staged one go
    CHECK_EQUAL(r.engines[0].packets, 1);
    CHECK(rig_peer_of(&r, 1, 0)->current != NULL);
    CHECK(rig_peer_of(&r, 1, 0)->next_pair == NULL);
    CHECK_EQUAL(rig_counters(&r, 1).handshakes, 1);
    rig_close(&r);
}

// A worker answers before control has made the keys of the question its own.
static void test_answer_that_overtakes_the_confirmation_starts_no_handshake(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    r.lose = 1 << CW_WG_DATA;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    r.lose = 0;
    rig_send(&r, 0, 1, 100);
    receive_all(&r, 1);
    CHECK(rig_peer_of(&r, 1, 0)->current == NULL);
    rig_send(&r, 1, 0, 100); // staged, with a wish for a handshake
    rig_settle(&r);
    CHECK_EQUAL(r.engines[0].packets, 1);
    rig_pass(&r, 12 * CW_WG_SECOND);
    CHECK_EQUAL(rig_counters(&r, 1).initiations_out, 0);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    rig_close(&r);
}

static void test_previous_keys_still_open(void) {
    static rig r;
    rig_open_pair(&r, 0);
    CHECK(rig_ping(&r, 1, 0));
    rig_pass(&r, SECONDS(121));
    // What the responder sends while the new session begins is under the old one.
    rig_send(&r, 1, 0, 100);
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    CHECK_EQUAL(r.engines[0].packets, 2);
    CHECK_EQUAL(r.engines[1].packets, 2);
    CHECK(rig_peer_of(&r, 0, 1)->previous != NULL);
    CHECK(rig_peer_of(&r, 1, 0)->previous != NULL);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_UNKNOWN_INDEX], 0);
    rig_close(&r);
}

static void test_unconfirmed_session_is_replaced_and_does_not_become_current(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.lose = 1 << CW_WG_RESPONSE;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    const cw_wg_peer *peer = rig_peer_of(&r, 1, 0);
    uint32_t first = peer->next_pair->local_index;
    // A wish that was left for the first must not confirm the second.
    cw_wg_ask(r.engines[1].wg, rig_peer_of(&r, 1, 0), CW_WG_WANT_CONFIRM);
    rig_pass(&r, SECONDS(5.4));
    CHECK(peer->next_pair->local_index != first);
    CHECK(cw_wg_index_find(r.engines[1].wg, first) == NULL);
    CHECK(peer->current == NULL);
    rig_close(&r);
}

static void test_third_session_ends_the_first(void) {
    static rig r;
    rig_open_pair(&r, 0);
    uint32_t first[2] = {rig_peer_of(&r, 0, 1)->current->local_index, rig_peer_of(&r, 1, 0)->current->local_index};
    for (int session = 2; session <= 3; session++) {
        rig_pass(&r, SECONDS(121));
        CHECK(rig_ping(&r, 0, 1));
        CHECK(rig_ping(&r, 0, 1));
        for (uint32_t i = 0; i < 2; i++) CHECK((cw_wg_index_find(r.engines[i].wg, first[i]) != NULL) == (session == 2));
    }
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 3);
    rig_close(&r);
}

static bool lose_data_of_second(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r;
    return !(sender == 1 && datagram->bytes[0] == CW_WG_DATA);
}

static void test_unconfirmed_session_becomes_previous_when_ours_completes(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    r.filter = lose_data_of_second;
    rig_send(&r, 1, 0, 100);
    rig_settle(&r);
    uint32_t theirs = rig_peer_of(&r, 0, 1)->next_pair->local_index;
    rig_send(&r, 0, 1, 100);
    rig_pass(&r, CW_WG_REKEY_TIMEOUT + CW_WG_REKEY_TIMEOUT_JITTER);
    CHECK_EQUAL(r.seen_from[0][1], 1);
    const cw_wg_peer *peer = rig_peer_of(&r, 0, 1);
    CHECK(peer->next_pair == NULL);
    CHECK(peer->previous != NULL && peer->previous->local_index == theirs);
    CHECK(peer->current != NULL && peer->current->initiator);
    r.filter = NULL;
    CHECK(rig_ping(&r, 1, 0));
    CHECK(rig_ping(&r, 0, 1));
    rig_close(&r);
}

static void test_crossing_initiations_end_in_one_session(void) {
    for (int round = 0; round < 20; round++) {
        static rig r;
        rig_open(&r, 2, NULL);
        rig_peer(&r, 0, 1, 4, 0, NULL);
        rig_peer(&r, 1, 0, 4, 0, NULL);
        rig_send(&r, 0, 1, 100);
        rig_send(&r, 1, 0, 100);
        // Both leave before either arrives.
        cw_wg_step(r.engines[0].wg, &r.clock);
        cw_wg_step(r.engines[1].wg, &r.clock);
        CHECK_EQUAL(r.seen[1], 2);
        rig_pass(&r, 2 * (CW_WG_REKEY_TIMEOUT + CW_WG_REKEY_TIMEOUT_JITTER));
        CHECK_EQUAL(r.engines[0].packets, 1);
        CHECK_EQUAL(r.engines[1].packets, 1);
        CHECK(rig_ping(&r, 0, 1));
        CHECK(rig_ping(&r, 1, 0));
        CHECK_EQUAL(rig_counters(&r, 0).outstanding + rig_counters(&r, 1).outstanding, 0);
        rig_close(&r);
    }
}

static void test_initiation_that_arrives_while_ours_is_out_wins(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    r.lose = 1 << CW_WG_INITIATION;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    r.lose = 0;
    rig_pass(&r, SECONDS(1));
    rig_send(&r, 1, 0, 100);
    rig_settle(&r);
    CHECK_EQUAL(r.engines[0].packets, 1);
    CHECK_EQUAL(r.engines[1].packets, 1); // what was staged left under the other's session
    rig_pass(&r, SECONDS(30));
    CHECK_EQUAL(r.seen[1], 2);
    CHECK_EQUAL(rig_counters(&r, 0).outstanding, 0);
    rig_close(&r);
}

static void test_preshared_keys_have_to_be_equal(void) {
    static rig r;
    uint8_t key[32] = {1, 2, 3}, other[32] = {1, 2, 4};
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, key);
    rig_peer(&r, 1, 0, 0, 0, other);
    CHECK(!rig_ping(&r, 0, 1));
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_HANDSHAKE], 1); // the response does not open
    rig_peer(&r, 1, 0, 0, 0, key);
    rig_pass(&r, SECONDS(6));
    CHECK_EQUAL(r.engines[1].packets, 1);
    rig_close(&r);
}

// ---- Forged, replayed, too many --------------------------------------------------------------------------------------

static void test_replayed_initiation_is_refused(void) {
    static rig r;
    rig_open_pair(&r, 0);
    memory_datagram initiation = rig_last_initiation;
    rig_pass(&r, SECONDS(1));
    uint64_t responses = r.seen[2];
    uint32_t current = rig_peer_of(&r, 1, 0)->current->local_index;
    rig_inject(&r, &initiation);
    rig_settle(&r);
    CHECK_EQUAL(r.seen[2], responses);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_HANDSHAKE], 1);
    CHECK_EQUAL(rig_peer_of(&r, 1, 0)->current->local_index, current);
    CHECK(rig_peer_of(&r, 1, 0)->next_pair == NULL);
    rig_close(&r);
}

// The other side remembers the greatest timestamp, whatever has become of the peer that sent it, and of our clock.
static void test_peer_made_anew_is_heard_although_the_clock_went_back(void) {
    for (int with_identity = 0; with_identity < 2; with_identity++) {
        static rig r;
        rig_open(&r, 2, NULL);
        rig_peer(&r, 0, 1, 4, 0, NULL);
        rig_peer(&r, 1, 0, 0, 0, NULL);
        CHECK(rig_ping(&r, 0, 1));
        rig_engine *own = &r.engines[0];
        if (with_identity) {
            CHECK_EQUAL(cw_wg_identity_remove(own->wg, own->identity), CW_OK);
            CHECK_EQUAL(cw_wg_identity_add(own->wg, own->port, own->private_key, &own->identity), CW_OK);
        } else {
            cw_wg_peer_change change = {.mask = CW_WG_PEER_REMOVE};
            memcpy(change.public_key, r.engines[1].public_key, 32);
            size_t done;
            CHECK_EQUAL(cw_wg_set_peers(own->wg, own->identity, &change, 1, &done), CW_OK);
        }
        r.clock.unix_seconds -= 3600;
        rig_pass(&r, SECONDS(10));
        rig_peer(&r, 0, 1, 4, 0, NULL);
        CHECK(rig_ping(&r, 0, 1));
        CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_HANDSHAKE], 0);
        rig_close(&r);
    }
}

static void test_initiations_closer_than_20_milliseconds_are_a_flood(void) {
    static rig r;
    rig_open_pair(&r, 0);
    for (int i = 0; i < 2; i++) {
        rig_pass(&r, i == 0 ? SECONDS(0.0199) : SECONDS(0.0001));
        rig_begin_handshake(&r, 0, 1);
        CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_HANDSHAKE_FLOOD], 1);
        CHECK_EQUAL(rig_counters(&r, 1).responses_out, 1 + i);
    }
    rig_close(&r);
}

static bool flip_last_mac(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r, (void)sender;
    if (datagram->bytes[0] == CW_WG_INITIATION) datagram->bytes[datagram->length - 32] ^= 1; // mac1
    return true;
}

static void test_handshake_messages_for_nobody_are_counted(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    CHECK(!rig_ping(&r, 0, 1)); // the other does not know us
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_HANDSHAKE], 1);
    r.filter = flip_last_mac;
    rig_pass(&r, SECONDS(5.4));
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_MAC1], 1);
    CHECK_EQUAL(r.seen_from[1][2], 0);

    // Responses and cookie replies with an index that nobody has, and messages of a wrong length.
    memory_datagram forged = rig_last_initiation;
    forged.bytes[0] = CW_WG_RESPONSE;
    forged.length = sizeof(cw_wg_response);
    rig_inject(&r, &forged);
    forged.bytes[0] = CW_WG_COOKIE;
    forged.length = sizeof(cw_wg_cookie_reply);
    rig_inject(&r, &forged);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_UNKNOWN_INDEX], 2);
    forged.length = 100;
    rig_inject(&r, &forged);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_MALFORMED], 1);
    rig_close(&r);
}

static memory_datagram kept;
static bool keep_response(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r, (void)sender;
    if (datagram->bytes[0] != CW_WG_RESPONSE) return true;
    kept = *datagram;
    return false;
}

static void test_forged_response_changes_nothing_and_a_response_counts_once(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.filter = keep_response;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    for (int i = 4; i < 60; i++) { // whatever is changed: only mac2 may be anything while nobody is under load
        memory_datagram forged = kept;
        forged.bytes[i] ^= 0x10;
        r.filter = NULL;
        rig_inject(&r, &forged);
        rig_settle(&r);
    }
    cw_wg_counters counters = rig_counters(&r, 0);
    CHECK_EQUAL(counters.handshakes, 0);
    CHECK_EQUAL(counters.drops[CW_WG_DROP_MAC1], 52);
    CHECK_EQUAL(counters.drops[CW_WG_DROP_UNKNOWN_INDEX], 4); // the receiver index
    rig_inject(&r, &kept);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    CHECK_EQUAL(r.engines[1].packets, 1);
    rig_inject(&r, &kept); // again: its index belongs to a session now
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_UNKNOWN_INDEX], 5);
    rig_close(&r);
}

static void test_response_that_comes_after_the_next_attempt_is_refused(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    r.filter = keep_response;
    rig_send(&r, 0, 1, 100);
    rig_settle(&r);
    memory_datagram late = kept;
    rig_pass(&r, SECONDS(5.4));
    r.filter = NULL;
    rig_inject(&r, &late);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 0);
    CHECK_EQUAL(rig_counters(&r, 0).drops[CW_WG_DROP_UNKNOWN_INDEX], 1);
    rig_inject(&r, &kept);
    rig_settle(&r);
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    rig_close(&r);
}

// ---- Roaming ---------------------------------------------------------------------------------------------------------

static void test_endpoint_follows_authenticated_data(void) {
    static rig r;
    rig_open_pair(&r, 0);
    memory_move(&r.engines[0].host, "198.51.100.9", NULL);
    CHECK(rig_ping(&r, 0, 1));
    CHECK(rig_ping(&r, 1, 0)); // to the new address
    cw_wg_peer_info info;
    CHECK_EQUAL(cw_wg_peer_read(r.engines[1].wg, r.engines[1].identity, r.engines[0].public_key, &info), CW_OK);
    CHECK_EQUAL(info.endpoint.address.bytes[0], 198);
    CHECK_EQUAL(info.endpoint.port, RIG_PORT);
    CHECK_EQUAL(r.seen[1], 1);
    rig_close(&r);
}

static void test_endpoint_follows_handshakes(void) {
    static rig r;
    rig_open_pair(&r, 0);
    rig_pass(&r, SECONDS(200));
    memory_move(&r.engines[0].host, "198.51.100.10", NULL);
    CHECK(rig_ping(&r, 0, 1));
    CHECK(rig_ping(&r, 1, 0));
    CHECK_EQUAL(r.seen[1], 2);
    // From IPv4 to IPv6.
    size_t done;
    cw_wg_peer_change change = {.mask = CW_WG_PEER_ENDPOINT, .endpoint = rig_endpoint(&r, 1, 6)};
    memcpy(change.public_key, r.engines[1].public_key, 32);
    CHECK_EQUAL(cw_wg_set_peers(r.engines[0].wg, r.engines[0].identity, &change, 1, &done), CW_OK);
    CHECK(rig_ping(&r, 0, 1));
    CHECK(rig_ping(&r, 1, 0));
    cw_wg_peer_info info;
    CHECK_EQUAL(cw_wg_peer_read(r.engines[1].wg, r.engines[1].identity, r.engines[0].public_key, &info), CW_OK);
    CHECK_EQUAL(info.endpoint.address.family, 6);
    rig_close(&r);
}

static bool change_source(rig *r, uint32_t sender, memory_datagram *datagram) {
    (void)r, (void)sender;
    datagram->from.to.v4.sin_port = htons(7);
    if (datagram->bytes[0] == CW_WG_DATA) datagram->bytes[datagram->length - 1] ^= 1;
    return true;
}

static void test_endpoint_does_not_follow_forged_data(void) {
    static rig r;
    rig_open_pair(&r, 0);
    r.filter = change_source;
    CHECK(!rig_ping(&r, 0, 1));
    r.filter = NULL;
    CHECK_EQUAL(rig_counters(&r, 1).drops[CW_WG_DROP_TAG], 1);
    CHECK_EQUAL(ntohs(rig_peer_of(&r, 1, 0)->endpoint.to.v4.sin_port), RIG_PORT);
    rig_close(&r);
}

static void test_our_own_address_changes(void) {
    static rig r;
    rig_open_pair(&r, 0);
    memory_move(&r.engines[1].host, "203.0.113.5", NULL); // the responder's: what it sends must not come from the old one
    CHECK(rig_ping(&r, 1, 0));
    CHECK(rig_ping(&r, 0, 1));
    struct in_addr zero = {0};
    CHECK(memcmp(&rig_peer_of(&r, 1, 0)->endpoint.from.v4, &zero, sizeof zero) != 0); // learnt again
    rig_close(&r);
}

// ---- The thread ------------------------------------------------------------------------------------------------------

// Real time, memory for a network: letters and wishes wake the thread, timers do without.
static void test_thread_brings_up_a_session(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 1, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(cw_wg_start(r.engines[i].wg), CW_OK);
    CHECK_EQUAL(cw_wg_start(r.engines[0].wg), CW_INVALID);
    for (int i = 0; i < 5000 && rig_counters(&r, 1).keepalives_in < 3; i++) {
        struct timespec now, wait = {0, 1000000};
        clock_gettime(CLOCK_MONOTONIC, &now);
        pthread_mutex_lock(&r.wire.lock); // the thread reads it when it sends
        r.clock.now = (uint64_t)now.tv_sec * CW_WG_SECOND + (uint64_t)now.tv_nsec;
        pthread_mutex_unlock(&r.wire.lock);
        receive_all(&r, 0);
        receive_all(&r, 1);
        nanosleep(&wait, NULL);
    }
    CHECK_EQUAL(rig_counters(&r, 0).handshakes, 1);
    CHECK_EQUAL(rig_counters(&r, 1).handshakes, 1);
    CHECK_EQUAL(rig_counters(&r, 1).keepalives_in, 3);
    for (int i = 0; i < 2; i++) cw_wg_stop(r.engines[i].wg);
    rig_close(&r);
}

int main(void) {
    RUN(first_packet_brings_up_a_session);
    RUN(staged_packets_leave_in_order);
    RUN(responder_waits_for_the_first_data);
    RUN(answer_that_overtakes_the_confirmation_starts_no_handshake);
    RUN(previous_keys_still_open);
    RUN(unconfirmed_session_is_replaced_and_does_not_become_current);
    RUN(third_session_ends_the_first);
    RUN(unconfirmed_session_becomes_previous_when_ours_completes);
    RUN(crossing_initiations_end_in_one_session);
    RUN(initiation_that_arrives_while_ours_is_out_wins);
    RUN(preshared_keys_have_to_be_equal);
    RUN(replayed_initiation_is_refused);
    RUN(peer_made_anew_is_heard_although_the_clock_went_back);
    RUN(initiations_closer_than_20_milliseconds_are_a_flood);
    RUN(handshake_messages_for_nobody_are_counted);
    RUN(forged_response_changes_nothing_and_a_response_counts_once);
    RUN(response_that_comes_after_the_next_attempt_is_refused);
    RUN(endpoint_follows_authenticated_data);
    RUN(endpoint_follows_handshakes);
    RUN(endpoint_does_not_follow_forged_data);
    RUN(our_own_address_changes);
    RUN(thread_brings_up_a_session);
    FINISH();
}
