// The replay window: a numbered truth table, its edges, and random counters against a plain list.
#include "harness.h"
#include "replay.h"

#define LIMIT UINT64_C(0xFFFFFFFFFFFFDFFE) // REJECT_AFTER_MESSAGES
enum { W = CW_REPLAY_WINDOW };

typedef struct row {
    uint64_t counter;
    bool accepted;
} row;

static void play(const row *rows, size_t count) {
    cw_replay replay;
    cw_replay_reset(&replay);
    for (size_t i = 0; i < count; i++) {
        bool accepted = cw_replay_accept(&replay, rows[i].counter, LIMIT);
        if (accepted != rows[i].accepted) fprintf(stderr, "row %zu, counter %llu\n", i + 1, (unsigned long long)rows[i].counter);
        CHECK_EQUAL(accepted, rows[i].accepted);
    }
}
#define PLAY(...) play((const row[]){__VA_ARGS__}, sizeof((const row[]){__VA_ARGS__}) / sizeof(row))

static void test_truth_table(void) {
    PLAY(
        /*  1 */ {0, true}, /* the first counter is 0 */
        /*  2 */ {0, false},
        /*  3 */ {1, true},
        /*  4 */ {1, false},
        /*  5 */ {9, true}, /* a gap */
        /*  6 */ {8, true}, /* filled, out of order */
        /*  7 */ {7, true},
        /*  8 */ {7, false},
        /*  9 */ {W, true}, /* 0 is the oldest of the window now */
        /* 10 */ {0, false}, /* seen */
        /* 11 */ {2, true}, /* not seen */
        /* 12 */ {W - 1, true},
        /* 13 */ {W - 1, false},
        /* 14 */ {W + 1, true},
        /* 15 */ {0, false}, /* too old */
        /* 16 */ {3, true},
        /* 17 */ {W + 4, true},
        /* 18 */ {3, false},
        /* 19 */ {4, true}, /* just in the window */
        /* 20 */ {4, false},
        /* 21 */ {2 * W + 5, true}, /* everything that was in the window is out of it */
        /* 22 */ {W + 4, false},
        /* 23 */ {W + 5, true}, /* the oldest */
        /* 24 */ {W + 6, true},
        /* 25 */ {3 * W + 10, true},
        /* 26 */ {2 * W + 5, false},
        /* 27 */ {(UINT64_C(1) << 32) + 3, true}, /* far ahead: all clear */
        /* 28 */ {(UINT64_C(1) << 32) + 2, true},
        /* 29 */ {(UINT64_C(1) << 32) + 3 - W, true},
        /* 30 */ {(UINT64_C(1) << 32) + 2 - W, false},
        /* 31 */ {0, false});
}

static void test_limit(void) {
    PLAY({LIMIT, false}, {UINT64_MAX, false}, {LIMIT - 1, true}, {LIMIT - 1, false}, {LIMIT, false}, {LIMIT - 1 - W, true},
         {LIMIT - 2 - W, false}, {LIMIT - 2, true}, {0, false});
}

// A window's worth backwards: each once.
static void test_backwards(void) {
    cw_replay replay;
    cw_replay_reset(&replay);
    for (uint64_t counter = W + 1; counter-- > 0;) CHECK(cw_replay_accept(&replay, counter, LIMIT));
    for (uint64_t counter = 0; counter <= W; counter++) CHECK(!cw_replay_accept(&replay, counter, LIMIT));
    cw_replay_reset(&replay);
    CHECK(cw_replay_accept(&replay, W + 1, LIMIT));
    CHECK(!cw_replay_accept(&replay, 0, LIMIT)); // one more than the window
    CHECK(cw_replay_accept(&replay, 1, LIMIT));
}

// Jumps of every length around a word and around the whole ring leave no bit behind and take none with them.
static void test_jumps(void) {
    for (uint64_t start = 0; start < 130; start += 13) {
        for (uint64_t jump = 1; jump < 2 * CW_REPLAY_BITS; jump += jump < 200 ? 1 : 61) {
            cw_replay replay;
            cw_replay_reset(&replay);
            CHECK(cw_replay_accept(&replay, start, LIMIT));
            CHECK(cw_replay_accept(&replay, start + jump, LIMIT));
            CHECK(!cw_replay_accept(&replay, start + jump, LIMIT));
            CHECK(!cw_replay_accept(&replay, start, LIMIT));
            for (uint64_t i = start + 1; i < start + jump; i += 1 + jump / 32)
                CHECK_EQUAL(cw_replay_accept(&replay, i, LIMIT), start + jump - i <= W);
        }
    }
}

static void test_random_against_list(void) {
    enum { SPAN = 40000 };
    static bool seen[SPAN];
    cw_replay replay;
    test_random random = {5};
    uint64_t greatest = 0, accepted = 0;
    bool any = false;
    cw_replay_reset(&replay);
    for (unsigned step = 0; step < 400000; step++) {
        uint64_t middle = (uint64_t)step * (SPAN - 12000) / 400000;
        uint64_t counter = middle + random_below(&random, 12000);
        bool expected = !seen[counter] && (!any || counter > greatest || greatest - counter <= W);
        CHECK_EQUAL(cw_replay_accept(&replay, counter, LIMIT), expected);
        if (!expected) continue;
        seen[counter] = any = true;
        accepted++;
        if (counter > greatest) greatest = counter;
    }
    CHECK(accepted > 20000);
}

int main(void) {
    RUN(truth_table);
    RUN(limit);
    RUN(backwards);
    RUN(jumps);
    RUN(random_against_list);
    FINISH();
}
