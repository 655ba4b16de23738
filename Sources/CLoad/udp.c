#define _GNU_SOURCE
#include "cload.h"
#include "internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    BATCH = 64,
    IP_AND_UDP = 28,
    SOCKET_BUFFER = 64 << 20,
    TICK = 50000,             // the timer cannot do much better
    LEAST_PAUSE = 5000,
    RECEIVE_PAUSE = 20000000, // of the receiver, to see whether it has to end
    START_DELAY = 5000000,
};

// What each packet carries, in this host's order: it never leaves it.
typedef struct stamp {
    uint64_t run; // of this flow in this run
    uint64_t number;
    uint64_t due;
} stamp;
_Static_assert(CLOAD_LEAST_PACKET == IP_AND_UDP + sizeof(stamp), "the least packet");

typedef struct flow_run {
    const cload_flow *flow;
    cload_udp_result *result;
    uint64_t run, begin, total;
    uint8_t *seen; // a bit for each packet
    uint64_t *newest; // of each session: number of its newest packet, and 1
    atomic_bool stop;
} flow_run;

int cload_udp_open(const char *space, uint32_t address, uint16_t port) {
    int fd = load_socket(space, AF_INET, SOCK_DGRAM);
    if (fd < 0) return fd;
    int size = SOCKET_BUFFER, on = 1, discover = IP_PMTUDISC_DO;
    struct timeval pause = {.tv_usec = RECEIVE_PAUSE / 1000};
    // Zero checksums: summing up the generator's own packets twice is no part of what is measured.
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on) != 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause) != 0 ||
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    int status = load_bind(fd, address, port);
    if (status == 0) return fd;
    close(fd);
    return status;
}

// ---- Sender ---------------------------------------------------------------------------------------------------------

typedef struct outbox {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_in to[BATCH];
    _Alignas(struct cmsghdr) uint8_t control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
    uint8_t payloads[BATCH][CLOAD_MAX_PACKET];
} outbox;

static void prepare(outbox *out, const cload_flow *flow) {
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < BATCH; i++) {
        out->pieces[i].iov_base = out->payloads[i];
        out->to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(flow->port)};
        struct msghdr *message = &out->messages[i].msg_hdr;
        *message = (struct msghdr){.msg_name = &out->to[i], .msg_namelen = sizeof out->to[i], .msg_iov = &out->pieces[i], .msg_iovlen = 1};
        if (flow->sources == NULL) continue;
        message->msg_control = out->control[i];
        message->msg_controllen = sizeof out->control[i];
        struct cmsghdr *header = CMSG_FIRSTHDR(message);
        header->cmsg_level = IPPROTO_IP;
        header->cmsg_type = IP_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
}

static void fill(outbox *out, unsigned slot, const flow_run *run, uint64_t number, uint64_t due) {
    const cload_flow *flow = run->flow;
    uint32_t session = (uint32_t)(number % flow->session_count);
    // The mix advances once for each round of the sessions, so each of them has all sizes.
    uint16_t size = flow->sizes[(number / flow->session_count + session) % flow->size_count];
    out->to[slot].sin_addr.s_addr = htonl(flow->destinations[session]);
    if (flow->sources != NULL) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(flow->sources[session])};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&out->messages[slot].msg_hdr)), &info, sizeof info);
    }
    stamp stamp = {.run = run->run, .number = number, .due = due};
    memcpy(out->payloads[slot], &stamp, sizeof stamp);
    out->pieces[slot].iov_len = size - IP_AND_UDP;
}

static void pause_until(uint64_t when) {
    struct timespec until = {.tv_sec = (time_t)(when / 1000000000u), .tv_nsec = (long)(when % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *send_all(void *context) {
    flow_run *run = context;
    cload_udp_result *result = run->result;
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    outbox *out = malloc(sizeof *out);
    if (out == NULL) return NULL;
    prepare(out, run->flow);
    double interval = 1e9 / run->flow->rate;
    uint64_t tick = interval > TICK ? (uint64_t)interval : TICK, number = 0;
    // Packets that the host did not take by then are not sent any more.
    uint64_t end = run->begin + (uint64_t)((double)run->total * interval) + tick;
    while (number < run->total) {
        uint64_t now = load_now(CLOCK_MONOTONIC);
        if (now >= end + tick) break;
        uint64_t due = now <= run->begin ? 0 : (uint64_t)((double)(now - run->begin) / interval);
        if (due > run->total) due = run->total;
        if (due <= number) {
            uint64_t next = run->begin + (uint64_t)((double)(number + 1) * interval);
            uint64_t grid = run->begin + (next > run->begin ? (next - run->begin + tick - 1) / tick * tick : 0);
            pause_until(grid > now + LEAST_PAUSE ? grid : now + LEAST_PAUSE);
            continue;
        }
        unsigned count = due - number < BATCH ? (unsigned)(due - number) : BATCH;
        for (unsigned i = 0; i < count; i++) {
            // Due at the tick that ends the interval in which its turn came.
            uint64_t turn = (uint64_t)((double)(number + i + 1) * interval);
            uint64_t when = run->begin + (turn + tick - 1) / tick * tick;
            if (i == 0 && now > when && now - when > result->worst_lag) result->worst_lag = now - when;
            fill(out, i, run, number + i, when < now ? when : now);
        }
        int sent = sendmmsg(run->flow->send_fd, out->messages, count, MSG_DONTWAIT);
        if (sent > 0) {
            for (int i = 0; i < sent; i++) result->sent_bytes += out->pieces[i].iov_len + IP_AND_UDP;
            number += (unsigned)sent;
        } else if (errno == EMSGSIZE || errno == EINVAL || errno == ENETUNREACH || errno == EHOSTUNREACH) {
            break; // it will not get better
        } else {
            pause_until(now + TICK);
        }
    }
    result->sent = number;
    free(out);
    return NULL;
}

// ---- Receiver -------------------------------------------------------------------------------------------------------

static void take(flow_run *run, const uint8_t *payload, size_t length, uint64_t now) {
    cload_udp_result *result = run->result;
    stamp stamp;
    if (length >= sizeof stamp) memcpy(&stamp, payload, sizeof stamp);
    if (length < sizeof stamp || stamp.run != run->run || stamp.number >= run->total) {
        result->strangers++;
        return;
    }
    uint8_t bit = (uint8_t)(1u << stamp.number % 8);
    if (run->seen[stamp.number / 8] & bit) {
        result->duplicates++;
        return;
    }
    run->seen[stamp.number / 8] |= bit;
    uint64_t *newest = &run->newest[stamp.number % run->flow->session_count];
    if (stamp.number + 1 < *newest) result->reordered++;
    else *newest = stamp.number + 1;
    result->received++;
    result->received_bytes += length + IP_AND_UDP;
    result->latencies[cload_bucket(now > stamp.due ? now - stamp.due : 0)]++;
}

static void *receive_all(void *context) {
    flow_run *run = context;
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    uint8_t(*payloads)[CLOAD_MAX_PACKET] = malloc(BATCH * sizeof *payloads);
    if (payloads == NULL) return NULL;
    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){.iov_base = payloads[i], .iov_len = sizeof payloads[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    for (;;) {
        // What is in the socket by then has arrived, however late this thread's turn comes.
        bool ends = atomic_load_explicit(&run->stop, memory_order_relaxed);
        int count = recvmmsg(run->flow->receive_fd, messages, BATCH, ends ? MSG_DONTWAIT : MSG_WAITFORONE, NULL);
        if (ends && count <= 0) break;
        uint64_t now = load_now(CLOCK_MONOTONIC);
        for (int i = 0; i < count; i++) take(run, payloads[i], messages[i].msg_len, now);
    }
    free(payloads);
    return NULL;
}

// ---- Both -----------------------------------------------------------------------------------------------------------

static bool is_valid(const cload_flow *flow) {
    if (flow->session_count == 0 || flow->size_count == 0 || flow->size_count > CLOAD_MAX_SIZES || !(flow->rate > 0)) return false;
    for (unsigned i = 0; i < flow->size_count; i++)
        if (flow->sizes[i] < CLOAD_LEAST_PACKET || flow->sizes[i] > CLOAD_MAX_PACKET) return false;
    return true;
}

int cload_udp_run(const cload_flow *flows, uint32_t count, double seconds, double drain, cload_udp_result *results) {
    flow_run runs[2] = {0};
    pthread_t senders[2], receivers[2];
    bool sends[2] = {false}, receives[2] = {false};
    if (count == 0 || count > 2 || !(seconds > 0)) return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        if (!is_valid(&flows[i])) return -EINVAL;
    int error = 0;
    uint64_t begin = load_now(CLOCK_MONOTONIC) + START_DELAY;
    for (unsigned i = 0; i < count && error == 0; i++) {
        memset(&results[i], 0, sizeof results[i]);
        runs[i] = (flow_run){.flow = &flows[i], .result = &results[i], .run = begin * 2 + i, .begin = begin};
        runs[i].total = results[i].offered = (uint64_t)(flows[i].rate * seconds);
        runs[i].seen = calloc(runs[i].total / 8 + 1, 1);
        runs[i].newest = calloc(flows[i].session_count, sizeof(uint64_t));
        if (runs[i].seen == NULL || runs[i].newest == NULL) error = ENOMEM;
    }
    for (unsigned i = 0; i < count && error == 0; i++) {
        error = pthread_create(&receivers[i], NULL, receive_all, &runs[i]);
        receives[i] = error == 0;
    }
    for (unsigned i = 0; i < count && error == 0; i++) {
        error = pthread_create(&senders[i], NULL, send_all, &runs[i]);
        sends[i] = error == 0;
    }
    for (unsigned i = 0; i < count; i++)
        if (sends[i]) pthread_join(senders[i], NULL);
    if (error == 0) pause_until(load_now(CLOCK_MONOTONIC) + (uint64_t)(drain * 1e9));
    for (unsigned i = 0; i < count; i++) {
        atomic_store_explicit(&runs[i].stop, true, memory_order_relaxed);
        if (receives[i]) pthread_join(receivers[i], NULL);
        free(runs[i].seen);
        free(runs[i].newest);
    }
    return -error;
}
