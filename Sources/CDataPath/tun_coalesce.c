#include <string.h>

#include "tun_offload.h"

enum {
    ipv4_dont_fragment = 0x4000,
    tcp_least = 20,
    tcp_sequence = 4,
    tcp_acknowledgment = 8,
    tcp_offset = 12,
    tcp_flags = 13,
    tcp_window = 14,
    tcp_checksum = 16,
    tcp_urgent = 18,
    tcp_ack = 16,
    tcp_push = 8,
    udp_header = 8,
    udp_length = 4,
    udp_checksum = 6,
};

// What decides on merging, read from one packet.
typedef struct seen {
    uint32_t length, transport, header;
    uint8_t family, protocol; // protocol 0: not of a flow that we know
    bool mergeable;           // by itself: the right flags, some payload
} seen;

static uint32_t flow_slot(const uint8_t *packet, const seen *at) {
    uint64_t words[4] = {0}, hash = at->protocol;
    uint32_t ports;
    memcpy(words, packet + (at->family == 4 ? 12 : 8), at->family == 4 ? 8 : 32);
    memcpy(&ports, packet + at->transport, 4);
    hash = (hash ^ ports) * UINT64_C(0x9E3779B97F4A7C15);
    for (unsigned i = 0; i < (at->family == 4 ? 1u : 4u); i++) hash = (hash ^ words[i] ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    return (uint32_t)(hash >> 56) % CW_MERGE_SLOTS;
}

static bool read_ip(const uint8_t *packet, uint32_t length, seen *out) {
    if (length < CW_IPV4_HEADER) return false;
    out->length = length;
    out->family = packet[0] >> 4;
    if (out->family == 4) {
        // With options or as a fragment a packet goes alone.
        if (packet[0] != 0x45 || cw_get16(packet + 2) != length || (cw_get16(packet + 6) & ~ipv4_dont_fragment) != 0) return false;
        out->transport = CW_IPV4_HEADER;
        out->protocol = packet[9];
        return true;
    }
    if (out->family != 6 || length < CW_IPV6_HEADER || CW_IPV6_HEADER + (uint32_t)cw_get16(packet + 4) != length) return false;
    out->transport = CW_IPV6_HEADER;
    out->protocol = packet[6];
    return true;
}

static seen look(const cw_coalescer *coalescer, const uint8_t *packet, uint32_t length) {
    seen found = {0};
    const seen none = {.length = length};
    if (!read_ip(packet, length, &found)) return none;
    const uint8_t *transport = packet + found.transport;
    uint32_t behind = length - found.transport;
    if (found.protocol == CW_IPPROTO_TCP && coalescer->tcp && behind >= tcp_least) {
        uint32_t header = (uint32_t)(transport[tcp_offset] >> 4) * 4;
        if (header < tcp_least || header > behind) return none;
        found.header = found.transport + header;
        found.mergeable = (transport[tcp_flags] & ~tcp_push) == tcp_ack && length > found.header;
        return found;
    }
    if (found.protocol == 17 && coalescer->udp && behind >= udp_header) {
        found.header = found.transport + udp_header;
        // Without a checksum, which IPv4 allows, it has to stay without one.
        found.mergeable = length > found.header && cw_get16(transport + udp_length) == behind && cw_get16(transport + udp_checksum) != 0;
        return found;
    }
    return none;
}

static bool checksums_right(const uint8_t *packet, const seen *at) {
    if (at->family == 4 && cw_checksum(cw_sum(0, packet, CW_IPV4_HEADER)) != 0) return false;
    uint32_t behind = at->length - at->transport;
    uint32_t sum = cw_sum(behind + at->protocol, packet + (at->family == 4 ? 12 : 8), at->family == 4 ? 8 : 32);
    return cw_checksum(cw_sum(sum, packet + at->transport, behind)) == 0;
}

// ---- What two packets have to have in common --------------------------------------------------------------------------

static bool same(const uint8_t *a, const uint8_t *b, uint32_t from, uint32_t to) { return memcmp(a + from, b + from, to - from) == 0; }

static bool same_ip(uint8_t family, const uint8_t *a, const uint8_t *b) {
    // All but lengths, identification and checksum: also TOS, flow label, TTL and DF.
    if (family == 4) return same(a, b, 0, 2) && same(a, b, 6, 10) && same(a, b, 12, 20);
    return same(a, b, 0, 4) && same(a, b, 6, CW_IPV6_HEADER);
}

static bool same_tcp(const uint8_t *a, const uint8_t *b, uint32_t header) {
    return same(a, b, 0, tcp_sequence) && same(a, b, tcp_acknowledgment, tcp_flags) && same(a, b, tcp_window, tcp_checksum) &&
           same(a, b, tcp_urgent, header);
}

static bool fits(const cw_merge *merge, const uint8_t *first, const uint8_t *packet, const seen *at) {
    uint32_t payload = at->length - at->header;
    if (merge->family != at->family || merge->protocol != at->protocol || merge->header != at->header) return false;
    if (payload > merge->segment || merge->bytes + payload > CW_TUN_LONGEST) return false;
    if (!same_ip(at->family, first, packet)) return false;
    if (at->family == 4) {
        // Packets without DF need identifications of their own, and get them by counting up when this is split.
        bool counts = cw_get16(packet + 4) == merge->expected_id;
        if (!counts && (cw_get16(packet + 6) & ipv4_dont_fragment) == 0) return false;
    }
    const uint8_t *a = first + at->transport, *b = packet + at->transport;
    if (at->protocol != CW_IPPROTO_TCP) return merge->count < CW_UDP_MAX_SEGMENTS && same(a, b, 0, 4);
    return cw_get32(b + tcp_sequence) == merge->expected && same_tcp(a, b, at->header - at->transport);
}

static bool append(cw_merge *merge, cw_buffer *buffer, const seen *at) {
    const uint8_t *first = cw_buffer_data(merge->first), *packet = cw_buffer_data(buffer);
    if (!merge->open || !at->mergeable || !fits(merge, first, packet, at)) return false;
    if (!merge->verified) {
        seen of_first = *at;
        of_first.length = merge->bytes;
        if (!checksums_right(first, &of_first)) {
            merge->open = false;
            return false;
        }
        merge->verified = true;
    }
    if (!checksums_right(packet, at)) return false;
    uint32_t payload = at->length - at->header;
    merge->last->next = buffer;
    merge->last = buffer;
    merge->count++;
    merge->bytes += payload;
    merge->expected += payload;
    merge->expected_id++;
    // A shorter one, or the end of what the sender wrote, is the last.
    if (payload < merge->segment || (at->protocol == CW_IPPROTO_TCP && (packet[at->transport + tcp_flags] & tcp_push) != 0))
        merge->open = false;
    return true;
}

// ---- Calls ------------------------------------------------------------------------------------------------------------

void cw_coalesce_reset(cw_coalescer *coalescer) {
    coalescer->count = coalescer->packets = 0;
    memset(coalescer->latest, 0, sizeof coalescer->latest);
}

void cw_coalesce_add(cw_coalescer *coalescer, cw_buffer *buffer) {
    const uint8_t *packet = cw_buffer_data(buffer);
    seen at = look(coalescer, packet, buffer->length);
    uint16_t ignored = 0, *latest = at.protocol != 0 ? &coalescer->latest[flow_slot(packet, &at)] : &ignored;
    buffer->next = NULL;
    coalescer->packets++;
    if (*latest != 0 && append(&coalescer->merges[*latest - 1], buffer, &at)) return;
    // Whatever does not go with the flow's last write comes after it, and what follows cannot overtake it.
    cw_merge *merge = &coalescer->merges[coalescer->count++];
    *latest = (uint16_t)coalescer->count;
    *merge = (cw_merge){.first = buffer, .last = buffer, .count = 1, .bytes = at.length, .header = at.header};
    if (!at.mergeable) return;
    const uint8_t *transport = packet + at.transport;
    merge->segment = at.length - at.header;
    merge->family = at.family;
    merge->protocol = at.protocol;
    merge->expected_id = (uint16_t)(cw_get16(packet + 4) + 1);
    merge->open = true;
    if (at.protocol == CW_IPPROTO_TCP) {
        merge->expected = cw_get32(transport + tcp_sequence) + merge->segment;
        merge->open = (transport[tcp_flags] & tcp_push) == 0;
    }
}

// The first packet's headers become those of all: total lengths, the flags of the last, and in place of the checksum the sum of the
// pseudo-header, from which the kernel goes on.
static void write_headers(const cw_merge *merge, uint8_t *packet, struct virtio_net_hdr *header) {
    uint32_t transport = merge->family == 4 ? CW_IPV4_HEADER : CW_IPV6_HEADER, behind = merge->bytes - transport;
    bool tcp = merge->protocol == CW_IPPROTO_TCP;
    header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->gso_type = !tcp ? CW_GSO_UDP : merge->family == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    header->hdr_len = (uint16_t)merge->header;
    header->gso_size = (uint16_t)merge->segment;
    header->csum_start = (uint16_t)transport;
    header->csum_offset = tcp ? tcp_checksum : udp_checksum;
    if (merge->family == 4) {
        cw_put16(packet + 2, (uint16_t)merge->bytes);
        cw_put16(packet + 10, 0);
        cw_put16(packet + 10, cw_checksum(cw_sum(0, packet, CW_IPV4_HEADER)));
    } else {
        cw_put16(packet + 4, (uint16_t)behind);
    }
    if (tcp) packet[transport + tcp_flags] = cw_buffer_data(merge->last)[transport + tcp_flags];
    else cw_put16(packet + transport + udp_length, (uint16_t)behind);
    uint32_t sum = cw_sum(behind + merge->protocol, packet + (merge->family == 4 ? 12 : 8), merge->family == 4 ? 8 : 32);
    cw_put16(packet + transport + header->csum_offset, (uint16_t)sum);
}

size_t cw_coalesce_gather(cw_coalescer *coalescer, uint32_t index, struct iovec *out) {
    cw_merge *merge = &coalescer->merges[index];
    struct virtio_net_hdr header = {0};
    uint8_t *packet = cw_buffer_data(merge->first);
    if (merge->count > 1) write_headers(merge, packet, &header);
    memcpy(packet - CW_TUN_HEADER, &header, CW_TUN_HEADER);
    out[0] = (struct iovec){packet - CW_TUN_HEADER, CW_TUN_HEADER + (size_t)merge->first->length};
    size_t count = 1;
    for (cw_buffer *buffer = merge->first->next; buffer != NULL; buffer = buffer->next)
        out[count++] = (struct iovec){cw_buffer_data(buffer) + merge->header, buffer->length - merge->header};
    return count;
}
