// Ranges of outer sources: a table, and random prefixes against the plain reading of the lists.
#include "sources.h"

#include "harness.h"
#include "link_bytes.h"

static cw_prefix prefix(uint32_t address, uint8_t length) {
    cw_prefix made = {.address.family = 4, .length = length};
    cw_put32(made.address.bytes, address);
    return made;
}

static void test_everything_without_lists(void) {
    cw_source_range ranges[1];
    CHECK_EQUAL(cw_sources_capacity(0, 0), 1);
    CHECK_EQUAL(cw_sources_build(NULL, 0, NULL, 0, ranges), 1);
    CHECK(cw_sources_permit(ranges, 1, 0) && cw_sources_permit(ranges, 1, 0x0A000001) && cw_sources_permit(ranges, 1, UINT32_MAX));
}

static void test_table(void) {
    const cw_prefix allowed[] = {prefix(0x0A000000, 8), prefix(0xC0A80000, 16)}, blocked[] = {prefix(0x0A010200, 24), prefix(0xC0A80001, 32)};
    cw_source_range ranges[4];
    uint32_t count = cw_sources_build(allowed, 2, blocked, 2, ranges);
    CHECK_EQUAL(count, 4);
    static const struct {
        uint32_t source;
        bool permitted;
    } table[] = {
        {0x09FFFFFF, false}, {0x0A000000, true},  {0x0A0101FF, true},  {0x0A010200, false}, {0x0A0102FF, false}, {0x0A010300, true},
        {0x0AFFFFFF, true},  {0x0B000000, false}, {0xC0A7FFFF, false}, {0xC0A80000, true},  {0xC0A80001, false}, {0xC0A80002, true},
        {0xC0A8FFFF, true},  {0xC0A90000, false}, {0, false},          {UINT32_MAX, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) CHECK_EQUAL(cw_sources_permit(ranges, count, table[i].source), table[i].permitted);
}

static void test_edges(void) {
    cw_source_range ranges[4];
    const cw_prefix all = prefix(0, 0), last = prefix(UINT32_MAX, 32), first = prefix(0, 32), unclean = prefix(0x0A0000FF, 8);
    CHECK_EQUAL(cw_sources_build(NULL, 0, &all, 1, ranges), 0);
    CHECK(!cw_sources_permit(ranges, 0, 5));
    CHECK_EQUAL(cw_sources_build(&all, 1, &last, 1, ranges), 1);
    CHECK(!cw_sources_permit(ranges, 1, UINT32_MAX) && cw_sources_permit(ranges, 1, UINT32_MAX - 1));
    CHECK_EQUAL(cw_sources_build(&all, 1, &first, 1, ranges), 1);
    CHECK(!cw_sources_permit(ranges, 1, 0) && cw_sources_permit(ranges, 1, 1));
    CHECK_EQUAL(cw_sources_build(&unclean, 1, NULL, 0, ranges), 1);
    CHECK(cw_sources_permit(ranges, 1, 0x0A000000) && !cw_sources_permit(ranges, 1, 0x0B000000));
}

static bool listed(const cw_prefix *prefixes, uint32_t count, uint32_t source) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t mask = prefixes[i].length == 0 ? 0 : UINT32_MAX << (32 - prefixes[i].length);
        if (((cw_get32(prefixes[i].address.bytes) ^ source) & mask) == 0) return true;
    }
    return false;
}

static void test_random_lists(void) {
    enum { most = 12 };
    test_random random = {77};
    for (int round = 0; round < 3000; round++) {
        cw_prefix lists[2][most];
        uint32_t counts[2];
        for (int l = 0; l < 2; l++) {
            counts[l] = (uint32_t)random_below(&random, most + 1);
            // Addresses with few different bits, so that they overlap, touch and repeat.
            for (uint32_t i = 0; i < counts[l]; i++)
                lists[l][i] = prefix((uint32_t)(random_below(&random, 4) << 30 | random_below(&random, 64) << 2 | random_below(&random, 4)),
                                     (uint8_t)(random_below(&random, 4) == 0 ? random_below(&random, 33) : 22 + random_below(&random, 11)));
        }
        cw_source_range ranges[2 * most + 1];
        uint32_t count = cw_sources_build(lists[0], counts[0], lists[1], counts[1], ranges);
        CHECK(count <= cw_sources_capacity(counts[0], counts[1]));
        for (uint32_t i = 0; i < count; i++) CHECK(ranges[i].first <= ranges[i].last && (i == 0 || ranges[i - 1].last < ranges[i].first));
        for (int i = 0; i < 50; i++) {
            uint32_t source = (uint32_t)(random_below(&random, 4) << 30 | random_below(&random, 300));
            bool expected = (counts[0] == 0 || listed(lists[0], counts[0], source)) && !listed(lists[1], counts[1], source);
            CHECK_EQUAL(cw_sources_permit(ranges, count, source), expected);
        }
    }
}

int main(void) {
    RUN(everything_without_lists);
    RUN(table);
    RUN(edges);
    RUN(random_lists);
    FINISH();
}
