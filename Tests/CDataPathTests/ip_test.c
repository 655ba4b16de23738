// Inner packets: parsing, reach, checksums, MSS, fragments, ICMP errors.
#include "harness.h"
#include "icmp.h"
#include "ip.h"

static void set_checksum(uint8_t *packet) {
    cw_put16(packet + 10, 0);
    cw_put16(packet + 10, cw_checksum(cw_sum(0, packet, (packet[0] & 15u) * 4)));
}

// 10.0.0.1 -> 192.0.2.7, `length` bytes, `options` bytes of options.
static size_t ipv4(uint8_t *packet, size_t length, uint8_t protocol, size_t options) {
    memset(packet, 0, length);
    packet[0] = (uint8_t)(0x45 + options / 4);
    cw_put16(packet + 2, (uint16_t)length);
    cw_put16(packet + 4, 0xBEEF);
    packet[8] = 64;
    packet[9] = protocol;
    memcpy(packet + 12, (uint8_t[]){10, 0, 0, 1}, 4);
    memcpy(packet + 16, (uint8_t[]){192, 0, 2, 7}, 4);
    for (size_t i = 20 + options; i < length; i++) packet[i] = (uint8_t)(i * 31);
    set_checksum(packet);
    return length;
}

// 2001:db8::1 -> 2001:db8:1::2
static size_t ipv6(uint8_t *packet, size_t payload, uint8_t next) {
    memset(packet, 0, 40 + payload);
    packet[0] = 0x60;
    cw_put16(packet + 4, (uint16_t)payload);
    packet[6] = next;
    packet[7] = 64;
    memcpy(packet + 8, (uint8_t[]){0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16);
    memcpy(packet + 24, (uint8_t[]){0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, 16);
    return 40 + payload;
}

static void test_parse_ipv4(void) {
    uint8_t packet[128];
    cw_ip ip;
    CHECK(!cw_ip_parse(packet, 0, &ip));
    ipv4(packet, 60, 17, 0);
    CHECK(cw_ip_parse(packet, 60, &ip));
    CHECK(ip.family == 4 && ip.length == 60 && ip.payload == 20 && ip.protocol == 17 && !ip.fragment && !ip.dont_fragment);
    CHECK(ip.source == packet + 12 && ip.destination == packet + 16);
    CHECK(cw_ip_parse(packet, 70, &ip) && ip.length == 60); // padding behind it
    for (size_t length = 0; length < 60; length++) CHECK(!cw_ip_parse(packet, length, &ip));
    // One bit anywhere in the header is noticed.
    for (unsigned bit = 0; bit < 160; bit++) {
        packet[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
        CHECK(!cw_ip_parse(packet, 60, &ip));
        packet[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
    }
    static const struct {
        uint8_t first;
        uint16_t length;
        bool valid;
    } table[] = {
        {0x45, 20, true}, {0x44, 60, false}, {0x40, 60, false}, {0x4F, 60, true}, {0x4F, 59, false},
        {0x45, 19, false}, {0x45, 61, false}, {0x55, 60, false}, {0x05, 60, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        memset(packet, 0, sizeof packet);
        packet[0] = table[i].first;
        cw_put16(packet + 2, table[i].length);
        set_checksum(packet);
        CHECK_EQUAL(cw_ip_parse(packet, 60, &ip), table[i].valid);
    }
    static const struct {
        uint16_t field;
        bool dont_fragment, fragment, later;
    } fragments[] = {
        {0x0000, false, false, false}, {0x4000, true, false, false}, {0x2000, false, true, false},
        {0x2001, false, true, true},   {0x0001, false, true, true},  {0x8000, false, false, false},
    };
    for (size_t i = 0; i < sizeof fragments / sizeof *fragments; i++) {
        ipv4(packet, 60, 6, 0);
        cw_put16(packet + 6, fragments[i].field);
        set_checksum(packet);
        CHECK(cw_ip_parse(packet, 60, &ip));
        CHECK(ip.dont_fragment == fragments[i].dont_fragment && ip.fragment == fragments[i].fragment &&
              ip.later_fragment == fragments[i].later);
    }
}

static void test_ipv4_options(void) {
    static const struct {
        const char *options;
        bool valid;
    } table[] = {
        {"00000000", true},         {"01010101", true},          {"94040000", true},          // router alert
        {"8307040000000000", false}, {"8903040000000000", false}, {"0183030400000000", false}, // source routes
        {"9400000000000000", false}, {"9401000000000000", false}, {"9409000000000000", false}, // lengths
        {"01010194", false},        {"0083030400000000", true},  // behind the end of the list
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t packet[60];
        cw_ip ip;
        size_t size = strlen(table[i].options) / 2;
        ipv4(packet, 60, 17, size);
        from_hex(table[i].options, packet + 20, size);
        set_checksum(packet);
        CHECK_EQUAL(cw_ip_parse(packet, 60, &ip), table[i].valid);
    }
}

static void test_parse_ipv6(void) {
    uint8_t packet[256];
    cw_ip ip;
    ipv6(packet, 30, 17);
    CHECK(cw_ip_parse(packet, 70, &ip));
    CHECK(ip.family == 6 && ip.length == 70 && ip.payload == 40 && ip.protocol == 17 && ip.dont_fragment && !ip.fragment);
    for (size_t length = 0; length < 70; length++) CHECK(!cw_ip_parse(packet, length, &ip));
    // Hop-by-hop, destination options, then TCP.
    ipv6(packet, 60, 0);
    packet[40] = 60;
    packet[48] = 6;
    packet[49] = 1; // 16 bytes
    CHECK(cw_ip_parse(packet, 100, &ip));
    CHECK(ip.protocol == 6 && ip.payload == 64);
    packet[49] = 6; // past the end
    CHECK(!cw_ip_parse(packet, 100, &ip));
    // Routing header: only when there is nothing left to route.
    ipv6(packet, 60, 43);
    packet[40] = 17;
    CHECK(cw_ip_parse(packet, 100, &ip) && ip.protocol == 17 && ip.payload == 48);
    packet[43] = 1;
    CHECK(!cw_ip_parse(packet, 100, &ip));
    // Fragments: first, later, and one that is whole (RFC 6946).
    ipv6(packet, 60, 44);
    packet[40] = 17;
    CHECK(cw_ip_parse(packet, 100, &ip) && !ip.fragment && ip.protocol == 17);
    packet[43] = 1;
    CHECK(cw_ip_parse(packet, 100, &ip) && ip.fragment && !ip.later_fragment);
    packet[42] = 1;
    CHECK(cw_ip_parse(packet, 100, &ip) && ip.later_fragment);
    // An extension header that does not fit.
    ipv6(packet, 4, 0);
    CHECK(!cw_ip_parse(packet, 44, &ip));
}

static void test_reach(void) {
    static const struct {
        uint8_t address[4];
        cw_reach reach;
    } v4[] = {
        {{10, 1, 2, 3}, CW_REACH_UNICAST},     {{0, 0, 0, 0}, CW_REACH_NEVER},         {{0, 1, 2, 3}, CW_REACH_NEVER},
        {{127, 0, 0, 1}, CW_REACH_LOCAL},      {{127, 255, 255, 255}, CW_REACH_LOCAL}, {{128, 0, 0, 1}, CW_REACH_UNICAST},
        {{169, 254, 0, 1}, CW_REACH_LOCAL},    {{169, 253, 0, 1}, CW_REACH_UNICAST},   {{169, 255, 0, 1}, CW_REACH_UNICAST},
        {{223, 255, 255, 255}, CW_REACH_UNICAST}, {{224, 0, 0, 1}, CW_REACH_LOCAL},    {{239, 255, 255, 255}, CW_REACH_LOCAL},
        {{240, 0, 0, 1}, CW_REACH_NEVER},      {{255, 255, 255, 255}, CW_REACH_NEVER},
    };
    for (size_t i = 0; i < sizeof v4 / sizeof *v4; i++) CHECK_EQUAL(cw_ip_reach(4, v4[i].address), v4[i].reach);
    static const struct {
        const char *address;
        cw_reach reach;
    } v6[] = {
        {"20010db8000000000000000000000001", CW_REACH_UNICAST}, {"00000000000000000000000000000000", CW_REACH_NEVER},
        {"00000000000000000000000000000001", CW_REACH_LOCAL},   {"fe800000000000000000000000000001", CW_REACH_LOCAL},
        {"febf0000000000000000000000000001", CW_REACH_LOCAL},   {"fec00000000000000000000000000001", CW_REACH_UNICAST},
        {"ff020000000000000000000000000001", CW_REACH_LOCAL},   {"00000000000000000000ffff0a000001", CW_REACH_NEVER},
        {"fd000000000000000000000000000001", CW_REACH_UNICAST},
    };
    for (size_t i = 0; i < sizeof v6 / sizeof *v6; i++) {
        uint8_t address[16];
        from_hex(v6[i].address, address, 16);
        CHECK_EQUAL(cw_ip_reach(6, address), v6[i].reach);
    }
}

// RFC 1071 section 3 and RFC 1624 section 4 (its worked example, in which the older formula fails).
static void test_checksum(void) {
    uint8_t example[] = {0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7};
    CHECK_EQUAL(cw_sum(0, example, 8), 0xDDF2);
    CHECK_EQUAL(cw_sum(0, example, 7), cw_sum(0, (uint8_t[]){0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0x00}, 8));
    CHECK_EQUAL(cw_checksum_replace(0xDD2F, 0x5555, 0x3285), 0x0000);
    test_random random = {11};
    // Any length at any alignment, and what a carry at the end of every word does, against the definition.
    static uint8_t ones[300], mixed[300];
    memset(ones, 0xFF, sizeof ones);
    for (unsigned j = 0; j < sizeof mixed; j++) mixed[j] = (uint8_t)next_random(&random);
    for (size_t length = 0; length <= 280; length++)
        for (unsigned from = 0; from < 9; from++) {
            const uint8_t *octets = (length + from) % 2 == 0 ? ones + from : mixed + from;
            uint64_t plain = 0xFFF0;
            for (size_t j = 0; j < length; j++) plain += (uint64_t)octets[j] << (j % 2 == 0 ? 8 : 0);
            while (plain > 0xFFFF) plain = (plain & 0xFFFF) + (plain >> 16);
            CHECK_EQUAL(cw_sum(0xFFF0, octets, length), plain);
        }
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t bytes[64];
        for (unsigned j = 0; j < sizeof bytes; j++) bytes[j] = (uint8_t)next_random(&random);
        unsigned at = (unsigned)random_below(&random, 32) * 2;
        uint16_t sum = cw_checksum(cw_sum(0, bytes, sizeof bytes)), before = cw_get16(bytes + at), after = (uint16_t)next_random(&random);
        cw_put16(bytes + at, after);
        CHECK_EQUAL(cw_checksum_replace(sum, before, after), cw_checksum(cw_sum(0, bytes, sizeof bytes)));
    }
}

static uint16_t tcp_sum(const cw_ip *ip) { // 0 when the checksum in the segment is right
    size_t addresses = ip->family == 4 ? 8 : 32, length = ip->length - ip->payload;
    uint32_t sum = cw_sum((uint32_t)length + CW_IPPROTO_TCP, ip->source, addresses);
    return cw_checksum(cw_sum(sum, ip->data + ip->payload, length));
}

static void make_tcp(cw_ip *ip, uint8_t flags, const char *options) {
    uint8_t *tcp = ip->data + ip->payload;
    size_t size = strlen(options) / 2;
    memset(tcp, 0, 20);
    tcp[12] = (uint8_t)((5 + size / 4) << 4);
    tcp[13] = flags;
    from_hex(options, tcp + 20, size);
    cw_put16(tcp + 16, tcp_sum(ip));
}

static void test_mss(void) {
    enum { syn = 2, ack = 16 };
    static const struct {
        uint8_t family;
        uint8_t flags;
        const char *options;
        uint32_t mtu;
        const char *expected; // NULL: unchanged
    } table[] = {
        {4, syn, "020405b4", 1400, "02040550"},
        {4, syn | ack, "020405b4", 1400, "02040550"},
        {4, ack, "020405b4", 1400, NULL},
        {4, syn, "02040550", 1400, NULL},
        {4, syn, "02040551", 1400, "02040550"},
        {4, syn, "01020405b4010101", 1400, "0102040550010101"}, // at an odd offset
        {4, syn, "0402080a0000000000000000020405b4", 1400, "0402080a000000000000000002040550"},
        {4, syn, "00020405b4000000", 1400, NULL}, // behind the end of the list
        {4, syn, "0203ff01020405b4", 1400, "0203ff0102040550"}, // an MSS option of the wrong length is passed over
        {4, syn, "02000000020405b4", 1400, NULL},
        {4, syn, "0206ffff", 1400, NULL}, // past the end
        {4, syn, "020405b4", 40, NULL},
        {4, syn, "", 1400, NULL},
        {6, syn, "020405b4", 1400, "0204053c"},
        {6, syn, "01020405b4010101", 1400, "010204053c010101"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t packet[128], before[128];
        cw_ip ip;
        size_t size = strlen(table[i].options) / 2 + 20 + 7; // an odd payload
        size = table[i].family == 4 ? ipv4(packet, 20 + size, CW_IPPROTO_TCP, 0) : ipv6(packet, size, CW_IPPROTO_TCP);
        CHECK(cw_ip_parse(packet, size, &ip));
        make_tcp(&ip, table[i].flags, table[i].options);
        memcpy(before, packet, size);
        CHECK_EQUAL(cw_ip_clamp_mss(&ip, table[i].mtu), table[i].expected != NULL);
        CHECK_EQUAL(tcp_sum(&ip), 0);
        if (table[i].expected == NULL) CHECK(memcmp(packet, before, size) == 0);
        else CHECK(equals_hex(packet + ip.payload + 20, table[i].expected));
    }
    // A TCP header that claims more than there is, and a later fragment.
    uint8_t packet[64];
    cw_ip ip;
    ipv4(packet, 44, CW_IPPROTO_TCP, 0);
    CHECK(cw_ip_parse(packet, 44, &ip));
    make_tcp(&ip, syn, "020405b4");
    packet[32] = 0xF0;
    CHECK(!cw_ip_clamp_mss(&ip, 1400));
    packet[32] = 0x60;
    cw_put16(packet + 6, 1);
    set_checksum(packet);
    CHECK(cw_ip_parse(packet, 44, &ip));
    CHECK(!cw_ip_clamp_mss(&ip, 1400));
}

static void test_ttl(void) {
    uint8_t packet[64];
    cw_ip ip;
    for (unsigned ttl = 0; ttl < 256; ttl++) {
        ipv4(packet, 40, 17, 0);
        packet[8] = (uint8_t)ttl;
        set_checksum(packet);
        CHECK(cw_ip_parse(packet, 40, &ip));
        CHECK_EQUAL(cw_ip_decrement_ttl(&ip), ttl > 1);
        CHECK_EQUAL(packet[8], ttl > 1 ? ttl - 1 : ttl);
        CHECK(cw_ip_parse(packet, 40, &ip)); // the checksum is still right
    }
    ipv6(packet, 8, 17);
    CHECK(cw_ip_parse(packet, 48, &ip) && cw_ip_decrement_ttl(&ip) && packet[7] == 63);
    packet[7] = 1;
    CHECK(!cw_ip_decrement_ttl(&ip));
}

static void check_fragments(uint8_t *packet, size_t length, uint32_t mtu) {
    static uint8_t whole[65536], piece[65536];
    cw_ip ip, part;
    cw_fragmenter fragmenter;
    CHECK(cw_ip_parse(packet, length, &ip));
    cw_fragment_begin(&fragmenter, &ip, mtu);
    uint32_t next = (uint32_t)(cw_get16(packet + 6) & 0x1FFF) * 8, start = next, count = 0;
    bool more = true, original_more = (cw_get16(packet + 6) & 0x2000) != 0;
    for (size_t size; (size = cw_fragment_next(&fragmenter, piece)) != 0; count++) {
        CHECK(more || original_more);
        CHECK(size <= mtu);
        CHECK(cw_ip_parse(piece, size, &part) && part.length == size);
        CHECK_EQUAL((uint32_t)(cw_get16(piece + 6) & 0x1FFF) * 8, next);
        more = (cw_get16(piece + 6) & 0x2000) != 0;
        CHECK(memcmp(piece + 4, packet + 4, 2) == 0 && memcmp(piece + 8, packet + 8, 2) == 0 && memcmp(piece + 12, packet + 12, 8) == 0);
        memcpy(whole + (next - start), piece + part.payload, size - part.payload);
        next += (uint32_t)size - part.payload;
        // As full as the units of 8 allow, but for the last.
        if (next - start < ip.length - ip.payload) CHECK(size + 8 > mtu);
    }
    CHECK_EQUAL(more, original_more);
    CHECK_EQUAL(next - start, ip.length - ip.payload);
    CHECK(memcmp(whole, packet + ip.payload, ip.length - ip.payload) == 0);
    CHECK(count >= 2);
}

static void test_fragments(void) {
    static uint8_t packet[65536];
    for (uint32_t mtu = 68; mtu <= 1500; mtu += 7) {
        ipv4(packet, 1501, 17, 0);
        check_fragments(packet, 1501, mtu);
    }
    ipv4(packet, 65535, 17, 0);
    check_fragments(packet, 65535, 1400);
    // A fragment becomes smaller fragments: with and without More Fragments.
    for (uint16_t more = 0; more <= 0x2000; more += 0x2000) {
        ipv4(packet, 20 + 1400, 17, 0);
        cw_put16(packet + 6, (uint16_t)(more | 185));
        set_checksum(packet);
        check_fragments(packet, 1420, 576);
    }
    // Options: router alert is copied, a record route (not copied) stays in the first.
    ipv4(packet, 1500, 17, 16);
    from_hex("94040000 070b04 0000000000000000 00", packet + 20, 16);
    set_checksum(packet);
    check_fragments(packet, 1500, 600);
    cw_ip ip;
    cw_fragmenter fragmenter;
    uint8_t first[600], second[600];
    CHECK(cw_ip_parse(packet, 1500, &ip));
    cw_fragment_begin(&fragmenter, &ip, 600);
    (void)cw_fragment_next(&fragmenter, first);
    (void)cw_fragment_next(&fragmenter, second);
    CHECK_EQUAL(first[0], 0x49);
    CHECK(memcmp(first + 20, packet + 20, 16) == 0);
    CHECK_EQUAL(second[0], 0x46);
    CHECK(equals_hex(second + 20, "94040000"));
}

static void test_icmp_ipv4(void) {
    uint8_t packet[1500], out[CW_ICMP_MAX];
    const cw_address from = {.bytes = {10, 0, 0, 254}, .family = 4}, other = {.bytes = {0x20, 1}, .family = 6};
    cw_ip ip;
    for (size_t length = 28; length <= 1500; length += 64) {
        ipv4(packet, length, 17, 0);
        CHECK(cw_ip_parse(packet, length, &ip));
        size_t size = cw_icmp_build(out, &ip, CW_ICMP_TOO_BIG, 1380, &from);
        CHECK_EQUAL(size, length + 28 < 576 ? length + 28 : 576);
        CHECK_EQUAL(out[0], 0x45);
        CHECK_EQUAL(cw_get16(out + 2), size);
        CHECK_EQUAL(cw_checksum(cw_sum(0, out, 20)), 0);
        CHECK_EQUAL(cw_checksum(cw_sum(0, out + 20, size - 20)), 0);
        CHECK(out[20] == 3 && out[21] == 4 && cw_get32(out + 24) == 1380);
        CHECK(memcmp(out + 12, from.bytes, 4) == 0 && memcmp(out + 16, packet + 12, 4) == 0);
        CHECK(memcmp(out + 28, packet, size - 28) == 0);
    }
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) != 0 && out[20] == 3 && out[21] == 0 && cw_get32(out + 24) == 0);
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_TIME_EXCEEDED, 0, &from) != 0 && out[20] == 11 && out[21] == 0);
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &other) != 0 && memcmp(out + 12, packet + 16, 4) == 0);
}

// RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e).
static void test_icmp_never(void) {
    uint8_t packet[200], out[CW_ICMP_MAX];
    const cw_address from = {.bytes = {10, 0, 0, 254}, .family = 4};
    cw_ip ip;
    for (unsigned type = 0; type < 256; type++) {
        ipv4(packet, 100, CW_IPPROTO_ICMP, 0);
        packet[20] = (uint8_t)type;
        bool query = type == 0 || (type >= 8 && type <= 10) || (type >= 13 && type <= 18);
        CHECK(cw_ip_parse(packet, 100, &ip));
        CHECK_EQUAL(cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) != 0, query);
        ipv6(packet, 60, CW_IPPROTO_ICMPV6);
        packet[40] = (uint8_t)type;
        CHECK(cw_ip_parse(packet, 100, &ip));
        CHECK_EQUAL(cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) != 0, type >= 128 && type != 137);
    }
    ipv4(packet, 20, CW_IPPROTO_ICMP, 0); // not even a type
    CHECK(cw_ip_parse(packet, 20, &ip) && cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) == 0);
    ipv4(packet, 100, 17, 0);
    cw_put16(packet + 6, 5);
    set_checksum(packet);
    CHECK(cw_ip_parse(packet, 100, &ip) && cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) == 0);
    static const uint8_t bad[][4] = {{224, 0, 0, 1}, {255, 255, 255, 255}, {127, 0, 0, 1}, {0, 0, 0, 0}, {240, 0, 0, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (unsigned at = 12; at <= 16; at += 4) {
            ipv4(packet, 100, 17, 0);
            memcpy(packet + at, bad[i], 4);
            set_checksum(packet);
            CHECK(cw_ip_parse(packet, 100, &ip) && cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) == 0);
        }
    }
}

static void test_icmp_ipv6(void) {
    static uint8_t packet[4096], out[CW_ICMP_MAX];
    const cw_address from = {.bytes = {0x20, 1, 0x0d, 0xb8, [15] = 0xFE}, .family = 6};
    cw_ip ip;
    for (size_t payload = 8; payload < 3000; payload += 100) {
        size_t length = ipv6(packet, payload, 17);
        CHECK(cw_ip_parse(packet, length, &ip));
        size_t size = cw_icmp_build(out, &ip, CW_ICMP_TOO_BIG, 1400, &from);
        CHECK_EQUAL(size, length + 48 < 1280 ? length + 48 : 1280);
        CHECK_EQUAL(cw_get16(out + 4), size - 40);
        CHECK(out[6] == CW_IPPROTO_ICMPV6 && out[40] == 2 && out[41] == 0 && cw_get32(out + 44) == 1400);
        CHECK(memcmp(out + 8, from.bytes, 16) == 0 && memcmp(out + 24, packet + 8, 16) == 0);
        CHECK_EQUAL(cw_checksum(cw_sum(cw_sum((uint32_t)(size - 40) + 58, out + 8, 32), out + 40, size - 40)), 0);
        CHECK(memcmp(out + 48, packet, size - 48) == 0);
    }
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_TOO_BIG, 1000, &from) != 0 && cw_get32(out + 44) == 1280);
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_UNREACHABLE, 0, &from) != 0 && out[40] == 1);
    CHECK(cw_icmp_build(out, &ip, CW_ICMP_TIME_EXCEEDED, 0, &from) != 0 && out[40] == 3);
}

int main(void) {
    RUN(parse_ipv4);
    RUN(ipv4_options);
    RUN(parse_ipv6);
    RUN(reach);
    RUN(checksum);
    RUN(mss);
    RUN(ttl);
    RUN(fragments);
    RUN(icmp_ipv4);
    RUN(icmp_never);
    RUN(icmp_ipv6);
    FINISH();
}
