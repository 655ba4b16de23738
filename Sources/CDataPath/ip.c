#include "ip.h"

#include <arpa/inet.h>
#include <string.h>

static uint64_t fold(uint64_t wide) {
    while (wide >> 16 != 0) wide = (wide & 0xFFFF) + (wide >> 16);
    return wide;
}

// The sum comes out the same in either byte order, but for the order of its own bytes (RFC 1071 section 2 (B)), and over words of any
// length: so it is taken over 64 bits at a time, as the machine reads them, and swapped once.
uint32_t cw_sum(uint32_t sum, const uint8_t *data, size_t length) {
    unsigned __int128 even = 0, odd = 0;
    size_t i = 0;
    for (; i + 16 <= length; i += 16) {
        uint64_t words[2];
        memcpy(words, data + i, sizeof words);
        even += words[0];
        odd += words[1];
    }
    even += odd;
    uint64_t wide = (uint64_t)(uint32_t)even + (uint32_t)(even >> 32) + (uint64_t)(even >> 64);
    uint16_t word;
    for (; i + 2 <= length; i += 2) {
        memcpy(&word, data + i, 2);
        wide += word;
    }
    if (i < length) {
        word = 0;
        memcpy(&word, data + i, 1);
        wide += word;
    }
    return (uint32_t)fold(ntohs((uint16_t)fold(wide)) + (uint64_t)sum);
}

uint16_t cw_checksum_replace(uint16_t checksum, uint16_t before, uint16_t after) {
    uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~before + after;
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static bool ipv4_options_allowed(const uint8_t *option, const uint8_t *end) {
    enum { end_of_list = 0, no_operation = 1, loose_source_route = 131, strict_source_route = 137 };
    while (option < end && *option != end_of_list) {
        if (*option == no_operation) {
            option++;
            continue;
        }
        if (*option == loose_source_route || *option == strict_source_route) return false;
        if (end - option < 2 || option[1] < 2 || option[1] > end - option) return false;
        option += option[1];
    }
    return true;
}

static bool parse_ipv4(uint8_t *data, size_t length, cw_ip *ip) {
    if (length < CW_IPV4_HEADER) return false;
    uint32_t header = (data[0] & 15u) * 4, total = cw_get16(data + 2);
    if (header < CW_IPV4_HEADER || total < header || total > length) return false;
    if (cw_checksum(cw_sum(0, data, header)) != 0) return false;
    if (!ipv4_options_allowed(data + CW_IPV4_HEADER, data + header)) return false;
    uint16_t fragment = cw_get16(data + 6);
    *ip = (cw_ip){
        .data = data,
        .length = total,
        .payload = header,
        .family = 4,
        .protocol = data[9],
        .dont_fragment = (fragment & 0x4000) != 0,
        .fragment = (fragment & 0x3FFF) != 0,
        .later_fragment = (fragment & 0x1FFF) != 0,
        .source = data + 12,
        .destination = data + 16,
    };
    return true;
}

static bool parse_ipv6(uint8_t *data, size_t length, cw_ip *ip) {
    if (length < CW_IPV6_HEADER) return false;
    size_t total = CW_IPV6_HEADER + (size_t)cw_get16(data + 4);
    if (total > length) return false;
    *ip = (cw_ip){
        .data = data,
        .length = (uint32_t)total,
        .family = 6,
        .protocol = data[6],
        .dont_fragment = true, // routers never fragment IPv6
        .source = data + 8,
        .destination = data + 24,
    };
    enum { hop_by_hop = 0, routing = 43, fragment = 44, destination_options = 60 };
    size_t at = CW_IPV6_HEADER;
    while (!ip->later_fragment) {
        size_t size;
        if (ip->protocol == fragment) size = 8;
        else if (ip->protocol == hop_by_hop || ip->protocol == routing || ip->protocol == destination_options) size = 0;
        else break;
        if (total - at < 8) return false;
        if (size == 0) size = 8 + (size_t)data[at + 1] * 8;
        if (total - at < size) return false;
        if (ip->protocol == routing && data[at + 3] != 0) return false;
        if (ip->protocol == fragment) {
            uint16_t field = cw_get16(data + at + 2);
            ip->fragment = (field & 0xFFF9) != 0;
            ip->later_fragment = (field & 0xFFF8) != 0;
        }
        ip->protocol = data[at];
        at += size;
    }
    ip->payload = (uint32_t)at;
    return true;
}

bool cw_ip_parse(uint8_t *data, size_t length, cw_ip *ip) {
    if (length == 0) return false;
    switch (data[0] >> 4) {
    case 4: return parse_ipv4(data, length, ip);
    case 6: return parse_ipv6(data, length, ip);
    default: return false;
    }
}

cw_reach cw_ip_reach(uint8_t family, const uint8_t *a) {
    if (family == 4) {
        if (a[0] == 127 || (a[0] == 169 && a[1] == 254) || (a[0] & 0xF0) == 224) return CW_REACH_LOCAL;
        return a[0] == 0 || a[0] >= 240 ? CW_REACH_NEVER : CW_REACH_UNICAST;
    }
    static const uint8_t zeros[15];
    if (a[0] == 0xFF || (a[0] == 0xFE && (a[1] & 0xC0) == 0x80)) return CW_REACH_LOCAL;
    if (memcmp(a, zeros, 15) == 0) return a[15] == 1 ? CW_REACH_LOCAL : CW_REACH_NEVER; // ::1, and :: with what is left of ::/120
    if (memcmp(a, zeros, 10) == 0 && a[10] == 0xFF && a[11] == 0xFF) return CW_REACH_NEVER;
    return CW_REACH_UNICAST;
}

bool cw_ip_clamp_mss(const cw_ip *ip, uint32_t mtu) {
    enum { tcp_header = 20, flags_at = 13, checksum_at = 16, syn = 2, option_end = 0, option_nop = 1, option_mss = 2 };
    if (ip->protocol != CW_IPPROTO_TCP || ip->later_fragment || ip->length - ip->payload < tcp_header) return false;
    uint8_t *tcp = ip->data + ip->payload;
    if ((tcp[flags_at] & syn) == 0) return false;
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4, overhead = ip->family == 4 ? 40 : 60;
    if (header < tcp_header || header > ip->length - ip->payload || mtu <= overhead) return false;
    uint32_t limit = mtu - overhead;
    for (uint32_t at = tcp_header; at < header && tcp[at] != option_end;) {
        if (tcp[at] == option_nop) {
            at++;
            continue;
        }
        if (header - at < 2 || tcp[at + 1] < 2 || tcp[at + 1] > header - at) return false;
        if (tcp[at] == option_mss && tcp[at + 1] == 4) {
            uint16_t before = cw_get16(tcp + at + 2);
            if (before <= limit) return false;
            uint16_t after = (uint16_t)limit, checksum = cw_get16(tcp + checksum_at);
            cw_put16(tcp + at + 2, after);
            // The checksum is over aligned words; at an odd offset the two bytes count with their places swapped.
            if ((at & 1) != 0) {
                before = __builtin_bswap16(before);
                after = __builtin_bswap16(after);
            }
            cw_put16(tcp + checksum_at, cw_checksum_replace(checksum, before, after));
            return true;
        }
        at += tcp[at + 1];
    }
    return false;
}

bool cw_ip_decrement_ttl(const cw_ip *ip) {
    if (ip->family == 6) {
        if (ip->data[7] <= 1) return false;
        ip->data[7]--;
        return true;
    }
    if (ip->data[8] <= 1) return false;
    uint16_t before = cw_get16(ip->data + 8);
    ip->data[8]--;
    cw_put16(ip->data + 10, cw_checksum_replace(cw_get16(ip->data + 10), before, cw_get16(ip->data + 8)));
    return true;
}
