// Stateful MPPE over a bad line, in both flavours of a FLUSHED packet, with Reset-Requests and Reset-Acks lost as well; and against models
// of the two living implementations, where they do other than we do.
#include "link_pair.h"

enum peer { OURS, LINUX, FREEBSD };

// What an implementation other than ours does differently, applied to a before it sends. Ours answers with the next flag packet; those
// set FLUSHED on the next packet, whatever its count, the Linux kernel with a new key and ng_mppc with the same. True: such a packet.
static bool act_as(link_pair *p, enum peer peer) {
    cw_mppe_transmitter *sender = &p->a->transmitter;
    if (peer == OURS || !sender->flush) return false;
    sender->flush = false;
    if (cw_mppe_is_flag(sender->next)) return true; // one change and one beginning, for both
    if (peer == LINUX) cw_mppe_key_change(&sender->keys.suite, sender->keys.key, sender->keys.key);
    cw_rc4_key(&sender->streams->transmit, sender->keys.key, sender->keys.suite.length);
    return true;
}

static void on_the_wire(cw_buffer *packet, enum peer peer, bool flushed) {
    cw_gre_header gre;
    uint8_t *data = cw_buffer_data(packet);
    if (!cw_gre_parse(data, packet->length, &gre)) abort();
    uint8_t *header = data + gre.header_length + 4;
    if (flushed) header[0] |= 0x80;
    // ng_mppc does not set FLUSHED on flag packets, only after a request.
    else if (peer == FREEBSD && cw_mppe_is_flag(cw_get16(header) & CW_MPPE_COUNT_MASK)) header[0] &= 0x7f;
}

// 3,000 rounds of up to 5 packets with loss everywhere, then a clean line: the stream has to come back by itself.
static void bad_line(enum peer peer, unsigned loss, unsigned loss_back, unsigned loss_forth) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[5];
    uint64_t arrived = 0;
    for (unsigned round = 0; round < 3000; round++) {
        bool flushed = act_as(p, peer);
        size_t count = 1 + random_below(&p->random, 5);
        pair_send(p, wire, count);
        for (size_t n = 0; n < count; n++) {
            on_the_wire(wire[n], peer, flushed && n == 0);
            if (random_below(&p->random, 100) < loss) pair_lose(p, wire + n, 1);
            else {
                arrived++;
                pair_receive_one(p, wire[n]);
            }
        }
        p->now += random_below(&p->random, 40) * MILLISECOND;
        pair_expire(p);
        pair_talk(p, loss_back, loss_forth);
    }
    uint64_t on_bad_line = p->delivered;
    for (unsigned round = 0; round < 20; round++) { // settle
        bool flushed = act_as(p, peer);
        pair_send(p, wire, 1);
        on_the_wire(wire[0], peer, flushed);
        pair_receive_one(p, wire[0]);
        p->now += 100 * MILLISECOND;
        pair_expire(p);
        pair_talk(p, 0, 0);
    }
    uint64_t before = p->delivered;
    for (unsigned round = 0; round < 600; round++) {
        bool flushed = act_as(p, peer);
        pair_send(p, wire, 1);
        on_the_wire(wire[0], peer, flushed);
        pair_receive_one(p, wire[0]);
    }
    CHECK_EQUAL(p->delivered - before, 600);
    CHECK_EQUAL(p->out_of_order, 0);
    // Half of the requests lost: recovery then waits for the next flag packet, which ours has moved up to 256 counts away.
    CHECK(on_bad_line * 100 > arrived * (loss >= 10 ? 8 : loss_back >= 50 ? 18 : 20));
    if (loss > 0) {
        CHECK(p->b_counters.resets_sent > 10);
        CHECK(p->a_counters.resets_received > 0);
        CHECK(p->a_counters.resets_received <= p->b_counters.resets_sent);
        CHECK(p->b_counters.drops[CW_DROP_MPPE_WAIT_RESET] > 0);
    } else {
        CHECK_EQUAL(p->b_counters.resets_sent, 0);
        CHECK_EQUAL(on_bad_line, arrived);
    }
    if (getenv("VERBOSE"))
        fprintf(stderr, "peer %d loss %u/%u/%u: %llu of %llu, %llu requests, %llu notices\n", peer, loss, loss_back, loss_forth,
                (unsigned long long)on_bad_line, (unsigned long long)arrived, (unsigned long long)p->b_counters.resets_sent,
                (unsigned long long)p->lost_notices);
    pair_end(p);
}

static void test_bad_lines(void) {
    for (int peer = OURS; peer <= FREEBSD; peer++) {
        bad_line((enum peer)peer, 0, 0, 0);
        bad_line((enum peer)peer, 1, 0, 0);
        bad_line((enum peer)peer, 5, 5, 5);
        bad_line((enum peer)peer, 5, 50, 0);  // Reset-Requests lost
        bad_line((enum peer)peer, 5, 0, 50);  // Reset-Acks lost
        bad_line((enum peer)peer, 5, 50, 50);
        bad_line((enum peer)peer, 20, 20, 20);
    }
}

static uint16_t mppe_header_of(cw_buffer *packet) {
    cw_gre_header gre;
    uint8_t *data = cw_buffer_data(packet);
    if (!cw_gre_parse(data, packet->length, &gre)) abort();
    return cw_get16(data + gre.header_length + 4);
}

// An outage over several wraps of the count; flag packets inside change the key sixteen times per wrap.
static void test_outages(void) {
    static const unsigned outages[] = {1, 254, 255, 256, 257, 4095, 4096, 4097, 10000};
    for (int peer = OURS; peer <= FREEBSD; peer++) {
        link_pair *p = pair_make(128, 0);
        for (size_t n = 0; n < sizeof outages / sizeof outages[0]; n++) {
            cw_buffer *wire[100];
            pair_send(p, wire, 20);
            pair_receive(p, wire, 20);
            for (unsigned left = outages[n]; left > 0;) {
                size_t count = left < 100 ? left : 100;
                pair_send(p, wire, count);
                pair_lose(p, wire, count);
                left -= (unsigned)count;
            }
            for (unsigned round = 0; round < 10; round++) {
                bool flushed = act_as(p, (enum peer)peer);
                pair_send(p, wire, 1);
                on_the_wire(wire[0], (enum peer)peer, flushed);
                pair_receive_one(p, wire[0]);
                p->now += 100 * MILLISECOND;
                pair_expire(p);
                pair_talk(p, 0, 0);
            }
            uint64_t before = p->delivered;
            pair_send(p, wire, 100);
            pair_receive(p, wire, 100);
            CHECK_EQUAL(p->delivered, before + 100);
        }
        pair_end(p);
    }
}

// ---- The sender's side ----

static cw_buffer *request(link_pair *p, uint8_t code, uint8_t identifier) {
    static uint32_t sequence;
    uint8_t frame[] = {0xff, 0x03, 0x80, 0xfd, code, identifier, 0, 4};
    return pair_forge(p, ++sequence, frame, sizeof frame);
}

static void give_to_a(link_pair *p, cw_buffer *packet) {
    pair_take(p, cw_link_receive(p->a, p->now, &packet, 1, p->out, PAIR_OUT, &p->pool), true);
}

// The key that the next packet of a's would be encrypted with, seen from outside.
static bool answered_with(link_pair *p, uint8_t identifier) {
    cw_buffer *out[8];
    size_t count = cw_link_poll(p->a, p->now, PAIR_CALL_B, out, 8, &p->pool);
    bool found = false;
    for (size_t n = 0; n < count; n++) {
        const uint8_t *frame = out[n]->storage + out[n]->offset;
        cw_gre_header gre;
        if (cw_gre_parse(frame, out[n]->length, &gre) && gre.payload_length == 8)
            found = frame[gre.header_length + 4] == CW_CCP_RESET_ACK && frame[gre.header_length + 5] == identifier;
        cw_pool_give(&p->pool, out[n]);
    }
    return found;
}

static void test_sender_rules(void) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[300];
    pair_send(p, wire, 3);
    CHECK_EQUAL(mppe_header_of(wire[0]), 0x1000);
    CHECK_EQUAL(mppe_header_of(wire[2]), 0x1002);
    pair_lose(p, wire, 3);
    uint64_t changes = p->a_counters.key_changes;
    give_to_a(p, request(p, CW_CCP_RESET_REQUEST, 9));
    CHECK_EQUAL(cw_link_deadline(p->a), 0);
    // Data that overtakes the Reset-Ack is not the FLUSHED packet.
    pair_send(p, wire, 1);
    CHECK_EQUAL(mppe_header_of(wire[0]), 0x1003);
    pair_lose(p, wire, 1);
    CHECK(answered_with(p, 9));
    pair_send(p, wire, 2);
    CHECK_EQUAL(mppe_header_of(wire[0]), 0x90ff);
    CHECK_EQUAL(mppe_header_of(wire[1]), 0x1100);
    CHECK_EQUAL(p->a_counters.key_changes - changes, 1);
    pair_lose(p, wire, 2);
    // The same identifier again: acknowledged again, the next flag packet.
    for (unsigned n = 1; n <= 3; n++) {
        give_to_a(p, request(p, CW_CCP_RESET_REQUEST, 9));
        CHECK(answered_with(p, 9));
        pair_send(p, wire, 1);
        CHECK_EQUAL(mppe_header_of(wire[0]), 0x90ff + n * 0x100);
        pair_lose(p, wire, 1);
        CHECK_EQUAL(p->a_counters.key_changes - changes, 1 + n);
    }
    // A new one, asked several times before anything was sent: one flag packet.
    give_to_a(p, request(p, CW_CCP_RESET_REQUEST, 10));
    give_to_a(p, request(p, CW_CCP_RESET_REQUEST, 10));
    CHECK(answered_with(p, 10));
    give_to_a(p, request(p, CW_CCP_RESET_REQUEST, 10));
    CHECK(answered_with(p, 10));
    pair_send(p, wire, 2);
    CHECK_EQUAL(mppe_header_of(wire[0]), 0x94ff);
    CHECK_EQUAL(mppe_header_of(wire[1]), 0x1500);
    CHECK_EQUAL(p->a_counters.key_changes - changes, 5);
    pair_lose(p, wire, 2);
    // Where a flag packet is next anyway, nothing is skipped; and the count wraps.
    for (unsigned block = 5; block <= 0x10; block++) {
        unsigned left = block == 5 ? 0xfe : 0xff;
        pair_send(p, wire, left);
        pair_lose(p, wire, left);
        give_to_a(p, request(p, CW_CCP_RESET_REQUEST, (uint8_t)(11 + block)));
        CHECK(answered_with(p, (uint8_t)(11 + block)));
        pair_send(p, wire, 1);
        CHECK_EQUAL(mppe_header_of(wire[0]), 0x9000 | ((block * 0x100 + 0xff) & CW_MPPE_COUNT_MASK));
        pair_lose(p, wire, 1);
    }
    CHECK_EQUAL(p->a_counters.key_changes - changes, 17);
    // Many requests at once: the latest are all answered.
    for (uint8_t n = 40; n < 60; n++) give_to_a(p, request(p, CW_CCP_RESET_REQUEST, n));
    CHECK(answered_with(p, 59));
    CHECK_EQUAL(p->control_at_a, 0); // none of this is for the owner
    // Other CCP codes are.
    give_to_a(p, request(p, 1, 5));
    CHECK_EQUAL(p->control_at_a, 1);
    CHECK_EQUAL(p->last_control_protocol, CW_PPP_CCP);
    pair_end(p);
}

// Models of the living receivers, fed by our sender over a line that loses data, requests and answers, FLUSHED packets among them.
// - Linux (pppd with the kernel's MPPE): after an error it looks at nothing until a Reset-Ack comes, asks again with the same identifier,
//   and changes its key once for each FLUSHED packet that it looks at, and for each flag packet that it has missed.
// - FreeBSD (ng_mppc): a key change for every flag count passed, a fresh stream with FLUSHED, a request for each packet that has neither.
typedef struct receiver_model {
    enum peer kind;
    cw_mppe_suite suite;
    uint8_t key[CW_MPPE_KEY_SIZE];
    cw_rc4 rc4;
    uint16_t count; // Linux: of the last packet; FreeBSD: of the next
    bool discard, waiting_for_ack, asks;
    uint8_t identifier;
    unsigned good, bad;
} receiver_model;

static void model_rekey(receiver_model *r) {
    cw_mppe_key_change(&r->suite, r->key, r->key);
    cw_rc4_key(&r->rc4, r->key, r->suite.length);
}

static bool linux_state(receiver_model *r, uint16_t count, bool flushed) {
    if (r->waiting_for_ack) return false;
    if (!r->discard) {
        r->count = (r->count + 1) & CW_MPPE_COUNT_MASK;
        if (count != r->count) r->discard = true;
    } else if (flushed) {
        while ((count & ~0xff) != (r->count & ~0xff)) {
            model_rekey(r);
            r->count = (r->count + 256) & CW_MPPE_COUNT_MASK;
        }
        r->discard = false;
        r->count = count;
    }
    if (r->discard) {
        r->waiting_for_ack = r->asks = true;
        r->identifier++;
        return false;
    }
    if (flushed) model_rekey(r);
    return true;
}

static bool freebsd_state(receiver_model *r, uint16_t count, bool flushed) {
    bool lost = count != r->count;
    if (lost && !flushed) {
        if (!r->asks) r->identifier++;
        r->asks = true;
        return false;
    }
    for (; r->count != count; r->count = (r->count + 1) & CW_MPPE_COUNT_MASK)
        if (cw_mppe_is_flag(r->count)) model_rekey(r);
    if (cw_mppe_is_flag(count)) model_rekey(r);
    else if (flushed) cw_rc4_key(&r->rc4, r->key, r->suite.length);
    r->count = (count + 1) & CW_MPPE_COUNT_MASK;
    r->asks = false;
    return true;
}

static void model_takes(receiver_model *r, cw_buffer *packet) {
    cw_gre_header gre;
    uint8_t *data = cw_buffer_data(packet);
    if (!cw_gre_parse(data, packet->length, &gre)) abort();
    uint8_t *mppe = data + gre.header_length + 4;
    uint16_t header = cw_get16(mppe), count = header & CW_MPPE_COUNT_MASK;
    bool flushed = (header & CW_MPPE_FLUSHED) != 0;
    if (!(r->kind == LINUX ? linux_state(r, count, flushed) : freebsd_state(r, count, flushed))) return;
    cw_rc4_crypt(&r->rc4, mppe + 2, mppe + 2, (size_t)gre.payload_length - 6);
    if (mppe[2] == 0x00 && mppe[3] == 0x21 && mppe[4] == 0x45) r->good++;
    else r->bad++;
}

static void receiver_on_bad_line(enum peer kind, unsigned loss, unsigned loss_of_control) {
    link_pair *p = pair_make(128, 0);
    receiver_model r = {.kind = kind, .count = kind == LINUX ? CW_MPPE_COUNT_SPACE - 1 : 0, .identifier = 1};
    cw_rekey rekey = pair_rekey(CW_RECEIVE, 128, 0);
    cw_mppe_suite_init(&r.suite, 128, rekey.start_key, r.key);
    cw_rc4_key(&r.rc4, r.key, r.suite.length);
    cw_buffer *wire[1], *out[8];
    for (unsigned n = 0; n < 20000; n++) {
        pair_send(p, wire, 1);
        bool lost = n < 19000 && random_below(&p->random, 100) < loss;
        if (lost) pair_lose(p, wire, 1);
        else {
            model_takes(&r, wire[0]);
            cw_pool_give(&p->pool, wire[0]);
        }
        p->now += 50 * MILLISECOND;
        if (!r.asks || n % 3 != 0) continue; // its timer
        if (random_below(&p->random, 100) < loss_of_control) continue;
        give_to_a(p, request(p, CW_CCP_RESET_REQUEST, r.identifier));
        size_t count = cw_link_poll(p->a, p->now, PAIR_CALL_B, out, 8, &p->pool);
        for (size_t i = 0; i < count; i++) cw_pool_give(&p->pool, out[i]);
        CHECK(count >= 1);
        if (random_below(&p->random, 100) < loss_of_control) continue;
        r.waiting_for_ack = false;
        if (kind == LINUX) r.asks = false;
    }
    CHECK(p->a_counters.resets_received > 100);
    CHECK(r.good > (loss >= 30 ? 2000u : 5000u));
    CHECK_EQUAL(r.bad, 0);
    pair_end(p);
}

static void test_living_receivers(void) {
    for (int kind = LINUX; kind <= FREEBSD; kind++) {
        receiver_on_bad_line((enum peer)kind, 2, 0);
        receiver_on_bad_line((enum peer)kind, 10, 10);
        receiver_on_bad_line((enum peer)kind, 2, 60);
        receiver_on_bad_line((enum peer)kind, 30, 30);
    }
}

// Requests are repeated while packets keep coming, not faster than the interval, and not into silence.
static void test_request_rate(void) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[1];
    pair_send(p, wire, 1);
    pair_receive_one(p, wire[0]);
    pair_send(p, wire, 1);
    pair_lose(p, wire, 1);
    for (unsigned n = 0; n < 100; n++) { // ten seconds, no answer, no flag packet
        pair_send(p, wire, 1);
        pair_receive_one(p, wire[0]);
        p->now += 100 * MILLISECOND;
        pair_expire(p);
        pair_talk(p, 100, 0);
    }
    if (getenv("VERBOSE")) fprintf(stderr, "%llu requests, %llu notices\n", (unsigned long long)p->b_counters.resets_sent, (unsigned long long)p->lost_notices);
    CHECK(p->b_counters.resets_sent >= 30 && p->b_counters.resets_sent <= 34);
    CHECK(p->lost_notices >= 1 && p->lost_notices <= 4);
    uint64_t sent = p->b_counters.resets_sent;
    for (unsigned n = 0; n < 100; n++) {
        p->now += SECOND;
        pair_talk(p, 100, 0);
    }
    CHECK(p->b_counters.resets_sent <= sent + 1);
    // It still comes back when the line does.
    for (unsigned n = 0; n < 10; n++) {
        pair_send(p, wire, 1);
        pair_receive_one(p, wire[0]);
        p->now += SECOND;
        pair_expire(p);
        pair_talk(p, 0, 0);
    }
    CHECK(p->delivered > 5);
    pair_end(p);
}

int main(void) {
    RUN(bad_lines);
    RUN(outages);
    RUN(sender_rules);
    RUN(living_receivers);
    RUN(request_rate);
    FINISH();
}
