// How GRE packets come in and leave.
//
//   raw     a raw socket for each worker, always open (io_open.c): the kernel's stack takes each packet first
//   packet  beside it a ring for each worker that the kernel fills before its stack sees the packet (io_tap.c), and a rule at the
//           interface's ingress that drops there what the rings took (io_rule.c)
//
// Ring and rule name exactly the same packets: enhanced GRE version 1 in a whole IPv4 packet without options, to one of our addresses on
// the interface that has it, with no VLAN tag of its own. Anything else (fragments above all) goes on through the stack to the raw socket.
//
//   xdp     at the interfaces that can, a program of ours in front of all of that (io_xdp.h); the others as with "packet"
//
// With "packet" and "xdp" GRE also leaves at the interface, as frames of a packet socket for each worker (with "xdp" by AF_XDP, and by the packet socket
// where that is full), where io_hop.h knows the next hop and the packet needs no fragmentation; otherwise by the raw socket.
//
// The rule belongs to the netlink socket that made it: however this process ends, the kernel takes the rule away.
#ifndef CW_IO_H
#define CW_IO_H

#include "link.h"

enum {
    CW_TAP_FRAME = 2048,       // of the ring, with the kernel's header
    CW_TAP_LONGEST = 1900,     // longest IP packet that is tapped; it fits a frame whatever the link's header is
    CW_GRE_KEY_OFFSET = 26,    // of our call ID, from an IP header without options (RFC 2637 section 4.1)
    CW_GRE_WORD_MASK = 0x0007FFFF, // of the first word of the GRE header: version and protocol ...
    CW_GRE_WORD = 0x0001880B,      // ... as they have to be
};

// A ring of one worker. The worker alone reads it.
typedef struct cw_tap {
    int fd; // -1: none
    uint8_t *ring;
    uint32_t frames, next;
} cw_tap;

bool cw_tap_config_valid(const cw_tap_config *config);
bool cw_tap_map(cw_tap *tap, int fd, uint32_t workers); // as many as there are rings; false: errno; fd is the caller's in either case
void cw_tap_unmap(cw_tap *tap);

// What one receive step found in a ring.
typedef struct cw_tapped {
    uint32_t count;     // buffers filled, from the first on, each with a whole IP packet
    uint32_t malformed; // packets with a wrong IP header
    uint32_t lost;      // packets for which the ring had no room
} cw_tapped;

// Whether the stack would have passed it on to the raw socket, of what a filter has not seen.
bool cw_tap_is_sound(const uint8_t *packet, uint32_t captured);
cw_tapped cw_tap_receive(cw_tap *tap, cw_buffer *const *buffers, uint32_t capacity);
// For a packet that there is no buffer for, so that it does not keep its worker awake: counted as lost.
cw_tapped cw_tap_discard(cw_tap *tap);

#endif
