// A port as sockets: for each worker one of each family, all bound to the same number. The kernel gives a message to the socket of the
// worker in whose part of the index space its receiver is, so that a session's packets stay on one worker.
#define _GNU_SOURCE
#include "udp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "data.h"
#include "memory.h"

enum { socket_buffer = 8 * 1024 * 1024, tries_for_a_number = 16 };

// ---- Space of one thread --------------------------------------------------------------------------------------------

bool cw_wg_udp_space_create(cw_wg_udp_space *space, uint32_t thread) {
    space->thread = thread;
    space->reads = CW_WG_RECEIVE;
    space->out.messages = calloc(CW_MAX_BATCH, sizeof *space->out.messages);
    space->out.vectors = calloc(CW_MAX_BATCH, sizeof *space->out.vectors);
    space->out.control = aligned_alloc(_Alignof(cw_wg_control), CW_MAX_BATCH * sizeof *space->out.control);
    space->in.messages = calloc(CW_WG_RECEIVE, sizeof *space->in.messages);
    space->in.vectors = calloc(CW_WG_RECEIVE, sizeof *space->in.vectors);
    space->in.control = aligned_alloc(_Alignof(cw_wg_control), CW_WG_RECEIVE * sizeof *space->in.control);
    space->in.space = cw_map((size_t)CW_WG_RECEIVE * CW_WG_RECEIVE_SPACE);
    return space->out.messages != NULL && space->out.vectors != NULL && space->out.control != NULL && space->in.messages != NULL &&
           space->in.vectors != NULL && space->in.control != NULL && space->in.space != NULL;
}

void cw_wg_udp_space_destroy(cw_wg_udp_space *space) {
    free(space->out.messages);
    free(space->out.vectors);
    free(space->out.control);
    free(space->in.messages);
    free(space->in.vectors);
    free(space->in.control);
    cw_unmap(space->in.space, (size_t)CW_WG_RECEIVE * CW_WG_RECEIVE_SPACE);
    memset(space, 0, sizeof *space);
}

bool cw_wg_same_route(const cw_wg_route_to *a, const cw_wg_route_to *b) {
    if (a->to.any.sa_family != b->to.any.sa_family) return false;
    switch (a->to.any.sa_family) {
    case AF_INET:
        return a->to.v4.sin_addr.s_addr == b->to.v4.sin_addr.s_addr && a->to.v4.sin_port == b->to.v4.sin_port &&
               a->from.v4.s_addr == b->from.v4.s_addr;
    case AF_INET6:
        return a->to.v6.sin6_port == b->to.v6.sin6_port && a->to.v6.sin6_scope_id == b->to.v6.sin6_scope_id &&
               memcmp(&a->to.v6.sin6_addr, &b->to.v6.sin6_addr, sizeof a->to.v6.sin6_addr) == 0 &&
               memcmp(&a->from.v6, &b->from.v6, sizeof a->from.v6) == 0;
    default: return true;
    }
}

// ---- Sockets --------------------------------------------------------------------------------------------------------

static bool set(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value) == 0; }

static void set_buffer(int fd, int force, int option) {
    // The forced size needs CAP_NET_ADMIN; without it the system's limit applies.
    if (!set(fd, SOL_SOCKET, force, socket_buffer)) (void)set(fd, SOL_SOCKET, option, socket_buffer);
}

// An open, bound socket, or -1. The first of a port and family is bound alone, so that a port which somebody else has is refused even
// if that is ourselves; the others join it.
static int open_socket(bool ipv6, bool joins, uint16_t number, uint32_t fwmark) {
    int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0) return -1;
    bool good = ipv6 ? set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) && set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
                           set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) && set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
                     : set(fd, IPPROTO_IP, IP_PKTINFO, 1) && set(fd, IPPROTO_IP, IP_RECVTOS, 1) &&
                           set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT); // without DF, as the kernel module
    good = good && (fwmark == 0 || set(fd, SOL_SOCKET, SO_MARK, (int)fwmark)) && (!joins || set(fd, SOL_SOCKET, SO_REUSEPORT, 1));
    if (good) {
        (void)set(fd, IPPROTO_UDP, UDP_GRO, 1); // Linux 5.0; without it packets come one by one
        set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
        set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
        struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(number)};
        struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(number)};
        good = ipv6 ? bind(fd, (struct sockaddr *)&any6, sizeof any6) == 0 : bind(fd, (struct sockaddr *)&any4, sizeof any4) == 0;
    }
    if (good) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t number_of(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {0};
    socklen_t length = sizeof name;
    if (getsockname(fd, &name.any, &length) != 0) return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

// The kernel asks this program which socket of the group, in order of binding, gets a packet; it sees the UDP payload. The receiver of a
// message (little-endian; response at byte 8, cookie and data at 4) modulo the number of workers is its worker; whatever has no
// receiver, and what is cut short, goes to the first.
static bool steer(int fd, uint32_t workers) {
#define INDEX_AT(at)                                                                                                                      \
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (at) + 3), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8), BPF_STMT(BPF_MISC | BPF_TAX, 0),                 \
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (at) + 2), BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8),       \
        BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (at) + 1), BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0),              \
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8), BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (at)),                 \
        BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers), BPF_STMT(BPF_RET | BPF_A, 0)
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CW_WG_DATA, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CW_WG_COOKIE, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CW_WG_RESPONSE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_JUMP(BPF_JMP | BPF_JA, 15, 0, 0), // to the second half
        INDEX_AT(4),
        INDEX_AT(8),
    };
#undef INDEX_AT
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) == 0;
}

static void close_all(cw_wg_udp_sockets *sockets) {
    for (int family = 0; family < 2; family++) {
        for (uint32_t i = 0; i < sockets->workers; i++) {
            if (sockets->fds[family][i] >= 0) close(sockets->fds[family][i]);
            sockets->fds[family][i] = -1;
        }
    }
}

static bool open_family(cw_wg_udp_sockets *sockets, bool ipv6, uint16_t number, uint32_t fwmark) {
    int *fds = sockets->fds[ipv6];
    for (uint32_t i = 0; i < sockets->workers; i++) {
        fds[i] = open_socket(ipv6, i > 0, number, fwmark);
        if (fds[i] < 0) return false;
        if (i > 0) continue;
        number = number_of(fds[0]);
        sockets->udp.number = number;
        if (sockets->workers > 1 && !set(fds[0], SOL_SOCKET, SO_REUSEPORT, 1)) return false;
    }
    return sockets->workers == 1 || steer(fds[0], sockets->workers);
}

static bool open_families(cw_wg_udp_sockets *sockets, const cw_wg_port_config *config) {
    sockets->udp.number = config->port;
    if (config->ipv4 && !open_family(sockets, false, config->port, config->fwmark)) return false;
    if (!config->ipv6 || open_family(sockets, true, sockets->udp.number, config->fwmark)) return true;
    return config->ipv4 && errno == EAFNOSUPPORT; // a kernel without IPv6 has a port all the same
}

static cw_status attach(cw_wg_udp *udp, uint32_t worker, int epoll_fd, uint64_t data4, uint64_t data6) {
    cw_wg_udp_sockets *sockets = (cw_wg_udp_sockets *)udp;
    for (int family = 0; family < 2; family++) {
        int fd = sockets->fds[family][worker];
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = family == 0 ? data4 : data6};
        if (fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) return CW_SYSTEM;
    }
    return CW_OK;
}

static cw_status set_fwmark(cw_wg_udp *udp, uint32_t fwmark) {
    const cw_wg_udp_sockets *sockets = (const cw_wg_udp_sockets *)udp;
    for (int family = 0; family < 2; family++)
        for (uint32_t i = 0; i < sockets->workers; i++)
            if (sockets->fds[family][i] >= 0 && !set(sockets->fds[family][i], SOL_SOCKET, SO_MARK, (int)fwmark)) return CW_SYSTEM;
    return CW_OK;
}

static void close_sockets(cw_wg_udp *udp) {
    close_all((cw_wg_udp_sockets *)udp);
    free(udp);
}

static cw_status open_sockets(const cw_wg_network *network, uint32_t workers, const cw_wg_port_config *config, cw_wg_udp **udp) {
    static const cw_wg_udp_operations operations = {cw_wg_sockets_send, cw_wg_sockets_receive, attach, set_fwmark, close_sockets};
    (void)network;
    cw_wg_udp_sockets *sockets = malloc(sizeof *sockets);
    if (sockets == NULL) return CW_NO_MEMORY;
    *sockets = (cw_wg_udp_sockets){.udp.operations = &operations, .workers = workers, .single_from = UINT32_MAX};
    memset(sockets->fds, 0xFF, sizeof sockets->fds);
    // A number that the kernel chose for one family may be taken in the other: another one then.
    for (int i = 0; !open_families(sockets, config); i++) {
        int saved = errno;
        close_all(sockets);
        if (config->port == 0 && saved == EADDRINUSE && i < tries_for_a_number) continue;
        free(sockets);
        errno = saved;
        return CW_SYSTEM;
    }
    *udp = &sockets->udp;
    return CW_OK;
}

const cw_wg_network cw_wg_sockets = {open_sockets};

// ---- Of the engine --------------------------------------------------------------------------------------------------

static cw_status attach_port(cw_wg_udp *udp, uint32_t port, uint32_t worker, int epoll_fd) {
    return udp->operations->attach(udp, worker, epoll_fd, cw_wg_epoll_data(port, 4), cw_wg_epoll_data(port, 6));
}

cw_status cw_wg_udp_open(cw_wg *wg, uint32_t port, const cw_wg_port_config *config, cw_wg_udp **udp) {
    cw_wg_udp *made;
    cw_status status = wg->network->open(wg->network, wg->config.worker_count, config, &made);
    for (uint32_t i = 0; i < wg->config.worker_count && status == CW_OK; i++) {
        if (wg->lanes[i].epoll_fd < 0) continue;
        status = attach_port(made, port, i, wg->lanes[i].epoll_fd);
        if (status == CW_OK) continue;
        int saved = errno;
        made->operations->close(made);
        errno = saved;
    }
    if (status == CW_OK) *udp = made;
    return status;
}

void cw_wg_udp_close(cw_wg *wg, cw_wg_udp *udp) {
    (void)wg;
    udp->operations->close(udp); // a closed descriptor leaves epoll by itself
}

uint16_t cw_wg_udp_number(const cw_wg_udp *udp) { return udp->number; }

cw_status cw_wg_udp_set_fwmark(cw_wg_udp *udp, uint32_t fwmark) { return udp->operations->set_fwmark(udp, fwmark); }

cw_status cw_wg_attach(cw_wg *wg, uint32_t worker, int epoll_fd) {
    if (worker >= wg->config.worker_count || epoll_fd < 0) return CW_INVALID;
    cw_status status = CW_OK;
    pthread_mutex_lock(&wg->lock);
    for (uint32_t port = 1; port <= CW_WG_MAX_PORTS && status == CW_OK; port++)
        if (wg->ports[port].udp != NULL) status = attach_port(wg->ports[port].udp, port, worker, epoll_fd);
    if (status == CW_OK) wg->lanes[worker].epoll_fd = epoll_fd;
    pthread_mutex_unlock(&wg->lock);
    return status;
}
