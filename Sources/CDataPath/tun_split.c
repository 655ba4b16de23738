#include <string.h>

#include "tun_offload.h"

enum {
    tcp_least = 20,
    tcp_sequence = 4,
    tcp_offset = 12,
    tcp_flags = 13,
    tcp_checksum = 16,
    tcp_fin = 1,
    tcp_push = 8,
    tcp_cwr = 128,
    udp_header = 8,
    udp_length = 4,
    udp_checksum = 6,
};

// Of the headers only what segmentation rests on; the rest is between the two ends.
static bool begin_segments(cw_split *split, const struct virtio_net_hdr *header, uint8_t type) {
    const uint8_t *packet = split->packet;
    uint32_t length = split->length, transport = header->csum_start;
    if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || header->gso_size == 0) return false;
    if (split->family == 4 ? transport != (packet[0] & 15u) * 4 : transport < CW_IPV6_HEADER) return false;
    split->transport = transport;
    split->protocol = type == CW_GSO_UDP ? 17 : CW_IPPROTO_TCP;
    if (type == CW_GSO_UDP) {
        if (length - transport < udp_header || length < transport) return false;
        split->header = transport + udp_header;
    } else {
        if (split->family != (type == VIRTIO_NET_HDR_GSO_TCPV4 ? 4 : 6)) return false;
        if (length < transport || length - transport < tcp_least) return false;
        uint32_t size = (uint32_t)(packet[transport + tcp_offset] >> 4) * 4;
        if (size < tcp_least || size > length - transport) return false;
        split->header = transport + size;
    }
    if (split->header == length) return false; // nothing to cut
    split->segment = header->gso_size;
    split->next = split->header;
    uint32_t addresses = split->family == 4 ? 12 : 8;
    split->pseudo = cw_sum(split->protocol, packet + addresses, split->family == 4 ? 8 : 32);
    return true;
}

// The field holds the pseudo-header's sum already (virtio 1.2 section 5.1.6.2).
static bool complete_checksum(const struct virtio_net_hdr *header, uint8_t *packet, uint32_t length) {
    uint32_t start = header->csum_start, field = start + header->csum_offset;
    if (start >= length || field + 2 > length) return false;
    uint16_t checksum = cw_checksum(cw_sum(0, packet + start, length - start));
    // RFC 768: zero would say that there is none. All other protocols take both forms of zero alike.
    cw_put16(packet + field, checksum == 0 ? 0xFFFF : checksum);
    return true;
}

bool cw_split_begin(cw_split *split, const struct virtio_net_hdr *header, uint8_t *packet, size_t length) {
    *split = (cw_split){.packet = packet, .length = (uint32_t)length};
    if (length < CW_IPV4_HEADER || length > CW_TUN_LONGEST) return false;
    split->family = packet[0] >> 4;
    if (split->family == 4 ? (packet[0] & 15u) * 4 < CW_IPV4_HEADER || (packet[0] & 15u) * 4 > length
                           : split->family != 6 || length < CW_IPV6_HEADER)
        return false;
    uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    switch (type) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || complete_checksum(header, packet, split->length);
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV6:
    case CW_GSO_UDP: return begin_segments(split, header, type);
    default: return false;
    }
}

uint32_t cw_split_longest(const cw_split *split) {
    if (split->segment == 0 || split->length - split->header < split->segment) return split->length;
    return split->header + split->segment;
}

static void write_ip(const cw_split *split, uint8_t *out, uint32_t length) {
    if (split->family == 6) {
        cw_put16(out + 4, (uint16_t)(length - CW_IPV6_HEADER));
        return;
    }
    cw_put16(out + 2, (uint16_t)length);
    cw_put16(out + 4, (uint16_t)(cw_get16(out + 4) + split->index));
    cw_put16(out + 10, 0);
    cw_put16(out + 10, cw_checksum(cw_sum(0, out, split->transport)));
}

// RFC 9293 section 3.1: sequence numbers count bytes. FIN and PSH belong to the end of the data, CWR to its beginning.
static void write_tcp(const cw_split *split, uint8_t *tcp, uint32_t offset, bool last) {
    cw_put32(tcp + tcp_sequence, cw_get32(tcp + tcp_sequence) + offset);
    if (!last) tcp[tcp_flags] &= (uint8_t)~(tcp_fin | tcp_push);
    if (split->index > 0) tcp[tcp_flags] &= (uint8_t)~tcp_cwr;
}

size_t cw_split_next(cw_split *split, uint8_t *out) {
    if (split->segment == 0) {
        if (split->index++ > 0) return 0;
        memcpy(out, split->packet, split->length);
        return split->length;
    }
    uint32_t left = split->length - split->next, payload = left < split->segment ? left : split->segment;
    if (left == 0) return 0;
    uint32_t length = split->header + payload, behind = length - split->transport;
    memcpy(out, split->packet, split->header);
    memcpy(out + split->header, split->packet + split->next, payload);
    write_ip(split, out, length);
    uint8_t *transport = out + split->transport, *field;
    if (split->protocol == CW_IPPROTO_TCP) {
        write_tcp(split, transport, split->next - split->header, payload == left);
        field = transport + tcp_checksum;
    } else {
        cw_put16(transport + udp_length, (uint16_t)behind);
        field = transport + udp_checksum;
    }
    cw_put16(field, 0);
    uint16_t checksum = cw_checksum(cw_sum(split->pseudo + behind, transport, behind));
    cw_put16(field, checksum == 0 && split->protocol != CW_IPPROTO_TCP ? 0xFFFF : checksum);
    split->next += payload;
    split->index++;
    return length;
}
