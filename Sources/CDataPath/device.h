// WireGuard alone over a TUN. Private to device.c (life and loop) and device_tun.c (between its TUN and WireGuard).
#ifndef CW_DEVICE_H
#define CW_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "token_bucket.h"
#include "tun.h"
#include "wireguard/datapath.h"
#include "wireguard/wire.h"

enum { // limits of ours
    CW_DEVICE_BUFFERS = 2048,       // of one worker; memory follows the load
    CW_DEVICE_PACKETS = CW_MAX_BATCH, // that one step takes from the TUN, give or take a super-packet's
    CW_DEVICE_LONGEST = CW_BUFFER_DATA - CW_WG_PADDING, // inner packet; padded it fits the other end's buffer whatever MTU it is padded for
};

typedef struct cw_device_worker {
    struct cw_device *device;
    uint32_t index;
    int epoll_fd, wake_fd;
    pthread_t thread;

    cw_pool pool;
    cw_buffer *buffers;
    uint32_t buffers_used;
    cw_tun tun; // its descriptor stays open in config when it has failed
    cw_bucket icmp_bucket;

    cw_device_counters live;
    _Atomic uint64_t shown[sizeof(cw_device_counters) / sizeof(uint64_t)]; // what others may read
} cw_device_worker;

struct cw_device {
    cw_device_config config;
    cw_wg *wg;
    cw_tun_offloads offloads;
    _Atomic uint32_t identity;
    _Atomic int32_t failure;
    _Atomic bool stopping;
    bool running;
    int event_fd;
    cw_device_worker *workers;
};

// device.c
void cw_device_fail(cw_device_worker *worker, int reason);
void cw_device_refill(cw_device_worker *worker);

// device_tun.c
void cw_device_read_tun(cw_device_worker *worker, uint64_t now); // one bounded step; inside the gate
void cw_device_take(void *worker, const cw_wg_incoming *packets, size_t count); // a cw_wg_sink
void cw_device_deliver(cw_device_worker *worker); // what was taken goes into the TUN

#endif
