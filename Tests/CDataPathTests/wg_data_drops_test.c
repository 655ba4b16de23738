// Every reason for which the data path of WireGuard does not pass something on, and that nothing changes by it.
#include "wg_sessions.h"

// Delivers to side 1 and expects one drop of that cause, and nothing else to have changed.
static void expect_drop(sessions *s, const memory_datagram *datagram, cw_wg_drop cause) {
    side *far = &s->sides[1];
    uint64_t before = drops_of(far, cause), all = all_drops(far), arrived = far->arrived;
    uint64_t heard = atomic_load(&far->peers[0]->received_bytes), since = atomic_load(&far->peers[0]->last_traversal);
    cw_wg_route_to endpoint = far->peers[0]->endpoint;
    release(s, datagram);
    receive_all(s, 1);
    CHECK_EQUAL(drops_of(far, cause), before + 1);
    CHECK_EQUAL(all_drops(far), all + 1);
    CHECK_EQUAL(far->arrived, arrived);
    CHECK(memcmp(&endpoint, &far->peers[0]->endpoint, sizeof endpoint) == 0);
    if (cause == CW_WG_DROP_INNER || cause == CW_WG_DROP_ALLOWED_IP) return; // authentic all the same
    CHECK_EQUAL(atomic_load(&far->peers[0]->received_bytes), heard);
    CHECK_EQUAL(atomic_load(&far->peers[0]->last_traversal), since);
    CHECK_EQUAL(atomic_load(&far->peers[0]->attention), 0);
}

static void test_malformed(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    const memory_datagram good = *all.items[0];
    memory_datagram bad = good;
    for (bad.length = 0; bad.length < CW_WG_DATA_OVERHEAD; bad.length++) expect_drop(&s, &bad, CW_WG_DROP_MALFORMED);
    for (uint32_t length = CW_WG_DATA_OVERHEAD; length < good.length; length++) { // cut short: the tag does not fit
        bad.length = length;
        expect_drop(&s, &bad, CW_WG_DROP_TAG);
    }
    bad = good;
    for (uint32_t type = 0; type < 256; type++) { // the first byte; handshake types have other lengths
        if (type == CW_WG_DATA) continue;
        bad.bytes[0] = (uint8_t)type;
        expect_drop(&s, &bad, CW_WG_DROP_MALFORMED);
    }
    for (uint32_t i = 1; i < 4; i++) { // the three after it are zero
        bad = good;
        bad.bytes[i] = 1;
        expect_drop(&s, &bad, CW_WG_DROP_MALFORMED);
    }
    static const struct { uint8_t type; uint32_t length; } handshake[] = {{1, 148}, {2, 92}, {3, 64}};
    for (size_t i = 0; i < 3; i++) {
        for (int off = -1; off <= 1; off += 2) {
            bad = (memory_datagram){.to = good.to, .from = good.from, .length = handshake[i].length + (uint32_t)off};
            bad.bytes[0] = handshake[i].type;
            expect_drop(&s, &bad, CW_WG_DROP_MALFORMED);
        }
    }
    release(&s, &good); // and the good one still counts
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    held_end(&s, &all);
    sessions_close(&s);
}

static void test_forged(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    const memory_datagram good = *all.items[0];
    for (uint32_t at = 8; at < good.length; at++) {
        memory_datagram bad = good;
        bad.bytes[at] ^= 0x40;
        expect_drop(&s, &bad, CW_WG_DROP_TAG);
    }
    for (uint32_t at = 4; at < 8; at++) {
        memory_datagram bad = good;
        bad.bytes[at] ^= 0x40;
        expect_drop(&s, &bad, CW_WG_DROP_UNKNOWN_INDEX);
    }
    memory_datagram zero = good; // index 0 is nobody's
    cw_put_le32(zero.bytes + 4, 0);
    expect_drop(&s, &zero, CW_WG_DROP_UNKNOWN_INDEX);
    // Reflected to its sender: the index is the far side's.
    memory_datagram back = good;
    back.to = good.from;
    release(&s, &back);
    receive_all(&s, 0);
    CHECK_EQUAL(drops_of(&s.sides[0], CW_WG_DROP_UNKNOWN_INDEX) + drops_of(&s.sides[0], CW_WG_DROP_TAG), 1);
    // An index of a handshake that is not a session yet.
    cw_gate_close(&s.sides[1].wg->gate);
    uint32_t handshake = cw_wg_index_add(s.sides[1].wg, s.sides[1].peers[0]);
    cw_gate_open(&s.sides[1].wg->gate);
    memory_datagram early = good;
    cw_put_le32(early.bytes + 4, handshake);
    expect_drop(&s, &early, CW_WG_DROP_UNKNOWN_INDEX);
    release(&s, &good);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    held_end(&s, &all);
    sessions_close(&s);
}

// Between the two steps in which control takes an identity down its sessions are still there.
static void test_identity_goes_down(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    cw_wg_identity *identity = cw_wg_identity_find(s.sides[1].wg, s.sides[1].identity);
    identity->up = false;
    expect_drop(&s, all.items[0], CW_WG_DROP_UNKNOWN_INDEX);
    identity->up = true;
    release(&s, all.items[0]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    held_end(&s, &all);
    sessions_close(&s);
}

static void test_expired_on_receipt(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    for (uint32_t i = 0; i < 3; i++) send_inner(&s, 0, 0, 4, 100, 0, 1);
    uint64_t start = s.now;
    s.now = start - 5; // a worker's clock a little behind the keys' birth
    release(&s, all.items[0]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    s.now = start + CW_WG_REJECT_AFTER_TIME - 1;
    release(&s, all.items[1]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 2);
    s.now = start + CW_WG_REJECT_AFTER_TIME;
    expect_drop(&s, all.items[2], CW_WG_DROP_EXPIRED);
    s.now = start;
    memory_datagram used_up = *all.items[2];
    cw_put_le64(used_up.bytes + 8, CW_WG_REJECT_AFTER_MESSAGES);
    expect_drop(&s, &used_up, CW_WG_DROP_EXPIRED);
    cw_put_le64(used_up.bytes + 8, UINT64_MAX);
    expect_drop(&s, &used_up, CW_WG_DROP_EXPIRED);
    cw_put_le64(used_up.bytes + 8, CW_WG_REJECT_AFTER_MESSAGES - 1);
    expect_drop(&s, &used_up, CW_WG_DROP_TAG);
    held_end(&s, &all);
    sessions_close(&s);
}

// Seals what the caller gives, under side 0's keys for `number`.
static void send_raw(sessions *s, uint32_t number, const uint8_t *bytes, uint32_t length) {
    side *one = &s->sides[0];
    cw_wg_enter(one->wg, 0);
    queue_bytes(one, 0, one->peers[number], bytes, length, s->now);
    cw_wg_flush(one->wg, 0, &one->pool, s->now);
    cw_wg_leave(one->wg, 0);
}

static void expect_inner_drop(sessions *s, uint32_t number, const uint8_t *bytes, uint32_t length, cw_wg_drop cause) {
    static held all;
    held_begin(s, &all);
    send_raw(s, number, bytes, length);
    CHECK_EQUAL(all.count, 1);
    expect_drop(s, all.items[0], cause);
    held_end(s, &all);
}

static void test_inner_packets(void) {
    static sessions s;
    sessions_open(&s, 2, 1, 8, 4);
    install(&s, 0, s.now);
    install(&s, 1, s.now);
    uint8_t packet[200];
    make_inner(packet, 4, 0, 0, 100, 0, 1);
    for (uint32_t version = 0; version < 16; version++) {
        if (version == 4 || version == 6) continue;
        packet[0] = (uint8_t)(version << 4 | 5);
        expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_INNER);
    }
    make_inner(packet, 4, 0, 0, 100, 0, 1);
    cw_put16(packet + 2, 19); // shorter than a header
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_INNER);
    cw_put16(packet + 2, 113); // one more than there is, padding included
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_INNER);
    make_inner(packet, 6, 0, 0, 100, 0, 1);
    cw_put16(packet + 4, 73);
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_INNER);
    expect_inner_drop(&s, 0, packet, 32, CW_WG_DROP_INNER); // not even a header
    make_inner(packet, 4, 0, 0, 20, 0, 1);
    expect_inner_drop(&s, 0, packet, 1, CW_WG_DROP_INNER);
    // Trimmed to what the header says.
    make_inner(packet, 4, 0, 0, 100, 0, 1);
    cw_put16(packet + 2, 77);
    send_raw(&s, 0, packet, 100);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].last_length, 77);
    make_inner(packet, 6, 0, 0, 100, 0, 1);
    cw_put16(packet + 4, 0);
    send_raw(&s, 0, packet, 100);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].last_length, 40);
    // The source must be the very peer's: not another's, not nobody's.
    make_inner(packet, 4, 0, 1, 100, 0, 1);
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_ALLOWED_IP);
    make_inner(packet, 6, 0, 1, 100, 0, 1);
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_ALLOWED_IP);
    make_inner(packet, 4, 0, 77, 100, 0, 1);
    expect_inner_drop(&s, 0, packet, 100, CW_WG_DROP_ALLOWED_IP);
    CHECK_EQUAL(s.sides[1].arrived, 2);
    sessions_close(&s);
}

static void test_no_buffer(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    cw_pool *pool = &s.sides[1].pool, full = *pool;
    *pool = (cw_pool){0};
    expect_drop(&s, all.items[0], CW_WG_DROP_OVERFLOW);
    *pool = full;
    memory_datagram long_one = *all.items[0];
    long_one.length = CW_WG_LONGEST_INNER + 16 + CW_WG_DATA_OVERHEAD;
    expect_drop(&s, &long_one, CW_WG_DROP_TOO_LONG);
    release(&s, all.items[0]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    held_end(&s, &all);
    // The longest that fits a buffer goes through.
    CHECK_EQUAL(cw_wg_identity_set_mtu(s.sides[0].wg, s.sides[0].identity, 2048), CW_OK);
    send_inner(&s, 0, 0, 4, 2048, 0, 9);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].last_length, 2048);
    sessions_close(&s);
}

static void test_not_sent(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    side *one = &s.sides[0];
    cw_wg_route_to endpoint = one->peers[0]->endpoint;
    CHECK(cw_wg_has_endpoint(one->peers[0]));
    one->peers[0]->endpoint = (cw_wg_route_to){0};
    CHECK(!cw_wg_has_endpoint(one->peers[0]));
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_NO_ENDPOINT), 1);
    CHECK_EQUAL(s.wire.sent, 0);
    one->peers[0]->endpoint = endpoint;
    s.wire.refuse = true;
    send_inner(&s, 0, 0, 4, 100, 0, 1);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_SEND), 1);
    CHECK_EQUAL(atomic_load(&one->peers[0]->sent_bytes), 0);
    CHECK_EQUAL(counters_of(one).packets_out, 0);
    cw_wg_count_unroutable(one->wg, 0, NULL);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_NO_PEER), 1);
    // An identity that is down, or never was, is not found.
    CHECK(cw_wg_find(one->wg, one->identity) != NULL);
    CHECK(cw_wg_find(one->wg, one->identity + 0x10000) == NULL);
    CHECK(cw_wg_find(one->wg, 0) == NULL);
    CHECK(cw_wg_find(one->wg, 0xFFFF) == NULL);
    CHECK_EQUAL(cw_wg_identity_set_up(one->wg, one->identity, false), CW_OK);
    CHECK(cw_wg_find(one->wg, one->identity) == NULL);
    sessions_close(&s);
}

// Handshake messages of the right length go to control; when its queue is full they are counted.
static void test_handshake_messages_are_posted(void) {
    static sessions s;
    sessions_open(&s, 1, 1, 8, 6);
    memory_datagram message = {.to = route_to(&s.sides[1].host, 6, SESSION_PORT), .from = route_to(&s.sides[0].host, 6, 999)};
    static const struct { uint8_t type; uint32_t length; } kinds[] = {{1, 148}, {2, 92}, {3, 64}};
    for (uint32_t i = 0; i < 3; i++) {
        message.length = kinds[i].length;
        message.bytes[0] = kinds[i].type;
        memset(message.bytes + 4, (int)i + 1, message.length - 4);
        release(&s, &message);
        receive_all(&s, 1);
        const cw_wg_letters *letters = &s.sides[1].wg->letters;
        CHECK_EQUAL(letters->count, i + 1);
        const cw_wg_letter *letter = &letters->ring[i];
        CHECK_EQUAL(letter->length, kinds[i].length);
        CHECK_EQUAL(letter->port, s.sides[1].port);
        CHECK(memcmp(letter->bytes, message.bytes, message.length) == 0);
        CHECK_EQUAL(memory_number(&letter->from), 999);
        CHECK(memcmp(&letter->from.from.v6, &s.sides[1].host.v6, 16) == 0);
    }
    for (uint32_t i = 3; i < CW_WG_HANDSHAKE_QUEUE + 5; i++) release(&s, &message);
    receive_all(&s, 1);
    CHECK_EQUAL(drops_of(&s.sides[1], CW_WG_DROP_UNDER_LOAD), 5);
    CHECK_EQUAL(all_drops(&s.sides[1]), 5);
    sessions_close(&s);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    RUN(malformed);
    RUN(forged);
    RUN(identity_goes_down);
    RUN(expired_on_receipt);
    RUN(inner_packets);
    RUN(no_buffer);
    RUN(not_sent);
    RUN(handshake_messages_are_posted);
    FINISH();
}
