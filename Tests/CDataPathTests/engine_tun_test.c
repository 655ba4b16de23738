// Super-packets through both engines: real TCP and UDP between a client's network and a host behind the gateway, each in a network
// namespace of its own, forwarded by the kernel. The engines' GRE is on the loopback of a third.
#define _GNU_SOURCE
#include <netinet/udp.h>
#include <stdarg.h>

#include "engine_rig.h"
#include "tcp_rig.h"
#include "worker.h"

typedef struct net {
    int outside, client, gateway, host; // namespaces
    rig_side at_gateway, at_client;
    rig_session session;
} net;

enum { TCP_BYTES = SANITIZED ? 4 << 20 : 16 << 20 };

static void run(int home, int namespace, const char *format, ...) {
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    enter(namespace);
    int status = system(command);
    if (status != 0) fprintf(stderr, "%s: status %d\n", command, status);
    CHECK_EQUAL(status, 0);
    enter(home);
}

// The TUN is in its own namespace, the socket in the one we are in.
static void start_side(rig_side *side, int home, int namespace, cw_role role, uint32_t workers) {
    cw_engine_config config = rig_config(role, workers);
    config.pin_workers = workers > 1;
    config.poll_microseconds = workers > 1 ? 50 : 0;
    memset(side, 0, sizeof *side);
    side->events = calloc(RIG_EVENTS, sizeof *side->events);
    for (uint32_t i = 0; i < workers; i++) {
        enter(namespace);
        if (cw_open_tun("inner", &config.tun_fd[i]) != CW_OK) rig_die("cw_open_tun");
        enter(home);
        if (cw_open_gre(4, i, workers, &config.gre_fd[i]) != CW_OK) rig_die("cw_open_gre");
    }
    CHECK_EQUAL(cw_engine_create(&config, &side->engine), CW_OK);
    CHECK_EQUAL(cw_engine_start(side->engine), CW_OK);
}

static void start(net *n, uint32_t workers) {
    int *const namespaces[4] = {&n->client, &n->gateway, &n->host, &n->outside}; // the last is the one we are in
    for (int i = 0; i < 4; i++) {
        rig_enter_namespace();
        *namespaces[i] = this_namespace();
    }
    start_side(&n->at_gateway, n->outside, n->gateway, CW_ROLE_GATEWAY, workers);
    start_side(&n->at_client, n->outside, n->client, CW_ROLE_CLIENT, workers);
    n->session = rig_session_number(0);
    rig_connect(&n->at_gateway, &n->at_client, &n->session);
    rig_tunnel(&n->at_gateway, true, 1500);
    run(n->outside, n->client,
        "ip link set inner mtu 1400 up && ip addr add 10.9.0.1/32 dev inner && ip route add default dev inner src 10.9.0.1");
    run(n->outside, n->gateway,
        "ip link set inner up && ip route add 10.9.0.0/16 dev inner && ip link add lan type veth peer name lan netns /proc/%d/fd/%d &&"
        " ip addr add 192.0.2.1/24 dev lan && ip link set lan up",
        getpid(), n->host);
    enter(n->gateway);
    rig_write("/proc/sys/net/ipv4/ip_forward", "1");
    rig_write("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/inner/rp_filter", "0");
    rig_write("/proc/sys/net/ipv4/conf/lan/rp_filter", "0");
    enter(n->outside);
    run(n->outside, n->host, "ip addr add 192.0.2.2/24 dev lan && ip link set lan up && ip route add default via 192.0.2.1");
    rig_settle(&n->at_gateway);
    rig_settle(&n->at_client);
}

static void stop(net *n) {
    cw_engine_destroy(n->at_client.engine);
    cw_engine_destroy(n->at_gateway.engine);
    free(n->at_client.events);
    free(n->at_gateway.events);
    close(n->client);
    close(n->gateway);
    close(n->host);
    close(n->outside);
}

static struct sockaddr_in address(const char *text, uint16_t port) {
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &made.sin_addr);
    return made;
}

static void upload(const net *n, uint16_t port, size_t bytes) {
    struct sockaddr_in to = address("192.0.2.2", port);
    transfer_between(n->outside, n->client, n->host, (struct sockaddr *)&to, sizeof to, bytes);
}

static void download(const net *n, uint16_t port, size_t bytes) {
    struct sockaddr_in to = address("10.9.0.1", port);
    transfer_between(n->outside, n->host, n->client, (struct sockaddr *)&to, sizeof to, bytes);
}

// What the kernel counts on the gateway's TUN: received is what we wrote, sent is what we read; a super-packet counts once.
static void tun_statistics(const net *n, uint64_t *received, uint64_t *sent) {
    char line[512];
    *received = *sent = 0;
    enter(n->gateway);
    FILE *file = fopen("/proc/thread-self/net/dev", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long in, out;
        if (sscanf(line, " inner: %*u %llu %*u %*u %*u %*u %*u %*u %*u %llu", &in, &out) != 2) continue;
        *received = in;
        *sent = out;
    }
    if (file != NULL) fclose(file);
    enter(n->outside);
}

// Packets that came out of another worker's queue than their session's. The kernel remembers for each flow which queue wrote it last.
static uint32_t handed_over(const rig_side *side) {
    uint32_t workers = side->engine->config.worker_count, sum = 0;
    for (uint32_t i = 0; i < workers * workers; i++) sum += side->engine->handoffs[i].filled;
    return sum;
}

static void test_tcp(void) {
    for (uint32_t workers = 1; workers <= 2; workers++) {
        net n;
        start(&n, workers);
        upload(&n, 4000, TCP_BYTES);
        download(&n, 4001, TCP_BYTES);
        rig_sleep(50);
        cw_counters counters = rig_counters(&n.at_gateway, n.session.handle), total = rig_counters(&n.at_gateway, 0);
        uint64_t written, read;
        tun_statistics(&n, &written, &read);
        // Each packet is counted as what it was on the client's link, and many of them pass the TUN at once.
        CHECK(counters.bytes_in > TCP_BYTES && counters.bytes_out > TCP_BYTES);
        CHECK(counters.packets_in >= TCP_BYTES / 1400 && counters.packets_out >= TCP_BYTES / 1400);
        CHECK(counters.bytes_in / 1400 <= counters.packets_in && counters.bytes_out / 1400 <= counters.packets_out);
        // A sanitizer makes the engines so slow that seldom two are there at once.
        CHECK(written > 0 && (SANITIZED || 2 * counters.packets_in > 3 * written));
        CHECK(read > 0 && (SANITIZED || 2 * counters.packets_out > 3 * read));
        CHECK(handed_over(&n.at_gateway) < counters.packets_out / 5);
        CHECK_EQUAL(counters.drops[CW_DROP_IP_MALFORMED] + total.drops[CW_DROP_IP_MALFORMED], 0);
        CHECK_EQUAL(counters.drops[CW_DROP_IP_TOO_BIG] + counters.drops[CW_DROP_SEND_FAILED], 0);
        printf("%u workers: %u of %llu packets to the client were handed over\n", workers, handed_over(&n.at_gateway),
               (unsigned long long)counters.packets_out);
        stop(&n);
    }
}

// A link of the kernel's behind the TUN that is narrower than the tunnel: super-packets whose segments do not fit it are answered by the
// kernel, and the client learns.
static void test_narrow_next_hop(void) {
    net n;
    start(&n, 1);
    run(n.outside, n.gateway, "ip link set lan mtu 1000");
    upload(&n, 4100, TCP_BYTES / 4);
    enter(n.client);
    char line[256];
    unsigned learned = 0;
    FILE *routes = popen("ip route get 192.0.2.2", "r");
    while (routes != NULL && fgets(line, sizeof line, routes) != NULL) {
        char *mtu = strstr(line, "mtu ");
        if (mtu != NULL) learned = (unsigned)atoi(mtu + 4);
    }
    if (routes != NULL) pclose(routes);
    enter(n.outside);
    CHECK_EQUAL(learned, 1000);
    stop(&n);
}

// The session's MTU falls while a connection is open: its super-packets become packets that are each too long, and the host learns from
// our ICMP errors.
static void test_narrow_session(void) {
    net n;
    start(&n, 1);
    download(&n, 4200, 1 << 20);
    // The clamped MSS of the next connection comes from the SYN; without it only DF and our errors are left.
    cw_command update = {.type = CW_UPDATE, .session = n.session.handle, .update = {.mask = CW_UPDATE_MTU, .mtu = 1000}};
    rig_submit(&n.at_gateway, &update);
    rig_settle(&n.at_gateway);
    enter(n.host);
    int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), segment = 1200, on = 1;
    struct sockaddr_in to = address("10.9.0.1", 5000);
    int discover = IP_PMTUDISC_DO;
    CHECK(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
    CHECK(setsockopt(sender, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
    CHECK(setsockopt(sender, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover) == 0);
    CHECK(connect(sender, (struct sockaddr *)&to, sizeof to) == 0);
    static uint8_t data[10 * 1200];
    CHECK_EQUAL(send(sender, data, sizeof data, 0), sizeof data);
    enter(n.outside);
    CHECK(rig_await(&n.at_gateway, n.session.handle, DROPS(CW_DROP_IP_TOO_BIG), 10));
    limit_waiting(sender);
    uint8_t byte;
    CHECK(recv(sender, &byte, 1, 0) < 0);
    CHECK_EQUAL(errno, EMSGSIZE);
    close(sender);
    download(&n, 4201, 1 << 20);
    stop(&n);
}

// Datagrams keep their limits and their order both ways, also those that were sent as one.
static void exchange_udp(const net *n, int from, int to, const char *where, uint16_t port) {
    enum { COUNT = 21, SIZE = 700, LAST = 123 };
    struct sockaddr_in there = address(where, port);
    enter(to);
    int receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), segment = SIZE;
    limit_waiting(receiver);
    CHECK(bind(receiver, (struct sockaddr *)&there, sizeof there) == 0);
    enter(from);
    int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
    CHECK(connect(sender, (struct sockaddr *)&there, sizeof there) == 0);
    enter(n->outside);
    static uint8_t data[(COUNT - 1) * SIZE + LAST], got[2048];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 31 >> 3);
    for (unsigned round = 0; round < 5; round++) {
        CHECK_EQUAL(send(sender, data, sizeof data, 0), sizeof data);
        for (unsigned i = 0; i < COUNT; i++) {
            size_t expected = i < COUNT - 1 ? SIZE : LAST;
            ssize_t length = recv(receiver, got, sizeof got, 0);
            CHECK_EQUAL(length, expected);
            if (length <= 0) break;
            CHECK(memcmp(got, data + (size_t)i * SIZE, expected) == 0);
        }
    }
    close(sender);
    close(receiver);
}

static void test_udp(void) {
    net n;
    start(&n, 1);
    exchange_udp(&n, n.client, n.host, "192.0.2.2", 5100);
    exchange_udp(&n, n.host, n.client, "10.9.0.1", 5101);
    stop(&n);
}

int main(void) {
    RUN(tcp);
    RUN(narrow_next_hop);
    RUN(narrow_session);
    RUN(udp);
    FINISH();
}
