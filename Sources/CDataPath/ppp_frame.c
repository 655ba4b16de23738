#include "ppp_frame.h"

#include <string.h>

#include "link_bytes.h"

bool cw_ppp_parse(const uint8_t *frame, size_t length, cw_ppp_header *header) {
    size_t at = 0;
    // RFC 1661 section 6.6: 0xff cannot begin a protocol field, so this is never ambiguous.
    if (length >= 2 && frame[0] == 0xff && frame[1] == 0x03) at = 2;
    if (at == length) return false;
    // RFC 1661 section 2: the last octet of a protocol is odd, the one before it even.
    if ((frame[at] & 1) != 0) {
        if (frame[at] == 0xff) return false;
        *header = (cw_ppp_header){.protocol = frame[at], .length = (uint8_t)(at + 1)};
        return true;
    }
    if (length - at < 2 || (frame[at + 1] & 1) == 0) return false;
    *header = (cw_ppp_header){.protocol = cw_get16(frame + at), .length = (uint8_t)(at + 2)};
    return true;
}

size_t cw_ppp_prepend(uint8_t *end, uint16_t protocol, bool omit_address, bool compress_protocol) {
    uint8_t *p = end;
    *--p = (uint8_t)protocol;
    if (!compress_protocol || protocol > 0xff) *--p = (uint8_t)(protocol >> 8);
    if (!omit_address) {
        *--p = 0x03;
        *--p = 0xff;
    }
    return (size_t)(end - p);
}

static bool in_prefixes(const uint8_t address[16], const cw_prefix *prefixes, uint32_t count) {
    for (uint32_t n = 0; n < count; n++) {
        const cw_prefix *prefix = &prefixes[n];
        if (prefix->address.family != 6 || prefix->length > 128) continue;
        unsigned octets = prefix->length / 8, bits = prefix->length % 8;
        if (memcmp(address, prefix->address.bytes, octets) != 0) continue;
        if (bits == 0 || ((address[octets] ^ prefix->address.bytes[octets]) >> (8 - bits)) == 0) return true;
    }
    return false;
}

static bool ipv4_header_sound(const uint8_t *ip, size_t length) {
    if (length < 20 || ip[0] >> 4 != 4) return false;
    size_t header = (size_t)(ip[0] & 0x0f) * 4;
    uint16_t total = cw_get16(ip + 2);
    if (header < 20 || header > length || total < header || total > length) return false;
    uint32_t sum = 0;
    for (size_t at = 0; at < header; at += 2) sum += cw_get16(ip + at);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

cw_proof cw_ip_prove(uint16_t protocol, const uint8_t *head, size_t length, const cw_prefix *prefixes, uint32_t prefix_count) {
    if (protocol == CW_PPP_IPV4) return ipv4_header_sound(head, length) ? CW_PROOF_EVIDENCE : CW_PROOF_NONE;
    if (protocol != CW_PPP_IPV6 || length < 40 || head[0] >> 4 != 6) return CW_PROOF_NONE;
    if ((size_t)cw_get16(head + 4) + 40 != length) return CW_PROOF_NONE;
    return in_prefixes(head + 8, prefixes, prefix_count) ? CW_PROOF_EVIDENCE : CW_PROOF_WELL_FORMED;
}

cw_proof cw_ppp_prove(const uint8_t *head, size_t length, const cw_prefix *prefixes, uint32_t prefix_count, cw_ppp_header *header) {
    cw_ppp_header parsed;
    if (!cw_ppp_parse(head, length < CW_PPP_PROOF_HEAD ? length : CW_PPP_PROOF_HEAD, &parsed)) return CW_PROOF_NONE;
    cw_proof proof = cw_ip_prove(parsed.protocol, head + parsed.length, length - parsed.length, prefixes, prefix_count);
    if (proof != CW_PROOF_NONE) *header = parsed;
    return proof;
}
