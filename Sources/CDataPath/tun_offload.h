// What a TUN with offloads hands over and takes: super-packets, many segments of one flow behind one header. Values, no I/O.
//
//   tun_split.c     one super-packet with its virtio header -> packets as they go on a wire, checksums complete
//   tun_coalesce.c  packets of a batch -> super-packets, gathered where they lie
//
// The two are inverse: splitting what was coalesced gives the same packets, byte by byte, in the same order within each flow; only
// the identification of an IPv4 packet with DF, which means nothing (RFC 6864 section 4.1), may come out renumbered.
//
// The virtio header is the ten bytes of <linux/virtio_net.h> (virtio 1.2 section 5.1.6) in the machine's byte order.
#ifndef CW_TUN_OFFLOAD_H
#define CW_TUN_OFFLOAD_H

#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "ip.h"
#include "link.h"

enum {
    CW_TUN_HEADER = sizeof(struct virtio_net_hdr),
    CW_TUN_LONGEST = 65535,  // super-packet
    CW_GSO_UDP = 5,          // VIRTIO_NET_HDR_GSO_UDP_L4, younger than some kernel headers
    CW_UDP_MAX_SEGMENTS = 64, // UDP_MAX_SEGMENTS of the kernel before 6.9
};
_Static_assert(CW_TUN_HEADER == 10, "virtio header without num_buffers");

// ---- Split ------------------------------------------------------------------------------------------------------------

typedef struct cw_split {
    const uint8_t *packet;
    uint32_t length;    // of the packet
    uint32_t transport; // offset of the TCP or UDP header
    uint32_t header;    // length of all headers
    uint32_t segment;   // payload bytes of each packet but the last; 0: it goes as it is
    uint32_t next;      // offset of the next payload byte
    uint32_t pseudo;    // sum of addresses and protocol
    uint32_t index;     // of the next packet
    uint8_t family, protocol;
} cw_split;

// Looks at `length` bytes that were read behind `header`; an ordinary packet's checksum is completed in place. False: not an IP
// packet, or the header does not fit it.
bool cw_split_begin(cw_split *split, const struct virtio_net_hdr *header, uint8_t *packet, size_t length);
// Bytes of the longest packet that it becomes.
uint32_t cw_split_longest(const cw_split *split);
// Writes the next packet and returns its length; 0: that was all.
size_t cw_split_next(cw_split *split, uint8_t *out);

// ---- Coalesce ---------------------------------------------------------------------------------------------------------

typedef struct cw_merge { // one write
    cw_buffer *first, *last; // linked by `next`
    uint32_t count;
    uint32_t bytes;    // length of all of it as one packet
    uint32_t header;   // length of all headers
    uint32_t segment;  // payload bytes of the first, which all but the last have
    uint32_t expected; // TCP: the next sequence number
    uint16_t expected_id;
    uint8_t family, protocol;
    bool open;     // takes more
    bool verified; // the checksums of the first are right; looked at only when a second comes
} cw_merge;

enum { CW_MERGE_SLOTS = 256 };

typedef struct cw_coalescer {
    bool tcp, udp;  // whether the TUN takes such super-packets
    uint32_t count; // writes
    uint32_t packets;
    cw_merge merges[CW_MAX_BATCH];
    uint16_t latest[CW_MERGE_SLOTS]; // by flow: number of its last write, from 1
} cw_coalescer;

void cw_coalesce_reset(cw_coalescer *coalescer);
// Takes an inner packet as it was decrypted: IP version and length have been checked, nothing else. At most CW_MAX_BATCH between resets.
void cw_coalesce_add(cw_coalescer *coalescer, cw_buffer *buffer);
// Writes the headers of write `index` into its first buffer, the virtio header in front of it, and what to gather to out[CW_MAX_BATCH].
// Once for each index. Returns how many vectors there are; their bytes are CW_TUN_HEADER + bytes of the merge.
size_t cw_coalesce_gather(cw_coalescer *coalescer, uint32_t index, struct iovec *out);

#endif
