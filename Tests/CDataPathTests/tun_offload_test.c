// Super-packets of a TUN: split, coalesce, and that one undoes the other. Checksums are verified by a function of the test's own.
#include "harness.h"
#include "tun_offload.h"

enum { FIN = 1, SYN = 2, PUSH = 8, ACK = 16, CWR = 128 };

typedef struct shape {
    uint8_t family, protocol; // 4 or 6, 6 or 17
    uint8_t tos, ttl, flags, flow;
    bool dont_fragment;
    uint16_t id, window, urgent;
    uint32_t sequence, acknowledgment, options; // bytes of TCP options
    uint32_t payload;
} shape;

static const shape tcp4 = {4, 6, 0, 64, ACK, 1, true, 100, 500, 0, 1000, 77, 12, 1000};

static cw_buffer storage[CW_MAX_BATCH];
static cw_coalescer coalescer;
static uint8_t super[70000];

// ---- An independent look at packets -----------------------------------------------------------------------------------

static uint16_t plain_sum(const uint8_t *octets, size_t length) {
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i++) {
        sum += i % 2 == 0 ? (uint32_t)octets[i] << 8 : octets[i];
        if (sum > 0xFFFF) sum = (sum & 0xFFFF) + 1;
    }
    return (uint16_t)sum;
}

static uint16_t transport_sum(const uint8_t *packet, size_t length) {
    static uint8_t all[70000 + 40];
    size_t header = packet[0] >> 4 == 4 ? (packet[0] & 15u) * 4 : 40, behind = length - header, at = 0;
    size_t addresses = header == 40 && packet[0] >> 4 == 6 ? 32 : 8;
    memcpy(all, packet + (addresses == 32 ? 8 : 12), addresses);
    at += addresses;
    const uint8_t rest[] = {0, packet[0] >> 4 == 4 ? packet[9] : packet[6], (uint8_t)(behind >> 8), (uint8_t)behind};
    memcpy(all + at, rest, 4);
    at += 4;
    memcpy(all + at, packet + header, behind);
    return plain_sum(all, at + behind);
}

static bool is_right(const uint8_t *packet, size_t length) {
    if (packet[0] >> 4 == 4) {
        if (plain_sum(packet, (packet[0] & 15u) * 4) != 0xFFFF || (size_t)(packet[2] << 8 | packet[3]) != length) return false;
    } else if ((size_t)(packet[4] << 8 | packet[5]) + 40 != length) {
        return false;
    }
    return transport_sum(packet, length) == 0xFFFF;
}

static size_t transport_of(const uint8_t *packet) { return packet[0] >> 4 == 4 ? 20 : 40; }
static uint32_t sequence_of(const uint8_t *packet) { return cw_get32(packet + transport_of(packet) + 4); }
static uint8_t flags_of(const uint8_t *packet) { return packet[transport_of(packet) + 13]; }

static void finish_checksums(uint8_t *packet, size_t length) {
    size_t header = transport_of(packet);
    bool tcp = (header == 20 ? packet[9] : packet[6]) == 6;
    if (header == 20) {
        cw_put16(packet + 10, 0);
        cw_put16(packet + 10, (uint16_t)~plain_sum(packet, 20));
    }
    uint8_t *field = packet + header + (tcp ? 16 : 6);
    cw_put16(field, 0);
    uint16_t checksum = (uint16_t)~transport_sum(packet, length);
    cw_put16(field, checksum == 0 ? 0xFFFF : checksum);
}

// Payload bytes are a function of their place in the stream, so that segments of one stream fit together.
static size_t build(uint8_t *out, const shape *s) {
    size_t header = s->family == 4 ? 20 : 40, upper = s->protocol == 6 ? 20 + s->options : 8, length = header + upper + s->payload;
    memset(out, 0, header + upper);
    if (s->family == 4) {
        out[0] = 0x45;
        out[1] = s->tos;
        cw_put16(out + 2, (uint16_t)length);
        cw_put16(out + 4, s->id);
        cw_put16(out + 6, s->dont_fragment ? 0x4000 : 0);
        out[8] = s->ttl;
        out[9] = s->protocol;
        memcpy(out + 12, (uint8_t[]){10, 0, 0, s->flow, 10, 1, 0, 1}, 8);
    } else {
        out[0] = (uint8_t)(0x60 | s->tos >> 4);
        out[1] = (uint8_t)(s->tos << 4);
        out[3] = s->flow;
        cw_put16(out + 4, (uint16_t)(length - 40));
        out[6] = s->protocol;
        out[7] = s->ttl;
        out[8] = out[24] = 0xFD;
        out[23] = s->flow;
        out[39] = 1;
    }
    uint8_t *t = out + header;
    cw_put16(t, (uint16_t)(1000 + s->flow));
    cw_put16(t + 2, 5201);
    if (s->protocol == 6) {
        cw_put32(t + 4, s->sequence);
        cw_put32(t + 8, s->acknowledgment);
        t[12] = (uint8_t)((20 + s->options) / 4 << 4);
        t[13] = s->flags;
        cw_put16(t + 14, s->window);
        cw_put16(t + 18, s->urgent);
        for (uint32_t i = 0; i < s->options; i++) t[20 + i] = (uint8_t)(i == 0 ? 1 : i + s->tos);
    } else {
        cw_put16(t + 4, (uint16_t)(8 + s->payload));
    }
    for (uint32_t i = 0; i < s->payload; i++) t[upper + i] = (uint8_t)((s->sequence + i) * 2654435761u >> 13);
    finish_checksums(out, length);
    return length;
}

// As the kernel gives a super-packet: the field holds the pseudo-header's sum.
static struct virtio_net_hdr make_super(uint8_t *packet, size_t length, uint16_t segment) {
    size_t header = transport_of(packet);
    bool tcp = (header == 20 ? packet[9] : packet[6]) == 6;
    uint8_t pseudo[40] = {0};
    size_t addresses = header == 20 ? 8 : 32;
    memcpy(pseudo, packet + (header == 20 ? 12 : 8), addresses);
    pseudo[addresses + 1] = tcp ? 6 : 17;
    cw_put16(pseudo + addresses + 2, (uint16_t)(length - header));
    uint16_t offset = tcp ? 16 : 6;
    cw_put16(packet + header + offset, plain_sum(pseudo, addresses + 4));
    return (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = segment == 0 ? VIRTIO_NET_HDR_GSO_NONE
                    : !tcp       ? CW_GSO_UDP
                    : header == 20 ? VIRTIO_NET_HDR_GSO_TCPV4
                                   : VIRTIO_NET_HDR_GSO_TCPV6,
        .gso_size = segment,
        .csum_start = (uint16_t)header,
        .csum_offset = offset,
    };
}

// ---- Split --------------------------------------------------------------------------------------------------------------

static void test_split_tcp(void) {
    static const uint32_t payloads[] = {2001, 2000, 1001, 1000, 999, 1};
    for (unsigned family = 4; family <= 6; family += 2)
        for (unsigned p = 0; p < 6; p++) {
            shape whole = tcp4;
            whole.family = (uint8_t)family;
            whole.payload = payloads[p];
            whole.flags = ACK | PUSH | FIN | CWR;
            whole.sequence = 0xFFFFFF00; // passes zero
            size_t length = build(super, &whole);
            struct virtio_net_hdr header = make_super(super, length, 1000);
            header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
            cw_split split;
            CHECK(cw_split_begin(&split, &header, super, length));
            size_t headers = length - payloads[p];
            CHECK_EQUAL(cw_split_longest(&split), headers + (payloads[p] < 1000 ? payloads[p] : 1000));
            uint32_t done = 0, count = 0;
            uint8_t out[2048];
            for (size_t size; (size = cw_split_next(&split, out)) != 0; count++) {
                uint32_t payload = (uint32_t)(size - headers);
                bool last = done + payload == payloads[p];
                CHECK(is_right(out, size));
                CHECK_EQUAL(payload, payloads[p] - done < 1000 ? payloads[p] - done : 1000);
                CHECK_EQUAL(sequence_of(out), (uint32_t)(0xFFFFFF00 + done));
                CHECK_EQUAL(flags_of(out), ACK | (last ? PUSH | FIN : 0) | (count == 0 ? CWR : 0));
                CHECK(memcmp(out + headers, super + headers + done, payload) == 0);
                if (family == 4) CHECK_EQUAL(cw_get16(out + 4), 100 + count);
                done += payload;
            }
            CHECK_EQUAL(done, payloads[p]);
            CHECK_EQUAL(count, (payloads[p] + 999) / 1000);
            CHECK_EQUAL(cw_split_next(&split, out), 0);
        }
}

static void test_split_udp(void) {
    for (unsigned family = 4; family <= 6; family += 2) {
        shape whole = {.family = (uint8_t)family, .protocol = 17, .ttl = 64, .flow = 3, .id = 0xFFFF, .payload = 2500};
        size_t length = build(super, &whole), headers = length - 2500, done = 0;
        struct virtio_net_hdr header = make_super(super, length, 1200);
        cw_split split;
        uint8_t out[2048];
        CHECK(cw_split_begin(&split, &header, super, length));
        for (size_t size; (size = cw_split_next(&split, out)) != 0; done += size - headers) {
            CHECK(is_right(out, size));
            CHECK_EQUAL(cw_get16(out + headers - 4), size - headers + 8);
            CHECK(memcmp(out + headers, super + headers + done, size - headers) == 0);
            if (family == 4) CHECK_EQUAL(cw_get16(out + 4), (uint16_t)(0xFFFF + done / 1200));
        }
        CHECK_EQUAL(done, 2500);
    }
}

// RFC 768: a checksum that comes out as zero is sent as all ones.
static void test_udp_checksum_is_never_zero(void) {
    shape whole = {.family = 4, .protocol = 17, .ttl = 64, .flow = 3, .payload = 20};
    for (unsigned segment = 0; segment <= 10; segment += 10) {
        size_t length = build(super, &whole);
        cw_put16(super + 28, 0);
        finish_checksums(super, length);
        if (segment != 0) { // of the first segment alone
            cw_put16(super + 2, 38);
            cw_put16(super + 24, 18);
            finish_checksums(super, 38);
        }
        cw_put16(super + 28, cw_get16(super + 26)); // a word as great as the checksum makes the sum all ones
        if (segment != 0) {
            cw_put16(super + 2, 48);
            cw_put16(super + 24, 28);
        }
        struct virtio_net_hdr header = make_super(super, length, (uint16_t)segment);
        cw_split split;
        uint8_t out[64];
        CHECK(cw_split_begin(&split, &header, super, length));
        size_t size = cw_split_next(&split, out);
        CHECK_EQUAL(size, segment == 0 ? 48 : 38);
        CHECK_EQUAL(cw_get16(out + 26), 0xFFFF);
        CHECK_EQUAL(transport_sum(out, size), 0xFFFF);
    }
}

static void test_ordinary_packets(void) {
    for (unsigned family = 4; family <= 6; family += 2)
        for (unsigned protocol = 6; protocol <= 17; protocol += 11) {
            shape one = tcp4;
            uint8_t packet[2048], out[2048];
            one.family = (uint8_t)family;
            one.protocol = (uint8_t)protocol;
            one.payload = 77;
            size_t length = build(packet, &one);
            const struct virtio_net_hdr none = {0};
            cw_split split;
            CHECK(cw_split_begin(&split, &none, packet, length));
            CHECK_EQUAL(cw_split_longest(&split), length);
            CHECK_EQUAL(cw_split_next(&split, out), length);
            CHECK(memcmp(out, packet, length) == 0);
            CHECK_EQUAL(cw_split_next(&split, out), 0);
            struct virtio_net_hdr partial = make_super(packet, length, 0);
            CHECK(!is_right(packet, length));
            CHECK(cw_split_begin(&split, &partial, packet, length));
            CHECK(is_right(packet, length)); // in place
        }
}

static void test_split_refuses(void) {
    shape whole = tcp4;
    whole.payload = 3000;
    size_t length = build(super, &whole);
    const struct virtio_net_hdr right = make_super(super, length, 1000);
    cw_split split;
    CHECK(cw_split_begin(&split, &right, super, length));
    struct virtio_net_hdr header;
#define REFUSED(change)                                          \
    do {                                                         \
        header = right;                                          \
        change;                                                  \
        CHECK(!cw_split_begin(&split, &header, super, length));  \
    } while (0)
    REFUSED(header.flags = 0);
    REFUSED(header.gso_size = 0);
    REFUSED(header.gso_type = VIRTIO_NET_HDR_GSO_TCPV6);
    REFUSED(header.gso_type = VIRTIO_NET_HDR_GSO_UDP); // fragmentation offload: we never ask for it
    REFUSED(header.gso_type = 9);
    REFUSED(header.csum_start = 21);
    REFUSED(header.csum_start = 0);
    REFUSED(header.csum_start = 0xFFFF);
    header = right;
    for (size_t cut = 0; cut <= 52; cut++) CHECK(!cw_split_begin(&split, &header, super, cut)); // up to the end of the headers
    CHECK(cw_split_begin(&split, &header, super, 53));
    REFUSED(super[0] = 0x44);
    REFUSED(super[0] = 0x55);
    REFUSED(super[0] = 0x46); // its length of headers is not where the checksum starts
    super[0] = 0x45;
    REFUSED(super[32] = 0x40); // TCP data offset 4
    super[32] = 0xF0;
    CHECK(!cw_split_begin(&split, &right, super, 79));
    super[32] = 0x80;
    header = right;
    header.gso_type = VIRTIO_NET_HDR_GSO_NONE;
    header.csum_offset = 16;
    CHECK(cw_split_begin(&split, &header, super, 38));
    CHECK(!cw_split_begin(&split, &header, super, 37)); // the field is not in the packet
    header.csum_start = 38;
    CHECK(!cw_split_begin(&split, &header, super, 38));
}

// ---- Coalesce -----------------------------------------------------------------------------------------------------------

static cw_buffer *put(unsigned index, const shape *s) {
    cw_buffer *buffer = &storage[index];
    buffer->offset = CW_HEADROOM;
    buffer->length = (uint16_t)build(cw_buffer_data(buffer), s);
    return buffer;
}

static void begin(void) {
    coalescer.tcp = coalescer.udp = true;
    cw_coalesce_reset(&coalescer);
}

static size_t gather(uint32_t index, struct virtio_net_hdr *header, uint8_t *packet) {
    struct iovec vectors[CW_MAX_BATCH];
    static uint8_t all[CW_TUN_HEADER + 70000];
    size_t count = cw_coalesce_gather(&coalescer, index, vectors), length = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all + length, vectors[i].iov_base, vectors[i].iov_len);
        length += vectors[i].iov_len;
    }
    memcpy(header, all, CW_TUN_HEADER);
    memcpy(packet, all + CW_TUN_HEADER, length - CW_TUN_HEADER);
    return length - CW_TUN_HEADER;
}

static shape following(const shape *s) {
    shape next = *s;
    next.sequence += s->payload;
    next.id++;
    return next;
}

// How many writes two packets become.
static uint32_t writes_of(const shape *first, const shape *second) {
    begin();
    cw_coalesce_add(&coalescer, put(0, first));
    cw_coalesce_add(&coalescer, put(1, second));
    return coalescer.count;
}

static void test_what_may_be_merged(void) {
    for (unsigned family = 4; family <= 6; family += 2)
        for (unsigned protocol = 6; protocol <= 17; protocol += 11) {
            shape first = tcp4;
            first.family = (uint8_t)family;
            first.protocol = (uint8_t)protocol;
            shape second = following(&first);
            bool tcp = protocol == 6, four = family == 4;
            CHECK_EQUAL(writes_of(&first, &second), 1);
#define SECOND(change, expected)                          \
    do {                                                  \
        shape before = second;                            \
        change;                                           \
        CHECK_EQUAL(writes_of(&first, &second), expected); \
        second = before;                                  \
    } while (0)
            SECOND(second.payload = 999, 1);
            SECOND(second.payload = 1, 1);
            SECOND(second.payload = 1001, 2);
            SECOND(second.payload = 0, 2);
            SECOND(second.tos = 4, 2);
            SECOND(second.ttl = 63, 2);
            SECOND(second.flow = 2, 2);
            SECOND(second.protocol = tcp ? 17 : 6, 2);
            SECOND(second.dont_fragment = false, four ? 2 : 1);
            SECOND(second.id = 100, 1); // DF: identifications mean nothing
            SECOND(second.sequence += 1, tcp ? 2 : 1);
            SECOND(second.sequence -= 1, tcp ? 2 : 1);
            SECOND(second.acknowledgment += 1, tcp ? 2 : 1);
            SECOND(second.window += 1, tcp ? 2 : 1);
            SECOND(second.urgent += 1, tcp ? 2 : 1);
            SECOND(second.options += 4, tcp ? 2 : 1);
            SECOND(second.flags |= PUSH, 1);
            SECOND(second.flags |= FIN, tcp ? 2 : 1);
            SECOND(second.flags |= SYN, tcp ? 2 : 1);
            SECOND(second.flags |= CWR, tcp ? 2 : 1);
            SECOND(second.flags = 0, tcp ? 2 : 1);
            SECOND(first.dont_fragment = second.dont_fragment = false, 1);
            SECOND(second.id++, four ? 2 : 1); // without DF they have to count up
            first.dont_fragment = true;
            first.flags |= PUSH;
            CHECK_EQUAL(writes_of(&first, &second), tcp ? 2 : 1);
            first.flags = ACK | FIN;
            CHECK_EQUAL(writes_of(&first, &second), tcp ? 2 : 1);
            first.flags = ACK;
            coalescer.tcp = coalescer.udp = false;
            cw_coalesce_reset(&coalescer);
            cw_coalesce_add(&coalescer, put(0, &first));
            cw_coalesce_add(&coalescer, put(1, &second));
            CHECK_EQUAL(coalescer.count, 2);
        }
}

static void test_timestamps_have_to_agree(void) {
    shape first = tcp4, second = following(&first);
    begin();
    cw_coalesce_add(&coalescer, put(0, &first));
    cw_buffer *other = put(1, &second);
    cw_buffer_data(other)[20 + 20 + 7]++;
    finish_checksums(cw_buffer_data(other), other->length);
    cw_coalesce_add(&coalescer, other);
    CHECK_EQUAL(coalescer.count, 2);
}

static void test_merged_headers(void) {
    for (unsigned family = 4; family <= 6; family += 2)
        for (unsigned protocol = 6; protocol <= 17; protocol += 11) {
            shape s = tcp4;
            s.family = (uint8_t)family;
            s.protocol = (uint8_t)protocol;
            begin();
            for (unsigned i = 0; i < 5; i++) {
                if (i == 4) s.payload = 10, s.flags |= PUSH;
                cw_coalesce_add(&coalescer, put(i, &s));
                s = following(&s);
            }
            CHECK_EQUAL(coalescer.count, 1);
            struct virtio_net_hdr header;
            size_t length = gather(0, &header, super), headers = (family == 4 ? 20 : 40) + (protocol == 6 ? 32 : 8);
            CHECK_EQUAL(length, headers + 4010);
            CHECK_EQUAL(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
            CHECK_EQUAL(header.gso_type, protocol == 17 ? CW_GSO_UDP : family == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
            CHECK_EQUAL(header.gso_size, 1000);
            CHECK_EQUAL(header.hdr_len, headers);
            CHECK_EQUAL(header.csum_start, family == 4 ? 20 : 40);
            CHECK_EQUAL(header.csum_offset, protocol == 6 ? 16 : 6);
            if (protocol == 6) CHECK_EQUAL(flags_of(super), ACK | PUSH);
            // From the partial sum on, the kernel gets a packet that is right as a whole.
            uint8_t *field = super + header.csum_start + header.csum_offset;
            cw_put16(field, (uint16_t)~plain_sum(super + header.csum_start, length - header.csum_start));
            CHECK(is_right(super, length));
        }
}

// A wrong checksum is the receiver's to see: the packet passes alone, as it came, and so does what would have been merged with it.
static void test_wrong_checksums_pass_alone(void) {
    for (unsigned wrong = 0; wrong < 3; wrong++)
        for (unsigned where = 0; where < 3; where++) {
            shape s = tcp4;
            uint8_t before[2048] = {0};
            begin();
            for (unsigned i = 0; i < 3; i++) {
                cw_buffer *buffer = put(i, &s);
                if (i == wrong) {
                    static const unsigned places[] = {10, 20 + 16, 20 + 32 + 500}; // IP checksum, TCP checksum, payload
                    cw_buffer_data(buffer)[places[where]] ^= 1;
                    memcpy(before, cw_buffer_data(buffer), buffer->length);
                }
                cw_coalesce_add(&coalescer, buffer);
                s = following(&s);
            }
            CHECK_EQUAL(coalescer.count, wrong == 1 ? 3 : 2);
            struct virtio_net_hdr header;
            size_t length = gather(wrong == 2 ? 1 : wrong, &header, super);
            CHECK_EQUAL(length, 20 + 32 + 1000);
            CHECK(memcmp(super, before, length) == 0);
            CHECK_EQUAL(header.flags | header.gso_type | header.gso_size, 0);
        }
}

// IPv4 allows it, and the packets have to stay without one: also those whose sum would come out right.
static void test_udp_without_checksum(void) {
    shape s = {.family = 4, .protocol = 17, .ttl = 64, .flow = 3, .dont_fragment = true, .payload = 100};
    for (unsigned round = 0; round < 2; round++) {
        begin();
        for (unsigned i = 0; i < 2; i++) {
            cw_buffer *buffer = put(i, &s);
            uint8_t *packet = cw_buffer_data(buffer);
            cw_put16(packet + 26, 0);
            if (round == 1) {
                cw_put16(packet + 28, 0);
                cw_put16(packet + 28, (uint16_t)~transport_sum(packet, buffer->length));
                CHECK(is_right(packet, buffer->length));
            }
            cw_coalesce_add(&coalescer, buffer);
        }
        CHECK_EQUAL(coalescer.count, 2);
    }
}

// RFC 1071: all ones say the same as zero, which the checksum comes out as when it is made again. A kernel's own TCP has both.
static void test_both_zeros_of_tcp_are_merged(void) {
    for (unsigned family = 4; family <= 6; family += 2) {
        shape s = tcp4;
        s.family = (uint8_t)family;
        size_t field = (family == 4 ? 20 : 40) + 16, payload = (family == 4 ? 20 : 40) + 32;
        uint8_t before[2][2048];
        begin();
        for (unsigned i = 0; i < 2; i++) {
            cw_buffer *buffer = put(i, &s);
            uint8_t *packet = cw_buffer_data(buffer);
            cw_put16(packet + payload, 0);
            cw_put16(packet + field, 0);
            cw_put16(packet + payload, (uint16_t)~transport_sum(packet, buffer->length)); // the checksum is zero
            CHECK(is_right(packet, buffer->length));
            memcpy(before[i], packet, buffer->length);
            if (i == 1) cw_put16(packet + field, 0xFFFF);
            CHECK(is_right(packet, buffer->length));
            cw_coalesce_add(&coalescer, buffer);
            s = following(&s);
        }
        CHECK_EQUAL(coalescer.count, 1);
        struct virtio_net_hdr header;
        size_t length = gather(0, &header, super);
        cw_split split;
        uint8_t out[2048];
        CHECK(cw_split_begin(&split, &header, super, length));
        for (unsigned i = 0; i < 2; i++) {
            CHECK_EQUAL(cw_split_next(&split, out), payload + 1000);
            CHECK(memcmp(out, before[i], payload + 1000) == 0);
        }
        CHECK_EQUAL(cw_split_next(&split, out), 0);
    }
}

static void test_limits(void) {
    shape s = tcp4;
    begin();
    s.options = 0;
    s.payload = 1400;
    for (unsigned i = 0; i < 60; i++, s = following(&s)) cw_coalesce_add(&coalescer, put(i, &s));
    CHECK_EQUAL(coalescer.count, 2);
    CHECK_EQUAL(coalescer.merges[0].count, 46); // 40 + 46 * 1400 <= 65,535
    s = (shape){.family = 6, .protocol = 17, .ttl = 64, .flow = 3, .payload = 50};
    begin();
    for (unsigned i = 0; i < 200; i++) cw_coalesce_add(&coalescer, put(i, &s));
    CHECK_EQUAL(coalescer.count, 4);
    CHECK_EQUAL(coalescer.merges[0].count, CW_UDP_MAX_SEGMENTS);
    CHECK_EQUAL(coalescer.packets, 200);
}

// Octets that are no packet, or are cut off anywhere, go through as they came.
static void test_anything_else_passes(void) {
    static const unsigned lengths[] = {0, 1, 19, 20, 27, 39, 40, 47, 59, 60};
    for (unsigned family = 0; family < 16; family++)
        for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            begin();
            for (unsigned j = 0; j < 2; j++) {
                cw_buffer *buffer = put(j, &tcp4);
                memset(cw_buffer_data(buffer), (int)(family << 4 | 5), 60);
                buffer->length = (uint16_t)lengths[i];
                cw_coalesce_add(&coalescer, buffer);
            }
            CHECK_EQUAL(coalescer.count, 2);
            struct virtio_net_hdr header;
            CHECK_EQUAL(gather(1, &header, super), lengths[i]);
        }
    cw_buffer *buffer = put(0, &tcp4);
    for (unsigned fragment = 0x2000; fragment <= 0x2001; fragment++) {
        begin();
        for (unsigned i = 0; i < 2; i++) {
            shape s = i == 0 ? tcp4 : following(&tcp4);
            buffer = put(i, &s);
            cw_put16(cw_buffer_data(buffer) + 6, (uint16_t)fragment);
            finish_checksums(cw_buffer_data(buffer), buffer->length);
            cw_coalesce_add(&coalescer, buffer);
        }
        CHECK_EQUAL(coalescer.count, 2);
    }
}

// ---- One undoes the other ---------------------------------------------------------------------------------------------

enum { FLOWS = 12 };

static shape random_step(test_random *random, shape *flow) {
    shape s = *flow;
    s.payload = random_below(random, 8) == 0 ? (uint32_t)random_below(random, flow->payload + 1) : flow->payload;
    if (random_below(random, 10) == 0) s.flags |= PUSH;
    if (random_below(random, 30) == 0) s.flags |= FIN;
    if (random_below(random, 30) == 0) s.tos ^= 3;
    if (random_below(random, 30) == 0) s.window++;
    if (random_below(random, 30) == 0) flow->acknowledgment++;
    if (random_below(random, 30) == 0) flow->sequence += 7;
    flow->sequence += s.payload;
    if (random_below(random, 20) != 0) flow->id++;
    return s;
}

// The n-th packet of a flow that came in is the n-th of that flow that goes out.
static void test_split_of_coalesced_is_the_same(void) {
    test_random random = {20261122};
    static uint8_t came[CW_MAX_BATCH][2048], out[2048];
    static uint16_t lengths[CW_MAX_BATCH];
    static uint8_t flow_of[CW_MAX_BATCH];
    unsigned long long writes = 0, packets = 0;
    for (unsigned round = 0; round < 400; round++) {
        shape flows[FLOWS];
        for (unsigned f = 0; f < FLOWS; f++)
            flows[f] = (shape){
                .family = random_below(&random, 2) == 0 ? 4 : 6,
                .protocol = random_below(&random, 3) == 0 ? 17 : 6,
                .ttl = 64,
                .flags = ACK,
                .flow = (uint8_t)(f + 1),
                .dont_fragment = random_below(&random, 2) == 0,
                .id = (uint16_t)next_random(&random),
                .window = 1000,
                .sequence = (uint32_t)next_random(&random),
                .options = (uint32_t)random_below(&random, 11) * 4,
                .payload = 1 + (uint32_t)random_below(&random, 1400),
            };
        begin();
        unsigned f = 0, count = 1 + (unsigned)random_below(&random, CW_MAX_BATCH);
        for (unsigned i = 0; i < count; i++) {
            if (random_below(&random, 3) == 0) f = (unsigned)random_below(&random, FLOWS);
            shape s = random_step(&random, &flows[f]);
            cw_buffer *buffer = put(i, &s);
            // Damaged anywhere behind what says to which flow it belongs.
            size_t own = transport_of(cw_buffer_data(buffer)) + (s.protocol == 6 ? 13 : 4);
            if (random_below(&random, 40) == 0) cw_buffer_data(buffer)[own + random_below(&random, buffer->length - own)] ^= 0x10;
            flow_of[i] = (uint8_t)f;
            lengths[i] = buffer->length;
            memcpy(came[i], cw_buffer_data(buffer), buffer->length);
            buffer->sequence = i;
            cw_coalesce_add(&coalescer, buffer);
        }
        CHECK_EQUAL(coalescer.packets, count);
        unsigned next[FLOWS] = {0}, seen = 0;
        for (uint32_t w = 0; w < coalescer.count; w++) {
            struct virtio_net_hdr header;
            unsigned flow = flow_of[coalescer.merges[w].first->sequence];
            bool merged = coalescer.merges[w].count > 1;
            size_t length = gather(w, &header, super);
            CHECK_EQUAL(length, coalescer.merges[w].bytes);
            cw_split split = {.packet = super, .length = (uint32_t)length};
            // One that is not a packet any more goes by itself, and is not for splitting.
            if (merged) CHECK(cw_split_begin(&split, &header, super, length));
            for (size_t size; (size = cw_split_next(&split, out)) != 0; seen++, next[flow]++) {
                while (next[flow] < count && flow_of[next[flow]] != flow) next[flow]++;
                if (next[flow] >= count) {
                    CHECK(next[flow] < count);
                    break;
                }
                const uint8_t *expected = came[next[flow]];
                CHECK_EQUAL(size, lengths[next[flow]]);
                if (merged) {
                    CHECK(is_right(out, size) && is_right(expected, size));
                    if (out[0] >> 4 == 4 && (out[6] & 0x40) != 0) { // DF
                        memcpy(out + 4, expected + 4, 2);
                        finish_checksums(out, size);
                    }
                }
                CHECK(memcmp(out, expected, size) == 0);
            }
        }
        CHECK_EQUAL(seen, count);
        writes += coalescer.count;
        packets += count;
    }
    CHECK(writes < packets * 2 / 3); // it did merge
}

int main(void) {
    RUN(split_tcp);
    RUN(split_udp);
    RUN(udp_checksum_is_never_zero);
    RUN(ordinary_packets);
    RUN(split_refuses);
    RUN(what_may_be_merged);
    RUN(timestamps_have_to_agree);
    RUN(merged_headers);
    RUN(wrong_checksums_pass_alone);
    RUN(udp_without_checksum);
    RUN(both_zeros_of_tcp_are_merged);
    RUN(limits);
    RUN(anything_else_passes);
    RUN(split_of_coalesced_is_the_same);
    FINISH();
}
