// One queue of a TUN: read and written in super-packets where the kernel has offloads. The workers of a gateway and of a device each have
// one.
//
// What is to be written is collected in `coalescer`, and written merge by merge once a step has nothing to add.
#ifndef CW_TUN_H
#define CW_TUN_H

#include "tun_offload.h"

typedef struct cw_tun_offloads {
    bool virtio;   // a header in front of each packet
    bool tcp, udp; // super-packets
} cw_tun_offloads;

typedef struct cw_tun {
    int fd; // -1: none, or failed; it belongs to the caller
    bool virtio;
    uint8_t *space; // one super-packet
    cw_coalescer coalescer;
    struct iovec vectors[CW_MAX_BATCH];
} cw_tun;

// Turns on what the kernel has, on all queues of one TUN; entries of -1 are passed over. False: errno.
bool cw_tun_set_up(const int32_t *fds, uint32_t count, cw_tun_offloads *offloads);
bool cw_tun_create(cw_tun *tun, const cw_tun_offloads *offloads); // without a descriptor as yet; false: no memory
void cw_tun_destroy(cw_tun *tun);

typedef enum cw_tun_result {
    CW_TUN_EMPTY,     // nothing waits
    CW_TUN_PACKET,    // a complete packet is in the buffer
    CW_TUN_SUPER,     // the packets that `split` makes, or one that is too long for the buffer; valid until the next read
    CW_TUN_MALFORMED, // not an IP packet, or not one that its virtio header fits; or the kernel could not give it to us
    CW_TUN_LOST,      // no buffer
    CW_TUN_FAILED,    // for good: errno
} cw_tun_result;

// One read. The buffer stays the caller's, and says something only with CW_TUN_PACKET. Without one what is read is lost: it must not keep
// the caller awake.
cw_tun_result cw_tun_read(cw_tun *tun, cw_buffer *buffer, uint32_t longest, cw_split *split);

// Each vector list begins with the virtio header. False: errno, unless there is no descriptor.
bool cw_tun_write(cw_tun *tun, struct iovec *vectors, size_t count);
bool cw_tun_write_merge(cw_tun *tun, uint32_t index); // once for each
bool cw_tun_is_dead(int error);                       // of a write: no other will succeed

#endif
