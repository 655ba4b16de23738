// Inner IP packets: what is checked before one goes on, and what may be changed in it. Pure functions over bytes.
//
// IPv4 (RFC 791): 0 version/IHL, 1 TOS, 2 total length, 4 identification, 6 flags/fragment offset, 8 TTL, 9 protocol,
// 10 checksum, 12 source, 16 destination, 20 options. IPv6 (RFC 8200): 0 version, 4 payload length, 6 next header,
// 7 hop limit, 8 source, 24 destination, 40 extension headers.
#ifndef CW_IP_H
#define CW_IP_H

#include "causeway_datapath.h"
#include "link_bytes.h"
#include "ppp_frame.h"

enum { // constants of the protocols
    CW_IPV4_HEADER = 20,
    CW_IPV6_HEADER = 40,
    CW_IPV6_MINIMUM_MTU = 1280,
    CW_IPPROTO_ICMP = 1,
    CW_IPPROTO_TCP = 6,
    CW_IPPROTO_ICMPV6 = 58,
};

// A packet whose headers are within its bytes.
typedef struct cw_ip {
    uint8_t *data;
    uint32_t length;  // of the whole packet; what arrived after it is padding
    uint32_t payload; // offset of the upper-layer header (behind IPv6 extension headers)
    uint8_t family;   // 4 or 6
    uint8_t protocol; // of the upper layer
    bool dont_fragment;
    bool fragment;       // one of several
    bool later_fragment; // not the first: no upper-layer header in it
    const uint8_t *source, *destination; // 4 or 16 bytes
} cw_ip;

// The ones' complement sum of RFC 1071, folded; `sum` carries a partial result over an even number of bytes.
uint32_t cw_sum(uint32_t sum, const uint8_t *data, size_t length);
static inline uint16_t cw_checksum(uint32_t sum) { return (uint16_t)~sum; }
uint16_t cw_checksum_replace(uint16_t checksum, uint16_t before, uint16_t after); // RFC 1624 section 3

// False unless version, header length, total length and (IPv4) header checksum are right. Source routes (IPv4 LSRR and SSRR, IPv6
// routing headers with segments left) are refused as well: they would carry a packet past the destination check.
bool cw_ip_parse(uint8_t *data, size_t length, cw_ip *ip);

// What an inner destination is, apart from the host's own addresses and other users.
typedef enum cw_reach {
    CW_REACH_UNICAST,
    CW_REACH_LOCAL, // loopback, link-local, multicast: only with allow_local_destinations
    CW_REACH_NEVER, // "this network", reserved, limited broadcast, unspecified, IPv4-mapped
} cw_reach;
cw_reach cw_ip_reach(uint8_t family, const uint8_t *address);

// Lowers the MSS option of a TCP SYN so that a full segment fits `mtu` (RFC 9293 section 3.7.1: MTU less 40 or 60).
// Returns whether it changed something. Leaves anything else, and malformed options, as they are.
bool cw_ip_clamp_mss(const cw_ip *ip, uint32_t mtu);

// Takes one from the TTL or hop limit, as a router does. False, and nothing changed: it would expire here.
bool cw_ip_decrement_ttl(const cw_ip *ip);

// ---- Fragmentation of IPv4 (RFC 791 section 3.2) ----
typedef struct cw_fragmenter {
    const uint8_t *packet;
    uint32_t header;   // length of the original header
    uint32_t next;     // offset of the next payload byte
    uint32_t end;      // length of the packet
    uint32_t mtu;
    uint16_t offset;   // fragment offset field of the original, in 8-byte units
    bool more;         // the original's More Fragments
    uint8_t later_header[60]; // header of the second and later fragments: only options with the copied flag
    uint32_t later_length;
} cw_fragmenter;

// The packet has been parsed, may be fragmented and is longer than mtu, which is at least 68.
void cw_fragment_begin(cw_fragmenter *fragmenter, const cw_ip *ip, uint32_t mtu);
// Writes the next fragment, at most mtu bytes, and returns its length; 0: that was all.
size_t cw_fragment_next(cw_fragmenter *fragmenter, uint8_t *out);

#endif
