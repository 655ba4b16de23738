// One link: framing variants, window and reordering, acknowledgments, control frames, what may pass when.
#include "link_pair.h"

static void test_framing_variants(void) {
    static const uint32_t flags[] = {0, CW_SEND_ACFC, CW_SEND_PFC, CW_SEND_ACFC | CW_SEND_PFC};
    static const unsigned strengths[] = {0, 40, 56, 128};
    static const uint32_t modes[] = {CW_MPPE_STATELESS, 0};
    for (size_t f = 0; f < 4; f++)
        for (size_t s = 0; s < 4; s++)
            for (size_t m = 0; m < 2; m++) {
                cw_link_limits limits = pair_limits();
                link_pair *p = pair_make_with(&limits, strengths[s], modes[m], flags[f]);
                cw_buffer *wire[40];
                for (unsigned round = 0; round < 30; round++) {
                    CHECK_EQUAL(pair_send(p, wire, 40), 40);
                    pair_receive(p, wire, 40);
                }
                CHECK_EQUAL(p->delivered, 1200);
                CHECK_EQUAL(p->out_of_order, 0);
                CHECK_EQUAL(pair_drops(&p->b_counters), 0);
                CHECK_EQUAL(p->b_counters.gre_in, 1200);
                CHECK_EQUAL(p->a_counters.gre_out, 1200);
                CHECK_EQUAL(p->b_counters.lost, 0);
                pair_end(p);
            }
}

static void test_first_headers(void) {
    static const struct {
        uint32_t mode, flags;
        const char *ppp;
        unsigned header, second;
    } table[] = {
        {CW_MPPE_STATELESS, 0, "ff0300fd", 0x9000, 0x9001},
        {0, 0, "ff0300fd", 0x1000, 0x1001},
        {CW_MPPE_STATELESS, CW_SEND_ACFC, "00fd", 0x9000, 0x9001},
        {CW_MPPE_STATELESS, CW_SEND_ACFC | CW_SEND_PFC, "fd", 0x9000, 0x9001},
        {CW_MPPE_STATELESS, CW_SEND_PFC | CW_SEND_SEQUENCE_ZERO, "ff03fd", 0x9000, 0x9001},
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        cw_link_limits limits = pair_limits();
        link_pair *p = pair_make_with(&limits, 128, table[n].mode, table[n].flags);
        cw_buffer *wire[2];
        pair_send(p, wire, 2);
        cw_gre_header gre;
        uint8_t *packet = cw_buffer_data(wire[0]);
        CHECK(cw_gre_parse(packet, wire[0]->length, &gre));
        CHECK_EQUAL(gre.call_id, PAIR_CALL_B);
        CHECK_EQUAL(gre.sequence, (table[n].flags & CW_SEND_SEQUENCE_ZERO) != 0 ? 0 : 1);
        CHECK(!gre.has_acknowledgment);
        size_t ppp = strlen(table[n].ppp) / 2;
        CHECK(equals_hex(packet + gre.header_length, table[n].ppp));
        CHECK_EQUAL(cw_get16(packet + gre.header_length + ppp), table[n].header);
        CHECK_EQUAL(cw_get16(cw_buffer_data(wire[1]) + gre.header_length + ppp), table[n].second);
        CHECK_EQUAL(wire[0]->length, (size_t)gre.header_length + gre.payload_length);
        pair_receive(p, wire, 2);
        CHECK_EQUAL(p->delivered, 2);
        pair_end(p);
    }
}

static void test_any_first_sequence(void) {
    static const uint32_t firsts[] = {0, 1, 2, 0x7fffffff, 0xfffffffe, 0xffffffff};
    for (size_t n = 0; n < sizeof firsts / sizeof firsts[0]; n++) {
        link_pair *p = pair_make(128, CW_MPPE_STATELESS);
        p->a->next_sequence = firsts[n];
        cw_buffer *wire[100];
        pair_send(p, wire, 100);
        pair_receive(p, wire, 100);
        CHECK_EQUAL(p->delivered, 100);
        pair_end(p);
    }
}

static void test_reorder(void) {
    static const uint32_t modes[] = {CW_MPPE_STATELESS, 0};
    for (size_t m = 0; m < 2; m++) {
        link_pair *p = pair_make(128, modes[m]);
        cw_buffer *wire[64];
        for (unsigned round = 0; round < 100; round++) {
            pair_send(p, wire, 60);
            size_t start = round == 0 ? 1 : 0; // the very first packet is what the window learns from
            for (size_t n = 59; n > start; n--) {
                size_t other = start + random_below(&p->random, n - start + 1);
                cw_buffer *swap = wire[n];
                wire[n] = wire[other];
                wire[other] = swap;
            }
            for (size_t n = 0; n < 60;) { // batches of any size
                size_t count = 1 + random_below(&p->random, 20);
                if (count > 60 - n) count = 60 - n;
                pair_receive(p, wire + n, count);
                n += count;
            }
        }
        CHECK_EQUAL(p->delivered, 6000);
        CHECK_EQUAL(p->out_of_order, 0);
        CHECK(p->b_counters.reordered > 5000);
        CHECK_EQUAL(p->b_counters.lost, 0);
        CHECK_EQUAL(cw_link_held(p->b), 0);
        pair_end(p);
    }
}

static void test_reorder_bounds(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[200];
    pair_send(p, wire, 10);
    pair_receive(p, wire, 1);
    pair_lose(p, wire + 1, 1);
    pair_receive(p, wire + 2, 8);
    CHECK_EQUAL(p->delivered, 1);
    CHECK_EQUAL(cw_link_held(p->b), 8);
    CHECK_EQUAL(cw_link_deadline(p->b), p->now + 50 * MILLISECOND);
    p->now += 50 * MILLISECOND - 1;
    pair_expire(p);
    CHECK_EQUAL(p->delivered, 1);
    p->now += 1;
    pair_expire(p);
    CHECK_EQUAL(p->delivered, 9);
    CHECK_EQUAL(p->b_counters.lost, 1);
    // By count: the 65th makes the first give up waiting.
    pair_send(p, wire, 66);
    pair_lose(p, wire, 1);
    pair_receive(p, wire + 1, 64);
    CHECK_EQUAL(p->delivered, 9);
    pair_receive(p, wire + 65, 1);
    CHECK_EQUAL(p->delivered, 9 + 65);
    CHECK_EQUAL(cw_link_held(p->b), 0);
    CHECK_EQUAL(p->b_counters.lost, 2);
    // One that fills the gap late is late.
    pair_send(p, wire, 3);
    pair_receive(p, wire + 1, 2);
    p->now += 60 * MILLISECOND;
    pair_expire(p);
    pair_receive(p, wire, 1);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_GRE_LATE], 1);
    CHECK_EQUAL(p->delivered, 9 + 65 + 2);
    // Earlier ones that come in front do not make the others wait longer.
    pair_send(p, wire, 30);
    for (size_t n = 29; n > 0; n--) {
        pair_receive(p, wire + n, 1);
        p->now += 2 * MILLISECOND;
        pair_expire(p);
    }
    CHECK(p->delivered > 9 + 65 + 2);
    pair_lose(p, wire, 1);
    p->now += 50 * MILLISECOND;
    pair_expire(p);
    CHECK_EQUAL(cw_link_held(p->b), 0);
    pair_end(p);
}

static void test_no_reorder_buffer(void) {
    cw_link_limits limits = pair_limits();
    limits.reorder_packets = 0;
    link_pair *p = pair_make_with(&limits, 128, CW_MPPE_STATELESS, 0);
    cw_buffer *wire[10];
    pair_send(p, wire, 10);
    pair_receive(p, wire, 1);
    pair_receive(p, wire + 2, 8);
    CHECK_EQUAL(p->delivered, 9);
    pair_receive(p, wire + 1, 1);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_GRE_LATE], 1);
    pair_end(p);
}

static void test_duplicates(void) {
    static const uint32_t modes[] = {CW_MPPE_STATELESS, 0};
    for (size_t m = 0; m < 2; m++) {
        link_pair *p = pair_make(128, modes[m]);
        cw_buffer *wire[20], *copies[20];
        uint64_t duplicates = 0;
        for (unsigned round = 0; round < 50; round++) {
            pair_send(p, wire, 20);
            for (size_t n = 0; n < 20; n++) copies[n] = pair_copy(p, wire[n]);
            if (round % 2 == 0) {
                pair_receive(p, wire, 20);
                pair_receive(p, copies, 20);
            } else { // both held, then released
                for (size_t n = 1; n < 20; n++) {
                    pair_receive_one(p, wire[n]);
                    pair_receive_one(p, copies[n]);
                }
                pair_receive_one(p, wire[0]);
                pair_receive_one(p, copies[0]);
            }
            duplicates += 20;
        }
        CHECK_EQUAL(p->delivered, 1000);
        CHECK_EQUAL(p->out_of_order, 0);
        CHECK_EQUAL(p->b_counters.drops[CW_DROP_GRE_DUPLICATE] + p->b_counters.drops[CW_DROP_GRE_LATE], duplicates);
        pair_end(p);
    }
}

static void test_acknowledgments(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_rekey back = pair_rekey(CW_TRANSMIT, 128, CW_MPPE_STATELESS);
    cw_link_rekey(p->b, &back);
    cw_buffer *wire[10], *out[4];
    cw_gre_header gre;
    CHECK_EQUAL(cw_link_deadline(p->b), UINT64_MAX);
    pair_send(p, wire, 5);
    pair_receive(p, wire, 5);
    CHECK_EQUAL(cw_link_deadline(p->b), p->now + 100 * MILLISECOND);
    p->now += 99 * MILLISECOND;
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &p->pool), 0);
    // Data takes it along.
    cw_buffer *data = pair_packet(p);
    CHECK_EQUAL(cw_link_send_data(p->b, p->now, PAIR_CALL_A, &data, 1, out, &p->pool), 1);
    CHECK(cw_gre_parse(cw_buffer_data(out[0]), out[0]->length, &gre));
    CHECK(gre.has_acknowledgment && gre.has_sequence);
    CHECK_EQUAL(gre.acknowledgment, 5);
    pair_lose(p, out, 1);
    p->now += 10 * MILLISECOND;
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &p->pool), 0);
    CHECK_EQUAL(cw_link_deadline(p->b), UINT64_MAX);
    // Alone, after the delay.
    pair_send(p, wire, 3);
    pair_receive(p, wire, 3);
    p->now += 100 * MILLISECOND;
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &p->pool), 1);
    CHECK(cw_gre_parse(cw_buffer_data(out[0]), out[0]->length, &gre));
    CHECK(gre.has_acknowledgment && !gre.has_sequence);
    CHECK_EQUAL(gre.acknowledgment, 8);
    CHECK_EQUAL(gre.payload_length, 0);
    CHECK_EQUAL(gre.call_id, PAIR_CALL_A);
    // It is taken, and nothing comes of it: no acknowledgment of acknowledgments.
    uint64_t before = p->a_counters.gre_in;
    pair_take(p, cw_link_receive(p->a, p->now, out, 1, p->out, PAIR_OUT, &p->pool), true);
    CHECK_EQUAL(p->a_counters.gre_in, before + 1);
    CHECK_EQUAL(cw_link_deadline(p->a), UINT64_MAX);
    // Sending never waits: a thousand packets without an acknowledgment.
    for (unsigned n = 0; n < 10; n++) {
        cw_buffer *many[100];
        CHECK_EQUAL(pair_send(p, many, 100), 100);
        pair_receive(p, many, 100);
    }
    pair_end(p);
}

static void test_control_frames(void) {
    link_pair *p = pair_make(0, 0);
    static const uint8_t echo[] = {9, 1, 0, 8, 1, 2, 3, 4};
    static const uint16_t protocols[] = {0xc021, 0xc223, 0x80fd, 0x8021, 0x8057, 0xc023};
    cw_link_set_open(p->a, false);
    cw_link_set_open(p->b, false);
    for (size_t n = 0; n < 6; n++) {
        cw_link_set_flags(p->a, n % 2 == 0 ? 0 : CW_SEND_ACFC | CW_SEND_PFC);
        cw_buffer *wire;
        pair_control(p, protocols[n], echo, sizeof echo, &wire);
        pair_receive_one(p, wire);
        CHECK_EQUAL(p->control_at_b, n + 1);
        CHECK_EQUAL(p->last_control_protocol, protocols[n]);
        CHECK_EQUAL(p->last_control_length, sizeof echo);
        CHECK(memcmp(p->last_control, echo, sizeof echo) == 0);
    }
    CHECK_EQUAL(p->a_counters.control_out, 6);
    CHECK_EQUAL(p->b_counters.control_in, 6);
    // LCP keeps its full header whatever was negotiated.
    cw_buffer *wire;
    pair_control(p, 0xc021, echo, sizeof echo, &wire);
    CHECK(equals_hex(cw_buffer_data(wire) + 12, "ff03c021"));
    pair_receive_one(p, wire);
    pair_end(p);
}

static void test_control_rate(void) {
    cw_link_limits limits = pair_limits();
    limits.control_rate = 10;
    limits.control_burst = 20;
    link_pair *p = pair_make_with(&limits, 128, CW_MPPE_STATELESS, 0);
    static const uint8_t echo[] = {9, 1, 0, 4};
    cw_buffer *wire;
    for (unsigned n = 0; n < 200; n++) {
        pair_control(p, 0xc021, echo, sizeof echo, &wire);
        pair_receive_one(p, wire);
        pair_send(p, &wire, 1); // data is not held up by it
        pair_receive_one(p, wire);
    }
    CHECK_EQUAL(p->control_at_b, 20);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_CONTROL_RATE], 180);
    CHECK_EQUAL(p->delivered, 200);
    p->now += SECOND;
    for (unsigned n = 0; n < 30; n++) {
        pair_control(p, 0xc021, echo, sizeof echo, &wire);
        pair_receive_one(p, wire);
    }
    CHECK_EQUAL(p->control_at_b, 30);
    pair_end(p);
}

// An idle session lives on echoes alone, for as long as it likes.
static void test_idle_with_echoes(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    static const uint8_t echo[] = {9, 1, 0, 4};
    cw_buffer *wire;
    pair_send(p, &wire, 1);
    pair_receive_one(p, wire);
    for (unsigned n = 0; n < 20000; n++) {
        p->now += 10 * SECOND;
        pair_control(p, 0xc021, echo, sizeof echo, &wire);
        if (n % 10 == 3) cw_pool_give(&p->pool, wire);
        else pair_receive_one(p, wire);
        p->now += SECOND;
        pair_expire(p);
    }
    CHECK_EQUAL(p->control_at_b, 18000);
    pair_send(p, &wire, 1);
    pair_receive_one(p, wire);
    CHECK_EQUAL(p->delivered, 2);
    CHECK_EQUAL(p->b_counters.lost, 2000);
    pair_end(p);
}

static void test_closed_and_unencrypted(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[10];
    cw_link_set_open(p->b, false);
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 0);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_NOT_OPEN], 10);
    cw_link_set_open(p->b, true); // the keys have moved on
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 10);

    // Clear data, with encryption required or only live.
    cw_rekey off = {.direction = CW_TRANSMIT};
    cw_link_rekey(p->a, &off);
    pair_send(p, wire, 10);
    pair_receive(p, wire, 5);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_UNENCRYPTED], 5);
    cw_link_set_flags(p->b, 0);
    pair_receive(p, wire + 5, 5);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_UNENCRYPTED], 10);
    CHECK_EQUAL(p->delivered, 10);
    off.direction = CW_RECEIVE;
    cw_link_rekey(p->b, &off);
    pair_send(p, wire, 10);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 20);

    // Sending.
    cw_link_set_flags(p->a, CW_REQUIRE_ENCRYPTION);
    CHECK_EQUAL(pair_send(p, wire, 3), 0);
    CHECK_EQUAL(p->a_counters.drops[CW_DROP_UNENCRYPTED], 3);
    cw_link_set_open(p->a, false);
    CHECK_EQUAL(pair_send(p, wire, 3), 0);
    CHECK_EQUAL(p->a_counters.drops[CW_DROP_NOT_OPEN], 3);
    pair_end(p);
}

static void test_refused_frames(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    static const struct {
        const char *frame;
        cw_drop cause;
    } table[] = {
        {"", CW_DROP_PPP_MALFORMED},           {"ff03", CW_DROP_PPP_MALFORMED},      {"0020", CW_DROP_PPP_MALFORMED},
        {"002b1234", CW_DROP_PROTOCOL},        {"003d1234", CW_DROP_PROTOCOL},       {"fd", CW_DROP_MPPE_MALFORMED},
        {"00fd90", CW_DROP_MPPE_MALFORMED},    {"00fd9000", CW_DROP_MPPE_MALFORMED}, {"00fdb00021", CW_DROP_MPPE_MALFORMED},
        {"00fd800021", CW_DROP_MPPE_MALFORMED}, {"002145", CW_DROP_UNENCRYPTED},      {"00fd900021", CW_DROP_MPPE_UNVERIFIED},
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        uint8_t frame[16];
        size_t length = from_hex(table[n].frame, frame, sizeof frame);
        uint64_t before = p->b_counters.drops[table[n].cause];
        pair_receive_one(p, pair_forge(p, (uint32_t)(n + 1), frame, length));
        if (p->b_counters.drops[table[n].cause] != before + 1) fprintf(stderr, "frame %s\n", table[n].frame);
        CHECK_EQUAL(p->b_counters.drops[table[n].cause], before + 1);
    }
    // None of them was in the genuine stream's way, although they took its numbers.
    cw_buffer *wire[50];
    pair_send(p, wire, 50);
    pair_receive(p, wire, 50);
    CHECK_EQUAL(p->delivered, 50);
    cw_buffer *garbage = cw_pool_take(&p->pool);
    garbage->length = 7;
    pair_receive_one(p, garbage);
    CHECK_EQUAL(p->b_counters.drops[CW_DROP_GRE_MALFORMED], 1);
    pair_end(p);
}

// Before there are keys, a far jump is believed when a second packet agrees with it.
static void test_jump_without_keys(void) {
    link_pair *p = pair_make(0, 0);
    cw_buffer *wire[10];
    pair_send(p, wire, 2);
    pair_receive(p, wire, 2);
    p->a->next_sequence += 10000;
    pair_send(p, wire, 10);
    uint8_t frame[] = {0xc0, 0x21, 9, 1, 0, 4};
    pair_receive_one(p, pair_forge(p, 77777777, frame, sizeof frame)); // somebody else's number
    CHECK_EQUAL(p->control_at_b, 0);
    pair_receive(p, wire, 10);
    CHECK_EQUAL(p->delivered, 2 + 9);
    CHECK(p->b_counters.lost >= 10000 && p->b_counters.lost <= 10001);
    pair_end(p);
}

static void test_pool_runs_dry(void) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[4], *out[4];
    pair_send(p, wire, 4);
    pair_receive(p, wire, 4);
    cw_pool empty = {0};
    p->now += SECOND;
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &empty), 0);
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 0, &p->pool), 0);
    CHECK_EQUAL(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &p->pool), 1); // not forgotten
    pair_lose(p, out, 1);
    CHECK(cw_pool_take(&empty) == NULL);
    pair_end(p);
}

int main(void) {
    RUN(framing_variants);
    RUN(first_headers);
    RUN(any_first_sequence);
    RUN(reorder);
    RUN(reorder_bounds);
    RUN(no_reorder_buffer);
    RUN(duplicates);
    RUN(acknowledgments);
    RUN(control_frames);
    RUN(control_rate);
    RUN(idle_with_echoes);
    RUN(closed_and_unencrypted);
    RUN(refused_frames);
    RUN(jump_without_keys);
    RUN(pool_runs_dry);
    FINISH();
}
