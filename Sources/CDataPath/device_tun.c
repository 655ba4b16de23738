// Between the TUN of a device and its WireGuard engine.
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "device.h"
#include "icmp.h"

// ---- Into the TUN -----------------------------------------------------------------------------------------------------

static bool check(cw_device_worker *worker, bool written) {
    if (!written && worker->tun.fd >= 0 && cw_tun_is_dead(errno)) cw_device_fail(worker, errno);
    return written;
}

void cw_device_deliver(cw_device_worker *worker) {
    cw_coalescer *coalescer = &worker->tun.coalescer;
    if (coalescer->packets == 0) return;
    for (uint32_t i = 0; i < coalescer->count; i++) {
        const cw_merge *merge = &coalescer->merges[i];
        if (check(worker, cw_tun_write_merge(&worker->tun, i))) {
            worker->live.writes++;
            worker->live.written_packets += merge->count;
        } else {
            worker->live.write_failed += merge->count;
        }
        for (cw_buffer *buffer = merge->first, *next; buffer != NULL; buffer = next) {
            next = buffer->next;
            cw_pool_give(&worker->pool, buffer);
        }
    }
    cw_coalesce_reset(coalescer);
}

void cw_device_take(void *context, const cw_wg_incoming *packets, size_t count) {
    cw_device_worker *worker = context;
    uint32_t identity = atomic_load_explicit(&worker->device->identity, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        if (packets[i].identity != identity) {
            worker->live.wrong_identity++;
            cw_pool_give(&worker->pool, packets[i].buffer);
            continue;
        }
        if (worker->tun.coalescer.packets == CW_MAX_BATCH) cw_device_deliver(worker);
        cw_coalesce_add(&worker->tun.coalescer, packets[i].buffer);
    }
}

// ---- From the TUN -----------------------------------------------------------------------------------------------------

// One step's look at the engine.
typedef struct outward {
    cw_device_worker *worker;
    const cw_wg_identity *identity;
    uint64_t now;
    uint32_t packets;
} outward;

static void answer(outward *out, uint8_t *packet, size_t length, cw_icmp_error error) {
    cw_device_worker *worker = out->worker;
    const cw_address none = {0}; // the packet's destination speaks for us
    cw_ip ip;
    if (worker->device->config.icmp_rate == 0 || !cw_ip_parse(packet, length, &ip)) return;
    cw_buffer *buffer = cw_pool_take(&worker->pool);
    if (buffer == NULL) return;
    buffer->length = (uint16_t)cw_icmp_build(cw_buffer_data(buffer), &ip, error, CW_DEVICE_LONGEST, &none);
    if (buffer->length > 0 && cw_bucket_take(&worker->icmp_bucket, 1, out->now)) {
        uint8_t *frame = cw_buffer_data(buffer) - CW_TUN_HEADER;
        memset(frame, 0, CW_TUN_HEADER);
        struct iovec vector = {frame, CW_TUN_HEADER + (size_t)buffer->length};
        if (check(worker, cw_tun_write(&worker->tun, &vector, 1))) worker->live.icmp_sent++;
    }
    cw_pool_give(&worker->pool, buffer);
}

// Buffers hold packets of 2 KiB, in which the engine also takes what arrives. Where the TUN's MTU is greater (wg-quick takes it from the
// card's), the other end must not send such segments: it would never learn what becomes of them.
static void limit_segments(cw_buffer *buffer) {
    enum { tcp_flags = 13, tcp_syn = 2 };
    uint8_t *packet = cw_buffer_data(buffer);
    bool four = packet[0] >> 4 == 4;
    uint32_t header = four ? (packet[0] & 15u) * 4 : CW_IPV6_HEADER;
    if (packet[four ? 9 : 6] != CW_IPPROTO_TCP || buffer->length <= header + tcp_flags) return;
    cw_ip ip;
    if ((packet[header + tcp_flags] & tcp_syn) != 0 && cw_ip_parse(packet, buffer->length, &ip)) cw_ip_clamp_mss(&ip, CW_DEVICE_LONGEST);
}

static void send_packet(outward *out, cw_buffer *buffer) {
    cw_device_worker *worker = out->worker;
    cw_wg *wg = worker->device->wg;
    uint8_t *packet = cw_buffer_data(buffer), family = packet[0] >> 4;
    cw_wg_peer *peer = out->identity == NULL ? NULL : cw_wg_route(out->identity, family, packet + (family == 4 ? 16 : 24));
    worker->live.read_packets++;
    out->packets++;
    if (peer != NULL && cw_wg_has_endpoint(peer)) {
        limit_segments(buffer);
        cw_wg_queue(wg, worker->index, peer, buffer, &worker->pool, out->now);
        return;
    }
    // As the kernel module: the host cannot be reached, for want of a peer or of its address.
    cw_wg_count_unroutable(wg, worker->index, peer);
    answer(out, packet, buffer->length, CW_ICMP_HOST_UNREACHABLE);
    cw_pool_give(&worker->pool, buffer);
}

// Longer than a buffer, which only a TUN with a jumbo MTU can bring. It becomes packets that fit, or the sender learns the size.
static void send_fragments(outward *out, cw_split *split) {
    cw_device_worker *worker = out->worker;
    cw_ip ip;
    uint8_t *packet = worker->tun.space;
    if (split->segment != 0 || !cw_ip_parse(packet, split->length, &ip) || ip.dont_fragment) {
        worker->live.too_long++;
        answer(out, packet, split->length, CW_ICMP_TOO_BIG);
        return;
    }
    cw_fragmenter fragmenter;
    cw_fragment_begin(&fragmenter, &ip, CW_DEVICE_LONGEST);
    for (cw_buffer *buffer; (buffer = cw_pool_take(&worker->pool)) != NULL; send_packet(out, buffer)) {
        buffer->length = (uint16_t)cw_fragment_next(&fragmenter, cw_buffer_data(buffer));
        if (buffer->length != 0) continue;
        cw_pool_give(&worker->pool, buffer);
        return;
    }
    worker->live.overflow++;
}

static void send_segments(outward *out, cw_split *split) {
    cw_device_worker *worker = out->worker;
    if (cw_split_longest(split) > CW_DEVICE_LONGEST) {
        send_fragments(out, split);
        return;
    }
    for (;;) {
        cw_buffer *buffer = cw_pool_take(&worker->pool);
        if (buffer == NULL) { // what is queued holds them
            cw_wg_flush(worker->device->wg, worker->index, &worker->pool, out->now);
            buffer = cw_pool_take(&worker->pool);
        }
        if (buffer == NULL) {
            worker->live.overflow++;
            return;
        }
        buffer->length = (uint16_t)cw_split_next(split, cw_buffer_data(buffer));
        if (buffer->length == 0) {
            cw_pool_give(&worker->pool, buffer);
            return;
        }
        send_packet(out, buffer);
    }
}

void cw_device_read_tun(cw_device_worker *worker, uint64_t now) {
    cw_wg *wg = worker->device->wg;
    outward out = {
        .worker = worker,
        .identity = cw_wg_find(wg, atomic_load_explicit(&worker->device->identity, memory_order_relaxed)),
        .now = now,
    };
    for (uint32_t i = 0; i < worker->device->config.batch_size && out.packets < CW_DEVICE_PACKETS && worker->tun.fd >= 0; i++) {
        cw_split split;
        cw_buffer *buffer = cw_pool_take(&worker->pool);
        cw_tun_result result = cw_tun_read(&worker->tun, buffer, CW_DEVICE_LONGEST, &split);
        if (result == CW_TUN_FAILED) cw_device_fail(worker, errno);
        else if (result != CW_TUN_EMPTY) worker->live.reads++;
        if (result == CW_TUN_PACKET) {
            send_packet(&out, buffer);
            continue;
        }
        if (buffer != NULL) cw_pool_give(&worker->pool, buffer);
        switch (result) {
        case CW_TUN_SUPER: send_segments(&out, &split); break;
        case CW_TUN_MALFORMED: worker->live.malformed++; break;
        case CW_TUN_LOST: worker->live.overflow++; break;
        default: return;
        }
    }
}
