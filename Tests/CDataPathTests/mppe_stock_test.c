// Stocks of keys: lent, filled, taken away, given back. Whatever happens, the keys in a stock are those that follow.
#include "mppe_stock.h"

#include "harness.h"

enum { OWNERS = 12, STOCKS = 5 };

static cw_mppe_kernels kernels;

static void key_owner(cw_mppe_keys *keys, unsigned n) {
    static const unsigned bits[] = {128, 56, 40};
    uint8_t start[CW_MPPE_KEY_SIZE];
    memset(start, (int)(n + 1), sizeof start);
    CHECK(cw_mppe_suite_init(&keys->suite, bits[n % 3], start, keys->key));
}

static void check_keys(const cw_mppe_keys *keys) {
    uint8_t key[CW_MPPE_KEY_SIZE];
    memcpy(key, keys->key, sizeof key);
    for (unsigned n = 0; n < cw_mppe_stock_count(keys); n++) {
        cw_mppe_key_change(&keys->suite, key, key);
        CHECK(memcmp(key, cw_mppe_stock_key(keys, n), keys->suite.length) == 0);
    }
    CHECK(keys->stock == NULL || keys->stock->owner == keys);
}

static void want(cw_mppe_keys *keys, unsigned count, uint64_t *changes) {
    cw_mppe_chain chain;
    if (cw_mppe_stock_chain(keys, count, changes, &chain)) cw_mppe_batch_keys(&kernels, &chain, 1);
    CHECK(cw_mppe_stock_count(keys) >= count);
}

static void test_chain_goes_on(void) {
    cw_mppe_stocks stocks;
    cw_mppe_keys keys = {0};
    uint8_t reference[CW_MPPE_KEY_SIZE];
    uint64_t changes = 0;
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, 1));
    key_owner(&keys, 0);
    memcpy(reference, keys.key, sizeof reference);
    test_random random = {3};
    unsigned passed = 0;
    for (unsigned round = 0; round < 400; round++) {
        CHECK(cw_mppe_stock_lend(&stocks, &keys));
        unsigned by = 1 + (unsigned)random_below(&random, CW_MPPE_AHEAD);
        want(&keys, by, &changes);
        cw_mppe_stock_pass(&keys, cw_mppe_stock_key(&keys, by - 1), by);
        passed += by;
        for (; by > 0; by--) cw_mppe_key_change(&keys.suite, reference, reference);
        CHECK(memcmp(reference, keys.key, sizeof reference) == 0);
        check_keys(&keys);
        if (random_below(&random, 3) == 0) cw_mppe_stocks_fill(&stocks);
        check_keys(&keys);
    }
    CHECK(changes >= passed && changes <= passed + CW_MPPE_AHEAD); // what is filled is counted when it is wanted
    cw_mppe_stock_return(&keys);
    CHECK(keys.stock == NULL);
    cw_mppe_stocks_destroy(&stocks);
}

static void test_beyond_the_stock(void) {
    cw_mppe_stocks stocks;
    cw_mppe_keys keys = {0};
    uint64_t changes = 0;
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, 1));
    key_owner(&keys, 1);
    CHECK(cw_mppe_stock_lend(&stocks, &keys));
    want(&keys, 3, &changes);
    uint8_t far[CW_MPPE_KEY_SIZE];
    memcpy(far, keys.key, sizeof far);
    for (unsigned n = 0; n < 100; n++) cw_mppe_key_change(&keys.suite, far, far);
    cw_mppe_stock_pass(&keys, far, 100);
    CHECK_EQUAL(cw_mppe_stock_count(&keys), 0);
    want(&keys, 2, &changes);
    check_keys(&keys);
    cw_mppe_stock_return(&keys);
    cw_mppe_stocks_destroy(&stocks);
}

// More directions than stocks.
static void test_taken_away(void) {
    cw_mppe_stocks stocks;
    cw_mppe_keys keys[OWNERS] = {{0}};
    uint64_t changes = 0;
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, STOCKS));
    CHECK(!cw_mppe_stock_lend(NULL, &keys[0]));
    for (unsigned n = 0; n < OWNERS; n++) key_owner(&keys[n], n);
    // In one step nobody loses what the step has used.
    for (unsigned n = 0; n < OWNERS; n++) CHECK_EQUAL(cw_mppe_stock_lend(&stocks, &keys[n]), n < STOCKS);
    CHECK_EQUAL(stocks.lent, STOCKS);
    cw_mppe_stocks_step(&stocks);
    CHECK(cw_mppe_stock_lend(&stocks, &keys[0])); // used again
    for (unsigned n = STOCKS; n < 2 * STOCKS - 1; n++) CHECK(cw_mppe_stock_lend(&stocks, &keys[n]));
    CHECK(keys[0].stock != NULL);
    for (unsigned n = 1; n < STOCKS; n++) CHECK(keys[n].stock == NULL);
    CHECK(!cw_mppe_stock_lend(&stocks, &keys[OWNERS - 1]));
    test_random random = {9};
    for (unsigned round = 0; round < 5000; round++) {
        cw_mppe_keys *one = &keys[random_below(&random, OWNERS)];
        switch (random_below(&random, 8)) {
        case 0: cw_mppe_stocks_step(&stocks); break;
        case 1: cw_mppe_stock_return(one); break;
        case 2: cw_mppe_stocks_fill(&stocks); break;
        case 3:
            if (random_below(&random, 20) == 0) cw_mppe_stocks_trim(&stocks);
            break;
        default:
            if (!cw_mppe_stock_lend(&stocks, one)) break;
            unsigned by = 1 + (unsigned)random_below(&random, 20);
            want(one, by, &changes);
            cw_mppe_stock_pass(one, cw_mppe_stock_key(one, by - 1), by);
        }
        uint32_t lent = 0;
        for (unsigned n = 0; n < OWNERS; n++) {
            lent += keys[n].stock != NULL;
            if (round % 10 == 0) check_keys(&keys[n]);
        }
        CHECK_EQUAL(stocks.lent, lent);
        CHECK(lent <= STOCKS);
    }
    cw_mppe_stocks_trim(&stocks);
    cw_mppe_stocks_trim(&stocks);
    for (unsigned n = 0; n < OWNERS; n++) CHECK(keys[n].stock == NULL);
    CHECK_EQUAL(stocks.lent, 0);
    CHECK_EQUAL(stocks.touched, 0);
    cw_mppe_stocks_destroy(&stocks);
}

// What was used since the last time stays, keys and all; the others' come back wiped, and the next who asks gets one of them.
static void test_trim_takes_from_the_idle(void) {
    cw_mppe_stocks stocks;
    cw_mppe_keys keys[STOCKS] = {{0}};
    uint64_t changes = 0;
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, STOCKS));
    for (unsigned n = 0; n < STOCKS; n++) {
        key_owner(&keys[n], n);
        CHECK(cw_mppe_stock_lend(&stocks, &keys[n]));
        want(&keys[n], 8, &changes);
        cw_mppe_stock_pass(&keys[n], cw_mppe_stock_key(&keys[n], 0), 1); // all are low now
    }
    cw_mppe_stocks_trim(&stocks);
    CHECK_EQUAL(stocks.lent, STOCKS);
    for (unsigned n = 0; n < 2; n++) CHECK(cw_mppe_stock_lend(&stocks, &keys[2 * n])); // 0 and 2
    cw_mppe_stocks_trim(&stocks);
    for (unsigned n = 0; n < STOCKS; n++) {
        CHECK_EQUAL(keys[n].stock != NULL, n == 0 || n == 2);
        CHECK_EQUAL(cw_mppe_stock_count(&keys[n]), n == 0 || n == 2 ? 7 : 0);
        check_keys(&keys[n]);
    }
    CHECK_EQUAL(stocks.touched, 3);
    for (size_t i = 0; i < sizeof stocks.stocks[1].ring; i++) CHECK_EQUAL(((const uint8_t *)stocks.stocks[1].ring)[i], 0);
    const uint8_t *behind = (const uint8_t *)&stocks.stocks[3];
    for (size_t i = 0; i < (STOCKS - 3) * sizeof *stocks.stocks; i++) CHECK_EQUAL(behind[i], 0);
    while (stocks.low != NULL) cw_mppe_stocks_fill(&stocks);
    CHECK_EQUAL(cw_mppe_stock_count(&keys[2]), CW_MPPE_SPARE);
    for (unsigned n = 0; n < STOCKS; n++) {
        CHECK(cw_mppe_stock_lend(&stocks, &keys[n]));
        want(&keys[n], 20, &changes);
        check_keys(&keys[n]);
    }
    CHECK_EQUAL(stocks.lent, STOCKS);
    for (unsigned n = 0; n < STOCKS; n++) cw_mppe_stock_return(&keys[n]);
    cw_mppe_stocks_trim(&stocks);
    CHECK_EQUAL(stocks.touched, 0);
    cw_mppe_stocks_destroy(&stocks);
}

// An idle worker ends: after some calls there is nothing left to fill, and nobody has more than the spare keys from it.
static void test_fill_is_bounded(void) {
    cw_mppe_stocks stocks;
    static cw_mppe_keys keys[100];
    uint64_t changes = 0;
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, 100));
    for (unsigned n = 0; n < 100; n++) {
        key_owner(&keys[n], n);
        CHECK(cw_mppe_stock_lend(&stocks, &keys[n]));
        want(&keys[n], 1, &changes);
        cw_mppe_stock_pass(&keys[n], cw_mppe_stock_key(&keys[n], 0), 1);
    }
    unsigned calls = 0;
    for (; stocks.low != NULL && calls < 1000; calls++) cw_mppe_stocks_fill(&stocks);
    CHECK(calls > 1 && calls < 20);
    for (unsigned n = 0; n < 100; n++) {
        CHECK_EQUAL(cw_mppe_stock_count(&keys[n]), CW_MPPE_SPARE);
        check_keys(&keys[n]);
        cw_mppe_stock_return(&keys[n]);
    }
    cw_mppe_stocks_fill(&stocks);
    CHECK_EQUAL(changes, 100);
    // Wiped.
    for (unsigned n = 0; n < stocks.touched; n++)
        for (size_t i = 0; i < sizeof stocks.stocks[n].ring; i++) CHECK_EQUAL(((const uint8_t *)stocks.stocks[n].ring)[i], 0);
    cw_mppe_stocks_destroy(&stocks);
}

int main(void) {
    const cw_cpu cpu = cw_cpu_probe();
    kernels = cw_mppe_kernels_make(&cpu, cpu.level == CW_ISA_SCALAR ? CW_MPPE_RC4_INTERLEAVED : CW_MPPE_RC4_ROWS);
    RUN(chain_goes_on);
    RUN(beyond_the_stock);
    RUN(taken_away);
    RUN(trim_takes_from_the_idle);
    RUN(fill_is_bounded);
    FINISH();
}
