// The rings of the backend "packet". TPACKET_V2, not V3: V3 hands packets over a block at a time, so a single one would wait for the
// block's timer (1 ms at best, a tick of 4 ms on many kernels), which a ping through an idle gateway would show.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io.h"
#include "ip.h"

enum {
    block_size = 64 * 1024,
    block_maximum = 128, block_minimum = 16, // of a worker: 8 MiB, as much as the raw socket's buffer ...
    block_total = 1024,                      // ... but about 64 MiB in all, since the kernel keeps them in memory
    filter_fixed = 22, filter_for_each = 4, // instructions
    host_packet = 0,   // PACKET_HOST
};
_Static_assert((int)CW_TAP_LONGEST <= (int)CW_BUFFER_DATA, "a tapped packet fits a buffer");
// The kernel aligns the packet behind its header, its address and a link header of at least 16 bytes.
_Static_assert(TPACKET2_HDRLEN + 64 + CW_TAP_LONGEST <= CW_TAP_FRAME, "a tapped packet fits a frame");

static uint32_t ring_blocks(uint32_t workers) {
    uint32_t blocks = block_total / workers;
    return blocks > block_maximum ? block_maximum : blocks < block_minimum ? block_minimum : blocks;
}

bool cw_tap_config_valid(const cw_tap_config *config) {
    if (config->address_count < 1 || config->address_count > CW_MAX_TAP_ADDRESSES) return false;
    if (memchr(config->table, 0, sizeof config->table) == NULL || config->table[0] == 0) return false;
    for (uint32_t i = 0; i < config->address_count; i++)
        if (config->addresses[i].interface == 0 || config->addresses[i].address.family != 4) return false;
    return true;
}

bool cw_tap_possible(uint32_t interface) {
    struct ifreq request = {0};
    if (if_indextoname(interface, request.ifr_name) == NULL) return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool ethernet = ioctl(fd, SIOCGIFHWADDR, &request) == 0 && request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    close(fd);
    return ethernet;
}

// ---- Opening ----------------------------------------------------------------------------------------------------------

#define AUXILIARY(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + (field)))

// The socket sees a packet from its IP header on. `reject` is where the program ends with "no".
static uint32_t make_filter(struct sock_filter *program, const cw_tap_config *config, uint32_t worker, uint32_t workers) {
    uint32_t n = 0, length = filter_fixed + filter_for_each * config->address_count, accept = length - 1;
#define STATEMENT(code, k) program[n++] = (struct sock_filter)BPF_STMT(code, k)
#define REQUIRE(operator, k) /* or reject, which stands before accept */ \
    do {                                                               \
        program[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | (operator) | BPF_K, k, 0, (uint8_t)(accept - 1 - n - 1)); \
        n++;                                                           \
    } while (0)
    program[n++] = (struct sock_filter)AUXILIARY(SKF_AD_PKTTYPE);
    REQUIRE(BPF_JEQ, host_packet);
    program[n++] = (struct sock_filter)AUXILIARY(SKF_AD_VLAN_TAG_PRESENT);
    REQUIRE(BPF_JEQ, 0);
    program[n++] = (struct sock_filter)AUXILIARY(SKF_AD_PROTOCOL);
    REQUIRE(BPF_JEQ, ETH_P_IP);
    STATEMENT(BPF_LD | BPF_B | BPF_ABS, 0);
    REQUIRE(BPF_JEQ, 0x45);
    STATEMENT(BPF_LD | BPF_H | BPF_ABS, 2);
    program[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, CW_TAP_LONGEST, (uint8_t)(accept - 1 - n - 1), 0);
    n++;
    STATEMENT(BPF_LD | BPF_H | BPF_ABS, 6);
    program[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3FFF, (uint8_t)(accept - 1 - n - 1), 0);
    n++;
    STATEMENT(BPF_LD | BPF_B | BPF_ABS, 9);
    REQUIRE(BPF_JEQ, IPPROTO_GRE);
    STATEMENT(BPF_LD | BPF_W | BPF_ABS, CW_IPV4_HEADER);
    STATEMENT(BPF_ALU | BPF_AND | BPF_K, CW_GRE_WORD_MASK);
    REQUIRE(BPF_JEQ, CW_GRE_WORD);
    STATEMENT(BPF_LD | BPF_H | BPF_ABS, CW_GRE_KEY_OFFSET);
    STATEMENT(BPF_ALU | BPF_MOD | BPF_K, workers);
    REQUIRE(BPF_JEQ, worker);
    for (uint32_t i = 0; i < config->address_count; i++) {
        uint32_t address;
        memcpy(&address, config->addresses[i].address.bytes, sizeof address);
        STATEMENT(BPF_LD | BPF_W | BPF_ABS, 16);
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(address), 0, 2);
        program[n++] = (struct sock_filter)AUXILIARY(SKF_AD_IFINDEX);
        program[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, config->addresses[i].interface, (uint8_t)(accept - n - 1), 0);
        n++;
    }
    STATEMENT(BPF_RET | BPF_K, 0);
    STATEMENT(BPF_RET | BPF_K, UINT32_MAX);
    return n;
}

static bool attach_filter(int fd, const cw_tap_config *config, uint32_t worker, uint32_t workers) {
    struct sock_filter program[filter_fixed + filter_for_each * CW_MAX_TAP_ADDRESSES + 4];
    struct sock_fprog filter = {(uint16_t)make_filter(program, config, worker, workers), program};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

// One look at a packet for all workers instead of one for each: the group's program says whose it is. The sockets' own filters check that
// again, so that it does not depend on the order in which the group keeps its sockets.
static bool join_group(int fd, uint32_t worker, uint32_t workers, uint16_t *group) {
    enum { ignore_outgoing = 0x4000 }; // newer than many headers; kernels that do not know it take no notice
    uint32_t flags = PACKET_FANOUT_CBPF | ignore_outgoing;
    if (worker == 0) flags |= PACKET_FANOUT_FLAG_UNIQUEID;
    uint32_t argument = (worker == 0 ? 0 : *group) | flags << 16;
    if (setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &argument, sizeof argument) != 0) return false;
    if (worker != 0) return true;
    socklen_t length = sizeof argument;
    if (getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &argument, &length) != 0) return false;
    *group = (uint16_t)argument;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)(SKF_NET_OFF + CW_GRE_KEY_OFFSET)),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog demultiplexer = {sizeof program / sizeof *program, program};
    return setsockopt(fd, SOL_PACKET, PACKET_FANOUT_DATA, &demultiplexer, sizeof demultiplexer) == 0;
}

static int open_tap(const cw_tap_config *config, uint32_t worker, uint32_t workers) {
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); // protocol 0: nothing arrives before bind
    if (fd < 0) return -1;
    int version = TPACKET_V2, one = 1;
    uint32_t blocks = ring_blocks(workers);
    struct tpacket_req ring = {block_size, blocks, CW_TAP_FRAME, blocks * (block_size / CW_TAP_FRAME)};
    // All protocols: those that ask for one are served after the ingress rule, which leaves nothing. All interfaces: a socket that is bound
    // to one loses its place in the group when that goes down.
    struct sockaddr_ll everywhere = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0 &&
        setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0 &&
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) == 0 && attach_filter(fd, config, worker, workers) &&
        bind(fd, (struct sockaddr *)&everywhere, sizeof everywhere) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

cw_status cw_open_gre_taps(const cw_tap_config *config, uint32_t worker_count, int32_t *fds) {
    if (!cw_tap_config_valid(config) || worker_count == 0 || worker_count > CW_MAX_WORKERS) return CW_INVALID;
    uint16_t group = 0;
    uint32_t opened = 0;
    for (; opened < worker_count; opened++)
        if ((fds[opened] = open_tap(config, opened, worker_count)) < 0) break;
    bool grouped = opened == worker_count;
    for (uint32_t i = 0; worker_count > 1 && grouped && i < worker_count; i++) grouped = join_group(fds[i], i, worker_count, &group);
    if (grouped) return CW_OK;
    int saved = errno;
    while (opened > 0) {
        close(fds[--opened]);
        fds[opened] = -1;
    }
    errno = saved;
    return CW_SYSTEM;
}

// ---- Receiving --------------------------------------------------------------------------------------------------------

bool cw_tap_map(cw_tap *tap, int fd, uint32_t workers) {
    size_t size = (size_t)ring_blocks(workers) * block_size;
    void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED) return false;
    *tap = (cw_tap){.fd = fd, .ring = ring, .frames = (uint32_t)(size / CW_TAP_FRAME)};
    return true;
}

void cw_tap_unmap(cw_tap *tap) {
    if (tap->ring != NULL) munmap(tap->ring, (size_t)tap->frames * CW_TAP_FRAME);
    *tap = (cw_tap){.fd = -1};
}

// What the stack would have looked at before the raw socket (RFC 1122 section 3.2.1.2).
bool cw_tap_is_sound(const uint8_t *packet, uint32_t captured) {
    if (captured < CW_IPV4_HEADER) return false;
    uint32_t total = cw_get16(packet + 2);
    return total >= CW_IPV4_HEADER && total <= captured && cw_checksum(cw_sum(0, packet, CW_IPV4_HEADER)) == 0;
}

static struct tpacket2_hdr *next_frame(const cw_tap *tap) {
    return (struct tpacket2_hdr *)(void *)(tap->ring + (size_t)tap->next * CW_TAP_FRAME);
}

static void release_frame(cw_tap *tap, struct tpacket2_hdr *header) {
    __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    tap->next = tap->next + 1 == tap->frames ? 0 : tap->next + 1;
}

cw_tapped cw_tap_discard(cw_tap *tap) {
    struct tpacket2_hdr *header = next_frame(tap);
    if ((__atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0) return (cw_tapped){0};
    release_frame(tap, header);
    return (cw_tapped){.lost = 1};
}

cw_tapped cw_tap_receive(cw_tap *tap, cw_buffer *const *buffers, uint32_t capacity) {
    cw_tapped found = {0};
    bool losing = false;
    // Also what is not taken costs a frame: bounded by the capacity.
    for (uint32_t looked = 0; looked < capacity; looked++) {
        struct tpacket2_hdr *header = next_frame(tap);
        uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
        if ((status & TP_STATUS_USER) == 0) break;
        losing = losing || (status & TP_STATUS_LOSING) != 0;
        const uint8_t *packet = (const uint8_t *)header + header->tp_net;
        if (cw_tap_is_sound(packet, header->tp_snaplen)) {
            cw_buffer *buffer = buffers[found.count++];
            buffer->length = cw_get16(packet + 2);
            memcpy(cw_buffer_data(buffer), packet, buffer->length);
        } else {
            found.malformed++;
        }
        release_frame(tap, header);
    }
    if (losing) {
        struct tpacket_stats statistics; // reading them sets them back
        socklen_t length = sizeof statistics;
        if (getsockopt(tap->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == 0) found.lost = statistics.tp_drops;
    }
    return found;
}
