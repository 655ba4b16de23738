// The data path of WireGuard between two engines in memory, with sessions put in by hand: what leaves and what arrives.
#include "wg_sessions.h"

// ---- There and back -------------------------------------------------------------------------------------------------

static void there_and_back(uint8_t outer) {
    sessions s;
    sessions_open(&s, 3, 1, 8, outer);
    uint64_t sent = 0, bytes = 0;
    for (uint32_t n = 0; n < 3; n++) install(&s, n, s.now);
    for (uint32_t from = 0; from < 2; from++) {
        side *far = &s.sides[1 - from];
        for (uint32_t length = 40; length <= 1420; length += 69) {
            for (uint32_t n = 0; n < 3; n++) {
                uint8_t family = length % 2 == 0 ? 4 : 6, expected[MOST_INNER];
                send_inner(&s, from, n, family, length, 0, (uint8_t)length);
                receive_all(&s, 1 - from);
                make_inner(expected, family, from, n, length, 0, (uint8_t)length);
                CHECK_EQUAL(far->last_length, length);
                CHECK(memcmp(far->last, expected, length) == 0);
                CHECK(far->last_peer == far->peers[n]);
                CHECK_EQUAL(far->last_identity, far->identity);
                if (from == 0) sent++, bytes += length;
            }
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        cw_wg_counters counters = counters_of(&s.sides[i]);
        CHECK_EQUAL(counters.packets_in, sent);
        CHECK_EQUAL(counters.bytes_in, bytes);
        CHECK_EQUAL(counters.packets_out, sent);
        CHECK_EQUAL(counters.bytes_out, bytes);
        CHECK_EQUAL(all_drops(&s.sides[i]), 0);
        for (uint32_t n = 0; n < 3; n++) {
            CHECK_EQUAL(atomic_load(&s.sides[i].peers[n]->sent_bytes), atomic_load(&s.sides[1 - i].peers[n]->received_bytes));
            CHECK(atomic_load(&s.sides[i].peers[n]->sent_bytes) > 0);
            CHECK_EQUAL(atomic_load(&s.sides[i].peers[n]->attention), 0); // nothing to ask of control
        }
    }
    sessions_close(&s);
}
static void test_ipv4_outside(void) { there_and_back(4); }
static void test_ipv6_outside(void) { there_and_back(6); }

// One flush of many peers, interleaved; counters of each session follow each other from 0.
static void test_many_peers_in_one_flush(void) {
    enum { PEERS = 64, EACH = 4 };
    static sessions s;
    static held all;
    sessions_open(&s, PEERS, 1, 8, 4);
    for (uint32_t n = 0; n < PEERS; n++) install(&s, n, s.now);
    held_begin(&s, &all);
    cw_wg_enter(s.sides[0].wg, 0);
    for (uint32_t i = 0; i < PEERS * EACH; i++) queue_inner(&s, 0, i % PEERS, 4, 100 + i, 0, (uint8_t)i);
    CHECK_EQUAL(all.count, PEERS * EACH); // a full batch does not wait for the flush
    cw_wg_flush(s.sides[0].wg, 0, &s.sides[0].pool, s.now);
    cw_wg_leave(s.sides[0].wg, 0);
    CHECK_EQUAL(all.count, PEERS * EACH);
    for (uint32_t i = 0; i < all.count; i++) {
        const cw_wg_peer *peer = s.sides[1].peers[i % PEERS];
        CHECK_EQUAL(cw_le32(all.items[i]->bytes + 4), peer->current->local_index);
        CHECK_EQUAL(cw_le64(all.items[i]->bytes + 8), i / PEERS);
    }
    for (uint32_t i = 0; i < all.count; i++) release(&s, all.items[i]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, PEERS * EACH);
    held_end(&s, &all);
    sessions_close(&s);
}

// More than one step's worth arrives, and the sink sends it back from within.
static void test_answers_from_the_sink(void) {
    static sessions s;
    sessions_open(&s, 2, 1, 8, 4);
    install(&s, 0, s.now);
    install(&s, 1, s.now);
    s.sides[1].answer = true;
    cw_wg_enter(s.sides[0].wg, 0);
    for (uint32_t i = 0; i < 900; i++) queue_inner(&s, 0, i / 300 % 2, 4, 80 + i % 3, 0, (uint8_t)i);
    cw_wg_flush(s.sides[0].wg, 0, &s.sides[0].pool, s.now);
    cw_wg_leave(s.sides[0].wg, 0);
    receive_all(&s, 1);
    receive_all(&s, 0);
    CHECK_EQUAL(s.sides[1].arrived, 900);
    CHECK_EQUAL(s.sides[0].arrived, 900);
    CHECK_EQUAL(all_drops(&s.sides[0]) + all_drops(&s.sides[1]), 0);
    sessions_close(&s);
}

// Identities on two ports in one flush: each leaves from its own.
static void test_two_ports(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 2, 1, 8, 4);
    side *one = &s.sides[0];
    uint32_t port, identity;
    uint8_t key[CW_WG_KEY];
    random_key(key);
    CHECK_EQUAL(cw_wg_port_open(one->wg, &(cw_wg_port_config){.port = 4711, .ipv4 = true}, &port), CW_OK);
    CHECK_EQUAL(cw_wg_identity_add(one->wg, port, key, &identity), CW_OK);
    install(&s, 0, s.now);
    // Peer 1 belongs to the other identity.
    one->identity = identity;
    cw_wg_route_to far = route_to(&s.sides[1].host, 4, SESSION_PORT);
    one->peers[1] = add_peer(one, 1, 1, &far);
    install(&s, 1, s.now);
    uint8_t packet[100];
    held_begin(&s, &all);
    cw_wg_enter(one->wg, 0);
    for (uint32_t i = 0; i < 10; i++) {
        make_inner(packet, 4, 0, i % 2, sizeof packet, 0, (uint8_t)i);
        queue_bytes(one, 0, one->peers[i % 2], packet, sizeof packet, s.now);
    }
    cw_wg_flush(one->wg, 0, &one->pool, s.now);
    cw_wg_leave(one->wg, 0);
    CHECK_EQUAL(all.count, 10);
    for (uint32_t i = 0; i < all.count; i++) {
        bool second = cw_le32(all.items[i]->bytes + 4) == s.sides[1].peers[1]->current->local_index;
        CHECK_EQUAL(memory_number(&all.items[i]->from), second ? 4711 : SESSION_PORT);
        CHECK_EQUAL(second, i >= 5);
    }
    CHECK_EQUAL(counters_of(one).packets_out, 10);
    // What is meant for one port's session and arrives on the other finds none.
    held_end(&s, &all);
    held_begin(&s, &all);
    send_inner(&s, 1, 0, 4, 60, 0, 1);
    memory_datagram astray = *all.items[0];
    astray.to.to.v4.sin_port = htons(4711);
    release(&s, &astray);
    receive_all(&s, 0);
    CHECK_EQUAL(drops_of(one, CW_WG_DROP_UNKNOWN_INDEX), 1);
    CHECK_EQUAL(one->arrived, 0);
    held_end(&s, &all);
    sessions_close(&s);
}

// ---- Padding --------------------------------------------------------------------------------------------------------

static void test_padding(void) {
    static const struct { uint16_t mtu; uint32_t inner, message; } rows[] = {
        {1420, 20, 64}, {1420, 32, 64}, {1420, 33, 80}, {1420, 1408, 1440}, {1420, 1409, 1452}, // 1,424 would be over the MTU
        {1420, 1419, 1452}, {1420, 1420, 1452}, {1420, 1421, 1421 + 15 + 32}, {1420, 1500, 1500 + 32}, {1420, 1510, 1510 + 6 + 32},
        {1280, 1279, 1312}, {1280, 1265, 1312}, {1280, 1264, 1296}, {576, 570, 608},
        {1500, 1490, 1532}, {2000, 1999, 2032},
    };
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK_EQUAL(cw_wg_identity_set_mtu(s.sides[0].wg, s.sides[0].identity, rows[i].mtu), CW_OK);
        held_begin(&s, &all);
        send_inner(&s, 0, 0, 4, rows[i].inner, 0, (uint8_t)i);
        CHECK_EQUAL(all.count, 1);
        CHECK_EQUAL(all.items[0]->length, rows[i].message);
        release(&s, all.items[0]);
        receive_all(&s, 1);
        CHECK_EQUAL(s.sides[1].last_length, rows[i].inner); // and it is taken off again
        held_end(&s, &all);
    }
    sessions_close(&s);
}

// ---- Loss, order, repetition ----------------------------------------------------------------------------------------

static void test_loss_order_and_replay(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    for (uint32_t i = 0; i < 300; i++) send_inner(&s, 0, 0, 4, 60, 0, (uint8_t)i);
    CHECK_EQUAL(all.count, 300);
    uint64_t delivered = 0;
    for (uint32_t i = 300; i-- > 0;) { // backwards, every seventh lost
        if (i % 7 == 0) continue;
        release(&s, all.items[i]);
        delivered++;
    }
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, delivered);
    CHECK_EQUAL(all_drops(&s.sides[1]), 0);
    uint64_t heard = atomic_load(&s.sides[1].peers[0]->received_bytes);
    for (uint32_t i = 0; i < 300; i++) release(&s, all.items[i]); // all of them again
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 300); // the lost ones only
    CHECK_EQUAL(drops_of(&s.sides[1], CW_WG_DROP_REPLAY), delivered);
    CHECK_EQUAL(atomic_load(&s.sides[1].peers[0]->received_bytes) - heard, (300 - delivered) * (64 + 32)); // replays do not count
    held_end(&s, &all);

    // Older than the window.
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 60, 0, 1);
    memory_datagram old = *all.items[0];
    held_end(&s, &all);
    atomic_fetch_add(&s.sides[0].peers[0]->current->sent, CW_REPLAY_WINDOW);
    send_inner(&s, 0, 0, 4, 60, 0, 2);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 301);
    release(&s, &old);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 301);
    CHECK_EQUAL(drops_of(&s.sides[1], CW_WG_DROP_REPLAY), delivered + 1);
    sessions_close(&s);
}

// Packets under the keys before still arrive after a renewal, and not after the next one.
static void test_previous_keys(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    held_begin(&s, &all);
    send_inner(&s, 0, 0, 4, 60, 0, 1);
    send_inner(&s, 0, 0, 4, 60, 0, 2);
    install(&s, 0, s.now);
    release(&s, all.items[0]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    install(&s, 0, s.now);
    release(&s, all.items[1]);
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 1);
    CHECK_EQUAL(drops_of(&s.sides[1], CW_WG_DROP_UNKNOWN_INDEX), 1);
    held_end(&s, &all);
    sessions_close(&s);
}

// A message handled by a worker that is not its session's, as after a merge by the kernel.
static void test_another_worker(void) {
    static sessions s;
    static held all;
    sessions_open(&s, 4, 3, 8, 4);
    for (uint32_t n = 0; n < 4; n++) install(&s, n, s.now);
    held_begin(&s, &all);
    for (uint32_t i = 0; i < 40; i++) send_inner(&s, 0, i % 4, 4, 60, 0, (uint8_t)i);
    s.wire.watch = NULL;
    for (uint32_t i = 0; i < all.count; i++) {
        memory_datagram *copy = malloc(sizeof *copy);
        *copy = *all.items[i];
        copy->from.from.v4 = s.sides[1].host.v4;
        memory_append(&s.sides[1].host.ports->queues[0][i % 3], copy);
    }
    receive_all(&s, 1);
    CHECK_EQUAL(s.sides[1].arrived, 40);
    CHECK_EQUAL(all_drops(&s.sides[1]), 0);
    held_end(&s, &all);
    sessions_close(&s);
}

// ---- Congestion marks -----------------------------------------------------------------------------------------------

enum { NOT_ECT = 0, ECT1 = 1, ECT0 = 2, CE = 3 };

static void test_ecn(void) {
    static const uint8_t outer_of[4] = {[NOT_ECT] = NOT_ECT, [ECT1] = ECT1, [ECT0] = ECT0, [CE] = ECT0};
    // RFC 6040 figure 4, by inner and outer; but a mark on what is not ECN-capable is ignored, as the kernel's module does.
    static const uint8_t inner_of[4][4] = {
        [NOT_ECT] = {[NOT_ECT] = NOT_ECT, [ECT0] = NOT_ECT, [ECT1] = NOT_ECT, [CE] = NOT_ECT},
        [ECT0] = {[NOT_ECT] = ECT0, [ECT0] = ECT0, [ECT1] = ECT1, [CE] = CE},
        [ECT1] = {[NOT_ECT] = ECT1, [ECT0] = ECT1, [ECT1] = ECT1, [CE] = CE},
        [CE] = {[NOT_ECT] = CE, [ECT0] = CE, [ECT1] = CE, [CE] = CE},
    };
    static sessions s;
    static held all;
    sessions_open(&s, 1, 1, 8, 4);
    install(&s, 0, s.now);
    for (uint8_t family = 4; family <= 6; family += 2) {
        for (uint8_t inner = 0; inner < 4; inner++) {
            for (uint8_t outer = 0; outer < 4; outer++) {
                uint8_t dscp = 0xB8; // stays inside
                held_begin(&s, &all);
                send_inner(&s, 0, 0, family, 100, dscp | inner, 5);
                CHECK_EQUAL(all.items[0]->tos, outer_of[inner]);
                all.items[0]->tos = outer | 0x20; // a DSCP on the way is not ours
                uint64_t arrived = s.sides[1].arrived;
                release(&s, all.items[0]);
                receive_all(&s, 1);
                uint8_t expected[100];
                make_inner(expected, family, 0, 0, 100, dscp | inner_of[inner][outer], 5); // with the right checksum
                CHECK_EQUAL(s.sides[1].arrived, arrived + 1);
                CHECK(memcmp(s.sides[1].last, expected, sizeof expected) == 0);
                held_end(&s, &all);
            }
        }
    }
    CHECK_EQUAL(all_drops(&s.sides[1]), 0);
    // Handshakes carry AF41, keepalives and cookie replies nothing.
    uint8_t message[148] = {CW_WG_INITIATION};
    static const uint8_t tos[] = {[1] = 0x88, [2] = 0x88, [3] = 0, [4] = 0};
    for (uint8_t type = 1; type <= 4; type++) {
        message[0] = type;
        held_begin(&s, &all);
        CHECK(cw_wg_send_message(s.sides[0].wg, s.sides[0].port, &s.sides[0].peers[0]->endpoint, message, 92));
        CHECK_EQUAL(all.count, 1);
        CHECK_EQUAL(all.items[0]->tos, tos[type]);
        CHECK_EQUAL(all.items[0]->length, 92);
        held_end(&s, &all);
    }
    CHECK_EQUAL(all_drops(&s.sides[0]), 0);
    s.wire.refuse = true;
    CHECK(!cw_wg_send_message(s.sides[0].wg, s.sides[0].port, &s.sides[0].peers[0]->endpoint, message, 92));
    CHECK_EQUAL(drops_of(&s.sides[0], CW_WG_DROP_SEND), 1);
    CHECK(!cw_wg_send_message(s.sides[0].wg, 0, &s.sides[0].peers[0]->endpoint, message, 92));
    CHECK(!cw_wg_send_message(s.sides[0].wg, 200, &s.sides[0].peers[0]->endpoint, message, 92));
    CHECK(!cw_wg_send_message(s.sides[0].wg, s.sides[0].port, &(cw_wg_route_to){0}, message, 92));
    sessions_close(&s);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    RUN(ipv4_outside);
    RUN(ipv6_outside);
    RUN(many_peers_in_one_flush);
    RUN(answers_from_the_sink);
    RUN(two_ports);
    RUN(padding);
    RUN(loss_order_and_replay);
    RUN(previous_keys);
    RUN(another_worker);
    RUN(ecn);
    FINISH();
}
