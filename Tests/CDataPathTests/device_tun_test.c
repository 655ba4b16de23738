// Two devices with real TUNs in network namespaces of the test's own, and real TCP and UDP through both. Their UDP sockets are on
// the loopback of a third namespace.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device_rig.h"
#include "tcp_rig.h"

static int outside = -1; // namespace of the UDP sockets

static bool set_up(const char *name, bool up) {
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(request.ifr_name, name, strlen(name));
    bool done = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return done;
}

static bool set_mtu(const char *name, int mtu) {
    struct ifreq request = {.ifr_mtu = mtu};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(request.ifr_name, name, strlen(name));
    bool done = ioctl(fd, SIOCSIFMTU, &request) == 0;
    close(fd);
    return done;
}

// 10.9.0.LAST/24 and fd09::LAST/64.
static void set_addresses(const char *name, uint8_t last) {
    struct ifreq four = {0};
    struct sockaddr_in *address = (struct sockaddr_in *)&four.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(four.ifr_name, name, strlen(name));
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(0x0A090000u | last);
    CHECK(ioctl(fd, SIOCSIFADDR, &four) == 0);
    address->sin_addr.s_addr = htonl(0xFFFFFF00u);
    CHECK(ioctl(fd, SIOCSIFNETMASK, &four) == 0);
    close(fd);
    struct in6_ifreq six = {.ifr6_prefixlen = 64, .ifr6_ifindex = (int)if_nametoindex(name)};
    six.ifr6_addr.s6_addr[0] = 0xFD;
    six.ifr6_addr.s6_addr[1] = 0x09;
    six.ifr6_addr.s6_addr[15] = last;
    fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(ioctl(fd, SIOCSIFADDR, &six) == 0);
    close(fd);
}

static bool delete_interface(const char *name) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = {{sizeof request, RTM_DELLINK, NLM_F_REQUEST, 1, 0}, {.ifi_index = (int)if_nametoindex(name)}};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool sent = send(fd, &request, sizeof request, 0) == sizeof request;
    close(fd);
    return sent;
}

typedef struct side {
    int namespace;
    cw_device *device;
    uint32_t port, identity;
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE];
} side;

// As another program would hand it over: one queue, no virtio header.
static int32_t plain_tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    memcpy(request.ifr_name, name, strlen(name));
    CHECK(ioctl(fd, TUNSETIFF, &request) == 0);
    return fd;
}

static side make_side(uint8_t last, uint32_t workers, bool plain) {
    side made = {.namespace = new_namespace()};
    cw_device_config config;
    cw_device_config_defaults(&config);
    config.worker_count = workers;
    if (plain) config.tun_fd[0] = plain_tun("inner");
    else CHECK_EQUAL(cw_open_tun_offload("inner", workers, config.tun_fd), CW_OK);
    char name[CW_TUN_NAME_SIZE];
    CHECK_EQUAL(cw_tun_name(config.tun_fd[0], name), CW_OK);
    CHECK(strcmp(name, "inner") == 0);
    set_addresses("inner", last);
    CHECK(set_up("lo", true) && set_mtu("inner", 1420) && set_up("inner", true));
    enter(outside);
    memset(made.private_key, last, sizeof made.private_key);
    cw_wg_public_key(made.private_key, made.public_key);
    CHECK_EQUAL(cw_device_create(&config, &made.device), CW_OK);
    cw_wg *wg = cw_device_wireguard(made.device);
    CHECK_EQUAL(cw_wg_port_open(wg, &(cw_wg_port_config){.ipv4 = true, .ipv6 = true}, &made.port), CW_OK);
    CHECK_EQUAL(cw_wg_identity_add(wg, made.port, made.private_key, &made.identity), CW_OK);
    cw_device_set_identity(made.device, made.identity);
    CHECK_EQUAL(cw_device_start(made.device), CW_OK);
    return made;
}

static void end_side(side *made) {
    cw_device_destroy(made->device);
    close(made->namespace);
}

// What `from` needs to know of `to`; `endpoint` 0: nothing, it will learn where it is.
static void introduce(side *from, const side *to, uint8_t last, uint16_t endpoint) {
    cw_prefix allowed[2] = {{.address = {.bytes = {10, 9, 0, last}, .family = 4}, .length = 32},
                            {.address = {.bytes = {0xFD, 9, [15] = last}, .family = 6}, .length = 128}};
    cw_wg_peer_change change = {.allowed_ip_count = 2, .allowed_ips = allowed};
    memcpy(change.public_key, to->public_key, sizeof change.public_key);
    if (endpoint != 0) {
        change.mask = CW_WG_PEER_ENDPOINT;
        change.endpoint = (cw_wg_endpoint){.address = {.bytes = {127, 0, 0, 1}, .family = 4}, .port = endpoint};
    }
    size_t done;
    CHECK_EQUAL(cw_wg_set_peers(cw_device_wireguard(from->device), from->identity, &change, 1, &done), CW_OK);
}

static void make_pair(side *a, side *b, uint32_t workers, bool plain) {
    *a = make_side(1, workers, plain);
    *b = make_side(2, workers, plain);
    introduce(a, b, 2, cw_wg_port_number(cw_device_wireguard(b->device), b->port));
    introduce(b, a, 1, 0);
}

static socklen_t inner_address(struct sockaddr_storage *out, uint8_t family, uint8_t last, uint16_t port) {
    memset(out, 0, sizeof *out);
    if (family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)out;
        *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0A090000u | last)};
        return sizeof *four;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    six->sin6_addr.s6_addr[0] = 0xFD;
    six->sin6_addr.s6_addr[1] = 9;
    six->sin6_addr.s6_addr[15] = last;
    return sizeof *six;
}

// TCP from one side to the other, every byte compared.
static void transfer(const side *from, const side *to, uint8_t to_last, uint8_t family, size_t bytes) {
    struct sockaddr_storage address;
    static uint16_t port = 4000;
    socklen_t length = inner_address(&address, family, to_last, ++port);
    transfer_between(outside, from->namespace, to->namespace, (struct sockaddr *)&address, length, bytes);
}

static void test_tcp(void) {
    for (uint32_t workers = 1; workers <= 2; workers++) {
        side a, b;
        make_pair(&a, &b, workers, false);
        enum { megabytes = 16 << 20 };
        for (unsigned family = 4; family <= 6; family += 2) {
            transfer(&a, &b, 2, (uint8_t)family, megabytes);
            transfer(&b, &a, 1, (uint8_t)family, megabytes);
        }
        cw_device_counters counters;
        cw_device_counters_read(a.device, &counters);
        // Offloads work both ways: several packets came of one read, and went with one write. How many is up to TCP, and to how busy
        // the machine is.
        CHECK(counters.read_packets > counters.reads);
        CHECK(counters.written_packets > counters.writes);
        CHECK_EQUAL(counters.malformed + counters.too_long + counters.write_failed + counters.wrong_identity, 0);
        cw_wg_counters of_wg;
        cw_wg_counters_read(cw_device_wireguard(b.device), &of_wg);
        CHECK_EQUAL(of_wg.drops[CW_WG_DROP_TAG] + of_wg.drops[CW_WG_DROP_ALLOWED_IP] + of_wg.drops[CW_WG_DROP_INNER], 0);
        CHECK(of_wg.handshakes >= 1);
        end_side(&a);
        end_side(&b);
    }
}

static void test_tcp_over_an_adopted_tun(void) {
    side a, b;
    make_pair(&a, &b, 1, true);
    transfer(&a, &b, 2, 4, 4 << 20);
    transfer(&b, &a, 1, 6, 4 << 20);
    cw_device_counters counters;
    cw_device_counters_read(a.device, &counters);
    CHECK_EQUAL(counters.reads, counters.read_packets);
    CHECK_EQUAL(counters.writes, counters.written_packets);
    end_side(&a);
    end_side(&b);
}

// Datagrams keep their limits, also those that an application sends with UDP_SEGMENT.
static void test_udp(void) {
    side a, b;
    make_pair(&a, &b, 1, false);
    for (unsigned family = 4; family <= 6; family += 2) {
        struct sockaddr_storage to;
        socklen_t length = inner_address(&to, (uint8_t)family, 2, 5000);
        enter(b.namespace);
        int receiver = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        limit_waiting(receiver);
        CHECK(bind(receiver, (struct sockaddr *)&to, length) == 0);
        enter(a.namespace);
        int sender = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), segment = 700;
        CHECK(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
        enter(outside);
        static uint8_t data[20 * 700 + 123], got[2048];
        for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 31 >> 3);
        for (unsigned round = 0; round < 3; round++) {
            CHECK_EQUAL(sendto(sender, data, sizeof data, 0, (struct sockaddr *)&to, length), sizeof data);
            for (size_t at = 0; at < sizeof data;) {
                ssize_t count = recv(receiver, got, sizeof got, 0);
                size_t expected = sizeof data - at < 700 ? sizeof data - at : 700;
                CHECK_EQUAL(count, expected);
                if (count <= 0) break;
                CHECK(memcmp(got, data + at, expected) == 0);
                at += (size_t)count;
            }
        }
        close(sender);
        close(receiver);
    }
    // One read brought what the application sent at once, and it went on in fewer writes than datagrams, where the kernel has that.
    cw_device_counters out = counters_with(a.device, offsetof(cw_device_counters, read_packets), 2 * 3 * 21);
    cw_device_counters in = counters_with(b.device, offsetof(cw_device_counters, written_packets), 2 * 3 * 21);
    if (out.reads < out.read_packets) CHECK(in.writes < in.written_packets);
    else fprintf(stderr, "SKIPPED: this kernel hands over no super-packets of UDP\n");
    end_side(&a);
    end_side(&b);
}

// An MTU beyond a buffer, as wg-quick sets it on a card with jumbo frames: TCP finds a way, each way.
static void test_jumbo(void) {
    side a, b;
    make_pair(&a, &b, 1, false);
    enter(a.namespace);
    CHECK(set_mtu("inner", 8920));
    enter(b.namespace);
    CHECK(set_mtu("inner", 8920));
    enter(outside);
    for (unsigned family = 4; family <= 6; family += 2) {
        transfer(&a, &b, 2, (uint8_t)family, 4 << 20);
        transfer(&b, &a, 1, (uint8_t)family, 4 << 20);
    }
    cw_wg_counters counters;
    cw_wg_counters_read(cw_device_wireguard(b.device), &counters);
    CHECK_EQUAL(counters.drops[CW_WG_DROP_TOO_LONG], 0);
    // Neither end ever sent a segment that had to be refused.
    cw_device_counters of_a, of_b;
    cw_device_counters_read(a.device, &of_a);
    cw_device_counters_read(b.device, &of_b);
    CHECK_EQUAL(of_a.too_long + of_b.too_long, 0);
    end_side(&a);
    end_side(&b);
}

// While an interface is down its packets are lost and counted; up again it goes on, also after the workers were stopped meanwhile.
static void test_down_and_up(void) {
    side a, b;
    make_pair(&a, &b, 1, false);
    transfer(&a, &b, 2, 4, 1 << 20);
    struct sockaddr_storage to;
    socklen_t length = inner_address(&to, 4, 2, 9);
    enter(b.namespace);
    CHECK(set_up("inner", false));
    enter(a.namespace);
    int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    enter(outside);
    CHECK_EQUAL(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, length), 1);
    counters_with(b.device, offsetof(cw_device_counters, write_failed), 1);
    close(sender);
    CHECK_EQUAL(cw_device_failure(b.device), 0);
    cw_device_stop(b.device);
    CHECK_EQUAL(cw_device_start(b.device), CW_OK);
    enter(b.namespace);
    CHECK(set_up("inner", true));
    set_addresses("inner", 2); // IPv6 addresses went with the interface
    enter(outside);
    transfer(&a, &b, 2, 4, 1 << 20);
    transfer(&b, &a, 1, 6, 1 << 20);
    end_side(&a);
    end_side(&b);
}

static void test_deleted_interface(void) {
    side a = make_side(1, 2, false);
    enter(a.namespace);
    CHECK(delete_interface("inner"));
    enter(outside);
    CHECK(becomes_readable(cw_device_event_fd(a.device)));
    CHECK(cw_device_failure(a.device) != 0);
    end_side(&a);
}

// The ICMP error is one that the host takes for its own.
static void test_no_peer(void) {
    side a = make_side(1, 1, false);
    struct sockaddr_storage to;
    socklen_t length = inner_address(&to, 4, 77, 9);
    enter(a.namespace);
    int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
    CHECK(setsockopt(sender, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
    CHECK(connect(sender, (struct sockaddr *)&to, length) == 0);
    enter(outside);
    limit_waiting(sender);
    CHECK_EQUAL(send(sender, "x", 1, 0), 1);
    char byte;
    CHECK(recv(sender, &byte, 1, 0) < 0);
    CHECK_EQUAL(errno, EHOSTUNREACH);
    close(sender);
    end_side(&a);
}

static bool have_namespaces(void) {
    int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tun < 0) {
        fprintf(stderr, "SKIPPED: no tests with a TUN: /dev/net/tun: %s\n", strerror(errno));
        return false;
    }
    close(tun);
    outside = new_namespace();
    if (outside < 0) {
        fprintf(stderr, "SKIPPED: no tests with a TUN: a network namespace: %s\n", strerror(errno));
        return false;
    }
    return set_up("lo", true);
}

int main(void) {
    if (!have_namespaces()) {
        puts("0 passed, 0 failed");
        return 0;
    }
    RUN(tcp);
    RUN(tcp_over_an_adopted_tun);
    RUN(udp);
    RUN(jumbo);
    RUN(down_and_up);
    RUN(deleted_interface);
    RUN(no_peer);
    FINISH();
}
