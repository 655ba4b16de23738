// Two engines back to back for the engine tests: a gateway and a client on loopback addresses, each with a TUN of its own, in a
// network namespace that ends with the program. What the engines write to a TUN, and what they are to read from it, goes through a
// packet socket on the interface.
#ifndef CW_ENGINE_RIG_H
#define CW_ENGINE_RIG_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "ip.h"
#include "link.h"

enum { RIG_PACKET = 4096, RIG_PATIENCE = 5000 }; // milliseconds

typedef struct rig_side {
    cw_engine *engine;
    char tun[IFNAMSIZ];
    int packets; // packet socket on the TUN
    cw_event *events;
    size_t event_count; // all that were polled so far
} rig_side;

enum { RIG_EVENTS = 4096 };

static inline void rig_die(const char *what) {
    fprintf(stderr, "%s: %s (these tests need root)\n", what, strerror(errno));
    exit(1);
}

static inline void rig_interface_up(const char *name, int mtu) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (mtu != 0) {
        request.ifr_mtu = mtu;
        if (ioctl(fd, SIOCSIFMTU, &request) != 0) rig_die("SIOCSIFMTU");
    }
    request.ifr_flags = IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) rig_die("SIOCSIFFLAGS");
    close(fd);
}

static inline void rig_write(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return; // no IPv6 in this kernel
    if (write(fd, text, strlen(text)) < 0) perror(path);
    close(fd);
}

static inline void rig_enter_namespace(void) {
    if (unshare(CLONE_NEWNET) != 0) rig_die("unshare");
    // No router solicitations among the counted packets.
    rig_write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    rig_write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    rig_interface_up("lo", 0);
}

static inline int rig_packet_socket(const char *name) {
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)), one = 1, size = 32 << 20;
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) rig_die("packet socket");
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0) rig_die("PACKET_IGNORE_OUTGOING");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return fd;
}

static inline cw_engine_config rig_config(cw_role role, uint32_t workers) {
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.role = role;
    config.worker_count = workers;
    config.ack_microseconds = 20000;
    config.icmp_rate = 1000;
    config.control_rate = config.control_burst = 10000;
    return config;
}

static inline void rig_start(rig_side *side, const char *tun, cw_engine_config *config) {
    memset(side, 0, sizeof *side);
    snprintf(side->tun, sizeof side->tun, "%s", tun);
    for (uint32_t i = 0; i < config->worker_count; i++) {
        if (cw_open_gre(4, i, config->worker_count, &config->gre_fd[i]) != CW_OK) rig_die("cw_open_gre");
        if (cw_open_tun(tun, &config->tun_fd[i]) != CW_OK) rig_die("cw_open_tun");
    }
    rig_interface_up(tun, 9000);
    side->packets = rig_packet_socket(tun);
    side->events = calloc(RIG_EVENTS, sizeof *side->events);
    CHECK_EQUAL(cw_engine_create(config, &side->engine), CW_OK);
    CHECK_EQUAL(cw_engine_start(side->engine), CW_OK);
}

static inline void rig_stop(rig_side *side) {
    cw_engine_destroy(side->engine);
    close(side->packets);
    free(side->events);
}

static inline uint64_t rig_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline void rig_sleep(int milliseconds) { poll(NULL, 0, milliseconds); }

static inline int rig_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != NULL) count++;
    closedir(directory);
    return count;
}

static inline double rig_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// ---- Addresses --------------------------------------------------------------------------------------------------------

static inline cw_address rig_address(const char *text) {
    cw_address address = {0};
    if (inet_pton(AF_INET, text, address.bytes) == 1) address.family = 4;
    else if (inet_pton(AF_INET6, text, address.bytes) == 1) address.family = 6;
    return address;
}

static inline cw_prefix rig_prefix(const char *text, unsigned length) {
    return (cw_prefix){.address = rig_address(text), .length = (uint8_t)length};
}

// ---- Commands and events ----------------------------------------------------------------------------------------------

static inline void rig_submit(rig_side *side, const cw_command *command) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    size_t taken;
    cw_status status;
    while ((status = cw_engine_submit(side->engine, command, 1, &taken)) == CW_FULL && rig_now() < until) rig_sleep(1);
    CHECK_EQUAL(status, CW_OK);
    CHECK_EQUAL(taken, 1);
}

static inline void rig_poll(rig_side *side) {
    side->event_count += cw_engine_poll(side->engine, side->events + side->event_count, RIG_EVENTS - side->event_count);
}

static inline const cw_event *rig_find_event(rig_side *side, cw_event_type type, uint64_t session) {
    for (size_t i = 0; i < side->event_count; i++)
        if (side->events[i].type == type && (session == 0 || side->events[i].session == session)) return &side->events[i];
    return NULL;
}

static inline size_t rig_count_events(rig_side *side, cw_event_type type) {
    size_t count = 0;
    for (size_t i = 0; i < side->event_count; i++) count += side->events[i].type == type;
    return count;
}

// The first event of this type, of this session unless it is 0; NULL after some seconds.
static inline const cw_event *rig_await_event(rig_side *side, cw_event_type type, uint64_t session) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    const cw_event *event;
    while ((event = rig_find_event(side, type, session)) == NULL && rig_now() < until) {
        struct pollfd wait = {cw_engine_event_fd(side->engine), POLLIN, 0};
        poll(&wait, 1, 50);
        rig_poll(side);
    }
    return event;
}

static inline cw_counters rig_counters(rig_side *side, uint64_t session) {
    cw_counters counters;
    bool found;
    if (session == 0) {
        cw_engine_counters(side->engine, &counters);
    } else {
        cw_engine_session_counters(side->engine, &session, 1, &counters, &found);
        CHECK(found);
    }
    return counters;
}

// Waits until the counter at this offset has that value.
static inline bool rig_await(rig_side *side, uint64_t session, size_t offset, uint64_t value) {
    uint64_t until = rig_now() + RIG_PATIENCE, seen;
    do {
        cw_counters counters = rig_counters(side, session);
        seen = *(const uint64_t *)(const void *)((const uint8_t *)&counters + offset);
        if (seen == value) return true;
        rig_sleep(2);
    } while (rig_now() < until);
    fprintf(stderr, "counter at %zu of session %llu: %llu, expected %llu\n", offset, (unsigned long long)session, (unsigned long long)seen,
            (unsigned long long)value);
    return false;
}
#define COUNTER(name) offsetof(cw_counters, name)
#define DROPS(cause) (offsetof(cw_counters, drops) + (cause) * sizeof(uint64_t))

// ---- Inner packets ----------------------------------------------------------------------------------------------------

typedef struct rig_packet {
    uint8_t data[RIG_PACKET];
    size_t length;
} rig_packet;

// A UDP packet of `length` bytes with a recognisable payload.
static inline rig_packet rig_udp(cw_address source, cw_address destination, size_t length, uint16_t id, bool dont_fragment) {
    rig_packet packet = {.length = length};
    uint8_t *p = packet.data;
    p[0] = 0x45;
    cw_put16(p + 2, (uint16_t)length);
    cw_put16(p + 4, id);
    cw_put16(p + 6, dont_fragment ? 0x4000 : 0);
    p[8] = 64;
    p[9] = 17;
    memcpy(p + 12, source.bytes, 4);
    memcpy(p + 16, destination.bytes, 4);
    cw_put16(p + 10, cw_checksum(cw_sum(0, p, 20)));
    cw_put16(p + 20, 4000);
    cw_put16(p + 22, 5000);
    cw_put16(p + 24, (uint16_t)(length - 20));
    for (size_t i = 28; i < length; i++) p[i] = (uint8_t)(i * 7 + id);
    return packet;
}

static inline rig_packet rig_udp6(cw_address source, cw_address destination, size_t length) {
    rig_packet packet = {.length = length};
    uint8_t *p = packet.data;
    p[0] = 0x60;
    cw_put16(p + 4, (uint16_t)(length - 40));
    p[6] = 17;
    p[7] = 64;
    memcpy(p + 8, source.bytes, 16);
    memcpy(p + 24, destination.bytes, 16);
    for (size_t i = 48; i < length; i++) p[i] = (uint8_t)(i * 11);
    return packet;
}

static inline void rig_send(rig_side *side, const rig_packet *packet) {
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(packet->data[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP),
        .sll_ifindex = (int)if_nametoindex(side->tun),
    };
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (sendto(side->packets, packet->data, packet->length, 0, (struct sockaddr *)&to, sizeof to) < 0) {
        if ((errno != EAGAIN && errno != ENOBUFS) || rig_now() > until) rig_die("sendto TUN");
        rig_sleep(1);
    }
}

// The next packet that the engine wrote to its TUN. False: none within the time.
static inline bool rig_receive(rig_side *side, rig_packet *packet, int milliseconds) {
    struct pollfd wait = {side->packets, POLLIN, 0};
    if (poll(&wait, 1, milliseconds) <= 0) return false;
    ssize_t length = recv(side->packets, packet->data, sizeof packet->data, 0);
    packet->length = length < 0 ? 0 : (size_t)length;
    return length >= 0;
}

static inline bool rig_same(const rig_packet *a, const rig_packet *b) {
    return a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

static inline void rig_expect(rig_side *side, const rig_packet *expected) {
    rig_packet got = {0};
    CHECK(rig_receive(side, &got, RIG_PATIENCE));
    CHECK(rig_same(&got, expected));
}

static inline void rig_expect_nothing(rig_side *side) {
    rig_packet got;
    CHECK(!rig_receive(side, &got, 30));
}

// An ICMP error about a packet, as RFC 1812 wants it.
static inline void rig_check_icmp(const rig_packet *got, cw_address from, cw_address to, uint8_t type, uint8_t code, uint16_t mtu,
                                  const rig_packet *about) {
    const uint8_t *p = got->data;
    CHECK(got->length > 28);
    if (got->length <= 28) return;
    CHECK_EQUAL(cw_checksum(cw_sum(0, p, 20)), 0);
    CHECK_EQUAL(p[9], CW_IPPROTO_ICMP);
    CHECK(memcmp(p + 12, from.bytes, 4) == 0 && memcmp(p + 16, to.bytes, 4) == 0);
    CHECK_EQUAL(cw_get16(p + 2), got->length);
    CHECK_EQUAL(cw_checksum(cw_sum(0, p + 20, got->length - 20)), 0);
    CHECK_EQUAL(p[20], type);
    CHECK_EQUAL(p[21], code);
    CHECK_EQUAL(cw_get16(p + 26), mtu);
    size_t quoted = got->length - 28, expected = about->length < 548 ? about->length : 548;
    CHECK_EQUAL(quoted, expected);
    CHECK(memcmp(p + 28, about->data, quoted) == 0);
}

// ---- Sessions ---------------------------------------------------------------------------------------------------------

typedef struct rig_session {
    uint64_t handle; // the same on both sides
    uint16_t gateway_call, client_call;
    cw_address inner;
    uint16_t mtu;
    uint32_t flags;
    bool clear; // no encryption
} rig_session;

static inline rig_session rig_session_number(unsigned n) {
    rig_session session = {.handle = n + 1, .gateway_call = (uint16_t)(1000 + n), .client_call = (uint16_t)(30000 + n), .mtu = 1400};
    char text[32];
    snprintf(text, sizeof text, "10.9.%u.%u", n / 200, n % 200 + 1);
    session.inner = rig_address(text);
    return session;
}

static inline void rig_open(rig_side *side, const rig_session *session, bool gateway) {
    cw_command command = {
        .type = CW_OPEN,
        .session = session->handle,
        .open = {
            .local_call_id = gateway ? session->gateway_call : session->client_call,
            .peer_call_id = gateway ? session->client_call : session->gateway_call,
            .flags = session->flags,
            .local_address = rig_address(gateway ? "127.0.0.1" : "127.0.0.2"),
            .peer_address = rig_address(gateway ? "127.0.0.2" : "127.0.0.1"),
        },
    };
    rig_submit(side, &command);
}

static inline void rig_rekey(rig_side *side, const rig_session *session, bool gateway) {
    for (int direction = CW_RECEIVE; direction <= CW_TRANSMIT; direction++) {
        cw_command command = {
            .type = CW_REKEY,
            .session = session->handle,
            .rekey = {.direction = (cw_direction)direction, .key_bits = 128, .flags = CW_MPPE_STATELESS},
        };
        bool upstream = gateway == (direction == CW_RECEIVE);
        for (unsigned i = 0; i < CW_MPPE_KEY_SIZE; i++)
            command.rekey.start_key[i] = (uint8_t)(session->handle * 13 + i * 5 + (upstream ? 100 : 0));
        rig_submit(side, &command);
    }
}

static inline cw_command rig_bind_command(const rig_session *session) {
    return (cw_command){
        .type = CW_BIND,
        .session = session->handle,
        .bind = {
            .gateway_address = rig_address("10.9.255.1"),
            .tunnel = 3,
            .mtu = session->mtu,
            .prefix_count = 1,
            .prefixes = {{.address = session->inner, .length = session->inner.family == 4 ? 32 : 128}},
        },
    };
}

static inline void rig_connect(rig_side *gateway, rig_side *client, const rig_session *session) {
    rig_side *sides[2] = {gateway, client};
    for (int i = 0; i < 2; i++) {
        cw_command bind = rig_bind_command(session);
        rig_open(sides[i], session, i == 0);
        if (!session->clear) rig_rekey(sides[i], session, i == 0);
        rig_submit(sides[i], &bind);
    }
}

static inline void rig_tunnel(rig_side *gateway, bool up, uint16_t mtu) {
    cw_command command = {.type = CW_TUNNEL, .tunnel = {.index = 3, .mtu = mtu, .up = up}};
    rig_submit(gateway, &command);
}

static inline void rig_simple(rig_side *side, cw_command_type type, uint64_t session) {
    cw_command command = {.type = type, .session = session};
    rig_submit(side, &command);
}

// Everything submitted before has been applied: a refusal comes back in order. Uses a handle that never exists.
static inline void rig_settle(rig_side *side) {
    static uint64_t marker = UINT64_C(1) << 60;
    marker++;
    rig_simple(side, CW_UNBIND, marker);
    CHECK(rig_await_event(side, CW_EVENT_REFUSED, marker) != NULL);
}

#endif
