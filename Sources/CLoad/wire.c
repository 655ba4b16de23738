// A bad wire: frames between two interfaces, both ways, of which GRE packets (IP protocol 47) are lost and overtaken by others.
#define _GNU_SOURCE
#include "cload.h"
#include "internal.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64,
    FRAME = 2048,
    HELD_NS = 5000000,    // a packet that nothing follows goes on: on a real path what makes a packet late is short
    LINE = 4096,
    QUEUE_NS = 200000000, // before a link that is slower than what comes
    SOCKET_BUFFER = 16 << 20,
    PATIENCE_NS = 20000000, // until the thread sees that it has to end
};

typedef struct frame {
    uint8_t bytes[FRAME];
    unsigned length;
} frame;

typedef struct late {
    frame frame;
    unsigned others; // that still have to pass
    uint64_t until;
    bool used;
} late;

enum { GRE, GRE_DATA_LOST, GRE_LOST, HELD, ALONE, FULL, REFUSED, COUNTS };

typedef struct direction {
    int from, to;
    frame *line; // on their way, in order
    uint64_t *due;
    uint64_t begin, count, free_at; // free_at: when the link has sent what it has
    late held[CLOAD_MOST_PLACES];
    unsigned held_count;
    frame in[BATCH], out[BATCH];
    unsigned out_count;
    atomic_uint_fast64_t counts[COUNTS];
} direction;

struct cload_wire {
    direction ways[2];
    uint64_t kilobit_ns, delay; // nanoseconds that 1024 bits take
    uint64_t random;
    atomic_uint_fast64_t loss, reorder; // of 2^32
    atomic_uint places;
    atomic_bool stop;
    pthread_t thread;
    bool runs;
};

// splitmix64
static uint64_t chance(cload_wire *wire) {
    uint64_t z = wire->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool happens(cload_wire *wire, const atomic_uint_fast64_t *share) {
    uint64_t of = atomic_load_explicit(share, memory_order_relaxed);
    return of > 0 && chance(wire) >> 32 < of;
}

static void counted(direction *way, unsigned which) { atomic_fetch_add_explicit(&way->counts[which], 1, memory_order_relaxed); }

static void flush(direction *way) {
    struct mmsghdr messages[BATCH] = {0};
    struct iovec pieces[BATCH];
    for (unsigned i = 0; i < way->out_count; i++) {
        pieces[i] = (struct iovec){way->out[i].bytes, way->out[i].length};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (unsigned done = 0; done < way->out_count;) {
        int sent = sendmmsg(way->to, messages + done, way->out_count - done, 0);
        if (sent > 0) done += (unsigned)sent;
        else if (errno != EINTR) counted(way, REFUSED), done++;
    }
    way->out_count = 0;
}

static void pass(direction *way, const frame *one) {
    if (way->out_count == BATCH) flush(way);
    frame *slot = &way->out[way->out_count++];
    slot->length = one->length;
    memcpy(slot->bytes, one->bytes, one->length);
}

static void release(direction *way, late *one) {
    one->used = false;
    way->held_count--;
    pass(way, &one->frame);
}

static bool hold(cload_wire *wire, direction *way, const frame *one, uint64_t time) {
    if (way->held_count == CLOAD_MOST_PLACES || !happens(wire, &wire->reorder)) return false;
    late *slot = way->held;
    while (slot->used) slot++;
    slot->used = true;
    slot->others = 1 + (unsigned)(chance(wire) % atomic_load_explicit(&wire->places, memory_order_relaxed));
    slot->until = time + HELD_NS;
    slot->frame.length = one->length;
    memcpy(slot->frame.bytes, one->bytes, one->length);
    way->held_count++;
    counted(way, HELD);
    return true;
}

enum { ETHERNET = sizeof(struct ether_header), HAS_SEQUENCE = 0x10 };

// Its first octet, NULL: it is none.
static const uint8_t *gre(const frame *one) {
    if (one->length < ETHERNET + sizeof(struct iphdr) || one->bytes[12] != 0x08 || one->bytes[13] != 0x00) return NULL;
    unsigned header = ETHERNET + (one->bytes[ETHERNET] & 15u) * 4;
    return one->bytes[ETHERNET + 9] == IPPROTO_GRE && header < one->length ? one->bytes + header : NULL;
}

static void take(cload_wire *wire, direction *way, const frame *one, uint64_t time) {
    const uint8_t *packet = gre(one);
    if (packet == NULL) {
        pass(way, one);
        return;
    }
    counted(way, GRE);
    if (happens(wire, &wire->loss)) {
        counted(way, GRE_LOST);
        if (packet[0] & HAS_SEQUENCE) counted(way, GRE_DATA_LOST);
        return;
    }
    if (hold(wire, way, one, time)) return;
    pass(way, one);
    for (unsigned i = 0; i < CLOAD_MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && --way->held[i].others == 0) release(way, &way->held[i]);
}

static void put(const cload_wire *wire, direction *way, const frame *one, uint64_t time) {
    uint64_t start = way->free_at > time ? way->free_at : time;
    if (way->count == LINE || start - time > QUEUE_NS) {
        counted(way, FULL);
        return;
    }
    way->free_at = start + one->length * 8 * wire->kilobit_ns / 1024;
    uint64_t slot = (way->begin + way->count++) % LINE;
    way->due[slot] = way->free_at + wire->delay;
    way->line[slot].length = one->length;
    memcpy(way->line[slot].bytes, one->bytes, one->length);
}

static void move(cload_wire *wire, direction *way) {
    struct mmsghdr messages[BATCH] = {0};
    struct iovec pieces[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){way->in[i].bytes, FRAME};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int count = recvmmsg(way->from, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t time = load_now(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++) {
        way->in[i].length = messages[i].msg_len;
        put(wire, way, &way->in[i], time);
    }
    for (; way->count > 0 && way->due[way->begin] <= time; way->begin = (way->begin + 1) % LINE, way->count--) take(wire, way, &way->line[way->begin], time);
    for (unsigned i = 0; i < CLOAD_MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && time >= way->held[i].until) counted(way, ALONE), release(way, &way->held[i]);
    flush(way);
}

// When something has to move at the latest.
static uint64_t next(const direction *way) {
    uint64_t at = way->count > 0 ? way->due[way->begin] : UINT64_MAX;
    for (unsigned i = 0; i < CLOAD_MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && way->held[i].until < at) at = way->held[i].until;
    return at;
}

static int open_interface(const char *space, const char *name) {
    struct ifreq interface = {0};
    if (strlen(name) >= sizeof interface.ifr_name) return -EINVAL;
    strcpy(interface.ifr_name, name);
    // Without a protocol it takes nothing until it is bound.
    int fd = load_socket(space, AF_PACKET, SOCK_RAW), on = 1, size = SOCKET_BUFFER;
    if (fd < 0) return fd;
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    bool found = ioctl(fd, SIOCGIFINDEX, &interface) == 0;
    here.sll_ifindex = interface.ifr_ifindex;
    if (found && setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0 &&
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0 &&
        bind(fd, (struct sockaddr *)&here, sizeof here) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static void *run_wire(void *context) {
    cload_wire *wire = context;
    direction *ways = wire->ways;
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    while (!atomic_load_explicit(&wire->stop, memory_order_relaxed)) {
        struct pollfd wait[2] = {{.fd = ways[0].from, .events = POLLIN}, {.fd = ways[1].from, .events = POLLIN}};
        uint64_t at = next(&ways[0]), other = next(&ways[1]), time = load_now(CLOCK_MONOTONIC);
        if (other < at) at = other;
        uint64_t pause = at > time ? at - time : 0;
        struct timespec patience = {.tv_nsec = (long)(pause < PATIENCE_NS ? pause : PATIENCE_NS)};
        ppoll(wait, 2, &patience, NULL);
        move(wire, &ways[0]);
        move(wire, &ways[1]);
    }
    return NULL;
}

int cload_wire_open(const char *space, const char *one, const char *other, cload_wire_link link, uint64_t seed, cload_wire **result) {
    if (!(link.megabits >= 0) || !(link.milliseconds >= 0) || link.milliseconds > 10000) return -EINVAL;
    cload_wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL) return -ENOMEM;
    wire->kilobit_ns = link.megabits > 0 ? (uint64_t)(1024 * 1000 / link.megabits) : 0;
    wire->delay = (uint64_t)(link.milliseconds * 1e6);
    wire->random = seed;
    wire->places = 1;
    direction *ways = wire->ways;
    ways[0].from = ways[1].to = open_interface(space, one);
    ways[1].from = ways[0].to = open_interface(space, other);
    int status = ways[0].from < 0 ? ways[0].from : ways[1].from < 0 ? ways[1].from : 0;
    for (unsigned i = 0; i < 2 && status == 0; i++) {
        ways[i].line = malloc(LINE * sizeof *ways[i].line);
        ways[i].due = malloc(LINE * sizeof *ways[i].due);
        if (ways[i].line == NULL || ways[i].due == NULL) status = -ENOMEM;
    }
    if (status == 0) status = -pthread_create(&wire->thread, NULL, run_wire, wire);
    wire->runs = status == 0;
    if (status == 0) *result = wire;
    else cload_wire_close(wire);
    return status;
}

// `share` of 2^32; what is no share: none.
static uint64_t part(double share) { return share > 0 ? (uint64_t)((share < 1 ? share : 1) * 4294967296.0) : 0; }

int cload_wire_set(cload_wire *wire, cload_wire_faults faults) {
    if (faults.places < 1 || faults.places > CLOAD_MOST_PLACES) return -EINVAL;
    atomic_store(&wire->places, faults.places);
    atomic_store(&wire->loss, part(faults.loss));
    atomic_store(&wire->reorder, part(faults.reorder));
    return 0;
}

void cload_wire_read(const cload_wire *wire, cload_wire_counts counts[2]) {
    for (unsigned i = 0; i < 2; i++) {
        uint64_t all[COUNTS];
        for (unsigned k = 0; k < COUNTS; k++) all[k] = atomic_load_explicit(&wire->ways[i].counts[k], memory_order_relaxed);
        counts[i] = (cload_wire_counts){.gre = all[GRE], .lost = all[GRE_LOST], .lost_data = all[GRE_DATA_LOST], .held = all[HELD], .alone = all[ALONE],
                                        .full = all[FULL], .refused = all[REFUSED]};
    }
}

void cload_wire_close(cload_wire *wire) {
    atomic_store(&wire->stop, true);
    if (wire->runs) pthread_join(wire->thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        if (wire->ways[i].from >= 0) close(wire->ways[i].from);
        free(wire->ways[i].line);
        free(wire->ways[i].due);
    }
    free(wire);
}
