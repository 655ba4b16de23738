// What the tests of a device share: counters that come, and descriptors that become readable.
#ifndef CW_TEST_DEVICE_RIG_H
#define CW_TEST_DEVICE_RIG_H

#include <poll.h>
#include <time.h>

#include "harness.h"
#include "tun_offload.h"

static inline bool becomes_readable(int fd) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, 30000) == 1;
}

// Workers publish at the end of a step: waits until the counter at `field` is at least `least`.
static inline cw_device_counters counters_with(const cw_device *device, size_t field, uint64_t least) {
    cw_device_counters counters = {0};
    for (int i = 0; i < 3000; i++) { // 30 s, for busy machines
        cw_device_counters_read(device, &counters);
        if (*(const uint64_t *)((const uint8_t *)&counters + field) >= least) return counters;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    CHECK(false);
    return counters;
}

#endif
