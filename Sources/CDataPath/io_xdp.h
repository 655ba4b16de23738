// GRE taken at an interface by an XDP program, into memory that the kernel and we share, and put on the wire from there (AF_XDP).
//
//   io_xdp_program.c  the program: which packets, and whose
//   io_xsk.c          one receive queue of an interface: the memory, and a socket for each worker
//   io_xdp.c          interfaces: what each of them can, its queues, program and sockets together
//
// Program and sockets belong to descriptors: however this process ends, the kernel takes them away.
//
// What the program does not take goes on to the kernel's stack and so to the raw sockets, as with the rings of io.h: it names the same
// packets, and a frame has to be for the interface's own station. It sees no VLAN tag that the link has taken off already; an interface
// that takes them off and has VLANs is refused.
#ifndef CW_IO_XDP_H
#define CW_IO_XDP_H

#include <pthread.h>
#include <stdio.h>
#include <sys/uio.h>

#include "io.h"

enum {
    CW_XSK_FRAME = 2048,
    CW_XSK_LEAST_PLACES = 64, // of a socket to receive
    CW_XSK_LONGEST = 1700, // IP packet that is taken; the kernel keeps 256 octets of a frame for programs, and drivers round down
    CW_XSK_ETHERNET = 14,
    CW_XSK_SOCKETS = 1024, // of an interface, queues and workers multiplied
};

// ---- The program ------------------------------------------------------------------------------------------------------

typedef struct cw_xdp_program {
    uint8_t station[6];
    uint32_t worker_count;
    uint32_t address_count;
    const cw_address *addresses;
    int sockets; // map of sockets, at [queue * worker_count + worker]
} cw_xdp_program;

int cw_xdp_map_open(uint32_t sockets);                                     // descriptors, or -1: errno
int cw_xdp_program_load(const cw_xdp_program *program);
int cw_xdp_program_attach(int program, uint32_t interface, bool native); // the link, which ends with the descriptor
bool cw_xdp_map_put(int map, uint32_t index, int socket);

// ---- One receive queue ------------------------------------------------------------------------------------------------

typedef struct cw_xsk_ring {
    uint32_t *producer, *consumer, *flags;
    void *entries;
    uint32_t size;
    void *mapping;
    size_t mapping_size;
} cw_xsk_ring;

typedef struct cw_xsk {
    int fd;
    struct cw_xsk_queue *queue;
    cw_xsk_ring receive, send;
    uint64_t lost;  // of what the kernel has counted, told already
    bool gone;      // the interface is
    bool unsent;    // the kernel has not looked at all that it should send
} cw_xsk;

// A frame is always at one place: the fill ring and the kernel behind it, a receive ring, or a worker's hands; or among `spare`, in a send
// ring and the kernel, or the completion ring. So no ring can overflow.
typedef struct cw_xsk_queue {
    pthread_mutex_t lock; // of the two rings and `spare`, which the workers share; held for copies of addresses
    cw_xsk_ring fill, completion;
    uint8_t *frames;
    uint32_t receive_frames, send_frames;
    uint64_t *spare;
    uint32_t spare_count;
    cw_xsk *sockets; // of each worker
    uint32_t worker_count;
    bool zero_copy;
} cw_xsk_queue;

// false: errno; destroy it all the same. Zero-copy is tried first, if `zero_copy` is allowed.
bool cw_xsk_queue_create(cw_xsk_queue *queue, uint32_t interface, uint32_t number, uint32_t workers, uint32_t receive_frames, bool zero_copy);
void cw_xsk_queue_destroy(cw_xsk_queue *queue);
size_t cw_xsk_queue_size(const cw_xsk_queue *queue); // of its memory

// For the worker.
cw_tapped cw_xsk_receive(cw_xsk *xsk, cw_buffer *const *buffers, uint32_t capacity);
cw_tapped cw_xsk_discard(cw_xsk *xsk);
uint32_t cw_xsk_send(cw_xsk *xsk, const struct iovec *frames, uint32_t count); // how many of them, from the first on, it has taken
bool cw_xsk_kick(cw_xsk *xsk); // for what is unsent; true: to be tried again soon

// ---- All interfaces ---------------------------------------------------------------------------------------------------

typedef struct cw_xdp_interface {
    uint32_t number;
    int map, link;
    uint32_t queue_count, send_queues; // send_queues: those of the first that can send, too
    cw_xsk_queue *queues;
    bool native;
} cw_xdp_interface;

struct cw_xdp {
    uint32_t worker_count;
    uint32_t count;
    cw_xdp_interface interfaces[CW_MAX_TAP_ADDRESSES];
};

bool cw_xdp_lists_vlan(FILE *list, const char *name); // /proc/net/vlan/config; whether one is on this interface
void cw_xdp_detach(cw_xdp *xdp); // what arrives from here on is the stack's

// What one worker has of it.
typedef struct cw_xsks {
    int fd; // readable when one of them is; -1: none
    bool own_fd;
    uint32_t count, next; // the one that is looked at first
    cw_xsk **all;
    uint32_t interface_count;
    struct {
        uint32_t interface;
        cw_xsk *xsk;
    } ways[CW_MAX_TAP_ADDRESSES]; // out
    bool unsent;
} cw_xsks;

bool cw_xsks_create(cw_xsks *xsks, cw_xdp *xdp, uint32_t worker); // false: errno; xdp may be NULL
void cw_xsks_destroy(cw_xsks *xsks);
cw_tapped cw_xsks_receive(cw_xsks *xsks, cw_buffer *const *buffers, uint32_t capacity); // capacity 0: discards one
uint32_t cw_xsks_send(cw_xsks *xsks, uint32_t interface, const struct iovec *frames, uint32_t count);
bool cw_xsks_kick(cw_xsks *xsks); // true: to be called again soon

#endif
