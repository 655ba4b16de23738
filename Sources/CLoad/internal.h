#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t load_now(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// A socket made in namespace `space` (NULL: this one). Only the calling thread goes there, and comes back.
int load_socket(const char *space, int domain, int type);
int load_bind(int fd, uint32_t address, uint16_t port);
