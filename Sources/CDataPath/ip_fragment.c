#include <string.h>

#include "ip.h"

enum { more_fragments = 0x2000, offset_mask = 0x1FFF, copied_flag = 0x80 };

void cw_fragment_begin(cw_fragmenter *f, const cw_ip *ip, uint32_t mtu) {
    uint16_t field = cw_get16(ip->data + 6);
    *f = (cw_fragmenter){
        .packet = ip->data,
        .header = ip->payload,
        .next = ip->payload,
        .end = ip->length,
        .mtu = mtu,
        .offset = field & offset_mask,
        .more = (field & more_fragments) != 0,
    };
    memcpy(f->later_header, ip->data, CW_IPV4_HEADER);
    uint32_t length = CW_IPV4_HEADER;
    for (uint32_t at = CW_IPV4_HEADER; at < f->header && f->packet[at] != 0;) {
        uint32_t size = f->packet[at] == 1 ? 1 : f->packet[at + 1]; // lengths were checked by cw_ip_parse
        if (size > 1 && (f->packet[at] & copied_flag) != 0) {
            memcpy(f->later_header + length, f->packet + at, size);
            length += size;
        }
        at += size;
    }
    while (length % 4 != 0) f->later_header[length++] = 0;
    f->later_header[0] = (uint8_t)(0x40 | length / 4);
    f->later_length = length;
}

size_t cw_fragment_next(cw_fragmenter *f, uint8_t *out) {
    if (f->next >= f->end) return 0;
    bool first = f->next == f->header;
    uint32_t header = first ? f->header : f->later_length, left = f->end - f->next;
    uint32_t size = f->mtu - header;
    bool last = left <= size;
    size = last ? left : size & ~7u;
    memcpy(out, first ? f->packet : f->later_header, header);
    memcpy(out + header, f->packet + f->next, size);
    cw_put16(out + 2, (uint16_t)(header + size));
    cw_put16(out + 6, (uint16_t)((f->offset + (f->next - f->header) / 8) | (last && !f->more ? 0 : more_fragments)));
    cw_put16(out + 10, 0);
    cw_put16(out + 10, cw_checksum(cw_sum(0, out, header)));
    f->next += size;
    return header + size;
}
