// TCP between two network namespaces, every byte compared; and the few calls that tests with namespaces of their own need.
#ifndef CW_TEST_TCP_RIG_H
#define CW_TEST_TCP_RIG_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "harness.h"

static inline int this_namespace(void) { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

static inline int new_namespace(void) { return unshare(CLONE_NEWNET) == 0 ? this_namespace() : -1; }

static inline void enter(int namespace) { CHECK(setns(namespace, CLONE_NEWNET) == 0); }

static inline void limit_waiting(int fd) {
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

typedef struct stream {
    int fd;
    size_t bytes;
    bool done;
} stream;

enum { PIECE = 1 << 16 };

static inline void *send_stream(void *argument) {
    stream *s = argument;
    static uint64_t piece[PIECE / 8];
    test_random random = {77};
    for (size_t sent = 0; sent < s->bytes; sent += PIECE) {
        for (unsigned i = 0; i < PIECE / 8; i++) piece[i] = next_random(&random);
        for (size_t at = 0; at < PIECE;) {
            ssize_t got = send(s->fd, (uint8_t *)piece + at, PIECE - at, MSG_NOSIGNAL);
            if (got <= 0) return NULL;
            at += (size_t)got;
        }
    }
    s->done = true;
    shutdown(s->fd, SHUT_WR);
    return NULL;
}

// From a client in one namespace to a server at `address` in the other. Called, and left, in the namespace `home`.
static inline void transfer_between(int home, int from, int to, const struct sockaddr *address, socklen_t length, size_t bytes) {
    enter(to);
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_waiting(listener);
    CHECK(bind(listener, address, length) == 0 && listen(listener, 1) == 0);
    enter(from);
    int client = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_waiting(client);
    bool connected = connect(client, address, length) == 0;
    CHECK(connected);
    enter(home);
    int server = connected ? accept(listener, NULL, NULL) : -1;
    close(listener);
    if (server < 0) {
        CHECK(server >= 0);
        close(client);
        return;
    }
    limit_waiting(server);
    stream s = {client, bytes, false};
    pthread_t thread;
    pthread_create(&thread, NULL, send_stream, &s);
    static uint64_t expected[PIECE / 8], got[PIECE / 8];
    test_random random = {77};
    size_t received = 0, wrong = 0;
    while (received < bytes) {
        ssize_t count = recv(server, got, PIECE, MSG_WAITALL);
        if (count != PIECE) break;
        for (unsigned i = 0; i < PIECE / 8; i++) expected[i] = next_random(&random);
        if (memcmp(expected, got, PIECE) != 0) wrong++;
        received += PIECE;
    }
    CHECK_EQUAL(received, bytes);
    CHECK_EQUAL(wrong, 0);
    shutdown(server, SHUT_RDWR);
    pthread_join(thread, NULL);
    CHECK(s.done);
    close(server);
    close(client);
}

#endif
