// Enhanced GRE headers, the sequence window, PPP framing.
#include "gre.h"

#include "gre_window.h"
#include "harness.h"
#include "link_bytes.h"
#include "ppp_frame.h"

static void test_golden_headers(void) {
    uint8_t out[CW_GRE_HEADER_MAX];
    cw_gre_header data = {.call_id = 0x1234, .payload_length = 0x0102, .sequence = 0xdeadbeef, .has_sequence = true};
    CHECK_EQUAL(cw_gre_header_length(&data), 12);
    cw_gre_build(&data, out);
    CHECK(equals_hex(out, "3001880b 0102 1234 deadbeef"));
    data.has_acknowledgment = true;
    data.acknowledgment = 0x01020304;
    CHECK_EQUAL(cw_gre_header_length(&data), 16);
    cw_gre_build(&data, out);
    CHECK(equals_hex(out, "3081880b 0102 1234 deadbeef 01020304"));
    cw_gre_header ack = {.call_id = 7, .acknowledgment = 9, .has_acknowledgment = true};
    CHECK_EQUAL(cw_gre_header_length(&ack), 12);
    cw_gre_build(&ack, out);
    CHECK(equals_hex(out, "2081880b 0000 0007 00000009"));
}

static void test_round_trip(void) {
    test_random random = {3};
    for (unsigned n = 0; n < 1000; n++) {
        cw_gre_header in = {.call_id = (uint16_t)next_random(&random),
                            .payload_length = (uint16_t)random_below(&random, 100),
                            .has_sequence = random_below(&random, 2) != 0,
                            .has_acknowledgment = random_below(&random, 2) != 0};
        if (in.has_sequence) in.sequence = (uint32_t)next_random(&random);
        if (in.has_acknowledgment) in.acknowledgment = (uint32_t)next_random(&random);
        uint8_t packet[CW_GRE_HEADER_MAX + 100] = {0};
        cw_gre_build(&in, packet);
        cw_gre_header out;
        CHECK(cw_gre_parse(packet, cw_gre_header_length(&in) + in.payload_length, &out));
        CHECK(out.call_id == in.call_id && out.payload_length == in.payload_length && out.sequence == in.sequence &&
              out.acknowledgment == in.acknowledgment && out.has_sequence == in.has_sequence &&
              out.has_acknowledgment == in.has_acknowledgment && out.header_length == cw_gre_header_length(&in));
    }
}

static void test_malformed_headers(void) {
    static const struct {
        const char *hex;
        bool good;
    } table[] = {
        {"3001880b0001000000000001 21", true},
        {"3001880b0001000000000001", false},          // payload past the end
        {"3001880b0001000000000001 210000", true},    // padding behind it
        {"3001880b00000000000000", false},            // sequence number cut
        {"3081880b0000000000000001000000", false},    // acknowledgment cut
        {"2001880b00000000", true},                   // neither
        {"2001880b000000", false},
        {"", false},
        {"3000880b0000000000000001", false}, // version 0
        {"3002880b0000000000000001", false}, // version 2
        {"1001880b0000000000000001", false}, // no key
        {"b001880b0000000000000001", false}, // checksum
        {"7001880b0000000000000001", false}, // routing
        {"3801880b0000000000000001", false}, // strict source route
        {"3101880b0000000000000001", false}, // recursion
        {"3009880b0000000000000001", false}, // flags
        {"300108000000000000000001", false}, // IPv4 in GRE
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        uint8_t packet[64];
        size_t length = from_hex(table[n].hex, packet, sizeof packet);
        cw_gre_header header;
        if (cw_gre_parse(packet, length, &header) != table[n].good) fprintf(stderr, "header %s\n", table[n].hex);
        CHECK(cw_gre_parse(packet, length, &header) == table[n].good);
    }
    // No length at all is trusted more than what arrived.
    uint8_t packet[40];
    from_hex("3081880bffff0001000000010000000100000000", packet, sizeof packet);
    for (size_t length = 0; length <= sizeof packet; length++) {
        cw_gre_header header;
        CHECK(!cw_gre_parse(packet, length, &header));
    }
}

// ---- Window ----

static void test_window_truth_table(void) {
    enum { PASS, ACCEPT, VERIFY };
    static const struct {
        uint32_t sequence;
        cw_gre_place place;
        int then; // what is done with it
        uint32_t lost;
    } table[] = {
        {5, CW_GRE_NEXT, VERIFY, 0}, // learned, whatever it is
        {5, CW_GRE_DUPLICATE, -1, 0},
        {4, CW_GRE_LATE, -1, 0},
        {6, CW_GRE_NEXT, VERIFY, 0},
        {8, CW_GRE_AHEAD, -1, 0},
        {7, CW_GRE_NEXT, VERIFY, 0},
        {8, CW_GRE_NEXT, VERIFY, 0},
        {12, CW_GRE_AHEAD, VERIFY, 3},                         // 9, 10, 11 never came
        {10, CW_GRE_LATE, -1, 0},
        {12 + CW_GRE_WINDOW_REACH + 2, CW_GRE_FAR, -1, 0},
        {12 + CW_GRE_WINDOW_REACH + 1, CW_GRE_AHEAD, -1, 0},
        {13, CW_GRE_NEXT, ACCEPT, 0},                          // a control frame
        {13, CW_GRE_DUPLICATE, -1, 0},
        {20, CW_GRE_AHEAD, PASS, 0},                           // forged, say
        {14, CW_GRE_OPEN, VERIFY, 0},                          // the genuine one may come after it: back we go
        {15, CW_GRE_NEXT, VERIFY, 0},
        {13, CW_GRE_DUPLICATE, -1, 0},
        {5000000, CW_GRE_FAR, VERIFY, 4999984},                // proof moves it anywhere
        {5000001, CW_GRE_NEXT, PASS, 0},
        {5000002, CW_GRE_NEXT, VERIFY, 0},                     // what came without proof is not lost
        {16, CW_GRE_LATE, -1, 0},
        {5000002u + 0x7fffffffu, CW_GRE_FAR, VERIFY, 0x7ffffffe},
        {0xffffffff, CW_GRE_FAR, VERIFY, 0xffffffffu - (5000002u + 0x7fffffffu) - 1},
        {0, CW_GRE_NEXT, VERIFY, 0}, // modulo 2^32
        {0xfffffffe, CW_GRE_LATE, -1, 0},
        {0xffffffff, CW_GRE_DUPLICATE, -1, 0},
        {2, CW_GRE_AHEAD, VERIFY, 1},
    };
    cw_gre_window window = {0};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        cw_gre_place place = cw_gre_window_place(&window, table[n].sequence);
        if (place != table[n].place) fprintf(stderr, "row %zu (%u): %d\n", n, table[n].sequence, place);
        CHECK_EQUAL(place, table[n].place);
        switch (table[n].then) {
        case PASS: cw_gre_window_pass(&window, table[n].sequence); break;
        case ACCEPT: cw_gre_window_accept(&window, table[n].sequence); break;
        case VERIFY: CHECK_EQUAL(cw_gre_window_verify(&window, table[n].sequence), table[n].lost); break;
        default: break;
        }
    }
    // Before the first proof nothing is too late: somebody else may have been first.
    cw_gre_window fresh = {0};
    cw_gre_window_pass(&fresh, 1000);
    CHECK(!fresh.learned);
    cw_gre_window_accept(&fresh, 1000);
    CHECK_EQUAL(cw_gre_window_place(&fresh, 1000), CW_GRE_DUPLICATE);
    CHECK_EQUAL(cw_gre_window_place(&fresh, 999), CW_GRE_OPEN);
    CHECK_EQUAL(cw_gre_window_place(&fresh, 1), CW_GRE_FAR);
    cw_gre_window_begin(&fresh, 1);
    CHECK_EQUAL(cw_gre_window_place(&fresh, 1), CW_GRE_NEXT);
    CHECK_EQUAL(cw_gre_window_verify(&fresh, 1), 0);
    CHECK_EQUAL(cw_gre_window_place(&fresh, 0), CW_GRE_LATE);

    CHECK_EQUAL(cw_gre_window_gap(&window, 3), 1);
    CHECK_EQUAL(cw_gre_window_gap(&window, 10002), 10000);
}

// Random order within reach: each number is taken exactly once if verified in order, and a second look never takes one again.
static void test_window_never_twice(void) {
    test_random random = {11};
    cw_gre_window window = {0};
    uint32_t first = 0xfffffff0;
    static uint8_t taken[5000];
    for (unsigned n = 0; n < 200000; n++) {
        uint32_t sequence = window.learned ? window.expected + (uint32_t)random_below(&random, 40) - 20 : first;
        cw_gre_place place = cw_gre_window_place(&window, sequence);
        if (place == CW_GRE_DUPLICATE || place == CW_GRE_LATE) continue;
        uint32_t index = sequence - first;
        if (index >= sizeof taken) break;
        if (random_below(&random, 3) == 0) {
            cw_gre_window_pass(&window, sequence);
        } else {
            CHECK(!taken[index]);
            taken[index] = 1;
            cw_gre_window_verify(&window, sequence);
        }
    }
    CHECK(window.expected - first > 4000);
}

// ---- PPP ----

static void test_ppp_fields(void) {
    static const struct {
        const char *hex;
        unsigned protocol, length; // 0: refused
    } table[] = {
        {"ff030021", 0x21, 4},   {"ff0321", 0x21, 3},   {"0021", 0x21, 2},      {"21", 0x21, 1},      {"ff03c021", 0xc021, 4},
        {"c021", 0xc021, 2},     {"ff0300fd", 0xfd, 4}, {"fd9000", 0xfd, 1},    {"00fd", 0xfd, 2},    {"80fd", 0x80fd, 2},
        {"", 0, 0},              {"ff", 0, 0},          {"ff03", 0, 0},         {"c0", 0, 0},         {"c020", 0, 0},
        {"ff03ff03", 0, 0},      {"0020", 0, 0},        {"ff03c0", 0, 0},       {"57", 0x57, 1},
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        uint8_t frame[16];
        size_t length = from_hex(table[n].hex, frame, sizeof frame);
        cw_ppp_header header = {0};
        bool good = cw_ppp_parse(frame, length, &header);
        CHECK(good == (table[n].length != 0));
        if (good) {
            CHECK_EQUAL(header.protocol, table[n].protocol);
            CHECK_EQUAL(header.length, table[n].length);
        }
    }
}

static void test_ppp_prepend(void) {
    static const struct {
        uint16_t protocol;
        bool acfc, pfc;
        const char *hex;
    } table[] = {
        {0x21, false, false, "ff030021"}, {0x21, true, false, "0021"}, {0x21, false, true, "ff0321"},     {0x21, true, true, "21"},
        {0xfd, true, true, "fd"},         {0x80fd, true, true, "80fd"}, {0x80fd, false, true, "ff0380fd"},
    };
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        uint8_t room[8] = {0};
        size_t length = cw_ppp_prepend(room + 8, table[n].protocol, table[n].acfc, table[n].pfc);
        CHECK_EQUAL(length, strlen(table[n].hex) / 2);
        CHECK(equals_hex(room + 8 - length, table[n].hex));
    }
}

static void test_proof(void) {
    // RFC 1071's well-known example header: 192.168.0.1 to 192.168.0.199, 115 octets.
    uint8_t packet[2 + 115] = {0x00, 0x21};
    from_hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7", packet + 2, 20);
    cw_ppp_header inner;
    CHECK_EQUAL(cw_ppp_prove(packet, sizeof packet, NULL, 0, &inner), CW_PROOF_EVIDENCE);
    CHECK_EQUAL(inner.length, 2);
    CHECK_EQUAL(cw_ppp_prove(packet + 1, sizeof packet - 1, NULL, 0, &inner), CW_PROOF_EVIDENCE); // one-octet protocol
    CHECK_EQUAL(cw_ppp_prove(packet, sizeof packet - 1, NULL, 0, &inner), CW_PROOF_NONE);         // total length past the end
    for (size_t bit = 0; bit < 8 * 22; bit++) { // any bit of protocol and header
        packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_EQUAL(cw_ppp_prove(packet, sizeof packet, NULL, 0, &inner), CW_PROOF_NONE);
        packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t length = 0; length < 117; length++) CHECK_EQUAL(cw_ppp_prove(packet, length, NULL, 0, &inner), CW_PROOF_NONE);

    uint8_t six[2 + 48] = {0x00, 0x57, 0x60, 0, 0, 0, 0, 8, 17, 64, 0xfd, 0x12};
    cw_prefix known = {.address = {.bytes = {0xfd, 0x10}, .family = 6}, .length = 12}, other = {.address = {.family = 4}, .length = 0};
    CHECK_EQUAL(cw_ppp_prove(six, sizeof six, &known, 1, &inner), CW_PROOF_EVIDENCE);
    CHECK_EQUAL(cw_ppp_prove(six, sizeof six, &other, 1, &inner), CW_PROOF_WELL_FORMED);
    known.length = 16;
    CHECK_EQUAL(cw_ppp_prove(six, sizeof six, &known, 1, &inner), CW_PROOF_WELL_FORMED);
    CHECK_EQUAL(cw_ppp_prove(six, sizeof six - 1, &known, 1, &inner), CW_PROOF_NONE);
    six[1] = 0x21;
    CHECK_EQUAL(cw_ppp_prove(six, sizeof six, &known, 1, &inner), CW_PROOF_NONE);
}

int main(void) {
    RUN(golden_headers);
    RUN(round_trip);
    RUN(malformed_headers);
    RUN(window_truth_table);
    RUN(window_never_twice);
    RUN(ppp_fields);
    RUN(ppp_prepend);
    RUN(proof);
    FINISH();
}
