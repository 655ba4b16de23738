// GRE in, per packet: a raw socket with recvmmsg against a ring with the ingress rule, both as the gateway uses them. Frames are put on the
// far end of a veth in a network namespace of its own, 32 at a time, and taken from the near end before the next ones, all by one thread:
// so its CPU time is that of both ends and of the kernel's stack in between. What the far end alone costs (frames of a type that
// nobody takes, without any rule) is measured in the same rounds and subtracted. Needs root, and ip (iproute2).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "ip.h"

enum { ROUNDS = 21, BATCH = 32, BATCHES = 500, MOST = 1500, CONTENDERS = 3 };
typedef enum kind { NOBODY, RAW, RING } kind;
static const char *const names[CONTENDERS] = {"nobody", "raw socket", "ring"};

static int wire;
static uint8_t frames[BATCH][MOST];
static struct iovec vectors[BATCH], places[BATCH];
static struct mmsghdr outgoing[BATCH], incoming[BATCH];
static struct sockaddr_ll far_end;
static cw_buffer buffers[BATCH];
static cw_buffer *batch[BATCH];
static cw_tap_config config = {.address_count = 1, .table = "causeway-bench"};

static void die(const char *what) {
    fprintf(stderr, "%s: %s (this needs root)\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void set_up(void) {
    if (unshare(CLONE_NEWNET) != 0) die("unshare");
    if (system("ip link set lo up && ip link add near0 type veth peer name far0 && ip link set near0 up && ip link set far0 up && "
               "ip address add 10.77.0.1/24 dev near0") != 0)
        die("ip");
    wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    int one = 1;
    if (wire < 0 || setsockopt(wire, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) != 0) die("packet socket");
    far_end = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("far0")};
    config.addresses[0].interface = if_nametoindex("near0");
    config.addresses[0].address = (cw_address){.bytes = {10, 77, 0, 1}, .family = 4};
}

static void make_frames(uint32_t length) { // of the IP packet
    struct ifreq request = {0};
    strcpy(request.ifr_name, "near0");
    if (ioctl(wire, SIOCGIFHWADDR, &request) != 0) die("SIOCGIFHWADDR");
    for (int i = 0; i < BATCH; i++) {
        uint8_t *frame = frames[i], *ip = frame + ETH_HLEN;
        memset(frame, 0, MOST);
        memcpy(frame, request.ifr_hwaddr.sa_data, 6);
        frame[6] = 2;
        cw_put16(frame + 12, ETH_P_IP);
        ip[0] = 0x45;
        cw_put16(ip + 2, (uint16_t)length);
        ip[8] = 64;
        ip[9] = IPPROTO_GRE;
        memcpy(ip + 12, (const uint8_t[]){10, 77, 0, 2, 10, 77, 0, 1}, 8);
        cw_put16(ip + 10, cw_checksum(cw_sum(0, ip, CW_IPV4_HEADER)));
        memcpy(ip + CW_IPV4_HEADER, (const uint8_t[]){0x30, 0x01, 0x88, 0x0B}, 4);
        cw_put16(ip + CW_IPV4_HEADER + 4, (uint16_t)(length - 32));
        vectors[i] = (struct iovec){frame, ETH_HLEN + length};
        outgoing[i].msg_hdr = (struct msghdr){.msg_name = &far_end, .msg_namelen = sizeof far_end, .msg_iov = &vectors[i], .msg_iovlen = 1};
        buffers[i].offset = CW_HEADROOM;
        batch[i] = &buffers[i];
        places[i] = (struct iovec){cw_buffer_data(&buffers[i]), CW_BUFFER_DATA};
        incoming[i].msg_hdr = (struct msghdr){.msg_iov = &places[i], .msg_iovlen = 1};
    }
}

static uint32_t take(kind kind, int raw, cw_tap *tap) {
    if (kind == RING) return cw_tap_receive(tap, batch, BATCH).count;
    int got = recvmmsg(raw, incoming, BATCH, MSG_DONTWAIT, NULL);
    return got < 0 ? 0 : (uint32_t)got;
}

// Nanoseconds a packet, the far end included.
static double measure(kind kind) {
    int32_t raw = -1, ring, rule = -1;
    cw_tap tap = {.fd = -1};
    if (kind != NOBODY && cw_open_gre(4, 0, 1, &raw) != CW_OK) die("cw_open_gre"); // beside a ring it is open as well
    if (kind == RING && (cw_open_gre_taps(&config, 1, &ring) != CW_OK || !cw_tap_map(&tap, ring, 1))) die("cw_open_gre_taps");
    if (kind == RING && cw_open_gre_rule(&config, &rule) != CW_OK) die("cw_open_gre_rule");
    for (int i = 0; i < BATCH; i++) cw_put16(frames[i] + 12, kind == NOBODY ? 0x88B5 : ETH_P_IP); // IEEE's for experiments
    double begun = now();
    for (int i = 0; i < BATCHES; i++) {
        for (int sent = 0; sent < BATCH;) {
            int done = sendmmsg(wire, outgoing + sent, (unsigned)(BATCH - sent), 0);
            if (done < 0) die("sendmmsg");
            sent += done;
        }
        if (kind == NOBODY) continue;
        uint32_t got = 0;
        for (int patience = 0; got < BATCH && patience < 100000; patience++) got += take(kind, raw, &tap);
        if (got != BATCH) {
            fprintf(stderr, "%s: %u of %d packets\n", names[kind], got, BATCH);
            exit(1);
        }
    }
    double each = (now() - begun) / (BATCHES * BATCH);
    if (rule >= 0) close(rule);
    if (kind == RING) {
        cw_tap_unmap(&tap);
        close(ring);
    }
    if (raw >= 0) close(raw);
    return each;
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }
static void show(const char *name, double *values, const char *unit) {
    qsort(values, ROUNDS, sizeof *values, ascending);
    printf("  %-12s %8.*f%s (%.*f-%.*f)", name, *unit ? 2 : 0, values[ROUNDS / 2], unit, *unit ? 2 : 0, values[0], *unit ? 2 : 0, values[ROUNDS - 1]);
}

int main(void) {
    static const uint32_t lengths[] = {1444, 108}; // inner packets of 1400 and 64 octets
    set_up();
    printf("GRE in, nanoseconds a packet, user and kernel; batches of %d; medians of %d rounds (least-greatest)\n", BATCH, ROUNDS);
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        double raw[ROUNDS], ring[ROUNDS], ratio[ROUNDS];
        make_frames(lengths[l]);
        for (int round = -1; round < ROUNDS; round++) { // the first is thrown away
            double nobody = measure(NOBODY), first = measure(RAW) - nobody, second = measure(RING) - nobody;
            if (round < 0) continue;
            raw[round] = first;
            ring[round] = second;
            ratio[round] = first / second;
        }
        printf("%4u octets:", lengths[l]);
        show(names[RAW], raw, "");
        show(names[RING], ring, "");
        show("ratio", ratio, "x");
        printf("\n");
    }
}
