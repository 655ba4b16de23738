// GRE that leaves as frames: what is on the wire is what the raw socket would have sent, to where the kernel would have sent it, and
// whatever is not certain is left to the raw socket. The far end of a veth is a packet socket that answers no ARP unless a test does.
#define _GNU_SOURCE
#include "io_hop.h"

#include "engine_rig.h"

enum { WORKERS = 2, FRAME = 2048, LCP = 0xC021, RAW = 0, INTERFACE = 1 };

static const uint8_t station_a[6] = {2, 0, 0, 0, 0, 0xA}, station_b[6] = {2, 0, 0, 0, 0, 0xB};
static int far[2]; // packet sockets at the far ends

static void run(const char *command) {
    if (system(command) != 0) rig_die(command);
}

static int open_far(const char *name) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)), one = 1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) rig_die("packet socket");
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0) rig_die("PACKET_IGNORE_OUTGOING");
    return fd;
}

static void set_up(void) {
    rig_enter_namespace();
    run("ip link add near0 type veth peer name far0 && ip link set near0 up && ip link set far0 up && "
        "ip link add near1 type veth peer name far1 && ip link set near1 up && ip link set far1 up && "
        "ip address add 10.77.0.1/24 dev near0 && ip address add 10.77.1.1/24 dev near0 && ip address add 10.78.0.1/24 dev near1");
    rig_write("/proc/sys/net/ipv4/neigh/near0/delay_first_probe_time", "1");
    far[0] = open_far("far0");
    far[1] = open_far("far1");
}

static void station(const char *address, const uint8_t *station, const char *interface, const char *state) {
    char command[200];
    snprintf(command, sizeof command, "ip neighbour replace %s lladdr %02x:%02x:%02x:%02x:%02x:%02x dev %s nud %s", address, station[0],
             station[1], station[2], station[3], station[4], station[5], interface, state);
    run(command);
}

// ---- Packets ------------------------------------------------------------------------------------------------------------

typedef struct frame {
    uint8_t bytes[FRAME];
    size_t length;
} frame;

static bool next_frame(int end, frame *out, uint16_t type, int milliseconds) {
    uint64_t until = rig_now() + (uint64_t)milliseconds;
    do {
        struct pollfd wait = {far[end], POLLIN, 0};
        if (poll(&wait, 1, milliseconds) <= 0) continue;
        ssize_t got = recv(far[end], out->bytes, sizeof out->bytes, 0);
        if (got < 34 || cw_get16(out->bytes + 12) != type || (type == ETH_P_IP && out->bytes[23] != IPPROTO_GRE)) continue;
        out->length = (size_t)got;
        return true;
    } while (rig_now() < until);
    return false;
}

static void clear_wire(void) {
    uint8_t byte;
    for (int end = 0; end < 2; end++)
        while (recv(far[end], &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0) {}
}

static void start(rig_side *side, bool frames) {
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, WORKERS);
    for (uint32_t i = 0; frames && i < WORKERS; i++) CHECK_EQUAL(cw_open_gre_frames(&config.frame_fd[i]), CW_OK);
    rig_start(side, "cwt0", &config);
}

static void open_session(rig_side *side, unsigned number, const char *local, const char *peer) {
    rig_session session = rig_session_number(number);
    cw_command open = {
        .type = CW_OPEN,
        .session = session.handle,
        .open = {.local_call_id = session.gateway_call, .peer_call_id = session.client_call,
                 .local_address = rig_address(local), .peer_address = rig_address(peer)},
    };
    rig_submit(side, &open);
    rig_settle(side);
}

static void inject(rig_side *side, unsigned number, uint16_t length) {
    static const uint8_t payload[CW_MAX_CONTROL_FRAME] = {1, 2, 3};
    cw_command command = {.type = CW_INJECT, .session = rig_session_number(number).handle,
                          .inject = {.protocol = LCP, .length = length, .payload = payload}};
    rig_submit(side, &command);
}

static uint64_t departed(rig_side *side, int way) {
    cw_departures all;
    cw_engine_departures(side->engine, &all);
    return way == INTERFACE ? all.at_interface : all.through_stack;
}

// Sends one packet and says which way it went; -1: none.
static int way_of(rig_side *side, unsigned number, uint16_t length) {
    uint64_t raw = departed(side, RAW), interface = departed(side, INTERFACE), until = rig_now() + RIG_PATIENCE;
    inject(side, number, length);
    do {
        if (departed(side, RAW) != raw) return RAW;
        if (departed(side, INTERFACE) != interface) return INTERFACE;
        rig_sleep(1);
    } while (rig_now() < until);
    return -1;
}

// Sends until one has gone this way.
static bool goes(rig_side *side, unsigned number, int way) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    do {
        clear_wire();
        if (way_of(side, number, 50) == way) return true;
        rig_sleep(5);
    } while (rig_now() < until);
    return false;
}

static bool goes_to(rig_side *side, unsigned number, int end, const uint8_t *station) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    frame got;
    while (rig_now() < until) {
        clear_wire();
        if (way_of(side, number, 50) == INTERFACE && next_frame(end, &got, ETH_P_IP, 20) && memcmp(got.bytes, station, 6) == 0) return true;
    }
    return false;
}

// ---- On the wire ----------------------------------------------------------------------------------------------------------

static void capture(bool frames, const char *local, const char *peer, uint16_t length, frame *out) {
    rig_side side;
    start(&side, frames);
    open_session(&side, 1, local, peer);
    if (frames) {
        CHECK(goes(&side, 1, INTERFACE));
    } else {
        CHECK_EQUAL(way_of(&side, 1, 50), RAW);
    }
    // GRE sequence numbers have to be equal as well: the last one is written over.
    clear_wire();
    CHECK_EQUAL(way_of(&side, 1, length), frames ? INTERFACE : RAW);
    CHECK(next_frame(0, out, ETH_P_IP, RIG_PATIENCE));
    rig_stop(&side);
}

static void test_frames_are_the_raw_sockets(void) {
    run("ip route add 10.88.0.0/16 via 10.77.0.2 hoplimit 33 && ip route add 10.89.0.0/16 via 10.77.0.2 src 10.77.1.1");
    station("10.77.0.2", station_a, "near0", "permanent");
    static const struct {
        const char *local, *peer;
        uint8_t ttl;
        uint16_t length;
    } cases[] = {
        {"10.77.0.1", "10.77.0.2", 64, 50},  {"10.77.1.1", "10.77.0.2", 64, 51},  {"10.77.0.1", "10.88.0.7", 33, 1},
        {"10.78.0.1", "10.88.0.7", 33, 900}, {"10.77.1.1", "10.89.0.7", 64, 1440},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        frame raw = {0}, frames = {0};
        capture(false, cases[i].local, cases[i].peer, cases[i].length, &raw);
        capture(true, cases[i].local, cases[i].peer, cases[i].length, &frames);
        CHECK_EQUAL(frames.length, raw.length);
        CHECK_EQUAL(cw_checksum(cw_sum(0, frames.bytes + 14, 20)), 0);
        CHECK_EQUAL(frames.bytes[14 + 8], cases[i].ttl);
        CHECK(memcmp(frames.bytes, station_a, 6) == 0);
        frame *both[] = {&raw, &frames};
        for (int n = 0; n < 2; n++) {
            memset(both[n]->bytes + 14 + 4, 0, 2);  // identification
            memset(both[n]->bytes + 14 + 10, 0, 2); // and so the checksum
            memset(both[n]->bytes + 34 + 8, 0, 4);  // GRE sequence number
        }
        CHECK(memcmp(raw.bytes, frames.bytes, raw.length) == 0);
    }
    run("ip route delete 10.88.0.0/16 && ip route delete 10.89.0.0/16 && ip neighbour delete 10.77.0.2 dev near0");
}

static void test_identifications_differ(void) {
    enum { packets = 20 };
    station("10.77.0.2", station_a, "near0", "permanent");
    rig_side side;
    start(&side, true);
    uint16_t seen[2 * packets];
    for (unsigned session = 0; session < 2; session++) { // one for each worker
        open_session(&side, session, "10.77.0.1", "10.77.0.2");
        CHECK(goes(&side, session, INTERFACE));
    }
    clear_wire();
    for (unsigned i = 0; i < 2 * packets; i++) {
        frame got = {0};
        CHECK_EQUAL(way_of(&side, i % 2, 50), INTERFACE);
        CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE));
        seen[i] = cw_get16(got.bytes + 14 + 4);
        for (unsigned n = 0; n < i % 2; n++) CHECK(seen[n] != seen[i]);
    }
    for (unsigned i = 2; i < 2 * packets; i++) CHECK_EQUAL((uint16_t)(seen[i] - seen[i - 2]), WORKERS);
    rig_stop(&side);
    run("ip neighbour delete 10.77.0.2 dev near0");
}

// ---- Left to the raw socket ---------------------------------------------------------------------------------------------

static void test_too_long_is_fragmented_by_the_stack(void) {
    run("ip route add 10.88.0.0/16 via 10.77.0.2 mtu 600");
    station("10.77.0.2", station_a, "near0", "permanent");
    rig_side side;
    start(&side, true);
    open_session(&side, 1, "10.77.0.1", "10.88.0.7");
    CHECK(goes(&side, 1, INTERFACE));
    clear_wire();
    // GRE, FF 03 and the protocol field take 16 octets, without an acknowledgment.
    CHECK_EQUAL(way_of(&side, 1, 600 - 20 - 16), INTERFACE);
    frame got = {0};
    CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE));
    CHECK_EQUAL(got.length, 614);
    CHECK_EQUAL(way_of(&side, 1, 600 - 20 - 15), RAW);
    CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE));
    CHECK_EQUAL(cw_get16(got.bytes + 14 + 6), 0x2000);
    CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE));
    CHECK(got.length < 100);
    rig_stop(&side);
    run("ip route delete 10.88.0.0/16 && ip neighbour delete 10.77.0.2 dev near0");
}

static void test_what_is_not_certain(void) {
    rig_side side;
    start(&side, true);
    open_session(&side, 1, "127.0.0.1", "127.0.0.2");
    for (int i = 0; i < 20; i++) {
        CHECK_EQUAL(way_of(&side, 1, 50), RAW); // no Ethernet
        rig_sleep(2);
    }
    rig_side other;
    station("10.77.0.2", station_a, "near0", "permanent");
    run("ip rule add ipproto 47 to 10.77.0.2 table 77 && ip route add 10.77.0.2 dev near1 table 77");
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 1);
    CHECK_EQUAL(cw_open_gre_frames(&config.frame_fd[0]), CW_OK);
    rig_start(&other, "cwt1", &config);
    open_session(&other, 1, "10.77.0.1", "10.77.0.2");
    for (int i = 0; i < 20; i++) {
        CHECK_EQUAL(way_of(&other, 1, 50), RAW); // a question about the route cannot say that it is for GRE
        rig_sleep(2);
    }
    run("ip rule delete ipproto 47 table 77");
    CHECK(goes_to(&other, 1, 0, station_a));
    rig_stop(&other);
    rig_stop(&side);
    run("ip route flush table 77 && ip neighbour delete 10.77.0.2 dev near0");
}

// ---- Changes ------------------------------------------------------------------------------------------------------------

static void answer_arp(const frame *request, const uint8_t *station) {
    const uint8_t *question = request->bytes + 14;
    uint8_t reply[42];
    memcpy(reply, request->bytes + 6, 6);
    memcpy(reply + 6, station, 6);
    memcpy(reply + 12, (const uint8_t[]){0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2}, 10);
    memcpy(reply + 22, station, 6);
    memcpy(reply + 28, question + 24, 4);
    memcpy(reply + 32, question + 8, 10);
    if (send(far[0], reply, sizeof reply, 0) < 0) rig_die("ARP");
}

static void test_a_neighbour_is_followed(void) {
    rig_side side;
    start(&side, true);
    open_session(&side, 1, "10.77.0.1", "10.77.0.2");
    // Unknown: the stack asks for it, and once it is known frames go there.
    clear_wire();
    CHECK_EQUAL(way_of(&side, 1, 50), RAW);
    frame got = {0};
    CHECK(next_frame(0, &got, ETH_P_ARP, RIG_PATIENCE));
    CHECK(got.bytes[0] == 0xFF);
    answer_arp(&got, station_a);
    CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE)); // which had waited in the stack
    CHECK(goes_to(&side, 1, 0, station_a));
    // Stale: asked at once whether it is still there, and not used before it has answered.
    station("10.77.0.2", station_a, "near0", "stale");
    clear_wire();
    CHECK(next_frame(0, &got, ETH_P_ARP, RIG_PATIENCE));
    CHECK(memcmp(got.bytes, station_a, 6) == 0);
    frame request = got;
    for (int i = 0; i < 5; i++) CHECK_EQUAL(way_of(&side, 1, 50), RAW);
    answer_arp(&request, station_a);
    CHECK(goes_to(&side, 1, 0, station_a));
    // Another station: from then on to that one only.
    station("10.77.0.2", station_b, "near0", "reachable");
    CHECK(goes_to(&side, 1, 0, station_b));
    for (int i = 0; i < 5; i++) {
        clear_wire();
        CHECK_EQUAL(way_of(&side, 1, 50), INTERFACE);
        CHECK(next_frame(0, &got, ETH_P_IP, RIG_PATIENCE));
        CHECK(memcmp(got.bytes, station_b, 6) == 0);
    }
    run("ip neighbour change 10.77.0.2 dev near0 nud failed");
    CHECK(goes(&side, 1, RAW));
    station("10.77.0.2", station_a, "near0", "permanent");
    CHECK(goes_to(&side, 1, 0, station_a));
    run("ip neighbour delete 10.77.0.2 dev near0");
    CHECK(goes(&side, 1, RAW));
    rig_stop(&side);
}

static void test_a_route_is_followed(void) {
    station("10.77.0.2", station_a, "near0", "permanent");
    station("10.78.0.2", station_b, "near1", "permanent");
    run("ip route add 10.88.0.0/16 via 10.77.0.2");
    rig_side side;
    start(&side, true);
    open_session(&side, 1, "10.77.0.1", "10.88.0.7");
    CHECK(goes_to(&side, 1, 0, station_a));
    run("ip route replace 10.88.0.0/16 via 10.78.0.2");
    CHECK(goes_to(&side, 1, 1, station_b));
    run("ip route add 10.88.0.7 via 10.77.0.2 dev near0");
    CHECK(goes_to(&side, 1, 0, station_a));
    // One that leads elsewhere changes nothing.
    uint64_t raw = departed(&side, RAW);
    run("ip route add 10.99.0.0/16 via 10.78.0.2");
    rig_sleep(50);
    CHECK_EQUAL(way_of(&side, 1, 50), INTERFACE);
    CHECK_EQUAL(departed(&side, RAW), raw);
    run("ip route add blackhole 10.88.0.7 metric 0 2>/dev/null || ip route replace blackhole 10.88.0.7");
    uint64_t interface = departed(&side, INTERFACE), failed;
    uint64_t until = rig_now() + RIG_PATIENCE;
    do { // refused by the stack
        inject(&side, 1, 50);
        rig_sleep(5);
        failed = rig_counters(&side, rig_session_number(1).handle).drops[CW_DROP_SEND_FAILED];
    } while (failed == 0 && rig_now() < until);
    CHECK(failed > 0);
    rig_settle(&side);
    interface = departed(&side, INTERFACE);
    inject(&side, 1, 50);
    rig_settle(&side);
    rig_sleep(150); // longer than it takes to ask again
    inject(&side, 1, 50);
    rig_settle(&side);
    rig_sleep(20);
    CHECK_EQUAL(departed(&side, INTERFACE), interface);
    run("ip route delete blackhole 10.88.0.7");
    CHECK(goes_to(&side, 1, 1, station_b));
    // The link: another address of its own, then down.
    run("ip link set near1 address 02:00:00:00:00:77"); // which forgets the neighbours
    station("10.78.0.2", station_b, "near1", "permanent");
    frame got = {0};
    until = rig_now() + RIG_PATIENCE;
    do {
        CHECK(goes(&side, 1, INTERFACE));
    } while (!(next_frame(1, &got, ETH_P_IP, 50) && got.bytes[11] == 0x77) && rig_now() < until);
    CHECK_EQUAL(got.bytes[11], 0x77);
    run("ip link set near1 down");
    interface = departed(&side, INTERFACE);
    rig_sleep(150);
    inject(&side, 1, 50);
    rig_settle(&side);
    rig_sleep(20);
    CHECK_EQUAL(departed(&side, INTERFACE), interface);
    rig_stop(&side);
    run("ip link set near1 up && ip neighbour delete 10.77.0.2 dev near0");
}

// Many readers of what changes all the time: a frame never has half of one station and half of another.
static void test_no_frame_is_torn(void) {
    static const uint8_t one[6] = {2, 0x11, 0x11, 0x11, 0x11, 0x11}, two[6] = {2, 0x22, 0x22, 0x22, 0x22, 0x22};
    rig_side side;
    start(&side, true);
    for (unsigned session = 0; session < 4; session++) open_session(&side, session, "10.77.0.1", "10.77.0.2");
    unsigned first = 0, second = 0;
    for (int flip = 0; flip < 60; flip++) {
        station("10.77.0.2", flip % 2 == 0 ? one : two, "near0", "permanent");
        for (unsigned session = 0; session < 4; session++) inject(&side, session, 50);
        frame got;
        while (next_frame(0, &got, ETH_P_IP, 5)) {
            bool is_one = memcmp(got.bytes, one, 6) == 0, is_two = memcmp(got.bytes, two, 6) == 0;
            CHECK(is_one || is_two);
            first += is_one;
            second += is_two;
        }
    }
    CHECK(first > 20 && second > 20);
    CHECK(departed(&side, INTERFACE) > 40);
    rig_stop(&side);
    run("ip neighbour delete 10.77.0.2 dev near0");
}

// ---- The table ------------------------------------------------------------------------------------------------------------

static bool finds(cw_hops *hops, uint32_t peer, cw_hop *out) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    do {
        if (cw_hops_find(hops, 0, peer, 0, out)) return true;
        rig_sleep(1);
    } while (rig_now() < until);
    return false;
}

static void test_many_destinations(void) {
    enum { destinations = 3000 };
    run("ip route add 10.88.0.0/16 via 10.77.0.2");
    station("10.77.0.2", station_a, "near0", "permanent");
    cw_hops hops;
    CHECK(cw_hops_create(&hops, destinations, 1));
    CHECK(cw_hops_start(&hops));
    cw_hop hop;
    unsigned found = 0;
    for (uint32_t i = 0; i < destinations; i++) {
        bool has = false;
        // A few have no room within reach and stay with the raw socket.
        for (int patience = 0; !has && patience < 50; patience++) {
            has = cw_hops_find(&hops, 0, htonl(0x0A580000 + i), 0, &hop);
            if (!has) rig_sleep(1);
        }
        found += has;
        if (has) CHECK(hop.interface == if_nametoindex("near0") && memcmp(hop.ethernet, station_a, 6) == 0);
    }
    CHECK(found > destinations * 99 / 100);
    // One neighbour for all of them.
    station("10.77.0.2", station_b, "near0", "permanent");
    uint64_t until = rig_now() + RIG_PATIENCE;
    do rig_sleep(5);
    while (!(cw_hops_find(&hops, 0, htonl(0x0A580000), 0, &hop) && memcmp(hop.ethernet, station_b, 6) == 0) && rig_now() < until);
    rig_sleep(50);
    unsigned old = 0;
    for (uint32_t i = 0; i < destinations; i++)
        old += cw_hops_find(&hops, 0, htonl(0x0A580000 + i), 0, &hop) && memcmp(hop.ethernet, station_b, 6) != 0;
    CHECK_EQUAL(old, 0);
    CHECK(finds(&hops, inet_addr("10.77.0.2"), &hop));
    CHECK_EQUAL(hop.source, inet_addr("10.77.0.1"));
    CHECK(!cw_hops_find(&hops, 0, 0, 0, &hop));
    cw_hops_stop(&hops);
    CHECK(!cw_hops_find(&hops, 0, inet_addr("10.77.0.2"), 0, &hop)); // nobody looks after it any more
    cw_hops_destroy(&hops);
    run("ip route delete 10.88.0.0/16 && ip neighbour delete 10.77.0.2 dev near0");
}

static void test_nothing_is_left(void) {
    int descriptors = rig_descriptors();
    rig_side side;
    start(&side, true);
    open_session(&side, 1, "10.77.0.1", "10.77.0.2");
    CHECK_EQUAL(way_of(&side, 1, 50), RAW);
    double cpu = rig_cpu_seconds();
    rig_sleep(300);
    CHECK(rig_cpu_seconds() - cpu < 0.1);
    rig_stop(&side);
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

int main(void) {
    set_up();
    RUN(frames_are_the_raw_sockets);
    RUN(identifications_differ);
    RUN(too_long_is_fragmented_by_the_stack);
    RUN(what_is_not_certain);
    RUN(a_neighbour_is_followed);
    RUN(a_route_is_followed);
    RUN(no_frame_is_torn);
    RUN(many_destinations);
    RUN(nothing_is_left);
    FINISH();
}
