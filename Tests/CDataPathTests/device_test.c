// A device over a socket pair in place of its TUN: what it makes of what it reads when there is nobody to send to.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device_rig.h"

typedef struct over_pair {
    cw_device *device;
    int end;
} over_pair;

static over_pair make_over_pair(int type, uint32_t icmp_rate) {
    over_pair made = {0};
    int pair[2];
    cw_device_config config;
    cw_device_config_defaults(&config);
    config.icmp_rate = icmp_rate;
    CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair) == 0);
    config.tun_fd[0] = pair[0];
    made.end = pair[1];
    CHECK_EQUAL(cw_device_create(&config, &made.device), CW_OK);
    CHECK_EQUAL(cw_device_start(made.device), CW_OK);
    return made;
}

static void end_over_pair(over_pair *made) {
    cw_device_destroy(made->device);
    close(made->end);
}

static size_t make_udp(uint8_t *out, uint8_t family) {
    memset(out, 0, 60);
    uint8_t *udp = out + (family == 4 ? 20 : 40);
    cw_put16(udp + 4, 12);
    if (family == 4) {
        memcpy(out, (uint8_t[]){0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 20);
        cw_put16(out + 10, cw_checksum(cw_sum(0, out, 20)));
        return 32;
    }
    memcpy(out, (uint8_t[]){0x60, 0, 0, 0, 0, 12, 17, 64, 0xFD}, 9);
    out[24] = 0xFD;
    out[39] = 2;
    return 52;
}

static void send_frame(int fd, const uint8_t *packet, size_t length) {
    uint8_t frame[CW_TUN_HEADER + 2048] = {0};
    memcpy(frame + CW_TUN_HEADER, packet, length);
    CHECK_EQUAL(send(fd, frame, CW_TUN_HEADER + length, 0), CW_TUN_HEADER + length);
}

static cw_device_counters settled(const over_pair *made, uint64_t reads) {
    cw_device_counters counters = counters_with(made->device, offsetof(cw_device_counters, reads), reads);
    CHECK_EQUAL(counters.reads, reads);
    return counters;
}

static void test_configuration(void) {
    cw_device *device;
    cw_device_config config, right;
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    cw_device_config_defaults(&right);
    CHECK_EQUAL(cw_device_create(&right, &device), CW_INVALID); // no descriptor
    right.tun_fd[0] = pair[0];
#define REFUSED(change, status)                               \
    do {                                                      \
        config = right;                                       \
        change;                                               \
        CHECK_EQUAL(cw_device_create(&config, &device), status); \
        CHECK(fcntl(pair[0], F_GETFD) >= 0);                  \
    } while (0)
    REFUSED(config.worker_count = 0, CW_INVALID);
    REFUSED(config.worker_count = CW_MAX_WORKERS + 1, CW_INVALID);
    REFUSED(config.worker_count = 2, CW_INVALID);
    REFUSED(config.batch_size = 0, CW_INVALID);
    REFUSED(config.batch_size = CW_MAX_BATCH + 1, CW_INVALID);
    REFUSED(config.wireguard.identity_capacity = 0, CW_INVALID);
    REFUSED(config.tun_fd[0] = 999999, CW_SYSTEM);
    CHECK_EQUAL(cw_device_create(&right, &device), CW_OK);
    CHECK(cw_device_wireguard(device) != NULL);
    CHECK_EQUAL(cw_device_failure(device), 0);
    cw_device_destroy(device); // without a start
    CHECK(fcntl(pair[0], F_GETFD) < 0);
    close(pair[1]);
    int32_t fds[2];
    CHECK_EQUAL(cw_open_tun_offload("", 1, fds), CW_INVALID);
    CHECK_EQUAL(cw_open_tun_offload("a-name-that-is-too-long", 1, fds), CW_INVALID);
    CHECK_EQUAL(cw_open_tun_offload("x", 0, fds), CW_INVALID);
    char name[CW_TUN_NAME_SIZE];
    CHECK_EQUAL(cw_tun_name(0, name), CW_INVALID);
}

static void test_nobody_is_told(void) {
    static const uint8_t families[] = {4, 6};
    over_pair made = make_over_pair(SOCK_DGRAM, 1000);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t packet[60], answer[2048];
        size_t length = make_udp(packet, families[i]);
        send_frame(made.end, packet, length);
        CHECK(becomes_readable(made.end));
        ssize_t got = recv(made.end, answer, sizeof answer, 0);
        uint8_t *ip = answer + CW_TUN_HEADER, *icmp = ip + (families[i] == 4 ? 20 : 40);
        CHECK_EQUAL(got, CW_TUN_HEADER + (families[i] == 4 ? 28 : 48) + length);
        CHECK_EQUAL(ip[0] >> 4, families[i]);
        CHECK_EQUAL(icmp[0], families[i] == 4 ? 3 : 1);
        CHECK_EQUAL(icmp[1], families[i] == 4 ? 1 : 3);
        CHECK(memcmp(icmp + 8, packet, length) == 0);
        CHECK_EQUAL(settled(&made, i + 1).icmp_sent, i + 1);
    }
    cw_wg_counters counters;
    cw_wg_counters_read(cw_device_wireguard(made.device), &counters);
    CHECK_EQUAL(counters.drops[CW_WG_DROP_NO_PEER], 2);
    end_over_pair(&made);
}

static void test_errors_are_limited(void) {
    over_pair made = make_over_pair(SOCK_DGRAM, 3);
    uint8_t packet[60];
    size_t length = make_udp(packet, 4);
    for (unsigned i = 0; i < 20; i++) send_frame(made.end, packet, length);
    uint64_t sent = settled(&made, 20).icmp_sent;
    CHECK(sent >= 3 && sent <= 5); // three at once, and what a slow machine's time adds
    end_over_pair(&made);
}

static void test_nonsense_is_counted(void) {
    over_pair made = make_over_pair(SOCK_DGRAM, 1000);
    uint8_t packet[60];
    size_t length = make_udp(packet, 4);
    send_frame(made.end, packet, 0);
    send_frame(made.end, packet, 19);
    packet[0] = 0x75;
    send_frame(made.end, packet, length);
    CHECK_EQUAL(send(made.end, packet, CW_TUN_HEADER - 1, 0), CW_TUN_HEADER - 1);
    cw_device_counters counters = settled(&made, 4);
    CHECK_EQUAL(counters.malformed, 4);
    CHECK_EQUAL(counters.read_packets, 0);
    CHECK_EQUAL(cw_device_failure(made.device), 0);
    end_over_pair(&made);
}

// A jumbo packet with DF is answered with the size that fits; without, it goes in pieces.
static void test_too_long(void) {
    over_pair made = make_over_pair(SOCK_DGRAM, 1000);
    static uint8_t frame[CW_TUN_HEADER + 4000], answer[4096];
    uint8_t *packet = frame + CW_TUN_HEADER;
    make_udp(packet, 4);
    cw_put16(packet + 2, 4000);
    for (unsigned df = 0; df < 2; df++) {
        cw_put16(packet + 6, df == 0 ? 0 : 0x4000);
        cw_put16(packet + 10, 0);
        cw_put16(packet + 10, cw_checksum(cw_sum(0, packet, 20)));
        CHECK_EQUAL(send(made.end, frame, sizeof frame, 0), sizeof frame);
        CHECK(becomes_readable(made.end));
        CHECK(recv(made.end, answer, sizeof answer, 0) > CW_TUN_HEADER + 28);
        CHECK_EQUAL(answer[CW_TUN_HEADER + 20], 3);
        CHECK_EQUAL(answer[CW_TUN_HEADER + 21], df == 0 ? 1 : 4); // the first piece's host is unreachable; fragmentation needed
        if (df == 1) CHECK_EQUAL(cw_get16(answer + CW_TUN_HEADER + 26), CW_BUFFER_DATA - 16);
        cw_device_counters counters = settled(&made, df + 1);
        CHECK_EQUAL(counters.read_packets, 2);
        CHECK_EQUAL(counters.too_long, df);
    }
    end_over_pair(&made);
}

static void test_an_end_is_noticed(void) {
    over_pair made = make_over_pair(SOCK_STREAM, 100);
    struct pollfd quiet = {.fd = cw_device_event_fd(made.device), .events = POLLIN};
    CHECK_EQUAL(poll(&quiet, 1, 0), 0);
    close(made.end);
    made.end = -1;
    CHECK(becomes_readable(cw_device_event_fd(made.device)));
    CHECK_EQUAL(cw_device_failure(made.device), EPIPE);
    cw_device_stop(made.device);
    cw_device_stop(made.device);
    end_over_pair(&made);
}

int main(void) {
    RUN(configuration);
    RUN(nobody_is_told);
    RUN(errors_are_limited);
    RUN(nonsense_is_counted);
    RUN(too_long);
    RUN(an_end_is_noticed);
    FINISH();
}
