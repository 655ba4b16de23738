// GRE in and out, per packet. Out: a raw socket against frames of a packet socket with the next hop from the table, both with sendmmsg, and
// against frames by AF_XDP, as the gateway uses them; what the far end of the veth does with them (it is for another station) is in all.
//
// In: a raw socket with recvmmsg against a ring with the ingress rule, and against an XDP program of the driver's mode (veth's, which makes
// a copy of what did not come from XDP itself) and of the kernel's own, as the gateway uses them. Frames are put on the
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
#include "io_hop.h"
#include "io_xdp.h"
#include "ip.h"

enum { ROUNDS = 21, BATCH = 32, BATCHES = 500, MOST = 1500, CONTENDERS = 5, HOP_PATIENCE = 2000 };
typedef enum kind { NOBODY, RAW, RING, NATIVE, GENERIC } kind;
static const char *const names[CONTENDERS] = {"nobody", "raw socket", "ring", "XDP, driver", "XDP, kernel"};

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
               "ip address add 10.77.0.1/24 dev near0 && ip neighbour add 10.77.0.2 lladdr 02:00:00:00:00:02 dev near0 nud permanent") != 0)
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

static cw_xdp *open_xdp(kind kind, cw_xsks *xsks) {
    cw_xdp *xdp;
    cw_xdp_report report = {.failed = "cw_xdp_create"};
    cw_xdp_config one = {.interface = config.addresses[0].interface, .address_count = 1, .addresses = {config.addresses[0].address},
                         .mode = kind == NATIVE ? CW_XDP_NATIVE : CW_XDP_GENERIC};
    if (cw_xdp_create(1, &xdp) != CW_OK || cw_xdp_add(xdp, &one, &report) != CW_OK || !cw_xsks_create(xsks, xdp, 0)) die(report.failed);
    return xdp;
}

static void close_xdp(cw_xdp *xdp, cw_xsks *xsks) {
    cw_xsks_destroy(xsks);
    cw_xdp_destroy(xdp);
}

static uint32_t take(kind kind, int raw, cw_tap *tap, cw_xsks *xsks) {
    if (kind >= NATIVE) return cw_xsks_receive(xsks, batch, BATCH).count;
    if (kind == RING) return cw_tap_receive(tap, batch, BATCH).count;
    int got = recvmmsg(raw, incoming, BATCH, MSG_DONTWAIT, NULL);
    return got < 0 ? 0 : (uint32_t)got;
}

// Nanoseconds a packet, the far end included.
static double measure(kind kind) {
    int32_t raw = -1, ring, rule = -1;
    cw_tap tap = {.fd = -1};
    cw_xsks xsks;
    cw_xdp *xdp = kind >= NATIVE ? open_xdp(kind, &xsks) : NULL;
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
        for (int patience = 0; got < BATCH && patience < 100000; patience++) got += take(kind, raw, &tap, &xsks);
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
    if (xdp != NULL) close_xdp(xdp, &xsks);
    return each;
}

// ---- Out ------------------------------------------------------------------------------------------------------------------

static cw_hops hops;
static uint32_t peer, local;

// One batch from the buffers, whose packets begin at the GRE header.
static void put_out(kind kind, int fd, cw_xsks *xsks, uint32_t length) {
    static union {
        struct sockaddr_in address;
        struct sockaddr_ll interface;
    } to[BATCH];
    static struct {
        _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control[BATCH];
    static uint16_t identification;
    for (int i = 0; i < BATCH; i++) {
        uint8_t *gre = cw_buffer_data(&buffers[i]);
        struct msghdr *header = &outgoing[i].msg_hdr;
        vectors[i] = (struct iovec){gre, length};
        *header = (struct msghdr){.msg_name = &to[i], .msg_namelen = sizeof to[i].address, .msg_iov = &vectors[i], .msg_iovlen = 1};
        if (kind != RAW) {
            cw_hop hop;
            if (!cw_hops_find(&hops, 0, peer, local, &hop)) die("the next hop");
            cw_hop_frame(&hop, peer, identification++, gre, length);
            vectors[i] = (struct iovec){gre - CW_HOP_FRAME, CW_HOP_FRAME + length};
            to[i].interface = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)hop.interface};
            header->msg_namelen = sizeof to[i].interface;
            continue;
        }
        to[i].address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = peer};
        header->msg_control = control[i].bytes;
        header->msg_controllen = sizeof control[i].bytes;
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = local};
        struct cmsghdr *source = CMSG_FIRSTHDR(header);
        source->cmsg_level = IPPROTO_IP;
        source->cmsg_type = IP_PKTINFO;
        source->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(source), &info, sizeof info);
    }
    for (int sent = 0; sent < BATCH;) {
        int done = kind >= NATIVE ? (int)cw_xsks_send(xsks, config.addresses[0].interface, vectors + sent, (uint32_t)(BATCH - sent))
                                  : sendmmsg(fd, outgoing + sent, (unsigned)(BATCH - sent), 0);
        if (done < 0) die("sendmmsg");
        sent += done;
    }
}

static uint64_t arrived_frames(void) { // at the far end
    char line[256];
    unsigned long long packets;
    FILE *file = fopen("/proc/self/net/dev", "re");
    if (file == NULL) die("/proc/self/net/dev");
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, " far0: %*u %llu", &packets) != 1) continue;
        fclose(file);
        return packets;
    }
    die("far0");
    return 0;
}

static double measure_out(kind kind, uint32_t length) {
    int32_t fd = -1;
    cw_xsks xsks;
    cw_xdp *xdp = kind >= NATIVE ? open_xdp(kind, &xsks) : NULL;
    if (xdp == NULL && (kind == RING ? cw_open_gre_frames(&fd) : cw_open_gre(4, 0, 1, &fd)) != CW_OK) die("socket");
    double begun = now();
    for (int i = 0; i < BATCHES; i++) put_out(kind, fd, &xsks, length - CW_IPV4_HEADER);
    double each = (now() - begun) / (BATCHES * BATCH);
    if (fd >= 0) close(fd);
    if (xdp != NULL) close_xdp(xdp, &xsks);
    return each;
}

static void wait_for_hop(void) {
    cw_hop hop;
    peer = inet_addr("10.77.0.2");
    local = inet_addr("10.77.0.1");
    if (!cw_hops_create(&hops, 64, 1) || !cw_hops_start(&hops)) die("next hops");
    for (int patience = 0; patience < HOP_PATIENCE; patience++) {
        if (cw_hops_find(&hops, 0, peer, local, &hop)) return;
        usleep(1000);
    }
    errno = ETIMEDOUT;
    die("the next hop");
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }
static void show(const char *name, double *values, const char *unit) {
    qsort(values, ROUNDS, sizeof *values, ascending);
    printf("  %-12s %8.*f%s (%.*f-%.*f)", name, *unit ? 2 : 0, values[ROUNDS / 2], unit, *unit ? 2 : 0, values[0], *unit ? 2 : 0, values[ROUNDS - 1]);
}

// All of one length in turns, round by round; `values[0]` is the baseline of the ratios.
static void report(uint32_t length, const kind *kinds, const char *const *called, uint32_t count, double (*measure_one)(kind, uint32_t)) {
    double values[CONTENDERS][ROUNDS], ratios[CONTENDERS][ROUNDS];
    make_frames(length);
    for (int round = -1; round < ROUNDS; round++) { // the first is thrown away
        for (uint32_t i = 0; i < count; i++) {
            double value = measure_one(kinds[i], length);
            if (round < 0) continue;
            values[i][round] = value;
            ratios[i][round] = values[0][round] / value;
        }
    }
    printf("%4u octets:\n", length);
    for (uint32_t i = 0; i < count; i++) {
        show(called[i], values[i], "");
        if (i > 0) show("ratio", ratios[i], "x");
        printf("\n");
    }
}

static double measure_in(kind kind, uint32_t length) {
    (void)length;
    double nobody = measure(NOBODY);
    return measure(kind) - nobody;
}

int main(void) {
    static const uint32_t lengths[] = {1444, 108}; // inner packets of 1400 and 64 octets
    static const kind ways_in[] = {RAW, RING, NATIVE, GENERIC}, ways_out[] = {RAW, RING, GENERIC};
    static const char *const called_out[] = {"raw socket", "frames", "AF_XDP"};
    set_up();
    printf("GRE in, nanoseconds a packet, user and kernel; batches of %d; medians of %d rounds (least-greatest)\n", BATCH, ROUNDS);
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) report(lengths[l], ways_in, names + RAW, 4, measure_in);
    wait_for_hop();
    printf("GRE out, the same\n");
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        uint64_t before = arrived_frames();
        report(lengths[l], ways_out, called_out, 3, measure_out);
        uint64_t arrived = arrived_frames() - before, all = 3 * (ROUNDS + 1) * BATCHES * BATCH; // now and then one of the kernel's own, too
        printf("  %llu lost\n", (unsigned long long)(arrived < all ? all - arrived : 0));
    }
    cw_hops_destroy(&hops);
}
