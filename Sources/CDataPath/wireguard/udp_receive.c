// Datagrams from a socket, several to a read where the kernel has put them together (UDP_GRO), with where they came from and went to.
#define _GNU_SOURCE
#include <linux/udp.h>
#include <string.h>

#include "data.h"

static void read_control(struct msghdr *message, cw_wg_arrival *arrival) {
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        const uint8_t *data = CMSG_DATA(header);
        if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, data, sizeof info);
            arrival->from.from.v4 = info.ipi_spec_dst;
            arrival->from.from_interface = (uint32_t)info.ipi_ifindex;
        } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, data, sizeof info);
            arrival->from.from.v6 = info.ipi6_addr;
            arrival->from.from_interface = info.ipi6_ifindex;
        } else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_TOS) {
            arrival->tos = data[0];
        } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_TCLASS) {
            int class;
            memcpy(&class, data, sizeof class);
            arrival->tos = (uint8_t)class;
        } else if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, data, sizeof segment);
            if (segment > 0) arrival->segment = (uint32_t)segment;
        }
    }
}

size_t cw_wg_sockets_receive(cw_wg_udp *udp, cw_wg_udp_space *space, uint8_t family, cw_wg_arrival *arrivals) {
    const cw_wg_udp_sockets *sockets = (const cw_wg_udp_sockets *)udp;
    cw_wg_udp_inbox *box = &space->in;
    int fd = sockets->fds[family == 6][space->thread % sockets->workers];
    if (fd < 0) return 0;
    for (uint32_t i = 0; i < space->reads; i++) {
        memset(&arrivals[i].from, 0, sizeof arrivals[i].from);
        box->vectors[i] = (struct iovec){box->space + (size_t)i * CW_WG_RECEIVE_SPACE, CW_WG_RECEIVE_SPACE};
        box->messages[i].msg_hdr = (struct msghdr){.msg_name = &arrivals[i].from.to,
                                                   .msg_namelen = sizeof arrivals[i].from.to,
                                                   .msg_iov = &box->vectors[i],
                                                   .msg_iovlen = 1,
                                                   .msg_control = box->control[i].bytes,
                                                   .msg_controllen = sizeof box->control[i].bytes};
    }
    // An error that waits for the socket is told once and goes; the next event brings what has arrived.
    int count = recvmmsg(fd, box->messages, space->reads, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        cw_wg_arrival *arrival = &arrivals[i];
        arrival->data = box->vectors[i].iov_base;
        arrival->length = arrival->segment = box->messages[i].msg_len;
        arrival->tos = 0;
        read_control(&box->messages[i].msg_hdr, arrival);
    }
    return count > 0 ? (size_t)count : 0;
}
