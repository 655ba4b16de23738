// A link is handed over in the middle of its traffic: the image is flat, bounded, checked, and the stream goes on.
#include "link_pair.h"

// Replaces *link by one that was made from its image, on fresh memory.
static void hand_over(link_pair *p, cw_link **link, cw_mppe_streams *streams, cw_counters *counters) {
    uint8_t image[CW_LINK_STATE_SIZE + 16];
    size_t length = cw_link_export(*link, image, CW_LINK_STATE_SIZE);
    CHECK(length > 0 && length <= CW_LINK_STATE_SIZE);
    CHECK_EQUAL(cw_link_export(*link, image, length - 1), 0);
    CHECK_EQUAL(cw_link_export(*link, image, length), length);
    cw_link *fresh = malloc(cw_link_size());
    memset(fresh, 0xee, cw_link_size());
    cw_mppe_streams old = *streams, new = {0};
    cw_link_init(fresh, &p->shared, &new, 0, counters);
    size_t used = 0;
    memset(image + length, 0x55, 16); // somebody else's octets behind it
    CHECK_EQUAL(cw_link_import(fresh, image, length + 16, &used), CW_OK);
    CHECK_EQUAL(used, length);
    uint8_t again[CW_LINK_STATE_SIZE];
    CHECK_EQUAL(cw_link_export(fresh, again, sizeof again), length);
    CHECK(memcmp(image, again, length) == 0);
    CHECK(memcmp(&old, streams, sizeof old) == 0); // nobody's but the old link's
    cw_link_wipe(*link, &p->pool);
    for (size_t n = 0; n < sizeof *streams; n++) CHECK_EQUAL(((uint8_t *)streams)[n], 0);
    *streams = new;
    fresh->streams = fresh->receiver.streams = fresh->transmitter.streams = streams;
    free(*link);
    *link = fresh;
}

static void test_midstream(void) {
    static const uint32_t modes[] = {CW_MPPE_STATELESS, 0};
    static const unsigned strengths[] = {0, 40, 56, 128};
    for (size_t s = 0; s < 4; s++)
        for (size_t m = 0; m < 2; m++) {
            cw_link_limits limits = pair_limits();
            link_pair *p = pair_make_with(&limits, strengths[s], modes[m], CW_SEND_ACFC | CW_SEND_PFC);
            cw_buffer *wire[50];
            for (unsigned round = 0; round < 100; round++) {
                size_t count = 1 + random_below(&p->random, 50);
                pair_send(p, wire, count);
                size_t half = random_below(&p->random, count + 1);
                pair_receive(p, wire, half);
                if (round % 3 != 1) hand_over(p, &p->b, &p->b_streams, &p->b_counters);
                if (round % 3 != 2) hand_over(p, &p->a, &p->a_streams, &p->a_counters);
                pair_receive(p, wire + half, count - half);
            }
            CHECK_EQUAL(p->delivered, p->next_id - 1);
            CHECK_EQUAL(p->out_of_order, 0);
            CHECK_EQUAL(pair_drops(&p->b_counters), 0);
            pair_end(p);
        }
}

// With requests and answers under way.
static void test_stateful_recovery_across_hand_over(void) {
    for (unsigned when = 0; when < 4; when++) {
        link_pair *p = pair_make(128, 0);
        cw_buffer *wire[3];
        pair_send(p, wire, 3);
        pair_receive_one(p, wire[0]);
        pair_lose(p, wire + 1, 1);
        pair_receive_one(p, wire[2]);
        p->now += SECOND;
        pair_expire(p);
        if (when == 0) hand_over(p, &p->b, &p->b_streams, &p->b_counters); // the request is due
        cw_buffer *out[4];
        CHECK(cw_link_poll(p->b, p->now, PAIR_CALL_A, out, 4, &p->pool) >= 1);
        if (when == 1) hand_over(p, &p->b, &p->b_streams, &p->b_counters); // it is on its way
        pair_take(p, cw_link_receive(p->a, p->now, out, 1, p->out, PAIR_OUT, &p->pool), true);
        if (when == 2) hand_over(p, &p->a, &p->a_streams, &p->a_counters); // the answer is due
        CHECK_EQUAL(cw_link_poll(p->a, p->now, PAIR_CALL_B, out, 4, &p->pool), 1);
        if (when == 3) hand_over(p, &p->a, &p->a_streams, &p->a_counters); // the FLUSHED packet is due
        pair_receive_one(p, out[0]);
        pair_send(p, wire, 3);
        pair_receive(p, wire, 3);
        CHECK_EQUAL(p->delivered, 4);
        pair_end(p);
    }
}

// Whatever the octets are, import does not crash, and what it refuses leaves the link as it was.
static void test_bad_images(void) {
    link_pair *p = pair_make(128, 0);
    cw_buffer *wire[20];
    pair_send(p, wire, 20);
    pair_receive(p, wire, 20);
    uint8_t image[CW_LINK_STATE_SIZE], before[CW_LINK_STATE_SIZE], after[CW_LINK_STATE_SIZE];
    size_t length = cw_link_export(p->b, image, sizeof image), used;
    for (size_t cut = 0; cut < length; cut++) CHECK_EQUAL(cw_link_import(p->b, image, cut, &used), CW_INVALID);
    image[2]++;
    CHECK_EQUAL(cw_link_import(p->b, image, length, &used), CW_VERSION);
    image[2]--;
    image[0]++;
    CHECK_EQUAL(cw_link_import(p->b, image, length, &used), CW_INVALID);
    image[0]--;
    cw_link_export(p->b, before, sizeof before);
    for (unsigned n = 0; n < 20000; n++) {
        uint8_t bent[CW_LINK_STATE_SIZE];
        memcpy(bent, image, length);
        for (uint64_t flips = 1 + random_below(&p->random, 4); flips > 0; flips--)
            bent[4 + random_below(&p->random, length - 4)] = (uint8_t)next_random(&p->random);
        cw_link *victim = malloc(cw_link_size()), *was = malloc(cw_link_size());
        cw_mppe_streams streams = {0}, streams_were;
        cw_link_init(victim, &p->shared, &streams, 0, &p->b_counters);
        CHECK_EQUAL(cw_link_import(victim, before, length, &used), CW_OK);
        memcpy(was, victim, cw_link_size());
        streams_were = streams;
        if (cw_link_import(victim, bent, length, &used) == CW_OK) { // then it must be usable
            cw_buffer *packet = pair_forge_mppe(p, victim->window.expected, 0x1000 | victim->receiver.next);
            pair_take(p, cw_link_receive(victim, p->now, &packet, 1, p->out, PAIR_OUT, &p->pool), false);
            cw_link_wipe(victim, &p->pool);
        } else {
            CHECK(memcmp(victim, was, cw_link_size()) == 0 && memcmp(&streams, &streams_were, sizeof streams) == 0);
            cw_link_wipe(victim, &p->pool);
        }
        free(victim);
        free(was);
    }
    cw_link_export(p->b, after, sizeof after);
    CHECK(memcmp(before, after, length) == 0);
    pair_end(p);
}

// No key stays behind in a wiped link.
static void test_wipe(void) {
    link_pair *p = pair_make(128, CW_MPPE_STATELESS);
    cw_buffer *wire[20];
    pair_send(p, wire, 20);
    pair_receive(p, wire, 1);
    pair_receive(p, wire + 2, 18); // held
    pair_lose(p, wire + 1, 1);
    cw_link_wipe(p->b, &p->pool);
    const uint8_t *octets = (const uint8_t *)p->b;
    size_t left = 0;
    for (size_t n = 0; n < cw_link_size(); n++) left += octets[n] != 0;
    CHECK_EQUAL(left, 0);
    CHECK_EQUAL(p->pool.available, PAIR_BUFFERS);
    pair_end(p);
}

int main(void) {
    RUN(midstream);
    RUN(stateful_recovery_across_hand_over);
    RUN(bad_images);
    RUN(wipe);
    FINISH();
}
