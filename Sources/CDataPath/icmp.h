// ICMP errors that we make: RFC 792, RFC 1191, RFC 1812 section 4.3.2, RFC 4443.
#ifndef CW_ICMP_H
#define CW_ICMP_H

#include "ip.h"

typedef enum cw_icmp_error {
    CW_ICMP_TOO_BIG,      // fragmentation needed (3/4) with the MTU; ICMPv6 Packet Too Big (2/0)
    CW_ICMP_UNREACHABLE,  // network unreachable (3/0); ICMPv6 no route (1/0)
    CW_ICMP_HOST_UNREACHABLE, // 3/1; ICMPv6 address unreachable (1/3)
    CW_ICMP_TIME_EXCEEDED, // 11/0; ICMPv6 3/0
} cw_icmp_error;

enum { CW_ICMP_MAX = CW_IPV6_MINIMUM_MTU }; // longest error that we make

// Builds the error about `ip` that goes back to its source, and returns its length; 0: RFC 1812 section 4.3.2.7 and RFC 4443
// section 2.4 (e) forbid one. `from` is our address on that side; when it is not of the packet's family, the packet's
// destination speaks for us, which every host accepts.
size_t cw_icmp_build(uint8_t *out, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, const cw_address *from);

#endif
