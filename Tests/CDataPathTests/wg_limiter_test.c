// The handshake limiter: its numbers, its bound, and a random run against a plain model.
#include "harness.h"
#include "limiter.h"

static const uint64_t second = 1000000000, start = 77 * second;

static cw_address ipv4(uint32_t number) {
    return (cw_address){.family = 4, .bytes = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
}

static cw_address ipv6(uint32_t network, uint32_t host) {
    cw_address a = ipv4(network);
    a.family = 6;
    memmove(a.bytes + 4, a.bytes, 4);
    memcpy(a.bytes, "\x20\x01\x0d\xb8", 4);
    memcpy(a.bytes + 12, &host, 4);
    return a;
}

static unsigned allowed(cw_limiter *limiter, cw_address source, unsigned tries, uint64_t now) {
    unsigned n = 0;
    for (unsigned i = 0; i < tries; i++) n += cw_limiter_allow(limiter, &source, now);
    return n;
}

static void test_rate_and_burst(void) {
    cw_limiter *limiter = cw_limiter_create(16);
    CHECK_EQUAL(allowed(limiter, ipv4(1), 100, start), 5);
    CHECK_EQUAL(allowed(limiter, ipv4(1), 100, start + second / 20 - 1), 0);
    CHECK_EQUAL(allowed(limiter, ipv4(1), 100, start + second / 20), 1);
    CHECK_EQUAL(allowed(limiter, ipv4(1), 100, start + 3 * second / 20), 2);
    CHECK_EQUAL(allowed(limiter, ipv4(2), 100, start + 3 * second / 20), 5); // another source has its own
    unsigned n = 0;
    for (unsigned ms = 1000; ms < 11000; ms++) n += allowed(limiter, ipv4(1), 1, start + ms * (second / 1000));
    CHECK(n >= 204 && n <= 205); // ten seconds, and the burst that was saved
    CHECK_EQUAL(allowed(limiter, ipv4(1), 100, start + 60 * second), 5);
    cw_limiter_destroy(limiter);
}

static void test_what_a_source_is(void) {
    cw_limiter *limiter = cw_limiter_create(16);
    CHECK_EQUAL(allowed(limiter, ipv6(1, 1), 100, start), 5);
    CHECK_EQUAL(allowed(limiter, ipv6(1, 2), 100, start), 0); // the same /64
    CHECK_EQUAL(allowed(limiter, ipv6(2, 1), 100, start), 5);
    cw_address four = {.family = 4, .bytes = {0x20, 0x01, 0x0d, 0xb8}}; // as the first half of a /64 with zeros behind
    cw_address six = {.family = 6, .bytes = {0x20, 0x01, 0x0d, 0xb8}};
    CHECK_EQUAL(allowed(limiter, four, 100, start), 5);
    CHECK_EQUAL(allowed(limiter, six, 100, start), 5);
    CHECK_EQUAL(allowed(limiter, (cw_address){.family = 0}, 100, start), 0);
    cw_limiter_destroy(limiter);
}

static void test_full_table_refuses_and_recovers(void) {
    enum { capacity = 1000 };
    cw_limiter *limiter = cw_limiter_create(capacity);
    for (uint32_t i = 0; i < capacity; i++) CHECK_EQUAL(allowed(limiter, ipv4(i), 1, start), 1);
    for (uint32_t i = capacity; i < 2 * capacity; i++) CHECK_EQUAL(allowed(limiter, ipv4(i), 1, start), 0);
    CHECK_EQUAL(allowed(limiter, ipv4(0), 100, start), 4); // who is known goes on
    // Forgotten a second after the last token is back; those that went on are kept longer.
    uint64_t forgotten = start + second + 5 * second / 20;
    CHECK_EQUAL(allowed(limiter, ipv4(1), 1, start + second), 1);
    CHECK_EQUAL(allowed(limiter, ipv4(5000), 1, forgotten - 1), 0);
    CHECK_EQUAL(allowed(limiter, ipv4(5000), 1, forgotten), 1);
    unsigned n = 0;
    for (uint32_t i = 6000; i < 6000 + 2 * capacity; i++) n += allowed(limiter, ipv4(i), 1, forgotten);
    CHECK_EQUAL(n, capacity - 2); // all but 5000 and the one that went on
    CHECK_EQUAL(allowed(limiter, ipv4(1), 5, forgotten), 5); // and that one is full by now
    cw_limiter_destroy(limiter);
}

// A source that never stops stays known, so it cannot win by being forgotten.
static void test_who_does_not_stop_is_not_forgotten(void) {
    cw_limiter *limiter = cw_limiter_create(2);
    unsigned n = 0;
    for (unsigned ms = 0; ms < 10000; ms++) {
        n += allowed(limiter, ipv4(7), 3, start + ms * (second / 1000));
        (void)allowed(limiter, ipv4(100 + ms), 1, start + ms * (second / 1000));
    }
    CHECK(n >= 203 && n <= 205);
    cw_limiter_destroy(limiter);
}

static void test_of_one(void) {
    cw_limiter *limiter = cw_limiter_create(1);
    CHECK_EQUAL(allowed(limiter, ipv4(1), 6, start), 5);
    CHECK_EQUAL(allowed(limiter, ipv4(2), 6, start), 0);
    CHECK_EQUAL(allowed(limiter, ipv4(2), 6, start + 2 * second), 5);
    cw_limiter_destroy(limiter);
    CHECK(cw_limiter_create(0) == NULL);
    cw_limiter_destroy(NULL);
}

// The model: for each source the times at which its tokens were taken. A token is back 50 ms after the one before it.
enum { MODEL_SOURCES = 40, MODEL_CAPACITY = 24 };

static void test_random_against_model(void) {
    cw_limiter *limiter = cw_limiter_create(MODEL_CAPACITY);
    struct {
        bool known;
        uint64_t fill; // of a leaky bucket, in ns of credit that is used, at `at`
        uint64_t at, taken;
    } model[MODEL_SOURCES] = {{0}};
    test_random random = {4711};
    uint64_t now = start;
    unsigned yes = 0, over_rate = 0, table_full = 0;
    const uint64_t token = second / 20;
    for (unsigned step = 0; step < 200000; step++) {
        // On the grid of tokens, so that no rounding of either side shows.
        uint64_t jump = random_below(&random, 1000);
        if (jump < 15) now += token * random_below(&random, 3);
        else if (jump == 999) now += token * random_below(&random, 60);
        unsigned known = 0;
        for (unsigned i = 0; i < MODEL_SOURCES; i++) {
            if (model[i].known && now - model[i].taken >= second + 5 * token) model[i].known = false;
            known += model[i].known;
        }
        unsigned i = (unsigned)random_below(&random, MODEL_SOURCES);
        bool expected = false;
        if (!model[i].known && known == MODEL_CAPACITY) table_full++;
        else {
            uint64_t gone = now - model[i].at;
            uint64_t fill = !model[i].known || gone >= model[i].fill ? 0 : model[i].fill - gone;
            expected = fill + token <= 5 * token;
            if (expected) {
                model[i].known = true;
                model[i].fill = fill + token;
                model[i].at = model[i].taken = now;
                yes++;
            } else over_rate++;
        }
        cw_address source = i % 2 == 0 ? ipv4(i) : ipv6(i, step);
        CHECK(cw_limiter_allow(limiter, &source, now) == expected);
    }
    CHECK(yes > 10000 && over_rate > 1000 && table_full > 1000); // the run met every case
    cw_limiter_destroy(limiter);
}

int main(void) {
    RUN(rate_and_burst);
    RUN(what_a_source_is);
    RUN(full_table_refuses_and_recovers);
    RUN(who_does_not_stop_is_not_forgotten);
    RUN(of_one);
    RUN(random_against_model);
    FINISH();
}
