// A port: the place where datagrams come from and go to. Sockets (udp.c), or memory in tests.
#ifndef CW_WG_UDP_H
#define CW_WG_UDP_H

#include "state.h"

enum { // limits of ours
    CW_WG_RECEIVE = 8,            // reads of one step, each up to 64 KiB of datagrams that the kernel put together (UDP_GRO)
    CW_WG_RECEIVE_SPACE = 65536,
    CW_WG_RUN_SEGMENTS = 64,      // UDP_SEGMENT: the kernel takes no more
    CW_WG_RUN_BYTES = 65000,      // with headers it stays below 64 KiB
};

// One message to send.
typedef struct cw_wg_datagram {
    const cw_wg_route_to *to;
    uint8_t *data;
    uint16_t length;
    uint8_t tos;
    bool sent;          // out: false: refused
    bool forget_source; // out: `to->from` is not ours any more
    uint32_t inner;     // the caller's own: length of the inner packet
    cw_wg_peer *peer;   // the caller's own
} cw_wg_datagram;

// What one read brought: datagrams of `segment` bytes each (the last may be shorter), all from one sender.
typedef struct cw_wg_arrival {
    uint8_t *data;
    uint32_t length, segment;
    uint8_t tos;
    cw_wg_route_to from; // `to` is the sender, `from` the local address
} cw_wg_arrival;

typedef struct cw_wg_udp_outbox {
    struct mmsghdr *messages;   // [CW_MAX_BATCH]
    struct iovec *vectors;      // [CW_MAX_BATCH]
    struct cw_wg_control *control; // [CW_MAX_BATCH]
    // The datagrams of one destination, in order: lists through `next`.
    uint16_t head[CW_MAX_BATCH], tail[CW_MAX_BATCH], next[CW_MAX_BATCH];
    uint16_t order[CW_MAX_BATCH];     // datagram of each vector
    uint16_t run_first[CW_MAX_BATCH]; // first vector of each message
} cw_wg_udp_outbox;

typedef struct cw_wg_udp_inbox {
    struct mmsghdr *messages;  // [CW_WG_RECEIVE]
    struct iovec *vectors;     // [CW_WG_RECEIVE]
    struct cw_wg_control *control; // [CW_WG_RECEIVE]
    uint8_t *space;            // CW_WG_RECEIVE * CW_WG_RECEIVE_SPACE bytes, touched as far as packets reach
} cw_wg_udp_inbox;

// Of one thread.
typedef struct cw_wg_udp_space {
    uint32_t thread; // number of the worker; control has one more
    uint32_t reads;  // of the next receive, at most CW_WG_RECEIVE
    cw_wg_udp_outbox out;
    cw_wg_udp_inbox in;
} cw_wg_udp_space;

bool cw_wg_udp_space_create(cw_wg_udp_space *space, uint32_t thread);
void cw_wg_udp_space_destroy(cw_wg_udp_space *space);

typedef struct cw_wg_udp_operations {
    // Sends in order for each destination; says in each datagram what became of it. Any thread, each with a space of its own.
    void (*send)(cw_wg_udp *udp, cw_wg_udp_space *space, cw_wg_datagram *datagrams, size_t count);
    // Takes up to space->reads reads of the worker's socket of a family. The bytes are valid until the next call with that space.
    size_t (*receive)(cw_wg_udp *udp, cw_wg_udp_space *space, uint8_t family, cw_wg_arrival *arrivals);
    // Adds the worker's sockets to `epoll_fd`, with `data4` and `data6`.
    cw_status (*attach)(cw_wg_udp *udp, uint32_t worker, int epoll_fd, uint64_t data4, uint64_t data6);
    cw_status (*set_fwmark)(cw_wg_udp *udp, uint32_t fwmark);
    void (*close)(cw_wg_udp *udp);
} cw_wg_udp_operations;

struct cw_wg_udp { // first in whatever implements it
    const cw_wg_udp_operations *operations;
    uint16_t number; // of the UDP port
};

// Where ports come from.
typedef struct cw_wg_network {
    cw_status (*open)(const struct cw_wg_network *network, uint32_t workers, const cw_wg_port_config *config, cw_wg_udp **udp);
} cw_wg_network;

extern const cw_wg_network cw_wg_sockets;

// What epoll says of a worker's socket.
static inline uint64_t cw_wg_epoll_data(uint32_t port, uint8_t family) { return CW_WG_EPOLL | (uint64_t)port << 1 | (family == 6); }
static inline uint32_t cw_wg_epoll_port(uint64_t data) { return (uint32_t)(data >> 1) & 0xFFFF; }
static inline uint8_t cw_wg_epoll_family(uint64_t data) { return (data & 1) != 0 ? 6 : 4; }

// ---- Of the sockets (udp_send.c, udp_receive.c) ----

// Ancillary data of one message, either direction.
typedef struct cw_wg_control {
    _Alignas(8) uint8_t bytes[128];
} cw_wg_control;

typedef struct cw_wg_udp_sockets {
    cw_wg_udp udp;
    uint32_t workers;
    // Segments of this length and longer are sent one by one, for as many runs as `single_runs` says: the kernel has refused them.
    _Atomic uint32_t single_from, single_runs;
    int fds[2][CW_MAX_WORKERS]; // IPv4, IPv6; -1: none
} cw_wg_udp_sockets;

void cw_wg_sockets_send(cw_wg_udp *udp, cw_wg_udp_space *space, cw_wg_datagram *datagrams, size_t count);
size_t cw_wg_sockets_receive(cw_wg_udp *udp, cw_wg_udp_space *space, uint8_t family, cw_wg_arrival *arrivals);

bool cw_wg_same_route(const cw_wg_route_to *a, const cw_wg_route_to *b); // destination and local address

#endif
