#include "icmp.h"

#include <string.h>

enum {
    hop_limit = 64,
    icmp_header = 8,
    ipv4_quote_limit = 576, // RFC 1812 section 4.3.2.3: as much as fits a 576-byte datagram
    internetwork_control = 0xC0, // RFC 1812 section 4.3.2.5: precedence 6
};

// Errors are answered about neither errors nor what is not known to be harmless: an ICMP packet whose type cannot be read counts
// as an error.
static bool is_icmp_error(const cw_ip *ip) {
    if (ip->family == 6) {
        if (ip->protocol != CW_IPPROTO_ICMPV6) return false;
        uint8_t type = ip->length > ip->payload ? ip->data[ip->payload] : 0;
        return type < 128 || type == 137; // RFC 4443 section 2.4 (e): errors and redirects
    }
    if (ip->protocol != CW_IPPROTO_ICMP) return false;
    if (ip->length == ip->payload) return true;
    switch (ip->data[ip->payload]) {
    case 0: case 8: case 9: case 10: case 13: case 14: case 15: case 16: case 17: case 18: return false; // queries
    default: return true;
    }
}

// RFC 4443 section 2.4 (e.3) would let Packet Too Big be about multicast; nothing that we carry needs it.
static bool may_answer(const cw_ip *ip) {
    if (ip->later_fragment || is_icmp_error(ip)) return false;
    if (cw_ip_reach(ip->family, ip->source) != CW_REACH_UNICAST) return false;
    return cw_ip_reach(ip->family, ip->destination) == CW_REACH_UNICAST;
}

static size_t build_ipv4(uint8_t *out, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, const uint8_t *from) {
    size_t quote = ipv4_quote_limit - CW_IPV4_HEADER - icmp_header;
    if (quote > ip->length) quote = ip->length;
    size_t total = CW_IPV4_HEADER + icmp_header + quote;
    memset(out, 0, CW_IPV4_HEADER + icmp_header);
    out[0] = 0x45;
    out[1] = internetwork_control;
    cw_put16(out + 2, (uint16_t)total);
    cw_put16(out + 6, 0x4000); // atomic datagram: the identification may stay 0 (RFC 6864)
    out[8] = hop_limit;
    out[9] = CW_IPPROTO_ICMP;
    memcpy(out + 12, from, 4);
    memcpy(out + 16, ip->source, 4);
    cw_put16(out + 10, cw_checksum(cw_sum(0, out, CW_IPV4_HEADER)));
    uint8_t *icmp = out + CW_IPV4_HEADER;
    icmp[0] = error == CW_ICMP_TIME_EXCEEDED ? 11 : 3;
    icmp[1] = error == CW_ICMP_TOO_BIG ? 4 : error == CW_ICMP_HOST_UNREACHABLE ? 1 : 0;
    if (error == CW_ICMP_TOO_BIG) cw_put16(icmp + 6, (uint16_t)(mtu > 65535 ? 65535 : mtu)); // RFC 1191 section 4
    memcpy(icmp + icmp_header, ip->data, quote);
    cw_put16(icmp + 2, cw_checksum(cw_sum(0, icmp, icmp_header + quote)));
    return total;
}

static size_t build_ipv6(uint8_t *out, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, const uint8_t *from) {
    size_t quote = CW_IPV6_MINIMUM_MTU - CW_IPV6_HEADER - icmp_header;
    if (quote > ip->length) quote = ip->length;
    size_t payload = icmp_header + quote;
    memset(out, 0, CW_IPV6_HEADER + icmp_header);
    out[0] = 0x60;
    cw_put16(out + 4, (uint16_t)payload);
    out[6] = CW_IPPROTO_ICMPV6;
    out[7] = hop_limit;
    memcpy(out + 8, from, 16);
    memcpy(out + 24, ip->source, 16);
    uint8_t *icmp = out + CW_IPV6_HEADER;
    icmp[0] = error == CW_ICMP_TOO_BIG ? 2 : error == CW_ICMP_TIME_EXCEEDED ? 3 : 1;
    icmp[1] = error == CW_ICMP_HOST_UNREACHABLE ? 3 : 0;
    if (error == CW_ICMP_TOO_BIG) cw_put32(icmp + 4, mtu < CW_IPV6_MINIMUM_MTU ? CW_IPV6_MINIMUM_MTU : mtu);
    memcpy(icmp + icmp_header, ip->data, quote);
    // Pseudo-header of RFC 8200 section 8.1: both addresses, length, next header.
    uint32_t sum = cw_sum((uint32_t)payload + CW_IPPROTO_ICMPV6, out + 8, 32);
    cw_put16(icmp + 2, cw_checksum(cw_sum(sum, icmp, payload)));
    return CW_IPV6_HEADER + payload;
}

size_t cw_icmp_build(uint8_t *out, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, const cw_address *from) {
    if (!may_answer(ip)) return 0;
    const uint8_t *source = from->family == ip->family ? from->bytes : ip->destination;
    return ip->family == 4 ? build_ipv4(out, ip, error, mtu, source) : build_ipv6(out, ip, error, mtu, source);
}
