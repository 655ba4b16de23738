// What the data path leaves for control: packets that wait for a handshake, wishes, stamps for the timers, endpoints that move.
#include "wg_sessions.h"

// ---- Staging --------------------------------------------------------------------------------------------------------

static void test_staging(void) {
    enum { LIMIT = 8 };
    static sessions s;
    sessions_open(&s, 2, 1, LIMIT, 4);
    side *one = &s.sides[0];
    CHECK(cw_wg_stage_is_empty(one->peers[0]));
    for (uint32_t i = 0; i < LIMIT + 5; i++) send_inner(&s, 0, 0, 4, 60 + i, 0, (uint8_t)i);
    CHECK_EQUAL(one->peers[0]->staged.count, LIMIT);
    CHECK(!cw_wg_stage_is_empty(one->peers[0]));
    CHECK(cw_wg_stage_is_empty(one->peers[1]));
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_STAGED), 5);
    CHECK_EQUAL(one->pool.available, SESSION_BUFFERS); // they are copies
    CHECK_EQUAL(atomic_load(&one->peers[0]->attention), CW_WG_WANT_HANDSHAKE);
    CHECK(atomic_load(&one->wg->attention) == one->peers[0]);
    CHECK_EQUAL(s.wire.sent, 0);
    cw_wg_send_staged(one->wg, one->peers[0], s.now, true); // no keys yet: they go on waiting
    CHECK_EQUAL(one->peers[0]->staged.count, LIMIT);

    install(&s, 0, s.now);
    cw_wg_send_staged(one->wg, one->peers[0], s.now, true);
    CHECK_EQUAL(one->peers[0]->staged.count, 0);
    CHECK_EQUAL(s.wire.sent, LIMIT); // and no keepalive
    uint64_t next = 0;
    while (memory_pending(&s.sides[1].host) > 0) { // the newest, in order
        s.wire.no_receive_merge = true;
        receive_all(&s, 1);
        next = s.sides[1].arrived;
    }
    CHECK_EQUAL(next, LIMIT);
    CHECK_EQUAL(s.sides[1].last_length, 60 + LIMIT + 4);
    CHECK_EQUAL(counters_of(one).packets_out, LIMIT);

    cw_wg_send_staged(one->wg, one->peers[0], s.now, false); // nothing waits
    CHECK_EQUAL(s.wire.sent, LIMIT);
    cw_wg_send_staged(one->wg, one->peers[0], s.now, true);
    CHECK_EQUAL(s.wire.sent, LIMIT + 1);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, LIMIT);
    CHECK_EQUAL(counters_of(one).keepalives_out, 1);
    CHECK_EQUAL(counters_of(&s.sides[1]).keepalives_in, 1);

    // What control gives up.
    for (uint32_t i = 0; i < 3; i++) send_inner(&s, 0, 1, 4, 60, 0, 0);
    CHECK_EQUAL(cw_wg_stage_drop(one->wg, one->peers[1]), 3);
    CHECK_EQUAL(cw_wg_stage_drop(one->wg, one->peers[1]), 0);
    CHECK(cw_wg_stage_is_empty(one->peers[1]));
    sessions_close(&s);
}

// Staged packets leave before what came later, whole batches of them.
static void test_staged_in_order(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 128, 4);
    for (uint32_t i = 0; i < 128; i++) send_inner(&s, 0, 0, 4, 64, 0, (uint8_t)i);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    cw_wg_send_staged(s.sides[0].wg, s.sides[0].peers[0], s.now, false);
    CHECK_EQUAL(all.count, 128);
    for (uint32_t i = 0; i < 128; i++) {
        CHECK_EQUAL(cw_le64(all.items[i]->bytes + 8), i);
        release(&s, all.items[i]);
        receive_all(&s, 1);
        CHECK_EQUAL(s.sides[1].last[63], (uint8_t)(i + 63 * 3));
    }
    held_end(&s, &all);
    sessions_close(&s);
}

// Memory for all that wait is bounded; a peer that has some of it gives its oldest for its newest.
static void test_stage_total(void) {
    enum { LIMIT = 128, PEERS = CW_WG_STAGE_TOTAL / LIMIT + 2 };
    static sessions s;
    sessions_open(&s, PEERS, 1, LIMIT, 4);
    side *one = &s.sides[0];
    for (uint32_t n = 0; n < PEERS - 2; n++)
        for (uint32_t i = 0; i < LIMIT; i++) send_inner(&s, 0, n, 4, 60, 0, 0);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_STAGED), 0);
    send_inner(&s, 0, PEERS - 2, 4, 60, 0, 0);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_STAGED), 1);
    CHECK_EQUAL(one->peers[PEERS - 2]->staged.count, 0);
    CHECK_EQUAL(cw_wg_stage_drop(one->wg, one->peers[0]), LIMIT);
    for (uint32_t i = 0; i < LIMIT; i++) send_inner(&s, 0, PEERS - 2, 4, 60, 0, 0);
    CHECK_EQUAL(one->peers[PEERS - 2]->staged.count, LIMIT);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_STAGED), 1);
    for (uint32_t n = 0; n < PEERS; n++) (void)cw_wg_stage_drop(one->wg, one->peers[n]);
    for (uint32_t i = 0; i < LIMIT; i++) send_inner(&s, 0, 0, 4, 60, 0, 0); // after all was given back
    CHECK_EQUAL(one->peers[0]->staged.count, LIMIT);
    sessions_close(&s);
}

static void test_no_staging(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 0, 4);
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(drops_of(&s.sides[0], CW_WG_DROP_STAGED), 1);
    CHECK_EQUAL(atomic_load(&s.sides[0].peers[0]->attention), CW_WG_WANT_HANDSHAKE);
    sessions_close(&s);
}

// Keys that are too old or used up are as none.
static void test_expired_on_sending(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    side *one = &s.sides[0];
    uint64_t start = s.now;
    s.now = start + CW_WG_REJECT_AFTER_TIME - 1;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(s.wire.sent, 1);
    s.now = start + CW_WG_REJECT_AFTER_TIME;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(s.wire.sent, 1);
    CHECK_EQUAL(one->peers[0]->staged.count, 1);
    cw_wg_send_staged(one->wg, one->peers[0], s.now, true);
    CHECK_EQUAL(s.wire.sent, 1);
    s.now = start;
    // Near the end of the counters every worker can have a batch in hand, so we stop that much before it.
    _Atomic uint64_t *sent = &one->peers[0]->current->sent;
    for (uint64_t *at = (uint64_t[]){CW_WG_REJECT_AFTER_MESSAGES, UINT64_MAX, 0}; *at != 0; at++) {
        atomic_store(sent, *at);
        send_inner(&s, 0, 0, 4, 60, 0, 0);
        CHECK_EQUAL(s.wire.sent, 1);
        CHECK_EQUAL(atomic_load(sent), *at);
    }
    for (atomic_store(sent, CW_WG_REJECT_AFTER_MESSAGES - 20000);;) {
        uint64_t before = s.wire.sent;
        send_inner(&s, 0, 0, 4, 60, 0, 0);
        if (s.wire.sent == before) break;
    }
    CHECK(atomic_load(sent) + CW_MAX_WORKERS * CW_MAX_BATCH <= CW_WG_REJECT_AFTER_MESSAGES);
    CHECK(atomic_load(sent) + 17000 > CW_WG_REJECT_AFTER_MESSAGES);
    (void)cw_wg_stage_drop(one->wg, one->peers[0]);
    sessions_close(&s);
}

// ---- What control is asked for --------------------------------------------------------------------------------------

static void test_renewal_is_asked_for(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    cw_wg_peer *initiator = s.sides[0].peers[0], *responder = s.sides[1].peers[0];
    uint64_t start = s.now;
    s.now = start + CW_WG_REKEY_AFTER_TIME - 1;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), 0);
    s.now = start + CW_WG_REKEY_AFTER_TIME;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), CW_WG_WANT_HANDSHAKE);
    send_inner(&s, 1, 0, 4, 60, 0, 0); // not the responder
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
    s.now = start;
    atomic_store(&responder->current->sent, CW_WG_REKEY_AFTER_MESSAGES - 2);
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
    send_inner(&s, 1, 0, 4, 60, 0, 0); // but whoever has used up its messages
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), CW_WG_WANT_HANDSHAKE);
    receive_all(&s, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), 0);

    // Receiving only: 15 s before the end, once for each session.
    s.now = start + SECONDS(165) - 1;
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    take_wishes(&s.sides[1], 0);
    receive_all(&s, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), 0);
    s.now = start + SECONDS(165);
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    receive_all(&s, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), CW_WG_WANT_HANDSHAKE);
    CHECK(atomic_load(&initiator->sent_last_minute));
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    receive_all(&s, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), 0);
    take_wishes(&s.sides[1], 0);
    send_inner(&s, 0, 0, 4, 60, 0, 0); // the responder does not, whatever the age
    receive_all(&s, 1);
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
    sessions_close(&s);
}

// Data under `next` asks control to make it current; until then the old keys are used for sending.
static void test_confirmation(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    cw_wg_peer *near = s.sides[0].peers[0], *far = s.sides[1].peers[0];
    uint8_t keys[2][CW_WG_KEY];
    random_key(keys[0]);
    random_key(keys[1]);
    cw_wg_keypair *a = install_half(&s.sides[0], near, s.now, true, keys[0], keys[1]);
    cw_wg_keypair *b = install_half(&s.sides[1], far, s.now, false, keys[1], keys[0]);
    a->remote_index = b->local_index;
    b->remote_index = a->local_index;
    near->previous = near->current;
    near->current = a;
    far->next_pair = b;
    CHECK(!cw_wg_session_confirm(s.sides[1].wg, far)); // nothing has come under it
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    receive_all(&s, 0);
    CHECK_EQUAL(s.sides[0].arrived, 1); // under the old
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), CW_WG_WANT_CONFIRM);
    CHECK(cw_wg_session_confirm(s.sides[1].wg, far));
    CHECK(far->current == b);
    send_inner(&s, 1, 0, 4, 60, 0, 0);
    CHECK_EQUAL(atomic_load(&b->sent), 1);
    receive_all(&s, 0);
    CHECK_EQUAL(s.sides[0].arrived, 2);
    sessions_close(&s);
}

static void test_stamps(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    cw_wg_peer *near = s.sides[0].peers[0], *far = s.sides[1].peers[0];
    uint64_t start = s.now;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(atomic_load(&near->unanswered_since), start);
    CHECK_EQUAL(atomic_load(&near->last_traversal), start);
    s.now += 7;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(atomic_load(&near->unanswered_since), start); // the first
    CHECK_EQUAL(atomic_load(&near->last_traversal), start + 7);
    s.wire.no_receive_merge = true;
    s.now += 7;
    receive_all(&s, 1);
    CHECK_EQUAL(atomic_load(&far->unreplied_since), start + 14);
    CHECK(atomic_load(&far->more_unreplied));
    CHECK_EQUAL(atomic_load(&far->last_traversal), start + 14);
    CHECK_EQUAL(atomic_load(&far->unanswered_since), 0);
    s.now += 7;
    cw_wg_send_staged(s.sides[1].wg, far, s.now, true); // a keepalive is a sign, and asks for none
    CHECK_EQUAL(atomic_load(&far->unreplied_since), 0);
    CHECK_EQUAL(atomic_load(&far->unanswered_since), 0);
    receive_all(&s, 0);
    CHECK_EQUAL(atomic_load(&near->unanswered_since), 0);
    CHECK_EQUAL(atomic_load(&near->unreplied_since), 0);
    CHECK_EQUAL(atomic_load(&near->last_traversal), start + 21);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0) | take_wishes(&s.sides[1], 0), 0);
    // Control does not watch: it is told with the first packet, and not with each.
    atomic_store(&near->watched, false);
    atomic_store(&far->watched, false);
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), CW_WG_WANT_TIMERS);
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    CHECK_EQUAL(take_wishes(&s.sides[0], 0), 0);
    receive_all(&s, 1);
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), CW_WG_WANT_TIMERS);
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    receive_all(&s, 1);
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
    sessions_close(&s);
}

static void test_endpoint_moves(void) {
    for (uint8_t family = 4; family <= 6; family += 2) {
        static sessions s;
        static held all;
        sessions_open(&s, 1, 1, 8, family);
        install(&s, 0, s.now);
        cw_wg_peer *far = s.sides[1].peers[0];
        cw_wg_route_to before = far->endpoint;
        send_inner(&s, 0, 0, 4, 60, 0, 0);
        receive_all(&s, 1);
        CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
        memory_move(&s.sides[0].host, "198.51.100.7", "2001:db8:7::7");
        held_begin(&s, &all);
        send_inner(&s, 0, 0, 4, 60, 0, 0);
        CHECK_EQUAL(take_wishes(&s.sides[0], 0), CW_WG_WANT_ENDPOINT); // our local address is not ours any more
        CHECK(!memory_has_source(&s.sides[0].peers[0]->moved));
        CHECK_EQUAL(memory_number(&s.sides[0].peers[0]->moved), SESSION_PORT);
        memory_datagram forged = *all.items[0];
        forged.bytes[forged.length - 1] ^= 1;
        release(&s, &forged); // a wrong tag moves nothing
        receive_all(&s, 1);
        CHECK_EQUAL(take_wishes(&s.sides[1], 0), 0);
        release(&s, all.items[0]);
        receive_all(&s, 1);
        CHECK_EQUAL(take_wishes(&s.sides[1], 0), CW_WG_WANT_ENDPOINT);
        CHECK(cw_wg_same_route(&far->endpoint, &before)); // that is for control to change
        cw_wg_route_to now = route_to(&s.sides[0].host, family, SESSION_PORT);
        now.from = before.from;
        CHECK(cw_wg_same_route(&far->moved, &now));
        held_end(&s, &all);
        sessions_close(&s);
    }
}

// The far side is heard on another address of ours: that is what we answer from.
static void test_local_address_moves(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    memory_move(&s.sides[1].host, "192.0.2.99", NULL);
    s.sides[0].peers[0]->endpoint.to.v4.sin_addr = s.sides[1].host.v4;
    send_inner(&s, 0, 0, 4, 60, 0, 0);
    receive_all(&s, 1);
    cw_wg_peer *far = s.sides[1].peers[0];
    CHECK_EQUAL(take_wishes(&s.sides[1], 0), CW_WG_WANT_ENDPOINT);
    CHECK_EQUAL(far->moved.from.v4.s_addr, s.sides[1].host.v4.s_addr);
    CHECK_EQUAL(far->moved.to.v4.sin_addr.s_addr, s.sides[0].host.v4.s_addr);
    sessions_close(&s);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    RUN(staging);
    RUN(staged_in_order);
    RUN(stage_total);
    RUN(no_staging);
    RUN(expired_on_sending);
    RUN(renewal_is_asked_for);
    RUN(confirmation);
    RUN(stamps);
    RUN(endpoint_moves);
    RUN(local_address_moves);
    FINISH();
}
