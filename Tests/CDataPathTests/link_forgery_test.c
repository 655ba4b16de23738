// An attacker who gets past the source check and knows the call ID, and at worst sequence numbers and coherency counts too. Whatever it
// sends: the genuine stream goes on to be delivered, and no false plaintext is.
#include "link_pair.h"

enum forgery { RANDOM, NEAR, EXACT, NEXT_COUNTS, JUMP, FLAGS, REPLAY, FAR_JUMP, CONTROL, FORGERIES };

static cw_buffer *forge(link_pair *p, enum forgery kind) {
    uint32_t expected = p->a->next_sequence;
    uint16_t count = p->a->transmitter.next;
    uint16_t flushed = p->a->transmitter.stateless || random_below(&p->random, 2) != 0 ? CW_MPPE_FLUSHED : 0;
    uint16_t header = (uint16_t)(flushed | CW_MPPE_ENCRYPTED);
#define WITH(c) ((uint16_t)(header | ((c) & CW_MPPE_COUNT_MASK)))
    switch (kind) {
    case RANDOM: return pair_forge_mppe(p, (uint32_t)next_random(&p->random), WITH(next_random(&p->random)));
    case NEAR: return pair_forge_mppe(p, expected + (uint32_t)random_below(&p->random, 64), WITH(count + random_below(&p->random, 64)));
    case EXACT: return pair_forge_mppe(p, expected, WITH(count));
    case NEXT_COUNTS: { // goes on where it left off, as if it were the stream
        static uint16_t run;
        run++;
        return pair_forge_mppe(p, expected + run % 200, WITH(count + run % 200));
    }
    case JUMP: return pair_forge_mppe(p, expected, WITH(count + random_below(&p->random, 4096)));
    case FLAGS: return pair_forge_mppe(p, expected + (uint32_t)random_below(&p->random, 3), WITH((count & 0xf00) | 0xff));
    case REPLAY: return pair_forge_mppe(p, expected - (uint32_t)random_below(&p->random, 100), WITH(count - random_below(&p->random, 100)));
    case FAR_JUMP: {
        uint32_t far = (uint32_t)random_below(&p->random, 1u << 20);
        return pair_forge_mppe(p, expected + far, WITH(count + far));
    }
    case CONTROL:
    case FORGERIES: break;
    }
    uint8_t frame[] = {0xff, 0x03, 0x80, 0xfd, CW_CCP_RESET_REQUEST, (uint8_t)next_random(&p->random), 0, 4};
    return pair_forge(p, expected + (uint32_t)next_random(&p->random) % 0x40000000 + CW_GRE_WINDOW_REACH + 64, frame, sizeof frame);
#undef WITH
}

// `flood` forged packets before each genuine one, `rounds` times.
static void attack(uint32_t mode, enum forgery kind, unsigned flood, unsigned rounds) {
    link_pair *p = pair_make(128, mode);
    cw_buffer *wire[1];
    pair_send(p, wire, 1);
    pair_receive_one(p, wire[0]);
    for (unsigned n = 0; n < rounds; n++) {
        for (unsigned f = 0; f < flood; f++) pair_receive_one(p, forge(p, kind == FORGERIES ? random_below(&p->random, FORGERIES) : kind));
        pair_send(p, wire, 1);
        pair_receive_one(p, wire[0]);
        p->now += 5 * MILLISECOND;
        pair_expire(p);
        pair_talk(p, 0, 0); // forged packets may make b ask for a reset: that must not hurt either
    }
    p->now += SECOND;
    pair_expire(p);
    if (p->delivered != rounds + 1) fprintf(stderr, "mode %u, forgery %d: %llu of %u\n", mode, kind, (unsigned long long)p->delivered, rounds + 1);
    CHECK_EQUAL(p->delivered, rounds + 1);
    CHECK_EQUAL(p->out_of_order, 0);
    CHECK_EQUAL(p->control_at_b, 0);
    pair_end(p);
}

static void test_stateless(void) {
    for (int kind = 0; kind <= FORGERIES; kind++) attack(CW_MPPE_STATELESS, (enum forgery)kind, 6, 500);
}

static void test_stateful(void) {
    for (int kind = 0; kind <= FORGERIES; kind++) attack(0, (enum forgery)kind, 6, 500);
}

static void test_flood(void) {
    attack(CW_MPPE_STATELESS, FORGERIES, 1000, 12);
    attack(0, FORGERIES, 1000, 12);
}

// Under attack and on a bad line at the same time: with the budget gone, near losses still cost nothing.
static void test_loss_under_attack(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[1];
    uint64_t kept = 0;
    for (unsigned n = 0; n < 3000; n++) {
        for (unsigned f = 0; f < 5; f++) pair_receive_one(p, forge(p, f % 2 == 0 ? JUMP : FORGERIES - 2));
        pair_send(p, wire, 1);
        if (n > 0 && random_below(&p->random, 10) == 0) pair_lose(p, wire, 1);
        else {
            kept++;
            pair_receive_one(p, wire[0]);
        }
        p->now += MILLISECOND;
        pair_expire(p);
    }
    p->now += SECOND;
    pair_expire(p);
    CHECK_EQUAL(p->delivered, kept);
    CHECK(p->b_counters.drops[CW_DROP_MPPE_BUDGET] > 100);
    pair_end(p);
}

// What an attacker makes us compute is bounded.
static void test_budget_bounds_work(void) {
    static const uint32_t modes[] = {CW_MPPE_STATELESS, 0};
    for (size_t m = 0; m < 2; m++) {
        cw_link_limits limits = pair_limits();
        limits.key_budget = 5000;
        link_pair *p = pair_make_with(&limits, 128, modes[m], 0);
        cw_buffer *wire[1];
        pair_send(p, wire, 1);
        pair_receive_one(p, wire[0]);
        uint64_t before = p->b_counters.key_changes;
        for (unsigned n = 0; n < 20000; n++) {
            pair_receive_one(p, forge(p, n % 2 == 0 ? JUMP : FAR_JUMP));
            p->now += MILLISECOND / 10; // two seconds in all
        }
        uint64_t changes = p->b_counters.key_changes - before;
        CHECK(changes <= 3 * 5000 + 64 + (modes[m] == 0 ? 20000 : 0)); // stateful: near trials are free, one or two each
        pair_end(p);
    }
}

// Somebody is faster than the genuine peer's first packet: with keys, before there are keys, and with a frame that is taken.
static void test_forged_first_packet(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[20];
    pair_receive_one(p, pair_forge_mppe(p, 0x12345678, 0x9000));
    pair_send(p, wire, 20);
    pair_receive(p, wire, 20);
    CHECK_EQUAL(p->delivered, 20);
    pair_end(p);

    static const uint32_t sequences[] = {2, 200, 0x12345678, 0x80000001, 0x80000002, 0xfffffff0};
    uint8_t frame[] = {0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4};
    for (size_t n = 0; n < sizeof sequences / sizeof sequences[0]; n++)
        for (unsigned taken = 0; taken < 2; taken++) {
            p = pair_make(0, 0);
            pair_receive_one(p, pair_forge(p, sequences[n], frame, taken ? sizeof frame : 1));
            CHECK_EQUAL(p->control_at_b, taken);
            for (unsigned round = 0; round < 5; round++) { // LCP
                pair_control(p, 0xc021, frame + 4, 4, wire);
                pair_receive_one(p, wire[0]);
                p->now += SECOND;
                pair_expire(p);
            }
            CHECK(p->control_at_b >= taken + 4); // one frame at most is the price
            pair_send(p, wire, 20);
            pair_receive(p, wire, 20);
            CHECK_EQUAL(p->delivered, 20);
            pair_end(p);
        }
}

// Held packets: a forged one in a number that is still missing does not keep the genuine one out.
static void test_forged_in_the_gap(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[10];
    pair_send(p, wire, 10);
    uint32_t third = p->a->next_sequence - 8;
    pair_receive(p, wire, 2);
    pair_receive(p, wire + 5, 5);
    for (uint32_t n = 0; n < 3; n++) pair_receive_one(p, pair_forge_mppe(p, third + n, (uint16_t)(0x9002 + n)));
    pair_receive(p, wire + 2, 3);
    CHECK_EQUAL(p->delivered, 10);
    CHECK_EQUAL(p->out_of_order, 0);
    pair_end(p);
}

// Forged silence: packets without proof while the genuine peer is idle lead to a notice, at growing intervals, not to a flood of them.
static void test_notices_are_bounded(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[1];
    pair_send(p, wire, 1);
    pair_receive_one(p, wire[0]);
    for (unsigned n = 0; n < 6000; n++) {
        pair_receive_one(p, forge(p, RANDOM));
        p->now += 10 * MILLISECOND;
    }
    CHECK(p->lost_notices <= 8); // a minute: 1 + 1 + 2 + 4 + 8 + 16 + 32
    pair_send(p, wire, 1);
    pair_receive_one(p, wire[0]);
    CHECK_EQUAL(p->delivered, 2);
    pair_end(p);
}

int main(void) {
    RUN(stateless);
    RUN(stateful);
    RUN(flood);
    RUN(loss_under_attack);
    RUN(budget_bounds_work);
    RUN(forged_first_packet);
    RUN(forged_in_the_gap);
    RUN(notices_are_bounded);
    FINISH();
}
