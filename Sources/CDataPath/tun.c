#define _GNU_SOURCE
#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "memory.h"

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

static bool set_up_queue(int fd, cw_tun_offloads *offloads) {
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
        *offloads = (cw_tun_offloads){0};
        return true;
    }
    int size = CW_TUN_HEADER;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) != 0) return false;
    const unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0) return true;
    offloads->udp = false; // older kernels take super-packets of UDP in neither direction
    if (ioctl(fd, TUNSETOFFLOAD, tcp) == 0) return true;
    offloads->tcp = false;
    return ioctl(fd, TUNSETOFFLOAD, 0UL) == 0;
}

bool cw_tun_set_up(const int32_t *fds, uint32_t count, cw_tun_offloads *offloads) {
    *offloads = (cw_tun_offloads){true, true, true};
    for (uint32_t i = 0; i < count; i++)
        if (fds[i] >= 0 && !set_up_queue(fds[i], offloads)) return false;
    return true;
}

bool cw_tun_create(cw_tun *tun, const cw_tun_offloads *offloads) {
    tun->fd = -1;
    tun->virtio = offloads->virtio;
    tun->coalescer.tcp = offloads->tcp;
    tun->coalescer.udp = offloads->udp;
    cw_coalesce_reset(&tun->coalescer);
    tun->space = cw_map(CW_TUN_LONGEST + 1);
    return tun->space != NULL;
}

void cw_tun_destroy(cw_tun *tun) {
    if (tun->space == NULL) return;
    cw_discard(tun->space, CW_TUN_LONGEST + 1); // inner packets in the clear have been here
    cw_unmap(tun->space, CW_TUN_LONGEST + 1);
    tun->space = NULL;
}

// ---- Reading ----------------------------------------------------------------------------------------------------------

// The kernel could not give us one packet; the next may be all right. EFAULT: the queue is about to go.
static bool is_one_packets(int error) { return error == EINVAL || error == ENOMEM || error == EFAULT; }

cw_tun_result cw_tun_read(cw_tun *tun, cw_buffer *buffer, uint32_t longest, cw_split *split) {
    struct virtio_net_hdr header = {0};
    size_t header_size = tun->virtio ? CW_TUN_HEADER : 0;
    struct iovec vectors[3] = {
        {&header, header_size},
        {buffer != NULL ? cw_buffer_data(buffer) : tun->space, CW_BUFFER_DATA},
        {tun->space + CW_BUFFER_DATA, CW_TUN_LONGEST - CW_BUFFER_DATA},
    };
    ssize_t got;
    do got = readv(tun->fd, vectors, 3);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) return CW_TUN_EMPTY;
    if (got < 0) return is_one_packets(errno) ? CW_TUN_MALFORMED : CW_TUN_FAILED;
    if (got == 0) { // the end of a stream, which a TUN never has
        errno = EPIPE;
        return CW_TUN_FAILED;
    }
    if (buffer == NULL) return CW_TUN_LOST;
    size_t length = (size_t)got < header_size ? 0 : (size_t)got - header_size;
    // An ordinary packet goes from where it was read to; everything else is put together in the space.
    bool whole = length <= longest && header.gso_type == VIRTIO_NET_HDR_GSO_NONE;
    uint8_t *packet = whole ? cw_buffer_data(buffer) : tun->space;
    if (!whole) memcpy(packet, cw_buffer_data(buffer), length < CW_BUFFER_DATA ? length : CW_BUFFER_DATA);
    if (!cw_split_begin(split, &header, packet, length)) return CW_TUN_MALFORMED;
    if (whole) buffer->length = (uint16_t)length;
    return whole ? CW_TUN_PACKET : CW_TUN_SUPER;
}

// ---- Writing ----------------------------------------------------------------------------------------------------------

bool cw_tun_is_dead(int error) { return error == EBADF || error == EBADFD || error == ENODEV || error == ENXIO; }

bool cw_tun_write(cw_tun *tun, struct iovec *vectors, size_t count) {
    if (tun->fd < 0) return false;
    if (!tun->virtio) { // then nothing was merged, and the header is in front of the one packet
        vectors[0].iov_base = (uint8_t *)vectors[0].iov_base + CW_TUN_HEADER;
        vectors[0].iov_len -= CW_TUN_HEADER;
    }
    ssize_t written;
    do written = writev(tun->fd, vectors, (int)count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

bool cw_tun_write_merge(cw_tun *tun, uint32_t index) {
    size_t count = cw_coalesce_gather(&tun->coalescer, index, tun->vectors);
    return cw_tun_write(tun, tun->vectors, count);
}
