// Where GRE leaves, so that the backend "packet" puts it on the wire without the kernel's stack. A thread of the engine's keeps a table of
// next hops (io_hop_watch.c), which the workers read and never wait for (io_hop.c). What the table cannot say for sure is the raw socket's
// packet: the stack then resolves the neighbour, fragments, or refuses.
//
// A worker that meets a destination for the first time reserves a place in the table and asks for it through a ring. The thread asks the
// kernel for the route and the neighbour (io_route.c) and follows the notifications about both:
//   neighbour      used while REACHABLE or PERMANENT. STALE is probed at once, as long as there are packets for it, and not used meanwhile
//   route, rule,   what could change an answer makes all answers void at once; all are asked for again after `settle_milliseconds`
//   address, link
//   nothing        all that was used is asked for again every `refresh_seconds`, for what is not notified; what was not used is forgotten
#ifndef CW_IO_HOP_H
#define CW_IO_HOP_H

#include <pthread.h>
#include <stdatomic.h>

#include "ring.h"

enum {
    CW_HOP_FRAME = 34, // octets in front of a GRE packet: Ethernet and IPv4 header
    CW_HOP_ETHERNET = 14,
};

typedef struct cw_hop {
    uint32_t generation; // of the routes that say so
    uint32_t interface;  // index; 0: the raw socket's
    uint32_t source;     // network byte order
    uint16_t longest;    // IP packet
    uint8_t ttl;
    uint8_t ethernet[CW_HOP_ETHERNET];
    uint8_t reserved[3];
} cw_hop;

enum { CW_HOP_WORDS = sizeof(cw_hop) / sizeof(uint64_t) };
_Static_assert(sizeof(cw_hop) % sizeof(uint64_t) == 0, "a hop is published as words");

typedef struct cw_hop_slot {
    _Atomic uint64_t key;     // peer and local address; 0: free. Taken by workers, freed by the thread
    _Atomic uint32_t version; // odd while the thread writes
    _Atomic uint32_t used;
    _Atomic uint64_t words[CW_HOP_WORDS];
} cw_hop_slot;

// Of two addresses, or an index and an address. Those of one network differ in the last octet, which may be the highest of the number.
static inline uint32_t cw_hop_hash(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a * 31 + b) * UINT64_C(0x9E3779B97F4A7C15) >> 40); }

struct cw_hop_place; // of the thread (io_hop_watch.c)
struct cw_hop_watch;

typedef struct cw_hops {
    cw_hop_slot *slots;
    uint32_t slot_count; // a power of two
    _Atomic uint32_t generation;
    uint32_t worker_count;
    cw_ring *requests; // of each worker: places to be filled
    int wake_fd;
    struct cw_hop_watch *watch;
    pthread_t thread;
    bool running;
    _Atomic bool stopping;
} cw_hops;

bool cw_hops_create(cw_hops *hops, uint32_t sessions, uint32_t workers); // false: errno; destroy it all the same
void cw_hops_destroy(cw_hops *hops);
bool cw_hops_start(cw_hops *hops); // false: errno
void cw_hops_stop(cw_hops *hops);

// For a worker. Addresses in network byte order; local 0: whichever the route names. false: the raw socket's, this time.
bool cw_hops_find(cw_hops *hops, uint32_t worker, uint32_t peer, uint32_t local, cw_hop *out);
// Writes the headers that the raw socket would have sent (no DF: see io_open.c) into the CW_HOP_FRAME octets before `gre`.
void cw_hop_frame(const cw_hop *hop, uint32_t peer, uint16_t identification, uint8_t *gre, uint32_t length);

// For the thread.
void cw_hops_publish(cw_hops *hops, uint32_t slot, const cw_hop *hop);
void cw_hops_forget(cw_hops *hops, uint32_t slot);
bool cw_hops_was_used(cw_hops *hops, uint32_t slot, bool clear);

// io_hop_watch.c
bool cw_hop_watch_create(cw_hops *hops);
void cw_hop_watch_destroy(cw_hops *hops);
void *cw_hop_watch_main(void *hops);

#endif
