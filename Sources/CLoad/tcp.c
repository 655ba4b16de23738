#define _GNU_SOURCE
#include "cload.h"
#include "internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, PAUSE_MS = 20, CONNECT_MS = 5000, EVENTS = 64 };

// One end of all connections, on a thread of its own.
typedef struct side {
    int *fds;
    uint32_t count;
    bool sends;
    atomic_uint_fast64_t received;
    atomic_bool *stop;
    pthread_t thread;
    bool runs;
} side;

struct cload_tcp {
    side clients, hub;
    atomic_bool stop;
};

static int connect_within(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return 0;
    if (errno != EINPROGRESS) return -errno;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    if (poll(&wait, 1, CONNECT_MS) <= 0) return -ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    return -error;
}

static int accept_within(int listener) {
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    if (poll(&wait, 1, CONNECT_MS) <= 0) return -ETIMEDOUT;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static int connect_all(cload_tcp *tcp, int listener, uint32_t address, uint16_t port, const uint32_t *sources, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        int fd = load_socket(NULL, AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
        if (fd < 0) return fd;
        tcp->clients.fds[tcp->clients.count++] = fd;
        int status = load_bind(fd, sources[i], 0);
        if (status == 0) status = connect_within(fd, address, port);
        if (status != 0) return status;
        fd = accept_within(listener);
        if (fd < 0) return fd;
        tcp->hub.fds[tcp->hub.count++] = fd;
    }
    return 0;
}

int cload_tcp_open(const char *space, uint32_t address, uint16_t port, const uint32_t *sources, uint32_t count, cload_tcp **result) {
    cload_tcp *tcp = calloc(1, sizeof *tcp);
    if (tcp == NULL) return -ENOMEM;
    tcp->clients.fds = calloc(count, sizeof(int));
    tcp->hub.fds = calloc(count, sizeof(int));
    int status = tcp->clients.fds == NULL || tcp->hub.fds == NULL ? -ENOMEM : 0, on = 1;
    int listener = status == 0 ? load_socket(space, AF_INET, SOCK_STREAM | SOCK_NONBLOCK) : -1;
    if (status == 0 && listener < 0) status = listener;
    if (status == 0 && setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) status = -errno;
    if (status == 0) status = load_bind(listener, address, port);
    if (status == 0 && listen(listener, 64) != 0) status = -errno;
    if (status == 0) status = connect_all(tcp, listener, address, port, sources, count);
    if (listener >= 0) close(listener);
    if (status == 0) *result = tcp;
    else cload_tcp_close(tcp);
    return status;
}

// false: this connection is over.
static bool serve(side *side, int fd, uint32_t events, uint8_t *buffer) {
    if (events & EPOLLIN) {
        ssize_t got = recv(fd, buffer, CHUNK, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
        if (got > 0) atomic_fetch_add_explicit(&side->received, (uint64_t)got, memory_order_relaxed);
    }
    if (events & EPOLLOUT) {
        ssize_t put = send(fd, buffer, CHUNK, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN) return false;
    }
    return (events & EPOLLERR) == 0;
}

static void *run_side(void *context) {
    side *side = context;
    int set = epoll_create1(EPOLL_CLOEXEC);
    uint8_t *buffer = calloc(1, CHUNK);
    for (uint32_t i = 0; i < side->count && set >= 0; i++) {
        struct epoll_event event = {.events = EPOLLIN | (side->sends ? EPOLLOUT : 0), .data.fd = side->fds[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, side->fds[i], &event);
    }
    struct epoll_event events[EVENTS];
    while (set >= 0 && buffer != NULL && !atomic_load_explicit(side->stop, memory_order_relaxed)) {
        int count = epoll_wait(set, events, EVENTS, PAUSE_MS);
        for (int i = 0; i < count; i++)
            if (!serve(side, events[i].data.fd, events[i].events, buffer)) epoll_ctl(set, EPOLL_CTL_DEL, events[i].data.fd, NULL);
    }
    free(buffer);
    if (set >= 0) close(set);
    return NULL;
}

int cload_tcp_start(cload_tcp *tcp, bool to_hub, bool from_hub) {
    tcp->clients.sends = to_hub;
    tcp->hub.sends = from_hub;
    side *sides[] = {&tcp->clients, &tcp->hub};
    for (unsigned i = 0; i < 2; i++) {
        sides[i]->stop = &tcp->stop;
        int error = pthread_create(&sides[i]->thread, NULL, run_side, sides[i]);
        if (error != 0) return -error;
        sides[i]->runs = true;
    }
    return 0;
}

void cload_tcp_received(const cload_tcp *tcp, uint64_t *at_hub, uint64_t *at_clients) {
    *at_hub = atomic_load_explicit(&tcp->hub.received, memory_order_relaxed);
    *at_clients = atomic_load_explicit(&tcp->clients.received, memory_order_relaxed);
}

void cload_tcp_close(cload_tcp *tcp) {
    atomic_store(&tcp->stop, true);
    side *sides[] = {&tcp->clients, &tcp->hub};
    struct linger at_once = {.l_onoff = 1};
    for (unsigned i = 0; i < 2; i++)
        if (sides[i]->runs) pthread_join(sides[i]->thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < sides[i]->count; k++) {
            // What is still queued is of no use, and must not be sent during the next measurement.
            setsockopt(sides[i]->fds[k], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            close(sides[i]->fds[k]);
        }
        free(sides[i]->fds);
    }
    free(tcp);
}
