#include "gre.h"

#include "link_bytes.h"

enum { // first two octets
    GRE_KEY = 0x2000,
    GRE_SEQUENCE = 0x1000,
    GRE_ACKNOWLEDGMENT = 0x0080,
    GRE_VERSION = 0x0001,
    // C, R, s, Recur and Flags have to be zero, Ver has to be 1, K has to be set.
    GRE_FIXED_MASK = 0xffff & ~(GRE_SEQUENCE | GRE_ACKNOWLEDGMENT),
};

bool cw_gre_parse(const uint8_t *packet, size_t length, cw_gre_header *header) {
    if (length < CW_GRE_HEADER_MIN) return false;
    uint16_t flags = cw_get16(packet);
    if ((flags & GRE_FIXED_MASK) != (GRE_KEY | GRE_VERSION)) return false;
    if (cw_get16(packet + 2) != CW_GRE_PROTOCOL_PPP) return false;
    cw_gre_header parsed = {
        .payload_length = cw_get16(packet + 4),
        .call_id = cw_get16(packet + 6),
        .has_sequence = (flags & GRE_SEQUENCE) != 0,
        .has_acknowledgment = (flags & GRE_ACKNOWLEDGMENT) != 0,
    };
    parsed.header_length = (uint8_t)cw_gre_header_length(&parsed);
    if (length < parsed.header_length || length - parsed.header_length < parsed.payload_length) return false;
    const uint8_t *p = packet + CW_GRE_HEADER_MIN;
    if (parsed.has_sequence) {
        parsed.sequence = cw_get32(p);
        p += 4;
    }
    if (parsed.has_acknowledgment) parsed.acknowledgment = cw_get32(p);
    *header = parsed;
    return true;
}

size_t cw_gre_header_length(const cw_gre_header *header) {
    return CW_GRE_HEADER_MIN + (header->has_sequence ? 4u : 0u) + (header->has_acknowledgment ? 4u : 0u);
}

void cw_gre_build(const cw_gre_header *header, uint8_t *out) {
    uint16_t flags = GRE_KEY | GRE_VERSION;
    if (header->has_sequence) flags |= GRE_SEQUENCE;
    if (header->has_acknowledgment) flags |= GRE_ACKNOWLEDGMENT;
    cw_put16(out, flags);
    cw_put16(out + 2, CW_GRE_PROTOCOL_PPP);
    cw_put16(out + 4, header->payload_length);
    cw_put16(out + 6, header->call_id);
    uint8_t *p = out + CW_GRE_HEADER_MIN;
    if (header->has_sequence) {
        cw_put32(p, header->sequence);
        p += 4;
    }
    if (header->has_acknowledgment) cw_put32(p, header->acknowledgment);
}
