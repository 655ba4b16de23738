// The TUN of a device: opened, read in super-packets, written in super-packets.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device.h"
#include "icmp.h"

#ifndef TUN_F_USO4 // Linux 6.2
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

// ---- Set-up -----------------------------------------------------------------------------------------------------------

static void close_keeping_errno(const int32_t *fds, uint32_t count) {
    int saved = errno;
    while (count > 0) close(fds[--count]);
    errno = saved;
}

cw_status cw_open_tun_offload(const char *name, uint32_t count, int32_t *fds) {
    size_t length = strlen(name);
    if (length == 0 || length >= IFNAMSIZ || count == 0 || count > CW_MAX_WORKERS) return CW_INVALID;
    // A persistent interface that was made for one queue takes no IFF_MULTI_QUEUE.
    struct ifreq request = {.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (count > 1 ? IFF_MULTI_QUEUE : 0))};
    memcpy(request.ifr_name, name, length);
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fds[i] >= 0 && ioctl(fds[i], TUNSETIFF, &request) == 0) continue;
        close_keeping_errno(fds, fds[i] >= 0 ? i + 1 : i);
        return CW_SYSTEM;
    }
    return CW_OK;
}

static bool read_interface(int fd, struct ifreq *request) {
    memset(request, 0, sizeof *request);
    return ioctl(fd, TUNGETIFF, request) == 0;
}

static bool is_plain_tun(const struct ifreq *request) { return (request->ifr_flags & (IFF_TUN | IFF_NO_PI)) == (IFF_TUN | IFF_NO_PI); }

cw_status cw_tun_name(int32_t fd, char name[CW_TUN_NAME_SIZE]) {
    struct ifreq request;
    _Static_assert((int)CW_TUN_NAME_SIZE == (int)IFNAMSIZ, "name");
    if (!read_interface(fd, &request)) return errno == ENOTTY || errno == EINVAL ? CW_INVALID : CW_SYSTEM;
    if (!is_plain_tun(&request)) return CW_INVALID;
    memcpy(name, request.ifr_name, CW_TUN_NAME_SIZE);
    name[CW_TUN_NAME_SIZE - 1] = 0;
    return CW_OK;
}

static bool set_up_queue(cw_device *device, int fd) {
    struct ifreq request;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return false;
    // A descriptor of another kind, such as a test's, speaks the same language with everything in it.
    if (!read_interface(fd, &request)) return true;
    if (!is_plain_tun(&request)) {
        errno = EINVAL;
        return false;
    }
    if ((request.ifr_flags & IFF_VNET_HDR) == 0) {
        device->virtio = device->tcp = device->udp = false;
        return true;
    }
    int size = CW_TUN_HEADER;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) != 0) return false;
    const unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0) return true;
    device->udp = false; // older kernels take super-packets of UDP in neither direction
    if (ioctl(fd, TUNSETOFFLOAD, tcp) == 0) return true;
    device->tcp = false;
    return ioctl(fd, TUNSETOFFLOAD, 0UL) == 0;
}

bool cw_device_set_up_tun(cw_device *device) {
    device->virtio = device->tcp = device->udp = true;
    for (uint32_t i = 0; i < device->config.worker_count; i++)
        if (!set_up_queue(device, device->config.tun_fd[i])) return false;
    return true;
}

// ---- Into the TUN -----------------------------------------------------------------------------------------------------

static bool is_dead(int error) { return error == EBADF || error == EBADFD || error == ENODEV || error == ENXIO; }

// The kernel could not give us one packet; the next may be all right. EFAULT: the queue is about to go.
static bool is_one_packets(int error) { return error == EINVAL || error == ENOMEM || error == EFAULT; }

static bool write_vectors(cw_device_worker *worker, struct iovec *vectors, size_t count) {
    if (worker->tun_fd < 0) return false;
    if (!worker->device->virtio) { // then nothing was merged, and the header is in front of the one packet
        vectors[0].iov_base = (uint8_t *)vectors[0].iov_base + CW_TUN_HEADER;
        vectors[0].iov_len -= CW_TUN_HEADER;
    }
    ssize_t written;
    do written = writev(worker->tun_fd, vectors, (int)count);
    while (written < 0 && errno == EINTR);
    if (written < 0 && is_dead(errno)) cw_device_fail(worker, errno);
    return written >= 0;
}

void cw_device_deliver(cw_device_worker *worker) {
    cw_coalescer *coalescer = &worker->coalescer;
    if (coalescer->packets == 0) return;
    for (uint32_t i = 0; i < coalescer->count; i++) {
        cw_merge *merge = &coalescer->merges[i];
        size_t count = cw_coalesce_gather(coalescer, i, worker->vectors);
        if (write_vectors(worker, worker->vectors, count)) {
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
        if (worker->coalescer.packets == CW_MAX_BATCH) cw_device_deliver(worker);
        cw_coalesce_add(&worker->coalescer, packets[i].buffer);
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
        if (write_vectors(worker, &vector, 1)) worker->live.icmp_sent++;
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
    cw_wg_count(wg, worker->index, peer == NULL ? CW_WG_DROP_NO_PEER : CW_WG_DROP_NO_ENDPOINT);
    answer(out, packet, buffer->length, CW_ICMP_HOST_UNREACHABLE);
    cw_pool_give(&worker->pool, buffer);
}

// Longer than a buffer, which only a TUN with a jumbo MTU can bring. It becomes packets that fit, or the sender learns the size.
static void send_fragments(outward *out, cw_split *split) {
    cw_device_worker *worker = out->worker;
    cw_ip ip;
    uint8_t *packet = worker->space;
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

// What was read begins in `buffer`, and goes on in the worker's space when it is longer than that.
static void send_read(outward *out, const struct virtio_net_hdr *header, cw_buffer *buffer, size_t length) {
    cw_device_worker *worker = out->worker;
    cw_split split;
    bool whole = length <= CW_DEVICE_LONGEST && header->gso_type == VIRTIO_NET_HDR_GSO_NONE;
    uint8_t *packet = whole ? cw_buffer_data(buffer) : worker->space;
    if (!whole) memcpy(packet, cw_buffer_data(buffer), length < CW_BUFFER_DATA ? length : CW_BUFFER_DATA);
    bool valid = cw_split_begin(&split, header, packet, length);
    if (!valid) worker->live.malformed++;
    if (valid && whole) { // an ordinary packet goes from where it was read to
        buffer->length = (uint16_t)length;
        send_packet(out, buffer);
        return;
    }
    cw_pool_give(&worker->pool, buffer);
    if (valid) send_segments(out, &split);
}

void cw_device_read_tun(cw_device_worker *worker, uint64_t now) {
    cw_wg *wg = worker->device->wg;
    outward out = {
        .worker = worker,
        .identity = cw_wg_find(wg, atomic_load_explicit(&worker->device->identity, memory_order_relaxed)),
        .now = now,
    };
    size_t header_size = worker->device->virtio ? CW_TUN_HEADER : 0;
    for (uint32_t i = 0; i < worker->device->config.batch_size && out.packets < CW_DEVICE_PACKETS && worker->tun_fd >= 0; i++) {
        struct virtio_net_hdr header = {0};
        cw_buffer *buffer = cw_pool_take(&worker->pool);
        struct iovec vectors[3] = {
            {&header, header_size},
            // Without a free buffer the packet is read all the same, and lost: it must not keep us awake.
            {buffer != NULL ? cw_buffer_data(buffer) : worker->space, CW_BUFFER_DATA},
            {worker->space + CW_BUFFER_DATA, CW_TUN_LONGEST - CW_BUFFER_DATA},
        };
        ssize_t got;
        do got = readv(worker->tun_fd, vectors, 3);
        while (got < 0 && errno == EINTR);
        if (got <= 0) {
            int error = errno;
            if (buffer != NULL) cw_pool_give(&worker->pool, buffer);
            if (got < 0 && is_one_packets(error)) {
                worker->live.malformed++;
                continue;
            }
            // 0 is the end of a stream, which a TUN never has.
            if (got == 0) cw_device_fail(worker, EPIPE);
            else if (error != EAGAIN) cw_device_fail(worker, error);
            break;
        }
        worker->live.reads++;
        if (buffer == NULL) worker->live.overflow++;
        else send_read(&out, &header, buffer, (size_t)got < header_size ? 0 : (size_t)got - header_size);
    }
}
