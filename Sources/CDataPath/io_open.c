// The descriptors of a worker: the raw GRE socket and the TUN queue.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "causeway_datapath.h"

enum { socket_buffer = 8 * 1024 * 1024 };

static int32_t close_and_keep_errno(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

// A raw socket gets a copy of every GRE packet of the host; this filter leaves those of one worker. It sees the IP header
// first: X is set to its length, then come flags and version (RFC 2637 section 4.1: version 1), protocol 0x880B and, in the
// lower half of the key, our call ID.
static int attach_filter(int fd, uint32_t worker, uint32_t worker_count) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 1),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x07),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 6),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x880B, 0, 4),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 6),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, worker_count),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, worker, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

// What arrived between socket() and the filter belongs to anybody.
static void drain(int fd) {
    uint8_t byte;
    while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0) {}
}

static void set_buffer(int fd, int force, int option) {
    int size = socket_buffer;
    // The forced size needs CAP_NET_ADMIN; without it the system's limit applies.
    if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof size) != 0) (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
}

cw_status cw_open_gre(uint8_t family, uint32_t worker, uint32_t worker_count, int32_t *fd) {
    // Raw IPv6 sockets show no IP header, so filter and receive step would have to differ; PPTP clients dial IPv4.
    if (family != 4 || worker_count == 0 || worker_count > CW_MAX_WORKERS || worker >= worker_count) return CW_INVALID;
    int raw = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_GRE);
    if (raw < 0) return CW_SYSTEM;
    // GRE leaves without DF: our outer packets are a few bytes longer than what a tight path carries only when an MTU was set wrong,
    // and legacy peers ignore ICMP about GRE. Fragments arrive late, but they arrive; with DF such packets would vanish.
    int no_discovery = IP_PMTUDISC_DONT;
    if (attach_filter(raw, worker, worker_count) != 0 ||
        setsockopt(raw, IPPROTO_IP, IP_MTU_DISCOVER, &no_discovery, sizeof no_discovery) != 0) {
        *fd = close_and_keep_errno(raw);
        return CW_SYSTEM;
    }
    drain(raw);
    set_buffer(raw, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(raw, SO_SNDBUFFORCE, SO_SNDBUF);
    *fd = raw;
    return CW_OK;
}

cw_status cw_open_gre_frames(int32_t *fd) {
    int frames = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1; // protocol 0: nothing arrives
    if (frames < 0) return CW_SYSTEM;
    if (setsockopt(frames, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) != 0) {
        *fd = close_and_keep_errno(frames);
        return CW_SYSTEM;
    }
    set_buffer(frames, SO_SNDBUFFORCE, SO_SNDBUF);
    *fd = frames;
    return CW_OK;
}

cw_status cw_open_tun(const char *name, int32_t *fd) {
    size_t length = strlen(name);
    if (length == 0 || length >= IFNAMSIZ) return CW_INVALID;
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0) return CW_SYSTEM;
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
    memcpy(request.ifr_name, name, length);
    // The engine that takes it turns on the offloads.
    if (ioctl(tun, TUNSETIFF, &request) != 0) {
        *fd = close_and_keep_errno(tun);
        return CW_SYSTEM;
    }
    *fd = tun;
    return CW_OK;
}
