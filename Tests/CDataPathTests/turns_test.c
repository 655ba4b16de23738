// Turns: order within a session, equal shares between sessions, bounds, and nothing lost that was not refused.
#include "harness.h"
#include "turns.h"

enum { PLACES = 100, BUFFERS = 8192 };

static cw_buffer buffers[BUFFERS];
static cw_pool pool;

static void fill_pool(void) {
    pool = (cw_pool){0};
    for (unsigned i = 0; i < BUFFERS; i++) cw_pool_give(&pool, &buffers[i]);
}

static uint64_t now;

static bool add(cw_turns *turns, cw_place *place, uint32_t number) {
    if (cw_turns_full(turns)) return false; // then a worker reads nothing
    cw_buffer *buffer = cw_pool_take(&pool);
    buffer->sequence = number;
    if (cw_turns_add(turns, place, buffer, now)) return true;
    cw_pool_give(&pool, buffer);
    return false;
}

static void give(const cw_packets *packets) {
    uint32_t count = 0;
    for (cw_buffer *buffer = packets->first, *next; buffer != NULL; buffer = next, count++) {
        next = buffer->next;
        if (next == NULL) CHECK(buffer == packets->last);
        cw_pool_give(&pool, buffer);
    }
    CHECK_EQUAL(count, packets->count);
}

// Alone there are no turns, and no bound but the one from which nothing more is read.
static void test_one_session(void) {
    cw_turns turns = {0};
    cw_place place = {0};
    cw_packets out;
    fill_pool();
    CHECK(cw_turns_take(&turns, 32, &out) == NULL);
    for (uint32_t i = 0; i < CW_TURNS_WAITING; i++) CHECK(add(&turns, &place, i));
    now += 2 * CW_TURNS_PATIENCE;
    CHECK(cw_turns_full(&turns) && !cw_turns_overloaded(&turns, now));
    for (uint32_t next = 0; next < CW_TURNS_WAITING;) {
        CHECK(cw_turns_take(&turns, 50, &out) == &place);
        CHECK_EQUAL(out.count, next + 50 <= CW_TURNS_WAITING ? 50 : CW_TURNS_WAITING - next);
        for (const cw_buffer *buffer = out.first; buffer != NULL; buffer = buffer->next) CHECK_EQUAL(buffer->sequence, next++);
        give(&out);
    }
    CHECK(cw_turns_take(&turns, 32, &out) == NULL);
    CHECK_EQUAL(pool.available, BUFFERS);
}

// One sends a hundred times as much as the other two: they lose nothing, and what they sent is served in the step that found it.
static void test_a_flood(void) {
    cw_turns turns = {0};
    cw_place flood = {0}, light[2] = {{0}, {0}};
    cw_packets out;
    uint32_t sent[2] = {0}, served[2] = {0}, of_flood = 0, refused = 0;
    fill_pool();
    for (uint32_t step = 0; step < 1000; step++) {
        for (uint32_t i = 0; i < 100; i++) {
            if (!add(&turns, &flood, 0)) refused++;
            if (i == 50 && step % 10 == 0 && (step == 0 || step > 60)) CHECK(add(&turns, &light[step / 10 % 2], sent[step / 10 % 2]++));
        }
        now += 1000000;
        // For a moment nothing is dropped, and nothing more is read; the queue falls to its share once there is reason.
        if (step < 10) CHECK(refused == 0 || cw_turns_full(&turns));
        if (step > 60) CHECK(flood.packets.count <= CW_TURNS_WAITING / 2);
        for (uint32_t budget = 32; budget > 0;) {
            cw_place *place = cw_turns_take(&turns, budget, &out);
            if (place == NULL) break;
            budget -= out.count;
            if (place == &flood) of_flood += out.count;
            for (const cw_buffer *buffer = out.first; place != &flood && buffer != NULL; buffer = buffer->next)
                CHECK_EQUAL(buffer->sequence, served[place - light]++);
            give(&out);
        }
        CHECK(light[0].packets.count == 0 && light[1].packets.count == 0);
    }
    CHECK(served[0] == 47 && served[1] == 47);
    CHECK(of_flood >= 1000 * 31);
    CHECK_EQUAL(of_flood + refused + flood.packets.count, 100000);
}

// All send more than can be served: each gets the same, within one turn.
static void test_equal_shares(void) {
    enum { FEW = 10 };
    cw_turns turns = {.behind = true}; // for long
    static cw_place places[FEW];
    static uint32_t served[FEW];
    cw_packets out;
    fill_pool();
    memset(places, 0, sizeof places);
    memset(served, 0, sizeof served);
    for (uint32_t step = 0; step < 1000; step++) {
        // The more there are of one, the more it would get without turns.
        for (uint32_t i = 0; i < FEW; i++)
            for (uint32_t n = 0; n < 8 + i % 5 * 4; n++) (void)add(&turns, &places[i], 0);
        CHECK(turns.packets <= CW_TURNS_WAITING);
        for (uint32_t budget = 64; budget > 0 && turns.first != NULL;) {
            cw_place *place = cw_turns_take(&turns, budget, &out);
            served[place - places] += out.count;
            budget -= out.count;
            give(&out);
        }
    }
    uint32_t least = UINT32_MAX, most = 0, sum = 0;
    for (uint32_t i = 0; i < FEW; i++) {
        if (served[i] < least) least = served[i];
        if (served[i] > most) most = served[i];
        sum += served[i];
    }
    CHECK_EQUAL(sum, 64000);
    CHECK(most - least <= 3 * CW_TURN);
}

// Whoever leaves takes nothing of the others along, wherever it stands in the line.
static void test_leaving(void) {
    test_random random = {4711};
    cw_turns turns = {0};
    static cw_place places[PLACES];
    static uint32_t next_in[PLACES], next_out[PLACES];
    cw_packets out;
    fill_pool();
    memset(places, 0, sizeof places);
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t n = (uint32_t)random_below(&random, PLACES), packets = 0, listed = 0;
        switch (random_below(&random, 8)) {
        case 0:
            cw_turns_leave(&turns, &places[n], &pool);
            next_out[n] = next_in[n];
            break;
        case 1: case 2: {
            cw_place *place = cw_turns_take(&turns, 1 + (uint32_t)random_below(&random, 40), &out);
            if (place == NULL) break;
            for (const cw_buffer *buffer = out.first; buffer != NULL; buffer = buffer->next)
                CHECK_EQUAL(buffer->sequence, next_out[place - places]++);
            give(&out);
            break;
        }
        default:
            now += random_below(&random, 3) * 500000000;
            if (add(&turns, &places[n], next_in[n])) next_in[n]++;
            break;
        }
        if (i % 100 != 0) continue;
        for (uint32_t p = 0; p < PLACES; p++) {
            packets += places[p].packets.count;
            listed += places[p].listed;
            CHECK_EQUAL(places[p].listed, places[p].packets.count > 0);
            CHECK_EQUAL(places[p].packets.count, next_in[p] - next_out[p]);
        }
        CHECK_EQUAL(packets, turns.packets);
        CHECK_EQUAL(listed, turns.places);
        CHECK_EQUAL(pool.available + packets, BUFFERS);
    }
}

// Behind for a moment: nobody is refused anything. Behind for longer, with others: the share counts; and no more once it has caught up.
static void test_patience(void) {
    cw_turns turns = {0};
    cw_place bulk = {0}, other = {0};
    fill_pool();
    CHECK(add(&turns, &other, 0));
    for (uint32_t i = 0; i < CW_TURNS_WAITING / 2 + 10; i++) CHECK(add(&turns, &bulk, i));
    now += CW_TURNS_PATIENCE - 1;
    CHECK(add(&turns, &bulk, 0));
    now += 1;
    CHECK(!add(&turns, &bulk, 0));
    CHECK(add(&turns, &other, 1));
    cw_turns_caught_up(&turns);
    CHECK(add(&turns, &bulk, 0));
    now += CW_TURNS_PATIENCE;
    CHECK(!add(&turns, &bulk, 0));
    now += CW_TURNS_MEMORY; // the other has been silent for long
    CHECK(add(&turns, &bulk, 0));
}

int main(void) {
    RUN(one_session);
    RUN(a_flood);
    RUN(equal_shares);
    RUN(leaving);
    RUN(patience);
    FINISH();
}
