// Eight recorded sessions of real peers (Tests/Captures): every frame parses, and every MPPE packet decrypts from the password alone,
// except the 15 of pptpd-stateful-loss that follow losses which nobody recorded.
#include "golden_captures.h"
#include "link_internal.h"

static golden_session session;
static cw_buffer buffers[512];

static const char *directory(void) {
    const char *set = getenv("CAUSEWAY_CAPTURES");
    return set != NULL ? set : "Tests/Captures";
}

// What the link makes of one direction.
typedef struct outcome {
    size_t frames, control, encrypted, delivered, acks;
    size_t missing[64]; // counts of MPPE packets that were not delivered
    size_t missing_count;
    uint64_t resets_sent;
} outcome;

typedef struct sent {
    uint32_t sequence;
    uint16_t count;
    bool delivered;
} sent;

static void take(cw_delivered *out, size_t count, sent *table, size_t table_count, outcome *result, cw_pool *pool) {
    for (size_t n = 0; n < count; n++) {
        if (out[n].kind == CW_DELIVER_LOST) continue;
        cw_buffer *buffer = out[n].buffer;
        if (out[n].kind == CW_DELIVER_DATA) {
            const uint8_t *ip = cw_buffer_data(buffer);
            if (buffer->protocol == CW_PPP_IPV4) { CHECK((ip[12] == 10 && ip[13] == 8) || (ip[16] == 10 && ip[17] == 8)); } // one end is in the test network
            else CHECK(ip[8] == 0xfe && ip[9] == 0x80);
            for (size_t t = 0; t < table_count; t++)
                if (table[t].sequence == buffer->sequence) {
                    CHECK(!table[t].delivered);
                    table[t].delivered = true;
                }
            result->delivered++;
        } else {
            result->control++;
        }
        cw_pool_give(pool, buffer);
    }
}

static void discard_polled(cw_link *link, uint64_t now, cw_pool *pool) {
    cw_buffer *out[16];
    size_t count = cw_link_poll(link, now, 1, out, 16, pool);
    for (size_t n = 0; n < count; n++) cw_pool_give(pool, out[n]);
}

static outcome replay(enum golden_side receiver) {
    static sent table[GOLDEN_PACKETS];
    size_t table_count = 0;
    outcome result = {0};
    cw_pool pool = {0};
    for (size_t n = 0; n < 512; n++) cw_pool_give(&pool, &buffers[n]);
    cw_link *link = malloc(cw_link_size());
    cw_counters counters = {0};
    cw_link_limits limits = {.reorder_packets = 64,
                             .reorder_nanoseconds = 50000000,
                             .ack_nanoseconds = 100000000,
                             .control_rate = 1000,
                             .control_burst = 1000,
                             .key_budget = 20000};
    const cw_cpu cpu = cw_cpu_probe();
    cw_mppe_kernels kernels = cw_mppe_kernels_make(&cpu, CW_MPPE_RC4_INTERLEAVED);
    cw_mppe_stocks stocks;
    cw_mppe_streams streams = {0};
    CHECK(cw_mppe_stocks_create(&stocks, &kernels, 2));
    cw_link_shared shared = {.limits = limits, .kernels = &kernels, .stocks = &stocks};
    cw_link_init(link, &shared, &streams, CW_REQUIRE_ENCRYPTION, &counters);
    // pppd sends router solicitations from its link-local address, after losses too.
    cw_prefix link_local = {.address = {.bytes = {0xfe, 0x80}, .family = 6}, .length = 10};
    cw_link_set_prefixes(link, &link_local, 1);
    cw_link_set_open(link, true);
    cw_rekey rekey = {.direction = CW_RECEIVE,
                      .key_bits = session.bits[receiver],
                      .flags = session.stateless[receiver] ? CW_MPPE_STATELESS : 0};
    golden_start_key(&session, "Secret-Passw0rd", receiver, rekey.start_key);
    cw_link_rekey(link, &rekey);

    cw_delivered out[600];
    uint64_t now = 0;
    for (size_t n = 0; n < session.count; n++) {
        const golden_packet *packet = &session.packets[n];
        now = packet->time;
        if (packet->from == receiver) continue;
        while (cw_link_deadline(link) <= now && link->held_count > 0 && link->held->arrived + limits.reorder_nanoseconds <= now)
            take(out, cw_link_expire(link, link->held->arrived + limits.reorder_nanoseconds, out, 600, &pool), table, table_count, &result,
                 &pool);
        cw_gre_header gre;
        cw_ppp_header ppp;
        CHECK(cw_gre_parse(packet->data, packet->length, &gre));
        if (!gre.has_sequence) result.acks++;
        else {
            result.frames++;
            const uint8_t *frame = packet->data + gre.header_length;
            CHECK(cw_ppp_parse(frame, gre.payload_length, &ppp));
            if (ppp.protocol == CW_PPP_COMPRESSED) {
                result.encrypted++;
                table[table_count++] =
                    (sent){.sequence = gre.sequence, .count = cw_get16(frame + ppp.length) & CW_MPPE_COUNT_MASK};
            } else {
                CHECK(cw_ppp_is_control(ppp.protocol));
            }
        }
        cw_buffer *buffer = cw_pool_take(&pool);
        memcpy(cw_buffer_data(buffer), packet->data, packet->length);
        buffer->length = packet->length;
        take(out, cw_link_receive(link, now, &buffer, 1, out, 600, &pool), table, table_count, &result, &pool);
        discard_polled(link, now, &pool);
    }
    now += 1000000000;
    take(out, cw_link_expire(link, now, out, 600, &pool), table, table_count, &result, &pool);
    for (size_t n = 0; n < table_count; n++)
        if (!table[n].delivered && result.missing_count < 64) result.missing[result.missing_count++] = table[n].count;
    result.resets_sent = counters.resets_sent;
    CHECK_EQUAL(counters.drops[CW_DROP_GRE_MALFORMED], 0);
    CHECK_EQUAL(counters.drops[CW_DROP_PPP_MALFORMED], 0);
    CHECK_EQUAL(counters.drops[CW_DROP_CONTROL_STALE], 0);
    CHECK_EQUAL(counters.gre_in, result.frames + result.acks);
    cw_link_wipe(link, &pool);
    cw_mppe_stocks_destroy(&stocks);
    CHECK_EQUAL(pool.available, 512);
    free(link);
    return result;
}

static bool open_session(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.pcap", directory(), name);
    if (!golden_read(&session, path)) {
        fprintf(stderr, "cannot read %s\n", path);
        return false;
    }
    for (size_t n = 0; n < session.count; n++) {
        cw_gre_header gre;
        cw_ppp_header ppp;
        const golden_packet *packet = &session.packets[n];
        if (!cw_gre_parse(packet->data, packet->length, &gre) || !gre.has_sequence) continue;
        const uint8_t *frame = packet->data + gre.header_length;
        if (cw_ppp_parse(frame, gre.payload_length, &ppp))
            golden_learn(&session, packet->from, ppp.protocol, frame + ppp.length, (size_t)gre.payload_length - ppp.length);
    }
    CHECK(session.has_challenge && session.has_response);
    CHECK(session.encrypted[GOLDEN_CLIENT] && session.encrypted[GOLDEN_SERVER]);
    CHECK_EQUAL(session.bits[GOLDEN_CLIENT], 128);
    CHECK_EQUAL(session.bits[GOLDEN_SERVER], 128);
    return true;
}

static void test_clean_sessions(void) {
    static const char *const names[] = {"pptpd-stateless", "pptpd-kernel",   "pptpd-echo", "accel-stateless",
                                        "accel-kernel",    "accel-stateful-ask", "accel-echo"};
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        bool opened = open_session(names[n]);
        CHECK(opened);
        if (!opened) continue;
        for (int side = 0; side < 2; side++) {
            CHECK(session.stateless[side]);
            outcome result = replay((enum golden_side)side);
            CHECK(result.encrypted >= 6);
            CHECK(result.control > 5);
            CHECK_EQUAL(result.delivered, result.encrypted);
            if (result.delivered != result.encrypted) fprintf(stderr, "in %s to side %d\n", names[n], side);
            CHECK_EQUAL(result.resets_sent, 0);
        }
    }
}

static void test_stateful_loss(void) {
    CHECK(open_session("pptpd-stateful-loss"));
    CHECK(!session.stateless[GOLDEN_CLIENT]);
    CHECK(session.stateless[GOLDEN_SERVER]);
    outcome to_client = replay(GOLDEN_CLIENT), to_server = replay(GOLDEN_SERVER);
    CHECK_EQUAL(to_client.encrypted + to_server.encrypted, 137);
    CHECK_EQUAL(to_client.delivered + to_server.delivered, 122);
    CHECK_EQUAL(to_server.missing_count, 0);
    // Server to client: 0x01c is lost, so 0x01d-0x01e wait for the FLUSHED packet 0x01f; 0x022 is lost, so 0x023-0x030 wait for 0x031
    // (0x02e is not in the recording).
    static const size_t expected[] = {0x01d, 0x01e, 0x023, 0x024, 0x025, 0x026, 0x027, 0x028,
                                      0x029, 0x02a, 0x02b, 0x02c, 0x02d, 0x02f, 0x030};
    CHECK_EQUAL(to_client.missing_count, 15);
    CHECK(memcmp(to_client.missing, expected, sizeof expected) == 0);
    CHECK(to_client.resets_sent > 0);
}

int main(void) {
    RUN(clean_sessions);
    RUN(stateful_loss);
    FINISH();
}
