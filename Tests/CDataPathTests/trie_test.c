// The prefix trie against a plain list, with random prefixes of both families.
#include "harness.h"
#include "prefix_trie.h"

enum { LIST = 600 };

static cw_prefix list[LIST];
static uint64_t values[LIST];
static unsigned listed;

static uint64_t find_in_list(uint8_t family, const uint8_t *address) {
    int best = -1;
    for (unsigned i = 0; i < listed; i++)
        if (cw_prefix_contains(&list[i], family, address) && (best < 0 || list[i].length > list[best].length)) best = (int)i;
    return best < 0 ? 0 : values[best];
}

static int index_in_list(const cw_prefix *prefix) {
    for (unsigned i = 0; i < listed; i++)
        if (memcmp(&list[i], prefix, sizeof *prefix) == 0) return (int)i;
    return -1;
}

// Few different bits, so that prefixes nest and meet often.
static void random_address(test_random *random, uint8_t family, uint8_t *bytes) {
    static const uint8_t choice[] = {0x00, 0x01, 0x80, 0xFF, 0x0A};
    memset(bytes, 0, 16);
    for (unsigned i = 0; i < (family == 4 ? 4u : 16u); i++) bytes[i] = choice[random_below(random, sizeof choice)];
}

static cw_prefix random_prefix(test_random *random) {
    cw_prefix prefix = {.address.family = random_below(random, 2) == 0 ? 4 : 6};
    unsigned width = prefix.address.family == 4 ? 32 : 128;
    random_address(random, prefix.address.family, prefix.address.bytes);
    prefix.length = (uint8_t)random_below(random, width + 1);
    for (unsigned bit = prefix.length; bit < width; bit++) prefix.address.bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
    return prefix;
}

static void test_random_against_list(void) {
    cw_trie trie;
    test_random random = {7};
    CHECK(cw_trie_create(&trie, LIST));
    for (unsigned step = 1; step <= 60000; step++) {
        cw_prefix prefix = random_prefix(&random);
        CHECK(cw_prefix_valid(&prefix));
        int at = index_in_list(&prefix);
        if (random_below(&random, 3) != 0) {
            if (at < 0 && listed == LIST) continue;
            if (at < 0) at = (int)listed++;
            list[at] = prefix;
            values[at] = step;
            CHECK(cw_trie_set(&trie, &prefix, step));
        } else if (listed > 0) {
            if (at < 0) {
                CHECK(!cw_trie_remove(&trie, &prefix, step));
                at = (int)random_below(&random, listed);
            }
            CHECK(!cw_trie_remove(&trie, &list[at], values[at] + 1)); // somebody else's value
            CHECK(cw_trie_remove(&trie, &list[at], values[at]));
            list[at] = list[--listed];
            values[at] = values[listed];
        }
        for (unsigned i = 0; i < 4; i++) {
            uint8_t address[16], family = i % 2 == 0 ? 4 : 6;
            random_address(&random, family, address);
            CHECK_EQUAL(cw_trie_find(&trie, family, address), find_in_list(family, address));
        }
    }
    CHECK(listed > 100);
    while (listed > 0) {
        listed--;
        CHECK(cw_trie_remove(&trie, &list[listed], values[listed]));
    }
    CHECK_EQUAL(trie.root[0], 0);
    CHECK_EQUAL(trie.root[1], 0);
    cw_trie_destroy(&trie);
}

// The pool is enough for as many prefixes as it was made for, and is whole again when they are gone.
static void test_pool(void) {
    cw_trie trie;
    test_random random = {9};
    CHECK(cw_trie_create(&trie, 100));
    for (unsigned round = 0; round < 20; round++) {
        cw_prefix prefixes[100];
        unsigned count = 0;
        while (count < 100) {
            cw_prefix prefix = random_prefix(&random);
            bool known = false;
            for (unsigned i = 0; i < count; i++) known = known || memcmp(&prefixes[i], &prefix, sizeof prefix) == 0;
            if (known) continue;
            CHECK(cw_trie_set(&trie, &prefix, count + 1));
            prefixes[count++] = prefix;
        }
        for (unsigned i = 0; i < count; i++) CHECK(cw_trie_remove(&trie, &prefixes[i], i + 1));
    }
    cw_trie_destroy(&trie);
    CHECK(cw_trie_create(&trie, 1));
    cw_prefix one = {.address = {.bytes = {10}, .family = 4}, .length = 8}, two = {.address = {.bytes = {11}, .family = 4}, .length = 8};
    CHECK(cw_trie_set(&trie, &one, 1));
    CHECK(!cw_trie_set(&trie, &two, 2)); // exhausted, and nothing lost
    CHECK_EQUAL(cw_trie_find(&trie, 4, one.address.bytes), 1);
    CHECK_EQUAL(cw_trie_find(&trie, 4, two.address.bytes), 0);
    cw_trie_destroy(&trie);
}

static void test_validity(void) {
    cw_prefix prefix = {.address = {.bytes = {10, 0, 0, 1}, .family = 4}, .length = 32};
    CHECK(cw_prefix_valid(&prefix));
    prefix.length = 24;
    CHECK(!cw_prefix_valid(&prefix));
    prefix.address.bytes[3] = 0;
    CHECK(cw_prefix_valid(&prefix));
    prefix.length = 33;
    CHECK(!cw_prefix_valid(&prefix));
    prefix.address.family = 6;
    CHECK(cw_prefix_valid(&prefix));
    prefix.length = 129;
    CHECK(!cw_prefix_valid(&prefix));
    prefix = (cw_prefix){.length = 0};
    CHECK(!cw_prefix_valid(&prefix));
}

int main(void) {
    RUN(random_against_list);
    RUN(pool);
    RUN(validity);
    FINISH();
}
