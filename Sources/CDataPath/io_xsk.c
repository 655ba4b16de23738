// Sockets of AF_XDP and the rings that they share with the kernel (Documentation/networking/af_xdp.rst). All sockets of a queue share its
// memory and therefore one fill and one completion ring; each has rings of its own to receive from and to send by.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io_xdp.h"
#include "ip.h"
#include "memory.h"

enum {
    send_frames = 512, // of a queue; a packet that finds none leaves by the packet socket
    send_places = 256, // of a socket
    send_buffer = 8 * 1024 * 1024,
    copied_at_once = 32, // what the kernel sends in one call where it copies
    busy_tries = 50,
    busy_nanoseconds = 10 * 1000 * 1000,
};

// ---- Rings ------------------------------------------------------------------------------------------------------------

static uint32_t load_acquire(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void store_release(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static bool is_asleep(const cw_xsk_ring *ring) { return (__atomic_load_n(ring->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP) != 0; }

static uint64_t *address_at(const cw_xsk_ring *ring, uint32_t index) { return (uint64_t *)ring->entries + (index & (ring->size - 1)); }
static struct xdp_desc *packet_at(const cw_xsk_ring *ring, uint32_t index) {
    return (struct xdp_desc *)ring->entries + (index & (ring->size - 1));
}

static bool set_size(int fd, int option, uint32_t size) { return setsockopt(fd, SOL_XDP, option, &size, sizeof size) == 0; }

static bool map_ring(cw_xsk_ring *ring, int fd, const struct xdp_ring_offset *offset, uint64_t where, uint32_t size, size_t entry) {
    size_t length = offset->desc + size * entry;
    uint8_t *mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)where);
    if (mapping == MAP_FAILED) return false;
    *ring = (cw_xsk_ring){
        .producer = (uint32_t *)(void *)(mapping + offset->producer),
        .consumer = (uint32_t *)(void *)(mapping + offset->consumer),
        .flags = (uint32_t *)(void *)(mapping + offset->flags),
        .entries = mapping + offset->desc,
        .size = size,
        .mapping = mapping,
        .mapping_size = length,
    };
    return true;
}

static void unmap_ring(cw_xsk_ring *ring) {
    if (ring->mapping != NULL) munmap(ring->mapping, ring->mapping_size);
    *ring = (cw_xsk_ring){0};
}

// ---- Life -------------------------------------------------------------------------------------------------------------

static bool register_memory(cw_xsk_queue *queue, int fd) {
    struct xdp_umem_reg memory = {
        .addr = (uint64_t)(uintptr_t)queue->frames, .len = cw_xsk_queue_size(queue), .chunk_size = CW_XSK_FRAME};
    return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &memory, sizeof memory) == 0 &&
           set_size(fd, XDP_UMEM_FILL_RING, queue->receive_frames) && set_size(fd, XDP_UMEM_COMPLETION_RING, queue->send_frames);
}

// All workers together may leave half of the frames lying: without frames the queue takes nothing for anybody, and where nothing is copied
// that is all that arrives there.
static uint32_t places_of_worker(const cw_xsk_queue *queue) {
    uint32_t half = queue->receive_frames / 2, places = half;
    while (places > half / queue->worker_count && places > CW_XSK_LEAST_PLACES) places /= 2;
    return places;
}

// A queue whose socket was closed a moment ago is free only when the kernel has cleaned up behind it.
static bool bind_first(cw_xsk_queue *queue, int fd, struct sockaddr_xdp *to, bool zero_copy) {
    for (int patience = 0;; patience++) {
        to->sxdp_flags = XDP_USE_NEED_WAKEUP | XDP_ZEROCOPY;
        queue->zero_copy = zero_copy && bind(fd, (struct sockaddr *)to, sizeof *to) == 0;
        if (queue->zero_copy) return true;
        to->sxdp_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
        if (bind(fd, (struct sockaddr *)to, sizeof *to) == 0) return true;
        if (errno != EBUSY || patience == busy_tries) return false;
        (void)nanosleep(&(struct timespec){.tv_nsec = busy_nanoseconds}, NULL);
    }
}

static bool open_socket(cw_xsk_queue *queue, uint32_t worker, uint32_t interface, uint32_t number, bool zero_copy) {
    cw_xsk *xsk = &queue->sockets[worker];
    uint32_t places = places_of_worker(queue);
    struct sockaddr_xdp to = {.sxdp_family = AF_XDP, .sxdp_ifindex = interface, .sxdp_queue_id = number};
    xsk->queue = queue;
    xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (xsk->fd < 0 || (worker == 0 && !register_memory(queue, xsk->fd))) return false;
    if (!set_size(xsk->fd, XDP_RX_RING, places) || !set_size(xsk->fd, XDP_TX_RING, send_places)) return false;
    int size = send_buffer; // where it copies, packets that the driver has count
    if (setsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        (void)setsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (worker == 0) {
        if (!bind_first(queue, xsk->fd, &to, zero_copy)) return false;
    } else { // as the first one
        to.sxdp_flags = XDP_SHARED_UMEM;
        to.sxdp_shared_umem_fd = (uint32_t)queue->sockets[0].fd;
        if (bind(xsk->fd, (struct sockaddr *)&to, sizeof to) != 0) return false;
    }
    struct xdp_mmap_offsets at;
    socklen_t length = sizeof at;
    if (getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length) != 0) return false;
    if (length != sizeof at) { // without flags, and so without XDP_USE_NEED_WAKEUP: before 5.4
        errno = EOPNOTSUPP;
        return false;
    }
    if (!map_ring(&xsk->receive, xsk->fd, &at.rx, XDP_PGOFF_RX_RING, places, sizeof(struct xdp_desc))) return false;
    if (!map_ring(&xsk->send, xsk->fd, &at.tx, XDP_PGOFF_TX_RING, send_places, sizeof(struct xdp_desc))) return false;
    if (worker != 0) return true;
    return map_ring(&queue->fill, xsk->fd, &at.fr, XDP_UMEM_PGOFF_FILL_RING, queue->receive_frames, sizeof(uint64_t)) &&
           map_ring(&queue->completion, xsk->fd, &at.cr, XDP_UMEM_PGOFF_COMPLETION_RING, queue->send_frames, sizeof(uint64_t));
}

// Returns whether the kernel had run out of frames before.
static bool fill(cw_xsk *xsk, const uint64_t *addresses, uint32_t count) {
    cw_xsk_queue *queue = xsk->queue;
    pthread_mutex_lock(&queue->lock);
    uint32_t producer = *queue->fill.producer;
    bool was_empty = load_acquire(queue->fill.consumer) == producer;
    for (uint32_t i = 0; i < count; i++) *address_at(&queue->fill, producer + i) = addresses[i];
    store_release(queue->fill.producer, producer + count);
    pthread_mutex_unlock(&queue->lock);
    if (is_asleep(&queue->fill)) (void)recvfrom(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
    return was_empty;
}

bool cw_xsk_queue_create(cw_xsk_queue *queue, uint32_t interface, uint32_t number, uint32_t workers, uint32_t receive_frames, bool zero_copy) {
    *queue = (cw_xsk_queue){.receive_frames = receive_frames, .send_frames = send_frames, .worker_count = workers};
    pthread_mutex_init(&queue->lock, NULL);
    queue->frames = cw_map(cw_xsk_queue_size(queue));
    queue->spare = calloc(send_frames, sizeof *queue->spare);
    queue->sockets = calloc(workers, sizeof *queue->sockets);
    for (uint32_t i = 0; queue->sockets != NULL && i < workers; i++) queue->sockets[i].fd = -1;
    if (queue->sockets == NULL || queue->spare == NULL || queue->frames == NULL) {
        errno = ENOMEM;
        return false;
    }
    // A child would have it as well, and a page that both write to would be no longer the kernel's.
    if (madvise(queue->frames, cw_xsk_queue_size(queue), MADV_DONTFORK) != 0) return false;
    for (uint32_t i = 0; i < workers; i++)
        if (!open_socket(queue, i, interface, number, zero_copy)) return false;
    for (uint32_t i = 0; i < receive_frames; i += CW_XSK_LEAST_PLACES) { // a power of two, as all numbers of frames
        uint64_t addresses[CW_XSK_LEAST_PLACES];
        for (uint32_t n = 0; n < CW_XSK_LEAST_PLACES; n++) addresses[n] = (uint64_t)(i + n) * CW_XSK_FRAME;
        (void)fill(&queue->sockets[0], addresses, CW_XSK_LEAST_PLACES);
    }
    for (uint32_t i = 0; i < send_frames; i++) queue->spare[queue->spare_count++] = (uint64_t)(receive_frames + i) * CW_XSK_FRAME;
    return true;
}

void cw_xsk_queue_destroy(cw_xsk_queue *queue) {
    for (uint32_t i = 0; queue->sockets != NULL && i < queue->worker_count; i++) {
        unmap_ring(&queue->sockets[i].receive);
        unmap_ring(&queue->sockets[i].send);
    }
    unmap_ring(&queue->fill);
    unmap_ring(&queue->completion);
    for (uint32_t i = queue->sockets == NULL ? 0 : queue->worker_count; i-- > 0;) // the first one has the memory
        if (queue->sockets[i].fd >= 0) close(queue->sockets[i].fd);
    cw_unmap(queue->frames, cw_xsk_queue_size(queue));
    free(queue->spare);
    free(queue->sockets);
    pthread_mutex_destroy(&queue->lock);
}

size_t cw_xsk_queue_size(const cw_xsk_queue *queue) { return (size_t)(queue->receive_frames + queue->send_frames) * CW_XSK_FRAME; }

// ---- Receiving --------------------------------------------------------------------------------------------------------

static uint64_t frame_of(uint64_t address) { return address & ~(uint64_t)(CW_XSK_FRAME - 1); }

static uint32_t newly_lost(cw_xsk *xsk) {
    struct xdp_statistics statistics = {0};
    socklen_t length = sizeof statistics; // what an older kernel does not count stays 0
    if (getsockopt(xsk->fd, SOL_XDP, XDP_STATISTICS, &statistics, &length) != 0) return 0;
    uint64_t all = statistics.rx_dropped + statistics.rx_ring_full, lost = all - xsk->lost;
    xsk->lost = all;
    return (uint32_t)lost;
}

cw_tapped cw_xsk_receive(cw_xsk *xsk, cw_buffer *const *buffers, uint32_t capacity) {
    cw_tapped found = {0};
    uint64_t done[CW_MAX_BATCH];
    uint32_t consumer = *xsk->receive.consumer, waiting = load_acquire(xsk->receive.producer) - consumer;
    uint32_t count = waiting < capacity ? waiting : capacity;
    if (count > CW_MAX_BATCH) count = CW_MAX_BATCH;
    if (count == 0) return found;
    for (uint32_t i = 0; i < count; i++) {
        const struct xdp_desc *at = packet_at(&xsk->receive, consumer + i);
        const uint8_t *frame = xsk->queue->frames + at->addr;
        done[i] = frame_of(at->addr);
        if (at->len >= CW_XSK_ETHERNET && cw_tap_is_sound(frame + CW_XSK_ETHERNET, at->len - CW_XSK_ETHERNET)) {
            cw_buffer *buffer = buffers[found.count++];
            buffer->length = cw_get16(frame + CW_XSK_ETHERNET + 2);
            memcpy(cw_buffer_data(buffer), frame + CW_XSK_ETHERNET, buffer->length);
        } else {
            found.malformed++;
        }
    }
    store_release(xsk->receive.consumer, consumer + count);
    bool losing = fill(xsk, done, count) || waiting == xsk->receive.size;
    if (losing) found.lost = newly_lost(xsk);
    return found;
}

cw_tapped cw_xsk_discard(cw_xsk *xsk) {
    uint32_t consumer = *xsk->receive.consumer;
    if (load_acquire(xsk->receive.producer) == consumer) return (cw_tapped){0};
    uint64_t frame = frame_of(packet_at(&xsk->receive, consumer)->addr);
    store_release(xsk->receive.consumer, consumer + 1);
    (void)fill(xsk, &frame, 1);
    return (cw_tapped){.lost = 1};
}

// ---- Sending ----------------------------------------------------------------------------------------------------------

static uint32_t take_spare(cw_xsk_queue *queue, uint64_t *out, uint32_t wanted) {
    pthread_mutex_lock(&queue->lock);
    if (queue->spare_count < wanted) {
        uint32_t consumer = *queue->completion.consumer, producer = load_acquire(queue->completion.producer);
        for (; consumer != producer; consumer++) queue->spare[queue->spare_count++] = frame_of(*address_at(&queue->completion, consumer));
        store_release(queue->completion.consumer, consumer);
    }
    uint32_t count = queue->spare_count < wanted ? queue->spare_count : wanted;
    for (uint32_t i = 0; i < count; i++) out[i] = queue->spare[--queue->spare_count];
    pthread_mutex_unlock(&queue->lock);
    return count;
}

bool cw_xsk_kick(cw_xsk *xsk) {
    xsk->unsent = false;
    for (uint32_t tries = 0; tries <= send_places / copied_at_once; tries++) {
        uint32_t before = load_acquire(xsk->send.consumer);
        if (before == *xsk->send.producer || !is_asleep(&xsk->send)) return false;
        int error = sendto(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? errno : 0;
        if (error == 0 && xsk->queue->zero_copy) return false; // the driver's
        // Before 6.17 the kernel tells only at the end of the ring how far it got; it has sent some if it wants to be asked again.
        if (load_acquire(xsk->send.consumer) != before || (error == EAGAIN && !xsk->queue->zero_copy)) continue;
        bool later = error == 0 || error == EAGAIN || error == EBUSY || error == ENOBUFS || error == EINTR;
        // A link that is down has it when it comes up again.
        if (!later && error != ENETDOWN) xsk->gone = true;
        return xsk->unsent = later;
    }
    return xsk->unsent = load_acquire(xsk->send.consumer) != *xsk->send.producer;
}

static uint32_t room_to_send(const cw_xsk *xsk) {
    return xsk->send.size - (*xsk->send.producer - load_acquire(xsk->send.consumer));
}

uint32_t cw_xsk_send(cw_xsk *xsk, const struct iovec *frames, uint32_t count) {
    uint64_t places[CW_MAX_BATCH];
    uint32_t producer = *xsk->send.producer, fitting = 0;
    // What a link that was down has left there may be all that there is room for.
    if (room_to_send(xsk) < count) (void)cw_xsk_kick(xsk);
    if (xsk->gone) return 0;
    uint32_t room = room_to_send(xsk);
    if (count > room) count = room;
    if (count > CW_MAX_BATCH) count = CW_MAX_BATCH;
    while (fitting < count && frames[fitting].iov_len <= CW_XSK_FRAME) fitting++;
    count = fitting > 0 ? take_spare(xsk->queue, places, fitting) : 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(xsk->queue->frames + places[i], frames[i].iov_base, frames[i].iov_len);
        *packet_at(&xsk->send, producer + i) = (struct xdp_desc){.addr = places[i], .len = (uint32_t)frames[i].iov_len};
    }
    store_release(xsk->send.producer, producer + count);
    if (count > 0) (void)cw_xsk_kick(xsk);
    return count;
}
