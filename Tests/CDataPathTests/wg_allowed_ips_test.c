// Allowed IPs: longest prefix against a plain list, prefixes that move, lists in order, size and speed.
#include <time.h>

#include "allowed_ips.h"
#include "harness.h"
#include "prefix_trie.h"

static cw_prefix v4(uint32_t address, unsigned length) {
    cw_prefix prefix = {.address = {.bytes = {(uint8_t)(address >> 24), (uint8_t)(address >> 16), (uint8_t)(address >> 8), (uint8_t)address},
                                    .family = 4},
                        .length = (uint8_t)length};
    return prefix;
}

static cw_prefix v6(uint8_t first, uint8_t last, unsigned length) {
    cw_prefix prefix = {.address = {.bytes = {[0] = 0x20, [1] = first, [15] = last}, .family = 6}, .length = (uint8_t)length};
    return prefix;
}

static void add(cw_allowed_ips *table, cw_prefix prefix, cw_wg_peer *peer) {
    CHECK(cw_allowed_ips_reserve(table, 1));
    cw_allowed_ips_set(table, &prefix, peer);
}

static cw_wg_peer *find4(const cw_allowed_ips *table, uint32_t address) {
    cw_prefix prefix = v4(address, 32);
    return cw_allowed_ips_find(table, 4, prefix.address.bytes);
}

static bool same(cw_prefix a, cw_prefix b) { return memcmp(&a, &b, sizeof a) == 0; }

static void test_longest_prefix(void) {
    cw_wg_peer a = {0}, b = {0}, c = {0}, d = {0};
    cw_allowed_ips *table = cw_allowed_ips_create();
    CHECK(find4(table, 0x0A000001) == NULL); // empty
    add(table, v4(0, 0), &a);
    add(table, v4(0x0A000000, 8), &b);
    add(table, v4(0x0A010000, 16), &c);
    add(table, v4(0x0A010203, 32), &d);
    CHECK(find4(table, 0x08080808) == &a);
    CHECK(find4(table, 0x0A020202) == &b);
    CHECK(find4(table, 0x0A010202) == &c);
    CHECK(find4(table, 0x0A010203) == &d);
    CHECK(find4(table, 0xFFFFFFFF) == &a);
    uint8_t other[16] = {0x20, 1};
    CHECK(cw_allowed_ips_find(table, 6, other) == NULL); // the families do not mix
    add(table, v6(1, 0, 16), &b);
    add(table, v6(1, 7, 128), &c);
    CHECK(cw_allowed_ips_find(table, 6, other) == &b);
    other[15] = 7;
    CHECK(cw_allowed_ips_find(table, 6, other) == &c);
    other[1] = 2;
    CHECK(cw_allowed_ips_find(table, 6, other) == NULL);
    add(table, v6(0, 0, 0), &d); // ::/0, written with a bit after its length
    CHECK(cw_allowed_ips_find(table, 6, other) == &d);
    cw_allowed_ips_destroy(table);
    cw_allowed_ips_destroy(NULL);
}

static void test_a_prefix_has_one_peer(void) {
    cw_wg_peer a = {0}, b = {0};
    cw_prefix list[4];
    cw_allowed_ips *table = cw_allowed_ips_create();
    add(table, v4(0x0A000001, 32), &a);
    add(table, v4(0x0A000002, 32), &a);
    add(table, v4(0x0A000003, 32), &a);
    CHECK_EQUAL(a.allowed_ip_count, 3);
    add(table, v4(0x0A000002, 32), &b); // moves
    CHECK_EQUAL(a.allowed_ip_count, 2);
    CHECK_EQUAL(b.allowed_ip_count, 1);
    CHECK(find4(table, 0x0A000002) == &b);
    CHECK_EQUAL(cw_allowed_ips_list(table, &a, list, 4), 2);
    CHECK(same(list[0], v4(0x0A000001, 32)) && same(list[1], v4(0x0A000003, 32)));
    add(table, v4(0x0A000002, 32), &b); // again: nothing changes
    CHECK_EQUAL(b.allowed_ip_count, 1);
    CHECK_EQUAL(cw_allowed_ips_list(table, &b, list, 4), 1);
    add(table, v4(0x0A000002, 32), &a); // and back, now the last of its peer
    CHECK_EQUAL(cw_allowed_ips_list(table, &a, list, 4), 3);
    CHECK(same(list[2], v4(0x0A000002, 32)));
    CHECK_EQUAL(b.allowed_ip_count, 0);
    CHECK_EQUAL(cw_allowed_ips_list(table, &b, list, 4), 0);
    CHECK_EQUAL(cw_allowed_ips_list(table, &a, list, 2), 2); // no more than there is room for
    cw_allowed_ips_destroy(table);
}

// Bits after the length do not make another prefix.
static void test_host_bits(void) {
    cw_wg_peer a = {0}, b = {0};
    cw_prefix list[2];
    cw_allowed_ips *table = cw_allowed_ips_create();
    add(table, v4(0x0A0000FF, 9), &a);
    add(table, v4(0x0A7F0001, 9), &b);
    CHECK_EQUAL(a.allowed_ip_count, 0);
    CHECK_EQUAL(cw_allowed_ips_list(table, &b, list, 2), 1);
    CHECK(same(list[0], v4(0x0A000000, 9)));
    CHECK(find4(table, 0x0A7FFFFF) == &b);
    CHECK(find4(table, 0x0A800000) == NULL);
    cw_allowed_ips_destroy(table);
}

static void test_remove_peer(void) {
    cw_wg_peer a = {0}, b = {0};
    cw_prefix list[1];
    cw_allowed_ips *table = cw_allowed_ips_create();
    for (uint32_t i = 0; i < 100; i++) add(table, v4(0x0A000000 + i, 32), i % 2 == 0 ? &a : &b);
    add(table, v4(0x0A000000, 8), &a);
    cw_allowed_ips_remove_peer(table, &a);
    CHECK_EQUAL(a.allowed_ip_count, 0);
    CHECK_EQUAL(b.allowed_ip_count, 50);
    CHECK_EQUAL(cw_allowed_ips_list(table, &a, list, 1), 0);
    for (uint32_t i = 0; i < 100; i++) CHECK(find4(table, 0x0A000000 + i) == (i % 2 == 0 ? NULL : &b));
    cw_allowed_ips_remove_peer(table, &a); // nothing left
    size_t bytes = cw_allowed_ips_bytes(table);
    for (uint32_t i = 0; i < 50; i++) add(table, v4(0x0B000000 + i, 32), &a); // into the freed places
    CHECK_EQUAL(cw_allowed_ips_bytes(table), bytes);
    CHECK(find4(table, 0x0B000031) == &a);
    cw_allowed_ips_remove_peer(table, &a);
    cw_allowed_ips_remove_peer(table, &b);
    CHECK(find4(table, 0x0A000001) == NULL);
    cw_allowed_ips_destroy(table);
}

// What reserve allocates is only taken into use by set: whoever looks things up in between sees the old memory, and a removal in between
// is not undone.
static void test_reserve_changes_nothing(void) {
    cw_wg_peer a = {0}, b = {0};
    cw_allowed_ips *table = cw_allowed_ips_create();
    add(table, v4(0x0A000001, 32), &a);
    add(table, v4(0x0A000002, 32), &b);
    CHECK(cw_allowed_ips_reserve(table, 1000));
    CHECK(find4(table, 0x0A000001) == &a);
    cw_allowed_ips_remove_peer(table, &a);
    for (uint32_t i = 0; i < 1000; i++) {
        cw_prefix prefix = v4(0x0C000000 + i, 32);
        cw_allowed_ips_set(table, &prefix, &a);
    }
    CHECK(find4(table, 0x0A000001) == NULL);
    CHECK(find4(table, 0x0A000002) == &b);
    CHECK(find4(table, 0x0C0003E7) == &a);
    CHECK(cw_allowed_ips_reserve(table, 0));
    CHECK(!cw_allowed_ips_reserve(table, SIZE_MAX));
    cw_allowed_ips_destroy(table);
}

// ---- Against a plain list -------------------------------------------------------------------------------------------

enum { LIST = 400, PEERS = 7 };
static cw_prefix list[LIST];
static cw_wg_peer *owners[LIST];
static unsigned listed;

static void test_random_against_list(void) {
    static cw_wg_peer peers[PEERS];
    test_random random = {12};
    cw_allowed_ips *table = cw_allowed_ips_create();
    for (unsigned step = 0; step < 40000; step++) {
        cw_wg_peer *peer = &peers[random_below(&random, PEERS)];
        bool ipv6 = random_below(&random, 2) == 0;
        unsigned width = ipv6 ? 128 : 32, length = (unsigned)random_below(&random, width + 1);
        cw_prefix prefix = {.address.family = ipv6 ? 6 : 4, .length = (uint8_t)length};
        for (unsigned i = 0; i < width / 8; i++) prefix.address.bytes[i] = random_below(&random, 3) == 0 ? 0x80 : 0;
        for (unsigned bit = length; bit < width; bit++) prefix.address.bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
        unsigned at = 0;
        while (at < listed && !same(list[at], prefix)) at++;
        if (random_below(&random, 300) == 0) {
            cw_allowed_ips_remove_peer(table, peer);
            unsigned kept = 0;
            for (unsigned i = 0; i < listed; i++) {
                if (owners[i] == peer) continue;
                list[kept] = list[i];
                owners[kept++] = owners[i];
            }
            listed = kept;
        } else if (at < listed || listed < LIST) {
            add(table, prefix, peer);
            if (at == listed) listed++;
            list[at] = prefix;
            owners[at] = peer;
        }
        for (unsigned i = 0; i < 3; i++) {
            uint8_t address[16] = {0}, family = i % 2 == 0 ? 4 : 6;
            for (unsigned j = 0; j < 16; j++) address[j] = random_below(&random, 3) == 0 ? 0x80 : (uint8_t)random_below(&random, 2);
            int best = -1;
            for (unsigned j = 0; j < listed; j++)
                if (cw_prefix_contains(&list[j], family, address) && (best < 0 || list[j].length > list[best].length)) best = (int)j;
            CHECK(cw_allowed_ips_find(table, family, address) == (best < 0 ? NULL : owners[best]));
        }
    }
    CHECK(listed > 50);
    unsigned counts[PEERS] = {0};
    for (unsigned i = 0; i < listed; i++) counts[owners[i] - peers]++;
    for (unsigned i = 0; i < PEERS; i++) CHECK_EQUAL(peers[i].allowed_ip_count, counts[i]);
    cw_allowed_ips_destroy(table);
}

// ---- Size and speed -------------------------------------------------------------------------------------------------

// Two thousand identities with one prefix each: 296 bytes for each table, without what malloc adds.
static void test_small_tables(void) {
    enum { TABLES = 2000 };
    static cw_allowed_ips *tables[TABLES];
    static cw_wg_peer peers[TABLES];
    size_t bytes = 0;
    for (uint32_t i = 0; i < TABLES; i++) {
        tables[i] = cw_allowed_ips_create();
        add(tables[i], v4(0x0A000000 + i, 32), &peers[i]);
        bytes += cw_allowed_ips_bytes(tables[i]);
    }
    CHECK_EQUAL(bytes / TABLES, 296);
    for (uint32_t i = 0; i < TABLES; i++) {
        CHECK(find4(tables[i], 0x0A000000 + i) == &peers[i]);
        cw_allowed_ips_destroy(tables[i]);
    }
}

static uint64_t milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// Fifty thousand prefixes one by one, moved to another peer, and removed: work that does not grow with the square of their number. The
// bound is some hundred times what it takes.
static void test_large_table(void) {
    enum { COUNT = 50000 };
    static cw_prefix listing[COUNT];
    cw_wg_peer a = {0}, b = {0};
    cw_allowed_ips *table = cw_allowed_ips_create();
    uint64_t start = milliseconds();
    for (uint32_t i = 0; i < COUNT; i++) add(table, v4(i * 2654435761u & 0xFFFFFF00, 24), &a);
    uint32_t distinct = a.allowed_ip_count;
    CHECK(distinct > COUNT * 99 / 100);
    for (uint32_t i = 0; i < COUNT; i++) add(table, v4(i * 2654435761u & 0xFFFFFF00, 24), &b);
    CHECK_EQUAL(a.allowed_ip_count, 0);
    CHECK_EQUAL(b.allowed_ip_count, distinct);
    for (uint32_t i = 0; i < COUNT; i++) CHECK(find4(table, (i * 2654435761u & 0xFFFFFF00) | 1) == &b);
    CHECK_EQUAL(cw_allowed_ips_list(table, &b, listing, COUNT), distinct);
    CHECK(same(listing[1], v4(2654435761u & 0xFFFFFF00, 24)));
    cw_allowed_ips_remove_peer(table, &b);
    CHECK(find4(table, 1) == NULL);
    uint64_t took = milliseconds() - start;
    CHECK(took < 5000);
    cw_allowed_ips_destroy(table);
}

int main(void) {
    RUN(longest_prefix);
    RUN(a_prefix_has_one_peer);
    RUN(host_bits);
    RUN(remove_peer);
    RUN(reserve_changes_nothing);
    RUN(random_against_list);
    RUN(small_tables);
    RUN(large_table);
    FINISH();
}
