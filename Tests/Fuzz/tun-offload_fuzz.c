// Super-packets of a TUN. Whatever a virtio header says about a packet, the pieces are within bounds, whole and right, and together
// have every payload byte once. And whatever packets arrive, splitting what they were coalesced to gives them back.
//
// First byte of an input: even, the rest is a virtio header and a packet. Odd, it is a list of packets, each with a length in two bytes
// and a byte that says what to repair: 1 lengths, 2 checksums, 4 made to follow the packet before it.
#include <stdlib.h>
#include <string.h>

#include "tun_offload.h"

#define REQUIRE(condition) \
    do {                   \
        if (!(condition)) abort(); \
    } while (0)

enum { REPAIR_LENGTHS = 1, REPAIR_CHECKSUMS = 2, FOLLOW = 4, UDP = 17, LONGEST_PIECE = 4096 };

static uint8_t packet[CW_TUN_LONGEST + 1], piece[LONGEST_PIECE];

static uint16_t transport_sum(const uint8_t *p, size_t length, size_t transport) {
    bool four = p[0] >> 4 == 4;
    uint32_t sum = cw_sum((uint32_t)(length - transport) + (four ? p[9] : p[6]), p + (four ? 12 : 8), four ? 8 : 32);
    return (uint16_t)cw_sum(sum, p + transport, length - transport);
}

static void check_piece(const cw_split *split, size_t length) {
    REQUIRE(length <= cw_split_longest(split));
    if (split->segment == 0) return;
    bool four = split->family == 4;
    REQUIRE(length > split->header && length - split->header <= split->segment);
    if (four) REQUIRE(cw_get16(piece + 2) == length && cw_sum(0, piece, split->transport) == 0xFFFF);
    else REQUIRE(cw_get16(piece + 4) + (size_t)CW_IPV6_HEADER == length);
    // Extension headers may say that the protocol is another one; the sum is over the one that the virtio header named.
    uint32_t sum = cw_sum((uint32_t)(length - split->transport) + split->protocol, piece + (four ? 12 : 8), four ? 8 : 32);
    REQUIRE(cw_sum(sum, piece + split->transport, length - split->transport) == 0xFFFF);
}

static void split(const uint8_t *data, size_t size) {
    struct virtio_net_hdr header;
    if (size < CW_TUN_HEADER || size > CW_TUN_LONGEST) return;
    memcpy(&header, data, CW_TUN_HEADER);
    size_t length = size - CW_TUN_HEADER;
    // A copy of its own size, so that a byte past the end is noticed.
    uint8_t *copy = malloc(length + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, data + CW_TUN_HEADER, length);
    uint8_t *exact = realloc(copy, length == 0 ? 1 : length);
    REQUIRE(exact != NULL);
    cw_split state;
    if (cw_split_begin(&state, &header, exact, length) && cw_split_longest(&state) <= LONGEST_PIECE) {
        size_t offset = state.segment == 0 ? 0 : state.header, done = offset, pieces = 0;
        for (size_t got; (got = cw_split_next(&state, piece)) != 0; done += got - offset) {
            check_piece(&state, got);
            REQUIRE(done + got - offset <= length && memcmp(piece + offset, exact + done, got - offset) == 0);
            pieces++;
        }
        REQUIRE(done == length && pieces > 0);
        REQUIRE(cw_split_next(&state, piece) == 0);
    }
    free(exact);
}

// Makes the packet the next one of the flow that `before` belongs to.
static void follow(uint8_t *p, size_t length, size_t transport, const uint8_t *before, size_t before_length) {
    uint8_t flags = p[transport + 13];
    memcpy(p, before, transport + 20);
    if (p[0] >> 4 == 4) cw_put16(p + 4, (uint16_t)(cw_get16(before + 4) + 1));
    if (p[p[0] >> 4 == 4 ? 9 : 6] != CW_IPPROTO_TCP) return;
    size_t header = transport + (size_t)(before[transport + 12] >> 4) * 4;
    p[transport + 13] = (uint8_t)(16 | (flags & 8));
    if (header < transport + 20 || header > before_length || header > length) return;
    memcpy(p + transport + 20, before + transport + 20, header - transport - 20);
    cw_put32(p + transport + 4, cw_get32(before + transport + 4) + (uint32_t)(before_length - header));
}

static void repair(uint8_t *p, size_t length, uint8_t what, const cw_buffer *before) {
    bool four = p[0] >> 4 == 4;
    size_t transport = four ? CW_IPV4_HEADER : CW_IPV6_HEADER;
    if (length < transport + 20 || (!four && p[0] >> 4 != 6)) return;
    if ((what & FOLLOW) != 0 && before != NULL && before->length >= transport + 20 && before->storage[before->offset] == p[0]) {
        follow(p, length, transport, before->storage + before->offset, before->length);
        what |= REPAIR_LENGTHS;
    }
    if ((what & REPAIR_LENGTHS) != 0) {
        if (four) p[0] = 0x45;
        if (four) cw_put16(p + 2, (uint16_t)length);
        else cw_put16(p + 4, (uint16_t)(length - CW_IPV6_HEADER));
        if ((four ? p[9] : p[6]) == UDP) cw_put16(p + transport + 4, (uint16_t)(length - transport));
    }
    if ((what & REPAIR_CHECKSUMS) == 0) return;
    if (four) {
        cw_put16(p + 10, 0);
        cw_put16(p + 10, cw_checksum(cw_sum(0, p, CW_IPV4_HEADER)));
    }
    uint8_t *field = p + transport + ((four ? p[9] : p[6]) == UDP ? 6 : 16);
    cw_put16(field, 0);
    uint16_t checksum = cw_checksum(transport_sum(p, length, transport));
    cw_put16(field, checksum == 0 ? 0xFFFF : checksum);
}

// Whether these two octets of a packet are a checksum of all ones. RFC 1071: that says the same as zero, which it comes out as when it
// is made again, but not in UDP.
static bool is_other_zero(const uint8_t *p, size_t length, size_t at) {
    if (length < CW_IPV4_HEADER || at + 1 >= length || cw_get16(p + at) != 0xFFFF) return false;
    if (p[0] == 0x45) return at == 10 || (at == CW_IPV4_HEADER + 16 && p[9] == CW_IPPROTO_TCP);
    return p[0] >> 4 == 6 && at == CW_IPV6_HEADER + 16 && p[6] == CW_IPPROTO_TCP;
}

// Which packets these are, whatever order the flows came out in: the sum over all of one number for each packet.
static uint64_t fingerprint(const uint8_t *p, size_t length) {
    uint64_t hash = length;
    bool renumbered = length >= CW_IPV4_HEADER && p[0] >> 4 == 4 && (p[6] & 0x40) != 0;
    for (size_t i = 0; i < length; i++) {
        if (renumbered && (i == 4 || i == 5 || i == 10 || i == 11)) continue;
        bool zero = is_other_zero(p, length, i & ~(size_t)1);
        hash = (hash ^ (zero ? 0 : p[i])) * UINT64_C(0x100000001B3) + i;
    }
    return hash;
}

static void coalesce(const uint8_t *data, size_t size) {
    static cw_buffer buffers[CW_MAX_BATCH];
    static cw_coalescer coalescer;
    uint64_t came = 0, left = 0;
    uint32_t count = 0;
    coalescer.tcp = coalescer.udp = true;
    cw_coalesce_reset(&coalescer);
    for (size_t at = 0; at + 3 <= size && count < CW_MAX_BATCH;) {
        size_t length = cw_get16(data + at) % (CW_BUFFER_DATA + 1);
        uint8_t what = data[at + 2];
        at += 3;
        if (length > size - at) length = size - at;
        cw_buffer *buffer = &buffers[count];
        buffer->offset = CW_HEADROOM;
        buffer->length = (uint16_t)length;
        memcpy(cw_buffer_data(buffer), data + at, length);
        if (length > 0) repair(cw_buffer_data(buffer), length, what, count > 0 ? &buffers[count - 1] : NULL);
        at += length;
        came += fingerprint(cw_buffer_data(buffer), length);
        count++;
    }
    for (uint32_t i = 0; i < count; i++) cw_coalesce_add(&coalescer, &buffers[i]);
    REQUIRE(coalescer.packets == count && coalescer.count <= count);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < coalescer.count; i++) {
        struct iovec vectors[CW_MAX_BATCH];
        struct virtio_net_hdr header;
        size_t parts = cw_coalesce_gather(&coalescer, i, vectors), length = 0;
        REQUIRE(parts == coalescer.merges[i].count && vectors[0].iov_len >= CW_TUN_HEADER);
        memcpy(&header, vectors[0].iov_base, CW_TUN_HEADER);
        for (size_t part = 0; part < parts; part++) {
            size_t skip = part == 0 ? CW_TUN_HEADER : 0, bytes = vectors[part].iov_len - skip;
            REQUIRE(length + bytes <= CW_TUN_LONGEST);
            memcpy(packet + length, (uint8_t *)vectors[part].iov_base + skip, bytes);
            length += bytes;
        }
        REQUIRE(length == coalescer.merges[i].bytes);
        if (parts == 1) {
            left += fingerprint(packet, length);
            seen++;
            continue;
        }
        cw_split state;
        REQUIRE(cw_split_begin(&state, &header, packet, length) && cw_split_longest(&state) <= CW_BUFFER_DATA);
        for (size_t got; (got = cw_split_next(&state, piece)) != 0; seen++) left += fingerprint(piece, got);
    }
    REQUIRE(seen == count && left == came);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    if ((data[0] & 1) == 0) split(data + 1, size - 1);
    else coalesce(data + 1, size - 1);
    return 0;
}
