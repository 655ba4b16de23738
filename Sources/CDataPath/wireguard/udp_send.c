// Runs of datagrams to one destination leave as one message that the kernel cuts up (UDP_SEGMENT), gathered from where they are.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/udp.h>
#include <string.h>

#include "data.h"

enum {
    destinations_remembered = 8, // a packet looks for its destination among that many newest; further back it begins anew
    single_runs = 4096,          // after that many runs without segmentation it is tried again
};

typedef struct sender {
    cw_wg_udp_sockets *sockets;
    cw_wg_udp_outbox *box;
    cw_wg_datagram *datagrams;
    int fd;
} sender;

// ---- Runs -----------------------------------------------------------------------------------------------------------

// Lists of one destination and TOS each, in order; returns how many.
static uint32_t sort(cw_wg_udp_outbox *box, const cw_wg_datagram *datagrams, size_t count) {
    uint32_t lists = 0;
    for (uint16_t i = 0; i < count; i++) {
        const cw_wg_datagram *one = &datagrams[i];
        uint32_t list = lists, last = lists > destinations_remembered ? lists - destinations_remembered : 0;
        box->next[i] = UINT16_MAX;
        while (list-- > last) {
            const cw_wg_datagram *known = &datagrams[box->head[list]];
            if (known->tos == one->tos && (known->to == one->to || cw_wg_same_route(known->to, one->to))) break;
        }
        if (list + 1 == last) { // none; wraps below 0 when last is 0
            box->head[lists] = box->tail[lists] = i;
            lists++;
        } else {
            box->next[box->tail[list]] = i;
            box->tail[list] = i;
        }
    }
    return lists;
}

static bool segments_allowed(cw_wg_udp_sockets *sockets, uint32_t length) {
    if (length < atomic_load_explicit(&sockets->single_from, memory_order_relaxed)) return true;
    // Workers may step over each other here; it only matters that the number ends.
    uint32_t left = atomic_load_explicit(&sockets->single_runs, memory_order_relaxed);
    if (left > 0) atomic_store_explicit(&sockets->single_runs, left - 1, memory_order_relaxed);
    else atomic_store_explicit(&sockets->single_from, UINT32_MAX, memory_order_relaxed);
    return false;
}

static void segments_refused(cw_wg_udp_sockets *sockets, uint32_t length) {
    atomic_store_explicit(&sockets->single_runs, single_runs, memory_order_relaxed);
    if (length < atomic_load_explicit(&sockets->single_from, memory_order_relaxed))
        atomic_store_explicit(&sockets->single_from, length, memory_order_relaxed);
}

// ---- Messages -------------------------------------------------------------------------------------------------------

static struct cmsghdr *append(struct msghdr *message, int level, int type, const void *value, size_t length) {
    struct cmsghdr *header = (struct cmsghdr *)(void *)((uint8_t *)message->msg_control + message->msg_controllen);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), value, length);
    message->msg_controllen += CMSG_SPACE(length);
    return header;
}

// Where to, from which address, with what TOS, and in segments of what length (0: one datagram).
static void address(struct msghdr *message, cw_wg_control *control, const cw_wg_datagram *datagram, uint16_t segment, bool with_source) {
    const cw_wg_route_to *to = datagram->to;
    bool ipv6 = to->to.any.sa_family == AF_INET6;
    message->msg_name = (void *)(uintptr_t)&to->to; // not written to
    message->msg_namelen = ipv6 ? sizeof to->to.v6 : sizeof to->to.v4;
    message->msg_control = control->bytes;
    message->msg_controllen = 0;
    message->msg_flags = 0;
    if (with_source && ipv6) {
        // The interface matters only where the address does not say it.
        struct in6_pktinfo info = {.ipi6_addr = to->from.v6,
                                   .ipi6_ifindex = IN6_IS_ADDR_LINKLOCAL(&to->from.v6) ? to->from_interface : 0};
        append(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    } else if (with_source) {
        struct in_pktinfo info = {.ipi_spec_dst = to->from.v4};
        append(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    if (datagram->tos != 0) {
        int tos = datagram->tos;
        append(message, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_TCLASS : IP_TOS, &tos, sizeof tos);
    }
    if (segment != 0) append(message, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (message->msg_controllen == 0) message->msg_control = NULL;
}

static bool has_source(const cw_wg_route_to *to) {
    return to->to.any.sa_family == AF_INET6 ? !IN6_IS_ADDR_UNSPECIFIED(&to->from.v6) : to->from.v4.s_addr != 0;
}

static bool is_congestion(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM; }

// The kernel does not know the address that we would send from, or has no way out from it.
static bool blames_source(int error) {
    return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH || error == EHOSTUNREACH || error == ENODEV;
}

// One datagram by itself. False: there is no room for more.
static bool send_single(const sender *sender, struct iovec *vector, cw_wg_datagram *datagram) {
    cw_wg_control control;
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = 1};
    bool source = has_source(datagram->to);
    for (;;) {
        address(&message, &control, datagram, 0, source);
        if (sendmsg(sender->fd, &message, MSG_DONTWAIT) >= 0) {
            datagram->sent = true;
            return true;
        }
        if (errno == EINTR) continue;
        if (is_congestion(errno)) return false;
        if (!source || !blames_source(errno)) return true;
        source = false;
        datagram->forget_source = true;
    }
}

// The kernel does not like the message as it is: segments longer than the path's MTU, or a device that cannot do them.
static bool blames_segments(int error) { return error == EINVAL || error == EMSGSIZE || error == EIO; }

// What was refused as one message: datagram by datagram, if that may help. False: there is no room for more.
static bool send_apart(const sender *sender, uint32_t first, uint32_t end, int error) {
    cw_wg_udp_outbox *box = sender->box;
    bool segmented = end - first > 1, source = has_source(sender->datagrams[box->order[first]].to);
    if (!(segmented && blames_segments(error)) && !(source && blames_source(error))) return true;
    for (uint32_t i = first; i < end; i++) {
        cw_wg_datagram *datagram = &sender->datagrams[box->order[i]];
        if (!send_single(sender, &box->vectors[i], datagram)) return false;
        // All go to the same place, so the others would not go either. If another source was the cure, then it was not the segments.
        if (!datagram->sent) return true;
        segmented = segmented && !datagram->forget_source;
    }
    if (segmented && blames_segments(error))
        segments_refused(sender->sockets, error == EIO ? 0 : sender->datagrams[box->order[first]].length);
    return true;
}

static void send_messages(const sender *sender, uint32_t count, uint32_t vectors) {
    cw_wg_udp_outbox *box = sender->box;
    for (uint32_t i = 0; i < count;) {
        int sent = sendmmsg(sender->fd, box->messages + i, count - i, MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent > 0) {
            uint32_t end = i + (uint32_t)sent < count ? box->run_first[i + (uint32_t)sent] : vectors;
            for (uint32_t at = box->run_first[i]; at < end; at++) sender->datagrams[box->order[at]].sent = true;
            i += (uint32_t)sent;
            continue;
        }
        // Where there is no room now the rest is lost, as on any full link; waiting would only hold up what arrives.
        if (is_congestion(errno)) return;
        if (!send_apart(sender, box->run_first[i], i + 1 < count ? box->run_first[i + 1] : vectors, errno)) return;
        i++;
    }
}

static void send_family(sender *sender, uint32_t lists, sa_family_t family) {
    cw_wg_udp_outbox *box = sender->box;
    uint32_t count = 0, vectors = 0;
    for (uint32_t list = 0; list < lists; list++) {
        const cw_wg_datagram *first = &sender->datagrams[box->head[list]];
        if (first->to->to.any.sa_family != family) continue;
        bool source = has_source(first->to);
        for (uint16_t at = box->head[list]; at != UINT16_MAX;) {
            // All of a run are as long as its first, only the last may be shorter.
            uint32_t length = sender->datagrams[at].length, total = 0, start = vectors;
            uint32_t most = box->next[at] != UINT16_MAX && segments_allowed(sender->sockets, length) ? CW_WG_RUN_SEGMENTS : 1;
            while (at != UINT16_MAX && vectors - start < most) {
                const cw_wg_datagram *one = &sender->datagrams[at];
                if (one->length > length || (total > 0 && total + one->length > CW_WG_RUN_BYTES)) break;
                box->order[vectors] = at;
                box->vectors[vectors++] = (struct iovec){one->data, one->length};
                total += one->length;
                at = box->next[at];
                if (one->length < length) break;
            }
            struct msghdr *message = &box->messages[count].msg_hdr;
            message->msg_iov = &box->vectors[start];
            message->msg_iovlen = vectors - start;
            address(message, &box->control[count], first, vectors - start > 1 ? (uint16_t)length : 0, source);
            box->run_first[count++] = (uint16_t)start;
        }
    }
    if (count > 0) send_messages(sender, count, vectors);
}

void cw_wg_sockets_send(cw_wg_udp *udp, cw_wg_udp_space *space, cw_wg_datagram *datagrams, size_t count) {
    cw_wg_udp_sockets *sockets = (cw_wg_udp_sockets *)udp;
    for (size_t i = 0; i < count; i++) datagrams[i].sent = datagrams[i].forget_source = false;
    sender sender = {.sockets = sockets, .box = &space->out, .datagrams = datagrams};
    uint32_t lists = sort(sender.box, datagrams, count);
    for (int family = 0; family < 2; family++) {
        sender.fd = sockets->fds[family][space->thread % sockets->workers];
        if (sender.fd >= 0) send_family(&sender, lists, family == 0 ? AF_INET : AF_INET6);
    }
}
