// Ports as real sockets: numbers, steering between workers, segments in and out, local addresses, refusals. In a network namespace of
// its own, where the loopback interface's MTU can be changed and other interfaces can come and go; without the privilege for that the
// tests that need it say so and do nothing.
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wg_sessions.h"

enum { MOST_WORKERS = 3 };

static bool own_namespace;

static bool skip(const char *what) {
    if (own_namespace) return false;
    fprintf(stderr, "wg_udp: %s: not tested, that needs a network namespace of our own\n", what);
    return true;
}

// ---- System calls that fail as the test says ------------------------------------------------------------------------

// The test's own in place of the C library's: what goes out is counted, and refused if that is wanted.
static struct {
    unsigned calls;
    int error;          // of calls that are to fail
    unsigned succeed;   // so many messages of sendmmsg pass first
    bool only_segments; // only messages of more than one datagram fail
} sending;

static bool fails(const struct msghdr *message) {
    return sending.error != 0 && (!sending.only_segments || message->msg_iovlen > 1);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    sending.calls++;
    if (!fails(message)) return syscall(SYS_sendmsg, fd, message, flags);
    errno = sending.error;
    return -1;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    sending.calls++;
    unsigned good = 0;
    while (good < count && (good < sending.succeed || !fails(&messages[good].msg_hdr))) good++;
    sending.succeed -= good < sending.succeed ? good : sending.succeed;
    if (good > 0) return (int)syscall(SYS_sendmmsg, fd, messages, good, flags);
    errno = sending.error;
    return -1;
}

// ---- What the tests stand on ----------------------------------------------------------------------------------------

static void set_loopback(int mtu) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    CHECK_EQUAL(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    request.ifr_mtu = mtu;
    CHECK_EQUAL(ioctl(fd, SIOCSIFMTU, &request), 0);
    close(fd);
}

static void enter_namespace(void) {
    own_namespace = unshare(CLONE_NEWNET) == 0;
    if (own_namespace) set_loopback(65536);
}

typedef struct end {
    cw_wg_udp *udp;
    cw_wg_udp_space spaces[MOST_WORKERS + 1];
    uint32_t workers;
} end;

static void end_open(end *one, uint32_t workers, cw_wg_port_config config) {
    one->workers = workers;
    CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, workers, &config, &one->udp), CW_OK);
    memset(one->spaces, 0, sizeof one->spaces);
    for (uint32_t i = 0; i <= workers; i++) CHECK(cw_wg_udp_space_create(&one->spaces[i], i));
}

static void end_close(end *one) {
    one->udp->operations->close(one->udp);
    for (uint32_t i = 0; i <= one->workers; i++) cw_wg_udp_space_destroy(&one->spaces[i]);
}

static cw_wg_route_to to4(const char *address, uint16_t port) {
    cw_wg_route_to to = {.to.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    inet_pton(AF_INET, address, &to.to.v4.sin_addr);
    return to;
}

static cw_wg_route_to to6(const char *address, uint16_t port) {
    cw_wg_route_to to = {.to.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    inet_pton(AF_INET6, address, &to.to.v6.sin6_addr);
    return to;
}

static cw_wg_route_to to_family(uint8_t family, uint16_t port) {
    return family == 4 ? to4("127.0.0.1", port) : to6("::1", port);
}

// Waits for what is on its way, on a busy machine too; 0 when nothing comes.
static size_t receive(end *one, uint32_t worker, uint8_t family, cw_wg_arrival *arrivals) {
    cw_wg_udp_sockets *sockets = (cw_wg_udp_sockets *)one->udp;
    struct pollfd wait = {.fd = sockets->fds[family == 6][worker], .events = POLLIN};
    if (poll(&wait, 1, 20000) <= 0) return 0;
    return one->udp->operations->receive(one->udp, &one->spaces[worker], family, arrivals);
}

static bool is_empty(end *one, uint32_t worker, uint8_t family) {
    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    return one->udp->operations->receive(one->udp, &one->spaces[worker], family, arrivals) == 0;
}

static bool send_one(end *from, const cw_wg_route_to *to, uint8_t *bytes, uint16_t length, uint8_t tos) {
    cw_wg_datagram datagram = {.to = to, .data = bytes, .length = length, .tos = tos};
    from->udp->operations->send(from->udp, &from->spaces[0], &datagram, 1);
    return datagram.sent;
}

#define BOTH {.ipv4 = true, .ipv6 = true}

// ---- Numbers --------------------------------------------------------------------------------------------------------

static uint16_t bound_to(int fd) {
    struct sockaddr_in6 name;
    socklen_t length = sizeof name;
    CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&name, &length), 0);
    return ntohs(name.sin6_port); // at the same place in both families
}

static void test_numbers(void) {
    for (uint32_t workers = 1; workers <= MOST_WORKERS; workers++) {
        end one;
        end_open(&one, workers, (cw_wg_port_config)BOTH);
        const cw_wg_udp_sockets *sockets = (const cw_wg_udp_sockets *)one.udp;
        uint16_t number = cw_wg_udp_number(one.udp);
        CHECK(number != 0);
        for (uint32_t i = 0; i < workers; i++) {
            CHECK_EQUAL(bound_to(sockets->fds[0][i]), number);
            CHECK_EQUAL(bound_to(sockets->fds[1][i]), number);
        }
        // Taken is taken, by ourselves as by anybody, although the sockets of a port share it.
        cw_wg_udp *second = NULL;
        cw_wg_port_config same = {.port = number, .ipv4 = true, .ipv6 = true}, only6 = {.port = number, .ipv6 = true};
        errno = 0;
        CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, workers, &same, &second), CW_SYSTEM);
        CHECK_EQUAL(errno, EADDRINUSE);
        CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, 1, &only6, &second), CW_SYSTEM);
        CHECK(second == NULL);
        end_close(&one);
        end_open(&one, 1, same); // free again
        CHECK_EQUAL(cw_wg_udp_number(one.udp), number);
        end_close(&one);
    }
    end one;
    end_open(&one, 1, (cw_wg_port_config){.ipv6 = true});
    const cw_wg_udp_sockets *sockets = (const cw_wg_udp_sockets *)one.udp;
    CHECK_EQUAL(sockets->fds[0][0], -1);
    CHECK(sockets->fds[1][0] >= 0);
    CHECK(is_empty(&one, 0, 4));
    uint8_t byte = 1;
    cw_wg_route_to to = to4("127.0.0.1", 9);
    CHECK(!send_one(&one, &to, &byte, 1, 0)); // no socket of that family
    end_close(&one);
}

// The kernel's number for IPv4 is taken in IPv6: another one is found, and given up on only when there is none.
static void test_number_taken_in_the_other_family(void) {
    if (skip("a number taken in one family")) return;
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
    CHECK(range != NULL);
    if (range == NULL) return;
    fprintf(range, "40001 40002\n");
    CHECK_EQUAL(fclose(range), 0);
    cw_wg_udp *taken[2] = {NULL}, *made = NULL;
    cw_wg_port_config both = BOTH, first = {.port = 40001, .ipv6 = true}, second = {.port = 40002, .ipv6 = true};
    CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, 1, &first, &taken[0]), CW_OK);
    for (int i = 0; i < 20; i++) {
        cw_status status = cw_wg_sockets.open(&cw_wg_sockets, 2, &both, &made);
        CHECK_EQUAL(status, CW_OK);
        if (status != CW_OK) break;
        CHECK_EQUAL(cw_wg_udp_number(made), 40002);
        made->operations->close(made);
    }
    CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, 1, &second, &taken[1]), CW_OK);
    CHECK_EQUAL(cw_wg_sockets.open(&cw_wg_sockets, 2, &both, &made), CW_SYSTEM);
    CHECK_EQUAL(errno, EADDRINUSE);
    for (int i = 0; i < 2; i++) taken[i]->operations->close(taken[i]);
    range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
    fprintf(range, "32768 60999\n");
    CHECK_EQUAL(fclose(range), 0);
}

static void test_fwmark(void) {
    end one;
    end_open(&one, 2, (cw_wg_port_config)BOTH);
    const cw_wg_udp_sockets *sockets = (const cw_wg_udp_sockets *)one.udp;
    if (!skip("fwmark")) {
        CHECK_EQUAL(cw_wg_udp_set_fwmark(one.udp, 0xCA6C), CW_OK);
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t mark = 0;
            socklen_t length = sizeof mark;
            CHECK_EQUAL(getsockopt(sockets->fds[i % 2][i / 2], SOL_SOCKET, SO_MARK, &mark, &length), 0);
            CHECK_EQUAL(mark, 0xCA6C);
        }
        CHECK_EQUAL(cw_wg_udp_set_fwmark(one.udp, 0), CW_OK);
    }
    end_close(&one);
}

// ---- Steering -------------------------------------------------------------------------------------------------------

// Each kind of message reaches the worker whose index it bears, from whatever port it comes.
static void test_steering(void) {
    for (uint32_t workers = 2; workers <= MOST_WORKERS; workers++) {
        end near, far;
        end_open(&near, 1, (cw_wg_port_config)BOTH);
        end_open(&far, workers, (cw_wg_port_config)BOTH);
        for (uint8_t family = 4; family <= 6; family += 2) {
            cw_wg_route_to to = to_family(family, cw_wg_udp_number(far.udp));
            for (uint32_t i = 0; i < 60; i++) {
                uint8_t message[148] = {(uint8_t)(1 + i % 4)};
                uint32_t index = 0x9E3779B1u * (i + 1), worker = index % workers;
                uint16_t length = (uint16_t)(i % 4 == 3 ? 64 : 148);
                cw_put_le32(message + 4, message[0] == CW_WG_RESPONSE ? ~index : index);
                cw_put_le32(message + 8, message[0] == CW_WG_RESPONSE ? index : ~index);
                if (message[0] == CW_WG_INITIATION) worker = 0;
                if (i >= 40 && i < 50) message[0] = 9, worker = 0; // no message of ours
                if (i >= 50) length = 6, worker = 0;               // cut short
                CHECK(send_one(&near, &to, message, length, 0));
                cw_wg_arrival arrivals[CW_WG_RECEIVE];
                CHECK_EQUAL(receive(&far, worker, family, arrivals), 1);
                CHECK_EQUAL(arrivals[0].length, length);
                CHECK(memcmp(arrivals[0].data, message, length) == 0);
            }
            for (uint32_t i = 0; i < workers; i++) CHECK(is_empty(&far, i, family));
        }
        end_close(&near);
        end_close(&far);
    }
}

// ---- Segments -------------------------------------------------------------------------------------------------------

enum { MANY = 256 };
static uint8_t payload[MANY][2100];
static cw_wg_datagram datagrams[MANY];

// Sends what `lengths` says, MANY datagrams; returns how many reads brought all of them, in order and whole.
static uint32_t send_and_receive(end *near, end *far, uint8_t family, const uint16_t *lengths, uint8_t tos, uint32_t *reads) {
    cw_wg_route_to to = to_family(family, cw_wg_udp_number(far->udp));
    for (uint32_t i = 0; i < MANY; i++) {
        for (uint32_t j = 0; j < lengths[i]; j++) payload[i][j] = (uint8_t)(i + j * 5);
        cw_put_le32(payload[i], i);
        datagrams[i] = (cw_wg_datagram){.to = &to, .data = payload[i], .length = lengths[i], .tos = tos};
    }
    near->udp->operations->send(near->udp, &near->spaces[0], datagrams, MANY);
    uint32_t arrived = 0;
    *reads = 0;
    while (arrived < MANY) {
        cw_wg_arrival arrivals[CW_WG_RECEIVE];
        size_t count = receive(far, 0, family, arrivals);
        if (count == 0) break;
        for (size_t i = 0; i < count; i++) {
            ++*reads;
            CHECK_EQUAL(arrivals[i].tos, tos);
            for (uint32_t at = 0; at < arrivals[i].length && arrived < MANY; at += arrivals[i].segment, arrived++) {
                uint32_t rest = arrivals[i].length - at, length = rest < arrivals[i].segment ? rest : arrivals[i].segment;
                CHECK_EQUAL(length, lengths[arrived]);
                CHECK(memcmp(arrivals[i].data + at, payload[arrived], length) == 0);
            }
        }
    }
    for (uint32_t i = 0; i < MANY; i++) CHECK(datagrams[i].sent && !datagrams[i].forget_source);
    return arrived;
}

static void test_segments(void) {
    end near, far;
    uint16_t lengths[MANY];
    uint32_t reads;
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    for (uint8_t family = 4; family <= 6; family += 2) {
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = 1452; // 44 go into one message
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        CHECK(reads <= 6);
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = 96; // 64 do
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 3, &reads), MANY);
        CHECK(reads <= 4);
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = i % 10 == 9 ? 80 : 1232; // a shorter one ends each run
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 2, &reads), MANY);
        CHECK(reads <= 26);
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = (uint16_t)(64 + i); // each longer than the one before: none fit together
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        test_random random = {family};
        for (uint32_t round = 0; round < 20; round++) {
            uint16_t sizes[4] = {32, 96, 1232, 1452};
            for (uint32_t i = 0; i < MANY; i++) lengths[i] = sizes[random_below(&random, 4)];
            CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        }
    }
    CHECK_EQUAL(atomic_load(&((cw_wg_udp_sockets *)near.udp)->single_from), UINT32_MAX); // nothing was refused
    end_close(&near);
    end_close(&far);
}

// Segments that do not fit the path's MTU are refused by the kernel; they leave one by one, in fragments, and the port remembers.
static void test_segments_refused(void) {
    if (skip("segments longer than the MTU")) return;
    end near, far;
    uint16_t lengths[MANY];
    uint32_t reads;
    set_loopback(1400);
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_udp_sockets *sockets = (cw_wg_udp_sockets *)near.udp;
    for (uint8_t family = 4; family <= 6; family += 2) {
        atomic_store(&sockets->single_from, UINT32_MAX);
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = 1452;
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        CHECK_EQUAL(atomic_load(&sockets->single_from), 1452);
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        for (uint32_t i = 0; i < MANY; i++) lengths[i] = 1232; // shorter ones still go together
        CHECK_EQUAL(send_and_receive(&near, &far, family, lengths, 0, &reads), MANY);
        CHECK(reads <= 6);
    }
    // After a while it is tried again.
    set_loopback(65536);
    for (uint32_t i = 0; i < MANY; i++) lengths[i] = 1452;
    uint32_t rounds = 0;
    do CHECK_EQUAL(send_and_receive(&near, &far, 4, lengths, 0, &reads), MANY);
    while (++rounds < 100 && reads > 6);
    CHECK(rounds > 10 && rounds < 100);
    CHECK_EQUAL(atomic_load(&sockets->single_from), UINT32_MAX);
    end_close(&near);
    end_close(&far);
}

// A device that cannot do segments at all: everything goes one by one, and that is remembered too.
static void test_segments_impossible(void) {
    end near, far;
    uint16_t lengths[MANY];
    uint32_t reads;
    memset(&sending, 0, sizeof sending);
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    for (uint32_t i = 0; i < MANY; i++) lengths[i] = 96;
    sending.error = EIO;
    sending.only_segments = true;
    CHECK_EQUAL(send_and_receive(&near, &far, 4, lengths, 0, &reads), MANY);
    CHECK_EQUAL(atomic_load(&((cw_wg_udp_sockets *)near.udp)->single_from), 0);
    sending.calls = 0;
    CHECK_EQUAL(send_and_receive(&near, &far, 4, lengths, 0, &reads), MANY);
    CHECK_EQUAL(sending.calls, 1); // not tried again, but still together
    memset(&sending, 0, sizeof sending);
    end_close(&near);
    end_close(&far);
}

// No room: what is left of the call is dropped after one attempt, however many messages it would have been; the next call tries again.
static void test_no_room(void) {
    static const int errors[] = {EAGAIN, ENOBUFS, ENOMEM};
    end near, far;
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_route_to to = to_family(4, cw_wg_udp_number(far.udp));
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (unsigned pass = 0; pass < 4; pass++) {
            for (uint32_t i = 0; i < MANY; i++)
                datagrams[i] = (cw_wg_datagram){.to = &to, .data = payload[i], .length = (uint16_t)(100 + i)}; // a message each
            memset(&sending, 0, sizeof sending);
            sending.error = errors[e];
            sending.succeed = 7 * pass;
            near.udp->operations->send(near.udp, &near.spaces[0], datagrams, MANY);
            CHECK(sending.calls <= 2);
            for (uint32_t i = 0; i < MANY; i++) CHECK_EQUAL(datagrams[i].sent, i < 7 * pass);
        }
    }
    memset(&sending, 0, sizeof sending);
    while (!is_empty(&far, 0, 4)) {}
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, MANY);
    for (uint32_t i = 0; i < MANY; i++) CHECK(datagrams[i].sent);
    end_close(&near);
    end_close(&far);
}

// An error that is about one message holds nothing else up, and is not tried again.
static void test_one_message_refused(void) {
    end near, far;
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_route_to to = to_family(4, cw_wg_udp_number(far.udp));
    for (uint32_t i = 0; i < 10; i++) datagrams[i] = (cw_wg_datagram){.to = &to, .data = payload[i], .length = 96};
    memset(&sending, 0, sizeof sending);
    sending.error = EPERM; // a packet filter, say
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, 10);
    CHECK_EQUAL(sending.calls, 1);
    for (uint32_t i = 0; i < 10; i++) CHECK(!datagrams[i].sent && !datagrams[i].forget_source);
    memset(&sending, 0, sizeof sending);
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, 10);
    CHECK_EQUAL(sending.calls, 1); // nothing was remembered: one message again
    CHECK(datagrams[9].sent);
    end_close(&near);
    end_close(&far);
}

// Several destinations and marks in one call: each in its own order, nothing lost, and runs where they are possible.
static void test_many_destinations(void) {
    enum { FARS = 12 };
    end near;
    static end fars[FARS];
    static cw_wg_route_to to[2 * FARS];
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    for (uint32_t i = 0; i < FARS; i++) {
        end_open(&fars[i], 1, (cw_wg_port_config)BOTH);
        to[i] = to_family(4, cw_wg_udp_number(fars[i].udp));
        to[FARS + i] = to_family(6, cw_wg_udp_number(fars[i].udp));
    }
    test_random random = {77};
    uint32_t sent[2 * FARS] = {0};
    static uint8_t bytes[MANY][200];
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t where = (uint32_t)random_below(&random, 2 * FARS);
        cw_put_le32(bytes[i], sent[where]++);
        datagrams[i] = (cw_wg_datagram){.to = &to[where], .data = bytes[i], .length = (uint16_t)(96 + 16 * (i % 2)), .tos = 0};
    }
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, MANY);
    for (uint32_t where = 0; where < 2 * FARS; where++) {
        uint32_t next = 0;
        while (next < sent[where]) {
            cw_wg_arrival arrivals[CW_WG_RECEIVE];
            size_t count = receive(&fars[where % FARS], 0, where < FARS ? 4 : 6, arrivals);
            CHECK(count > 0);
            if (count == 0) break;
            for (size_t i = 0; i < count; i++)
                for (uint32_t at = 0; at < arrivals[i].length; at += arrivals[i].segment) CHECK_EQUAL(cw_le32(arrivals[i].data + at), next++);
        }
        CHECK_EQUAL(next, sent[where]);
    }
    for (uint32_t i = 0; i < FARS; i++) end_close(&fars[i]);
    end_close(&near);
}

// ---- Addresses ------------------------------------------------------------------------------------------------------

// A datagram arrives with the address that it was sent to, and the answer leaves from there.
static void test_local_address(void) {
    end near, far;
    uint8_t byte[40] = {4};
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_route_to to = to4("127.0.0.42", cw_wg_udp_number(far.udp));
    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    CHECK(send_one(&near, &to, byte, sizeof byte, 0x88));
    CHECK_EQUAL(receive(&far, 0, 4, arrivals), 1);
    CHECK_EQUAL(arrivals[0].tos, 0x88);
    CHECK_EQUAL(arrivals[0].from.from.v4.s_addr, to.to.v4.sin_addr.s_addr);
    CHECK(arrivals[0].from.from_interface != 0);
    cw_wg_route_to answer = arrivals[0].from;
    CHECK(send_one(&far, &answer, byte, sizeof byte, 0));
    CHECK_EQUAL(receive(&near, 0, 4, arrivals), 1);
    CHECK_EQUAL(arrivals[0].from.to.v4.sin_addr.s_addr, to.to.v4.sin_addr.s_addr);
    CHECK_EQUAL(ntohs(arrivals[0].from.to.v4.sin_port), cw_wg_udp_number(far.udp));
    CHECK_EQUAL(arrivals[0].tos, 0);

    cw_wg_route_to to_v6 = to6("::1", cw_wg_udp_number(far.udp));
    CHECK(send_one(&near, &to_v6, byte, sizeof byte, 0x88));
    CHECK_EQUAL(receive(&far, 0, 6, arrivals), 1);
    CHECK_EQUAL(arrivals[0].tos, 0x88);
    CHECK(IN6_IS_ADDR_LOOPBACK(&arrivals[0].from.from.v6));
    answer = arrivals[0].from;
    CHECK(send_one(&far, &answer, byte, sizeof byte, 0));
    CHECK_EQUAL(receive(&near, 0, 6, arrivals), 1);
    end_close(&near);
    end_close(&far);
}

// A local address that is not ours any more: the packet leaves from another one, and the caller is told. Single and in runs.
static void test_local_address_gone(void) {
    for (uint8_t family = 4; family <= 6; family += 2) {
        end near, far;
        end_open(&near, 1, (cw_wg_port_config)BOTH);
        end_open(&far, 1, (cw_wg_port_config)BOTH);
        cw_wg_route_to to = to_family(family, cw_wg_udp_number(far.udp));
        if (family == 4) inet_pton(AF_INET, "203.0.113.7", &to.from.v4);
        else inet_pton(AF_INET6, "2001:db8::7", &to.from.v6);
        for (uint32_t count = 1; count <= 20; count += 19) {
            for (uint32_t i = 0; i < count; i++) datagrams[i] = (cw_wg_datagram){.to = &to, .data = payload[i], .length = 96};
            near.udp->operations->send(near.udp, &near.spaces[0], datagrams, count);
            for (uint32_t i = 0; i < count; i++) CHECK(datagrams[i].sent && datagrams[i].forget_source);
            uint32_t arrived = 0;
            while (arrived < count) {
                cw_wg_arrival arrivals[CW_WG_RECEIVE];
                size_t reads = receive(&far, 0, family, arrivals);
                if (reads == 0) break;
                for (size_t i = 0; i < reads; i++) arrived += (arrivals[i].length + arrivals[i].segment - 1) / arrivals[i].segment;
            }
            CHECK_EQUAL(arrived, count);
        }
        CHECK_EQUAL(atomic_load(&((cw_wg_udp_sockets *)near.udp)->single_from), UINT32_MAX); // that was not the segments' fault
        end_close(&near);
        end_close(&far);
    }
}

static void test_no_way_there(void) {
    if (skip("destinations without a route")) return;
    end near, far;
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_route_to nowhere = to4("198.51.100.1", 9), nowhere6 = to6("2001:db8::9", 9), there = to_family(4, cw_wg_udp_number(far.udp));
    const cw_wg_route_to *ways[] = {&nowhere, &there, &nowhere6};
    for (uint32_t i = 0; i < 30; i++) datagrams[i] = (cw_wg_datagram){.to = ways[i % 3], .data = payload[i], .length = 96};
    memset(&sending, 0, sizeof sending);
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, 30);
    for (uint32_t i = 0; i < 30; i++) {
        CHECK_EQUAL(datagrams[i].sent, i % 3 == 1);
        CHECK(!datagrams[i].forget_source);
    }
    CHECK(sending.calls <= 4); // not one for each packet that has no way
    inet_pton(AF_INET, "127.0.0.1", &nowhere.from.v4); // it may be the local address: one more attempt, not one for each
    for (uint32_t i = 0; i < 30; i++) datagrams[i] = (cw_wg_datagram){.to = &nowhere, .data = payload[i], .length = 96};
    memset(&sending, 0, sizeof sending);
    near.udp->operations->send(near.udp, &near.spaces[0], datagrams, 30);
    CHECK(sending.calls <= 3);
    for (uint32_t i = 0; i < 30; i++) CHECK(!datagrams[i].sent);
    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    CHECK(receive(&far, 0, 4, arrivals) > 0); // the others are not held up
    end_close(&near);
    end_close(&far);
}

// Nobody listens there, and ICMP says so: neither side of the port cares.
static void test_refused_by_icmp(void) {
    end near, far;
    end_open(&near, 1, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    uint16_t number = cw_wg_udp_number(far.udp);
    end_close(&far);
    cw_wg_route_to to = to_family(4, number);
    for (int i = 0; i < 5; i++) CHECK(send_one(&near, &to, payload[0], 96, 0));
    end_open(&far, 1, (cw_wg_port_config){.port = number, .ipv4 = true});
    CHECK(send_one(&near, &to, payload[0], 96, 0));
    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    CHECK_EQUAL(receive(&far, 0, 4, arrivals), 1);
    end_close(&near);
    end_close(&far);
}

// A port outlives the interface that it was used on.
static void test_interface_goes(void) {
    if (skip("an interface that goes")) return;
    if (system("ip link add wgu0 type veth peer name wgu1 && ip address add 192.0.2.1/24 dev wgu0 && ip link set wgu0 up && "
               "ip link set wgu1 up") != 0) {
        fprintf(stderr, "wg_udp: an interface that goes: not tested, there is no veth\n");
        return;
    }
    end near, far;
    end_open(&near, 2, (cw_wg_port_config)BOTH);
    end_open(&far, 1, (cw_wg_port_config)BOTH);
    cw_wg_route_to to = to4("192.0.2.1", cw_wg_udp_number(far.udp)), out = to4("192.0.2.2", 9);
    inet_pton(AF_INET, "192.0.2.1", &to.from.v4);
    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    CHECK(send_one(&near, &to, payload[0], 96, 0));
    CHECK_EQUAL(receive(&far, 0, 4, arrivals), 1);
    CHECK(send_one(&near, &out, payload[0], 96, 0));
    CHECK_EQUAL(system("ip link delete wgu0"), 0);
    (void)send_one(&near, &out, payload[0], 96, 0); // there is no way any more
    cw_wg_route_to here = to_family(4, cw_wg_udp_number(far.udp));
    inet_pton(AF_INET, "192.0.2.1", &here.from.v4); // gone with the interface
    cw_wg_datagram datagram = {.to = &here, .data = payload[0], .length = 96};
    near.udp->operations->send(near.udp, &near.spaces[0], &datagram, 1);
    CHECK(datagram.sent && datagram.forget_source);
    CHECK_EQUAL(receive(&far, 0, 4, arrivals), 1);
    end_close(&near);
    end_close(&far);
}

// ---- The engine over sockets ----------------------------------------------------------------------------------------

static bool wait_for(int epoll_fd, uint64_t *data) {
    struct epoll_event event;
    if (epoll_wait(epoll_fd, &event, 1, 1000) != 1) return false;
    *data = event.data.u64;
    return true;
}

// Sessions between two engines whose ports are sockets, IPv4 and IPv6, two workers each with an epoll of its own; packets arrive at the
// worker that their index names.
static void test_engines_over_sockets(void) {
    enum { WORKERS = 2, PEERS = 8, PACKETS = 240 };
    for (uint8_t family = 4; family <= 6; family += 2) {
        static sessions s;
        int epolls[2][WORKERS];
        sessions_open(&s, PEERS, WORKERS, 8, family);
        for (uint32_t i = 0; i < 2; i++) {
            side *one = &s.sides[i];
            for (uint32_t w = 0; w < WORKERS; w++) {
                epolls[i][w] = epoll_create1(0);
                if (w == 0) CHECK_EQUAL(cw_wg_attach(one->wg, w, epolls[i][w]), CW_OK); // before the port opens, and after it
            }
            one->wg->network = &cw_wg_sockets;
            CHECK_EQUAL(cw_wg_port_open(one->wg, &(cw_wg_port_config)BOTH, &one->port), CW_OK);
            CHECK_EQUAL(cw_wg_attach(one->wg, 1, epolls[i][1]), CW_OK);
            CHECK_EQUAL(cw_wg_identity_set_port(one->wg, one->identity, one->port), CW_OK);
        }
        CHECK_EQUAL(cw_wg_attach(s.sides[0].wg, WORKERS, epolls[0][0]), CW_INVALID);
        for (uint32_t i = 0; i < 2; i++) {
            uint16_t number = cw_wg_port_number(s.sides[1 - i].wg, s.sides[1 - i].port);
            for (uint32_t n = 0; n < PEERS; n++) s.sides[i].peers[n]->endpoint = to_family(family, number);
        }
        for (uint32_t n = 0; n < PEERS; n++) install(&s, n, s.now);
        for (uint32_t from = 0; from < 2; from++) {
            side *near = &s.sides[from], *far = &s.sides[1 - from];
            cw_wg_enter(near->wg, 0);
            for (uint32_t i = 0; i < PACKETS; i++) queue_inner(&s, from, i / 30 % PEERS, i % 2 == 0 ? 4 : 6, 1000 + i % 2, 0, (uint8_t)i);
            cw_wg_flush(near->wg, 0, &near->pool, s.now);
            cw_wg_leave(near->wg, 0);
            far->now = s.now;
            for (uint32_t w = 0; w < WORKERS; w++) {
                uint64_t expected = 0, before = far->arrived, data;
                for (uint32_t n = 0; n < PEERS; n++)
                    if (far->peers[n]->current->local_index % WORKERS == w) expected += PACKETS / PEERS;
                CHECK(expected > 0);
                while (far->arrived < before + expected && wait_for(epolls[1 - from][w], &data)) {
                    CHECK((data & CW_WG_EPOLL) != 0);
                    CHECK_EQUAL(cw_wg_epoll_family(data), family);
                    cw_wg_enter(far->wg, w);
                    cw_wg_receive(far->wg, w, data, &far->pool, s.now, side_sink, far);
                    cw_wg_leave(far->wg, w);
                }
                // Where a merge on loopback mixed sessions of both workers they come together; all of them do come.
                if (w == WORKERS - 1) CHECK_EQUAL(far->arrived, PACKETS);
            }
            CHECK_EQUAL(all_drops(near) + all_drops(far), 0);
        }
        // Told about a port that has gone: nothing happens.
        for (uint32_t i = 0; i < 2; i++) {
            side *one = &s.sides[i];
            uint32_t gone = one->port;
            CHECK_EQUAL(cw_wg_identity_remove(one->wg, one->identity), CW_OK);
            CHECK_EQUAL(cw_wg_port_close(one->wg, gone), CW_OK);
            cw_wg_enter(one->wg, 0);
            cw_wg_receive(one->wg, 0, cw_wg_epoll_data(gone, family), &one->pool, s.now, side_sink, one);
            cw_wg_receive(one->wg, 0, cw_wg_epoll_data(0, 4), &one->pool, s.now, side_sink, one);
            cw_wg_receive(one->wg, 0, UINT64_MAX, &one->pool, s.now, side_sink, one);
            cw_wg_leave(one->wg, 0);
            for (uint32_t w = 0; w < WORKERS; w++) close(epolls[i][w]);
        }
        sessions_close(&s);
    }
}

int main(void) {
    if (sodium_init() < 0) return 1;
    enter_namespace();
    RUN(numbers);
    RUN(number_taken_in_the_other_family);
    RUN(fwmark);
    RUN(steering);
    RUN(segments);
    RUN(segments_refused);
    RUN(segments_impossible);
    RUN(no_room);
    RUN(one_message_refused);
    RUN(many_destinations);
    RUN(local_address);
    RUN(local_address_gone);
    RUN(no_way_there);
    RUN(refused_by_icmp);
    RUN(interface_goes);
    RUN(engines_over_sockets);
    FINISH();
}
