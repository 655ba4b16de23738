// A bad wire: frames between two interfaces, both ways, of which GRE packets (IP protocol 47) are overtaken by others.
//
//   reorder ONE OTHER PERCENT PLACES MBITS MILLISECONDS SEED
//
// Each way is a link of MBITS (0: as fast as it goes) with so many milliseconds of propagation, and a queue of QUEUE_NS before it.
// So many percent of each direction's GRE packets are held until 1 to PLACES (evenly) others of that direction have passed. A packet that
// nothing follows goes on after HELD_NS: on a real path what makes a packet late is short, with or without others behind it. All
// other frames keep their order. On SIGTERM it prints what it did: GRE packets, how many of them were held, how many of those nothing
// followed, frames that found the queue full, frames that could not be sent.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, FRAME = 2048, MOST_PLACES = 64, HELD_NS = 5000000, LINE = 4096, QUEUE_NS = 200000000, SOCKET_BUFFER = 16 << 20 };

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

typedef struct direction {
    int from, to;
    frame *line; // on their way, in order
    uint64_t *due;
    uint64_t begin, count, free_at; // free_at: when the link has sent what it has
    late held[MOST_PLACES];
    unsigned held_count;
    frame out[BATCH];
    unsigned out_count;
} direction;

static struct {
    double share;
    unsigned places;
    uint64_t kilobit_ns, delay; // nanoseconds that 1024 bits take
    uint64_t random, gre, held, alone, full, refused;
} relay;
static volatile sig_atomic_t ended;

static void end(int number) { (void)number, ended = 1; }

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// splitmix64
static uint64_t chance(void) {
    uint64_t z = relay.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

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
        else if (errno != EINTR) relay.refused++, done++;
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

static bool hold(direction *way, const frame *one, uint64_t time) {
    if (way->held_count == MOST_PLACES || (double)(chance() >> 11) / (double)(1ull << 53) >= relay.share) return false;
    late *slot = way->held;
    while (slot->used) slot++;
    slot->used = true;
    slot->others = 1 + (unsigned)(chance() % relay.places);
    slot->until = time + HELD_NS;
    slot->frame.length = one->length;
    memcpy(slot->frame.bytes, one->bytes, one->length);
    way->held_count++;
    relay.held++;
    return true;
}

static bool is_gre(const frame *one) {
    if (one->length < sizeof(struct ether_header) + sizeof(struct iphdr)) return false;
    return one->bytes[12] == 0x08 && one->bytes[13] == 0x00 && one->bytes[14 + 9] == IPPROTO_GRE;
}

static void take(direction *way, const frame *one, uint64_t time) {
    if (!is_gre(one)) {
        pass(way, one);
        return;
    }
    relay.gre++;
    if (hold(way, one, time)) return;
    pass(way, one);
    for (unsigned i = 0; i < MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && --way->held[i].others == 0) release(way, &way->held[i]);
}

static void put(direction *way, const frame *one, uint64_t time) {
    uint64_t start = way->free_at > time ? way->free_at : time;
    if (way->count == LINE || start - time > QUEUE_NS) {
        relay.full++;
        return;
    }
    way->free_at = start + one->length * 8 * relay.kilobit_ns / 1024;
    uint64_t slot = (way->begin + way->count++) % LINE;
    way->due[slot] = way->free_at + relay.delay;
    way->line[slot].length = one->length;
    memcpy(way->line[slot].bytes, one->bytes, one->length);
}

static void move(direction *way) {
    static frame in[BATCH];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec pieces[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){in[i].bytes, FRAME};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int count = recvmmsg(way->from, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t time = now();
    for (int i = 0; i < count; i++) {
        in[i].length = messages[i].msg_len;
        put(way, &in[i], time);
    }
    for (; way->count > 0 && way->due[way->begin] <= time; way->begin = (way->begin + 1) % LINE, way->count--) take(way, &way->line[way->begin], time);
    for (unsigned i = 0; i < MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && time >= way->held[i].until) relay.alone++, release(way, &way->held[i]);
    flush(way);
}

// When something has to move at the latest.
static uint64_t next(const direction *way) {
    uint64_t at = way->count > 0 ? way->due[way->begin] : UINT64_MAX;
    for (unsigned i = 0; i < MOST_PLACES && way->held_count > 0; i++)
        if (way->held[i].used && way->held[i].until < at) at = way->held[i].until;
    return at;
}

static int open_interface(const char *name) {
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1, size = SOCKET_BUFFER;
    if (fd < 0 || here.sll_ifindex == 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 ||
        bind(fd, (struct sockaddr *)&here, sizeof here) != 0) {
        perror(name);
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count != 8) return 64;
    int places = atoi(arguments[4]);
    double mbits = atof(arguments[5]);
    relay.share = atof(arguments[3]) / 100;
    if (relay.share < 0 || relay.share > 1 || places < 1 || places > MOST_PLACES || mbits < 0) return 64;
    relay.places = (unsigned)places;
    relay.kilobit_ns = mbits > 0 ? (uint64_t)(1024 * 1000 / mbits) : 0;
    relay.delay = (uint64_t)(atof(arguments[6]) * 1e6);
    relay.random = strtoull(arguments[7], NULL, 10);
    static direction ways[2];
    ways[0].from = ways[1].to = open_interface(arguments[1]);
    ways[1].from = ways[0].to = open_interface(arguments[2]);
    for (unsigned i = 0; i < 2; i++) {
        ways[i].line = calloc(LINE, sizeof *ways[i].line);
        ways[i].due = calloc(LINE, sizeof *ways[i].due);
        if (ways[i].line == NULL || ways[i].due == NULL) return 1;
    }
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_TIMERSLACK, 1000);
    puts("ready");
    fflush(stdout);
    while (!ended) {
        struct pollfd wait[2] = {{.fd = ways[0].from, .events = POLLIN}, {.fd = ways[1].from, .events = POLLIN}};
        uint64_t at = next(&ways[0]), other = next(&ways[1]), time = now();
        if (other < at) at = other;
        uint64_t pause = at > time ? at - time : 0;
        struct timespec patience = {.tv_sec = (time_t)(pause / 1000000000), .tv_nsec = (long)(pause % 1000000000)};
        if (ppoll(wait, 2, at != UINT64_MAX ? &patience : NULL, NULL) < 0 && errno != EINTR) return 1;
        move(&ways[0]);
        move(&ways[1]);
    }
    printf("%llu %llu %llu %llu %llu\n", (unsigned long long)relay.gre, (unsigned long long)relay.held, (unsigned long long)relay.alone,
           (unsigned long long)relay.full, (unsigned long long)relay.refused);
    return 0;
}
