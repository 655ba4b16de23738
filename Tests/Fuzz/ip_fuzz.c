// An inner packet through everything that is done to it, both ways, in a worker that does not run as a thread: its TUN and GRE socket
// are socket pairs. Whatever comes out towards the tunnel must be a whole and valid packet of the session's own, to somewhere it may go,
// no longer than the tunnel takes.
//
// First byte of an input: 1 from the tunnel instead of the client, 2 repair version, length and checksum, 4 repair source, 8 repair
// destination, 16 small MTU, 32 IPv6, 64 tunnel down. The rest is the packet.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker.h"

enum { FROM_TUNNEL = 1, REPAIR = 2, REPAIR_SOURCE = 4, REPAIR_DESTINATION = 8, SMALL = 16, SIX = 32, DOWN = 64, GRE_HEADER = 12 };

static cw_engine *engine;
static cw_worker *worker;
static int gre_end, tun_end;
static const uint8_t own4[4] = {10, 9, 0, 1}, hub4[4] = {10, 200, 0, 1}, other4[4] = {10, 9, 0, 2};
static const uint8_t own6[16] = {0xfd, 0, [15] = 1}, hub6[16] = {0xfd, 1, [15] = 1};

#define REQUIRE(condition) \
    do {                   \
        if (!(condition)) abort(); \
    } while (0)

static cw_address address4(const uint8_t *bytes) {
    cw_address address = {.family = 4};
    memcpy(address.bytes, bytes, 4);
    return address;
}

static void submit(cw_command command) {
    size_t taken;
    REQUIRE(cw_engine_submit(engine, &command, 1, &taken) == CW_OK);
}

static void open_session(uint64_t handle, uint16_t call, const uint8_t *inner) {
    const uint8_t peer[4] = {192, 0, 2, 1}, end[4] = {10, 9, 255, 1};
    cw_command bind = {
        .type = CW_BIND,
        .session = handle,
        .bind = {.gateway_address = address4(end), .tunnel = 0, .mtu = 1400, .prefix_count = 1, .prefixes = {{address4(inner), 32, {0}}}},
    };
    if (handle == 1) {
        bind.bind.prefix_count = 2;
        bind.bind.prefixes[1].address.family = 6;
        memcpy(bind.bind.prefixes[1].address.bytes, own6, 16);
        bind.bind.prefixes[1].length = 128;
    }
    submit((cw_command){.type = CW_OPEN, .session = handle, .open = {.local_call_id = call, .peer_call_id = 9, .peer_address = address4(peer)}});
    submit(bind);
}

static void tunnel(bool up, uint16_t mtu) { submit((cw_command){.type = CW_TUNNEL, .tunnel = {.index = 0, .mtu = mtu, .up = up}}); }

static void start(void) {
    int gre[2], tun[2], size = 1 << 20;
    cw_engine_config config;
    cw_engine_config_defaults(&config);
    config.icmp_rate = 1000000;
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, gre) == 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun) == 0);
    (void)setsockopt(tun[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    (void)setsockopt(tun[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    config.gre_fd[0] = gre[0];
    config.tun_fd[0] = tun[0];
    gre_end = gre[1];
    tun_end = tun[1];
    REQUIRE(cw_engine_create(&config, &engine) == CW_OK);
    worker = &engine->workers[0];
    open_session(1, 1, own4);
    open_session(2, 2, other4);
}

static void repair(uint8_t *p, size_t length, uint8_t mode) {
    if ((mode & SIX) != 0 && length >= 40) {
        p[0] = 0x60;
        cw_put16(p + 4, (uint16_t)(length - 40));
        if ((mode & REPAIR_SOURCE) != 0) memcpy(p + 8, (mode & FROM_TUNNEL) != 0 ? hub6 : own6, 16);
        if ((mode & REPAIR_DESTINATION) != 0) memcpy(p + 24, (mode & FROM_TUNNEL) != 0 ? own6 : hub6, 16);
        return;
    }
    if (length < 20) return;
    uint32_t header = (p[0] & 15u) * 4;
    if (header < 20 || header > length) header = 20;
    p[0] = (uint8_t)(0x40 | header / 4);
    cw_put16(p + 2, (uint16_t)length);
    if ((mode & REPAIR_SOURCE) != 0) memcpy(p + 12, (mode & FROM_TUNNEL) != 0 ? hub4 : own4, 4);
    if ((mode & REPAIR_DESTINATION) != 0) memcpy(p + 16, (mode & FROM_TUNNEL) != 0 ? own4 : hub4, 4);
    cw_put16(p + 10, 0);
    cw_put16(p + 10, cw_checksum(cw_sum(0, p, header)));
}

// What left for the tunnel: the session's own packet, or an ICMP error of ours about a packet from there.
static void check_output(uint32_t mtu, bool up, bool from_tunnel) {
    static uint8_t frame[65536 + CW_TUN_HEADER];
    static const uint8_t zeros[CW_TUN_HEADER];
    ssize_t got;
    while ((got = recv(tun_end, frame, sizeof frame, MSG_DONTWAIT)) >= 0) {
        cw_ip ip;
        REQUIRE(got > CW_TUN_HEADER && memcmp(frame, zeros, sizeof zeros) == 0);
        REQUIRE(cw_ip_parse(frame + CW_TUN_HEADER, (size_t)got - CW_TUN_HEADER, &ip));
        REQUIRE(ip.length == (size_t)got - CW_TUN_HEADER);
        REQUIRE(cw_ip_reach(ip.family, ip.destination) == CW_REACH_UNICAST);
        if (from_tunnel) {
            REQUIRE(ip.protocol == CW_IPPROTO_ICMP || ip.protocol == CW_IPPROTO_ICMPV6);
            continue;
        }
        REQUIRE(up && ip.length <= mtu);
        REQUIRE(memcmp(ip.source, ip.family == 4 ? own4 : own6, ip.family == 4 ? 4 : 16) == 0);
        REQUIRE(ip.family != 4 || (memcmp(ip.destination, own4, 4) != 0 && memcmp(ip.destination, other4, 4) != 0));
    }
    REQUIRE(errno == EAGAIN);
}

static void from_client(const uint8_t *packet, size_t length) {
    static uint32_t sequence;
    static uint8_t gre[20 + GRE_HEADER + 4 + 65536];
    static const uint8_t outer[20] = {0x45, [8] = 64, 47, [12] = 192, 0, 2, 1, 192, 0, 2, 2};
    if (length > CW_BUFFER_DATA - 36) length = CW_BUFFER_DATA - 36;
    memcpy(gre, outer, sizeof outer);
    cw_put16(gre + 2, (uint16_t)(36 + length));
    memcpy(gre + 20, (const uint8_t[]){0x30, 1, 0x88, 0x0B}, 4);
    cw_put16(gre + 24, (uint16_t)(4 + length));
    cw_put16(gre + 26, 1);
    cw_put32(gre + 28, ++sequence);
    memcpy(gre + 32, (const uint8_t[]){0xFF, 3, 0, length > 0 && packet[0] >> 4 == 6 ? 0x57 : 0x21}, 4);
    memcpy(gre + 36, packet, length);
    REQUIRE(send(gre_end, gre, 36 + length, 0) >= 0);
}

static void from_tunnel(const uint8_t *packet, size_t length) {
    static uint8_t frame[CW_TUN_HEADER + 65536];
    memcpy(frame + CW_TUN_HEADER, packet, length);
    REQUIRE(send(tun_end, frame, CW_TUN_HEADER + length, 0) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint64_t now = 1000000000;
    static uint8_t packet[65536];
    if (size < 1 || size > 32768) return 0;
    if (engine == NULL) start();
    uint8_t mode = data[0];
    size_t length = size - 1;
    memcpy(packet, data + 1, length);
    if ((mode & REPAIR) != 0) repair(packet, length, mode);
    uint16_t mtu = (mode & SMALL) != 0 ? 68 + length % 512 : 1400;
    tunnel((mode & DOWN) == 0, mtu);
    submit((cw_command){.type = CW_UPDATE, .session = 1, .update = {.mask = CW_UPDATE_MTU, .mtu = mtu}});
    now += 1000000;
    while (cw_worker_commands(worker, now, 64)) {}
    cw_worker_refill(worker, 0);
    uint32_t available = worker->pool.available + (worker->buffer_count - worker->buffers_used);
    if ((mode & FROM_TUNNEL) != 0) {
        from_tunnel(packet, length);
        cw_worker_read_tun(worker, now);
        cw_worker_send_waiting(worker, now); // its turn
        REQUIRE(worker->down.packets == 0);
    } else {
        from_client(packet, length);
        cw_worker_receive(worker, now);
        REQUIRE(worker->up.packets == 0);
    }
    now += 200000000; // acknowledgments leave
    cw_worker_expire(worker, now);
    REQUIRE(worker->tun.fd >= 0 && worker->gre_fd >= 0);
    // No buffer is lost, whatever happened to the packet.
    REQUIRE(worker->pool.available + (worker->buffer_count - worker->buffers_used) == available);
    check_output(mtu, (mode & DOWN) == 0, (mode & FROM_TUNNEL) != 0);
    cw_event events[4];
    while (cw_engine_poll(engine, events, 4) > 0) {}
    cw_worker_flush_events(worker);
    return 0;
}
