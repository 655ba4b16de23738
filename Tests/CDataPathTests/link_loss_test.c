// Stateless MPPE over a bad line: loss, reordering and duplication together, long outages, the wrap of the coherency count, budgets.
#include "link_pair.h"

static void test_loss(void) {
    static const unsigned strengths[] = {40, 56, 128};
    for (size_t s = 0; s < 3; s++) {
        link_pair *p = pair_make(strengths[s], CW_MPPE_STATELESS);
        uint64_t kept = 0;
        cw_buffer *wire[1];
        for (unsigned n = 0; n < 20000; n++) {
            pair_send(p, wire, 1);
            if (random_below(&p->random, 10) == 0) pair_lose(p, wire, 1);
            else {
                kept++;
                pair_receive_one(p, wire[0]);
            }
            p->now += random_below(&p->random, 20) * MILLISECOND;
            pair_expire(p);
        }
        p->now += SECOND;
        pair_expire(p);
        CHECK_EQUAL(p->delivered, kept); // every packet that arrived
        CHECK_EQUAL(p->out_of_order, 0);
        CHECK(p->b_counters.lost + 20 >= 20000 - kept && p->b_counters.lost <= 20000 - kept);
        CHECK_EQUAL(p->lost_notices, 0);
        pair_end(p);
    }
}

// Everything at once: each packet may be lost, doubled or delayed by up to 30 others.
static void test_loss_reordering_duplication(void) {
    enum { total = 20000, line = 64 };
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *delayed[line] = {0};
    uint64_t kept = 0;
    for (unsigned n = 0; n < total + line; n++) {
        if (n < total) {
            cw_buffer *wire[1];
            pair_send(p, wire, 1);
            if (n > 0 && random_below(&p->random, 20) == 0) pair_lose(p, wire, 1);
            else {
                kept++;
                if (random_below(&p->random, 20) == 0) {
                    size_t at = (n + 1 + random_below(&p->random, 30)) % line;
                    if (delayed[at] == NULL) delayed[at] = pair_copy(p, wire[0]);
                }
                size_t at = n == 0 ? 0 : (n + random_below(&p->random, 30)) % line;
                if (delayed[at] == NULL) delayed[at] = wire[0];
                else pair_receive_one(p, wire[0]);
            }
        }
        if (delayed[n % line] != NULL) {
            cw_buffer *arriving = delayed[n % line];
            delayed[n % line] = NULL;
            pair_receive_one(p, arriving);
        }
        p->now += MILLISECOND / 10; // slow enough for 30 to fit into the hold time
        pair_expire(p);
    }
    p->now += SECOND;
    pair_expire(p);
    CHECK_EQUAL(p->delivered, kept);
    CHECK_EQUAL(p->out_of_order, 0);
    CHECK(p->b_counters.drops[CW_DROP_GRE_DUPLICATE] + p->b_counters.drops[CW_DROP_GRE_LATE] > 100);
    pair_end(p);
}

// After an outage of any length within the budget, the first packet that arrives is delivered.
static void test_outages(void) {
    static const unsigned outages[] = {1, 63, 64, 65, 255, 256, 257, 4031, 4094, 4095, 4096, 4097, 4160, 8191, 8192, 8193, 10000, 12288, 16000};
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    uint64_t expected = 0;
    for (size_t n = 0; n < sizeof outages / sizeof outages[0]; n++) {
        cw_buffer *wire[100];
        pair_send(p, wire, 20);
        pair_receive(p, wire, 20);
        expected += 20;
        for (unsigned left = outages[n]; left > 0;) {
            size_t count = left < 100 ? left : 100;
            pair_send(p, wire, count);
            pair_lose(p, wire, count);
            left -= (unsigned)count;
        }
        p->now += 10 * SECOND;
        pair_expire(p);
        uint64_t lost = p->b_counters.lost;
        pair_send(p, wire, 5);
        pair_receive(p, wire, 5);
        expected += 5;
        p->now += 100 * MILLISECOND; // near gaps wait for what might still come
        pair_expire(p);
        CHECK_EQUAL(p->delivered, expected);
        CHECK_EQUAL(p->b_counters.lost, lost + outages[n]);
    }
    CHECK_EQUAL(p->lost_notices, 0);
    CHECK_EQUAL(p->out_of_order, 0);
    pair_end(p);
}

// The same 10,000 at the configured default, with control frames in the gap: the GRE gap is larger than the number of packets.
static void test_outage_with_control(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[100];
    static const uint8_t echo[] = {9, 1, 0, 4};
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    for (unsigned n = 0; n < 100; n++) {
        pair_send(p, wire, 100);
        pair_lose(p, wire, 100);
        pair_control(p, 0xc021, echo, sizeof echo, wire);
        pair_lose(p, wire, 1);
    }
    // A clear control frame proves nothing: not so far away.
    pair_control(p, 0xc021, echo, sizeof echo, wire);
    pair_receive_one(p, wire[0]);
    CHECK_EQUAL(p->control_at_b, 0);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_CONTROL_STALE], 1);
    pair_send(p, wire, 1);
    pair_receive_one(p, wire[0]);
    CHECK_EQUAL(p->delivered, 11);
    pair_control(p, 0xc021, echo, sizeof echo, wire);
    pair_receive_one(p, wire[0]);
    CHECK_EQUAL(p->control_at_b, 1);
    pair_end(p);
}

// More than the budget of a second: worked off while packets keep coming, without a new negotiation.
static void test_outage_beyond_one_budget(void) {
    static const unsigned outages[] = {10000, 14000};
    for (size_t n = 0; n < 2; n++) {
        cw_link_limits limits = pair_limits();
        limits.key_budget = 8192;
        link_pair *p = pair_make_with(&limits, 128, CW_MPPE_STATELESS, 0);
        cw_buffer *wire[100];
        pair_send(p, wire, 10);
        pair_receive(p, wire, 10);
        for (unsigned lost = 0; lost < outages[n]; lost += 100) {
            pair_send(p, wire, 100);
            pair_lose(p, wire, 100);
        }
        unsigned needed = 0;
        while (p->delivered == 10 && needed < 200) {
            pair_send(p, wire, 1);
            pair_receive_one(p, wire[0]);
            p->now += 10 * MILLISECOND;
            needed++;
        }
        CHECK(needed > 1 && needed < 100); // less than a second
        CHECK_EQUAL(p->lost_notices, 0);
        pair_send(p, wire, 100);
        pair_receive(p, wire, 100);
        CHECK_EQUAL(p->delivered, 111);
        pair_end(p);
    }
}

// Beyond the budget the state is lost: the owner is told, once a second at most, and a new negotiation repairs it, over control frames
// that are far away by now.
static void test_unrecoverable(void) {
    cw_link_limits limits = pair_limits();
    limits.key_budget = 1000;
    link_pair *p = pair_make_with(&limits, 128, CW_MPPE_STATELESS, 0);
    cw_buffer *wire[100];
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    for (unsigned n = 0; n < 30; n++) {
        pair_send(p, wire, 100);
        pair_lose(p, wire, 100);
    }
    uint64_t started = p->now, changes = p->b_counters.key_changes;
    for (unsigned n = 0; n < 1000; n++) {
        pair_send(p, wire, 1);
        pair_receive_one(p, wire[0]);
        p->now += 10 * MILLISECOND;
    }
    CHECK_EQUAL(p->delivered, 10);
    CHECK(p->b_counters.drops[CW_DROP_MPPE_BUDGET] > 900);
    CHECK(p->b_counters.key_changes - changes <= 1000 * (1 + (p->now - started) / SECOND) + 64);
    CHECK(p->lost_notices >= 2 && p->lost_notices <= 9); // 1 s, then 1, 2, 4 s between
    // Two control frames that agree, and the window is back.
    static const uint8_t request[] = {1, 7, 0, 4};
    for (unsigned n = 0; n < 3; n++) {
        pair_control(p, CW_PPP_CCP, request, sizeof request, wire);
        pair_receive_one(p, wire[0]);
    }
    CHECK(p->control_at_b >= 2);
    cw_rekey rekey = pair_rekey(CW_RECEIVE, 128, CW_MPPE_STATELESS);
    cw_link_rekey(p->b, &rekey);
    rekey.direction = CW_TRANSMIT;
    cw_link_rekey(p->a, &rekey);
    pair_send(p, wire, 100);
    pair_receive(p, wire, 100);
    CHECK_EQUAL(p->delivered, 110);
    pair_end(p);
}

// New keys while packets under the old ones are still on the way.
static void test_rekey_midway(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *old[20], *fresh[20];
    pair_send(p, old, 20);
    pair_receive(p, old, 10);
    cw_rekey rekey = pair_rekey(CW_TRANSMIT, 56, CW_MPPE_STATELESS);
    cw_link_rekey(p->a, &rekey);
    rekey.direction = CW_RECEIVE;
    cw_link_rekey(p->b, &rekey);
    pair_send(p, fresh, 20);
    pair_receive(p, old + 10, 10);
    pair_receive(p, fresh, 20);
    CHECK_EQUAL(p->delivered, 30);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_MPPE_UNVERIFIED], 10);
    pair_end(p);
}

// A peer may encrypt packets that it never sends: the count jumps, the GRE numbers do not.
static void test_count_without_sequence(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[100];
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    pair_send(p, wire, 100);
    pair_lose(p, wire, 100);
    p->a->next_sequence -= 100;
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 20);
    CHECK_EQUAL(p->b_counters.lost, 0);
    pair_end(p);
}

// IPv6: in order well-formed is enough, after a loss the source has to be known.
static void test_ipv6_evidence(void) {
    for (unsigned known = 0; known < 2; known++) {
        link_pair *p = pair_make(128, CW_MPPE_STATELESS);
        cw_prefix prefix = {.address = {.bytes = {0xfd, 0x01}, .family = 6}, .length = 16};
        if (known) cw_link_set_prefixes(p->b, &prefix, 1);
        size_t delivered = 0;
        for (unsigned n = 0; n < 40; n++) {
            cw_buffer *packet = cw_pool_take(&p->pool), *wire;
            uint8_t *ip = cw_buffer_data(packet);
            memset(ip, 0, 60);
            ip[0] = 0x60;
            ip[5] = 20;
            ip[8] = 0xfd;
            ip[9] = 0x01;
            packet->length = 60;
            packet->protocol = CW_PPP_IPV6;
            cw_link_send_data(p->a, p->now, PAIR_CALL_B, &packet, 1, &wire, &p->pool);
            if (n == 20) {
                cw_pool_give(&p->pool, wire);
                continue;
            }
            size_t count = cw_link_receive(p->b, p->now, &wire, 1, p->out, PAIR_OUT, &p->pool);
            p->now += SECOND / 10;
            count += cw_link_expire(p->b, p->now, p->out + count, PAIR_OUT - count, &p->pool);
            for (size_t i = 0; i < count; i++) {
                if (p->out[i].kind != CW_DELIVER_DATA) continue;
                delivered++;
                CHECK_EQUAL(p->out[i].buffer->protocol, CW_PPP_IPV6);
                cw_pool_give(&p->pool, p->out[i].buffer);
            }
        }
        CHECK_EQUAL(delivered, known ? 39 : 20);
        pair_end(p);
    }
}

int main(void) {
    RUN(loss);
    RUN(loss_reordering_duplication);
    RUN(outages);
    RUN(outage_with_control);
    RUN(outage_beyond_one_budget);
    RUN(unrecoverable);
    RUN(rekey_midway);
    RUN(count_without_sequence);
    RUN(ipv6_evidence);
    FINISH();
}
