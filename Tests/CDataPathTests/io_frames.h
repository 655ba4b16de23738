// For tests of what takes GRE at an interface: a veth whose far end we put frames on, each of whose fields is ours to choose, and what has to
// become of which. Included by one program at a time.
#ifndef CW_IO_FRAMES_H
#define CW_IO_FRAMES_H

#include "io.h"

#include <net/if_arp.h>

#include "engine_rig.h"

enum { WORKERS = 2, FRAME = 4096 };

static uint8_t our_mac[6];
static int wire; // packet socket on the far end
static cw_tap_config config;

static inline void run(const char *command) {
    if (system(command) != 0) rig_die(command);
}

static inline void set_up(void) {
    rig_enter_namespace();
    run("ip link add near0 type veth peer name far0 && ip link set near0 mtu 3000 up && ip link set far0 mtu 3000 up && "
        "ip address add 10.77.0.1/24 dev near0 && ip address add 10.77.1.1/24 dev near0 && "
        "ip link add near1 type veth peer name far1 && ip link set near1 up && ip link set far1 up && "
        "ip route add 10.88.0.0/16 dev near0 && ip neighbour add 10.77.0.2 lladdr 02:00:00:00:00:02 dev near0");
    rig_write("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/near0/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/near1/rp_filter", "0");
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(request.ifr_name, "near0");
    if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) rig_die("SIOCGIFHWADDR");
    memcpy(our_mac, request.ifr_hwaddr.sa_data, sizeof our_mac);
    close(fd);
    wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (wire < 0) rig_die("packet socket");
    config = (cw_tap_config){.address_count = 1, .table = "causeway-test"};
    config.addresses[0] = (cw_tap_address){if_nametoindex("near0"), rig_address("10.77.0.1")};
}

// ---- Frames -----------------------------------------------------------------------------------------------------------

typedef struct frame {
    uint8_t bytes[FRAME];
    size_t length, ip; // where the IP header begins
} frame;

static inline void finish(frame *made) {
    uint8_t *ip = made->bytes + made->ip;
    size_t header = (ip[0] & 15u) * 4;
    cw_put16(ip + 10, 0);
    cw_put16(ip + 10, cw_checksum(cw_sum(0, ip, header)));
}

// GRE of a call, with so many bytes behind its header.
static inline frame gre_frame(uint16_t call_id, uint32_t sequence, const void *payload, size_t length) {
    frame made = {.length = 14 + 20 + 12 + length, .ip = 14};
    uint8_t *ip = made.bytes + 14, *gre = ip + 20;
    memcpy(made.bytes, our_mac, 6);
    memcpy(made.bytes + 6, (const uint8_t[]){2, 0, 0, 0, 0, 2}, 6);
    cw_put16(made.bytes + 12, ETH_P_IP);
    ip[0] = 0x45;
    cw_put16(ip + 2, (uint16_t)(made.length - 14));
    cw_put16(ip + 4, (uint16_t)sequence);
    ip[8] = 64;
    ip[9] = IPPROTO_GRE;
    memcpy(ip + 12, rig_address("10.77.0.2").bytes, 4);
    memcpy(ip + 16, rig_address("10.77.0.1").bytes, 4);
    gre[0] = 0x30;
    gre[1] = 0x01;
    cw_put16(gre + 2, 0x880B);
    cw_put16(gre + 4, (uint16_t)length);
    cw_put16(gre + 6, call_id);
    cw_put32(gre + 8, sequence);
    if (payload != NULL) memcpy(gre + 12, payload, length);
    finish(&made);
    return made;
}

static inline frame plain(void) { return gre_frame(10, 1, NULL, 100); }

static inline void put(const frame *made, const char *far) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(far)};
    if (sendto(wire, made->bytes, made->length, 0, (struct sockaddr *)&to, sizeof to) < 0) rig_die("sendto");
}

// ---- Where a packet arrives -----------------------------------------------------------------------------------------

typedef struct arrived {
    unsigned ring, malformed, raw;
} arrived;

static inline void expect(void *ends, arrived (*look)(void *), const char *what, arrived expected) {
    arrived got = look(ends);
    if (got.ring == expected.ring && got.malformed == expected.malformed && got.raw == expected.raw) return;
    fprintf(stderr, "%s: ring %u, malformed %u, raw %u\n", what, got.ring, got.malformed, got.raw);
    CHECK(false);
}

static const arrived in_ring = {.ring = 1}, in_raw = {.raw = 1}, nowhere = {0};

// Which packets are taken, up to so long.
static inline void check_each_packet(void *ends, arrived (*look)(void *), size_t longest) {
    frame made = plain();
    put(&made, "far0");
    expect(ends, look, "plain", in_ring);
    cw_put16(made.bytes + 14 + 6, 0x4000);
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "with DF", in_ring);

    made = gre_frame(10, 1, NULL, longest - 32);
    put(&made, "far0");
    expect(ends, look, "the longest", in_ring);
    made = gre_frame(10, 1, NULL, longest - 31);
    put(&made, "far0");
    expect(ends, look, "longer", in_raw);

    // Two fragments: the stack puts them together.
    made = gre_frame(10, 2, NULL, 200);
    frame part = made;
    cw_put16(part.bytes + 14 + 2, 20 + 104);
    cw_put16(part.bytes + 14 + 6, 0x2000);
    part.length = 14 + 20 + 104;
    finish(&part);
    put(&part, "far0");
    expect(ends, look, "first fragment alone", nowhere);
    memmove(made.bytes + 34, made.bytes + 34 + 104, 108);
    cw_put16(made.bytes + 14 + 2, 20 + 108);
    cw_put16(made.bytes + 14 + 6, 104 / 8);
    made.length = 14 + 20 + 108;
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "both fragments", in_raw);

    made = plain();
    memmove(made.bytes + 14 + 24, made.bytes + 14 + 20, made.length - 34);
    memset(made.bytes + 34, 1, 4); // no operation
    made.bytes[14] = 0x46;
    made.length += 4;
    cw_put16(made.bytes + 14 + 2, (uint16_t)(made.length - 14));
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "with options", in_raw);

    // Options that look like the GRE header, and have one of the stack's numbers that nobody uses.
    made = plain();
    memmove(made.bytes + 34 + 16, made.bytes + 34, made.length - 34);
    memset(made.bytes + 34, 0, 16);
    memcpy(made.bytes + 34, (const uint8_t[]){1, 1, 0x88, 0x0B}, 4);
    made.bytes[14] = 0x49;
    made.length += 16;
    cw_put16(made.bytes + 14 + 2, (uint16_t)(made.length - 14));
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "with options like GRE", in_raw);

    made = plain();
    made.bytes[14 + 16 + 2] = 1; // 10.77.1.1
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "another address of ours", in_raw);

    made = plain();
    struct ifreq request = {0};
    strcpy(request.ifr_name, "near1");
    if (ioctl(wire, SIOCGIFHWADDR, &request) != 0) rig_die("SIOCGIFHWADDR");
    memcpy(made.bytes, request.ifr_hwaddr.sa_data, 6);
    put(&made, "far1");
    expect(ends, look, "through another interface", in_raw);

    made = plain();
    made.bytes[5] ^= 1;
    put(&made, "far0");
    expect(ends, look, "for another station", nowhere);

    made = plain();
    made.bytes[14 + 20 + 1] = 0; // version 0
    put(&made, "far0");
    expect(ends, look, "plain GRE", nowhere);

    made = plain();
    made.bytes[14 + 9] = 17;
    finish(&made);
    put(&made, "far0");
    expect(ends, look, "not GRE", nowhere);

    made = plain();
    memmove(made.bytes + 18, made.bytes + 14, made.length - 14);
    memcpy(made.bytes + 12, (const uint8_t[]){0x81, 0x00, 0x00, 0x05, 0x08, 0x00}, 6);
    made.length += 4;
    put(&made, "far0");
    expect(ends, look, "of a VLAN", nowhere);

    made = plain();
    made.bytes[14 + 8]--; // without the checksum
    put(&made, "far0");
    expect(ends, look, "wrong checksum", (arrived){.malformed = 1});
    made = plain();
    made.length -= 40;
    put(&made, "far0");
    expect(ends, look, "cut off", (arrived){.malformed = 1});
}

// ---- In an engine -----------------------------------------------------------------------------------------------------

static inline void put_data(const rig_session *session, uint32_t sequence, const rig_packet *inner) {
    uint8_t frame_bytes[RIG_PACKET] = {0xFF, 0x03, 0x00, 0x21};
    memcpy(frame_bytes + 4, inner->data, inner->length);
    frame made = gre_frame(session->gateway_call, sequence, frame_bytes, inner->length + 4);
    put(&made, "far0");
}

// What the engine does with what it takes that way. `when_stopped` looks at what is left while the engine has its descriptors.
static inline void check_engine(cw_engine_config *engine, void (*when_stopped)(void)) {
    rig_side gateway;
    rig_start(&gateway, "cwt0", engine);
    rig_tunnel(&gateway, true, 1420);
    for (unsigned n = 0; n < WORKERS; n++) {
        rig_session session = rig_session_number(n);
        cw_command open = {
            .type = CW_OPEN,
            .session = session.handle,
            .open = {.local_call_id = session.gateway_call, .peer_call_id = session.client_call,
                     .local_address = rig_address("10.77.0.1"), .peer_address = rig_address("10.77.0.2")},
        };
        cw_command bind = rig_bind_command(&session);
        rig_submit(&gateway, &open);
        rig_submit(&gateway, &bind);
        rig_settle(&gateway);
        for (uint32_t i = 1; i <= 50; i++) {
            rig_packet inner = rig_udp(session.inner, rig_address("10.200.0.1"), 60 + 20 * i, (uint16_t)i, true);
            put_data(&session, i, &inner);
            rig_expect(&gateway, &inner);
        }
        CHECK(rig_await(&gateway, session.handle, COUNTER(gre_in), 50)); // each once
        cw_counters counters = rig_counters(&gateway, session.handle);
        CHECK_EQUAL(counters.drops[CW_DROP_GRE_DUPLICATE], 0);

        cw_prefix blocked[] = {rig_prefix("10.77.0.2", 32)}, others[] = {rig_prefix("10.78.0.0", 16)};
        cw_command sources = {.type = CW_SOURCES, .sources = {.blocked_count = 1, .blocked = blocked}};
        rig_packet inner = rig_udp(session.inner, rig_address("10.200.0.1"), 100, 51, true);
        uint64_t before = rig_counters(&gateway, 0).drops[CW_DROP_GRE_BLOCKED];
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200); // the other worker's
        put_data(&session, 51, &inner);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_BLOCKED), before + 1));
        sources.sources = (cw_sources){.allowed_count = 1, .allowed = others};
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200);
        put_data(&session, 52, &inner);
        CHECK(rig_await(&gateway, 0, DROPS(CW_DROP_GRE_BLOCKED), before + 2));
        rig_expect_nothing(&gateway);
        sources.sources = (cw_sources){0};
        rig_submit(&gateway, &sources);
        rig_settle(&gateway);
        rig_sleep(200);
        put_data(&session, 51, &inner);
        rig_expect(&gateway, &inner);
    }
    // Asleep between packets, not looking at the rings all the time.
    double cpu = rig_cpu_seconds();
    rig_sleep(500);
    CHECK(rig_cpu_seconds() - cpu < 0.1);
    cw_engine_stop(gateway.engine);
    when_stopped();
    rig_stop(&gateway);
}

#endif
