// Interfaces with an XDP program of ours, and what each worker has of their sockets.
#define _GNU_SOURCE
#include "io_xdp.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { // frames that an interface receives into
    frames_in_all = 16384, // 32 MiB ...
    frames_most = 2048, frames_least = 512, // ... but so many for each queue
};

// ---- What an interface is ---------------------------------------------------------------------------------------------

typedef struct traits {
    uint8_t station[6];
    uint32_t queues;
    bool hides_vlans; // frames of VLANs look as if they had no tag
    uint32_t send_queues;
    bool wants_kernel; // its own XDP does less, or loses packets
} traits;

static bool ask(int fd, const char *name, void *question) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_data = question;
    return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

bool cw_xdp_lists_vlan(FILE *list, const char *name) {
    char line[128], below[IFNAMSIZ];
    while (fgets(line, sizeof line, list) != NULL)
        if (sscanf(line, "%*[^|]| %*u | %15s", below) == 1 && strcmp(below, name) == 0) return true;
    return false;
}

// Not by SIOCGIFVLAN, which loads the module if it is not there.
static bool has_vlans(const char *name) {
    FILE *list = fopen("/proc/thread-self/net/vlan/config", "re");
    if (list == NULL) return errno != ENOENT; // the kernel does not do VLANs; a list that only root may read may have some
    bool found = cw_xdp_lists_vlan(list, name);
    fclose(list);
    return found;
}

// veth has to copy as the kernel's XDP does, and takes segmentation offload away from all that the other end sends. A bond and Azure's
// hv_netvsc install the program at the interface below, where our sockets, which are bound to the one above, get nothing: the kernel drops
// what the program hands to them.
static bool wants_kernel(const char *driver) {
    static const char *const names[] = {"veth", "bonding", "hv_netvsc"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(driver, names[i]) == 0) return true;
    return false;
}

static bool look_at(uint32_t interface, traits *out) {
    struct ifreq request = {0};
    if (if_indextoname(interface, request.ifr_name) == NULL) return false;
    const char *name = request.ifr_name;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq hardware = request;
    bool ethernet = ioctl(fd, SIOCGIFHWADDR, &hardware) == 0 && hardware.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    *out = (traits){.queues = 1, .send_queues = 1}; // as many as a driver has that does not say
    if (ask(fd, name, &channels)) {
        out->queues = channels.rx_count + channels.combined_count;
        out->send_queues = channels.tx_count + channels.combined_count;
    }
    if (out->queues == 0) out->queues = 1;
    if (out->send_queues == 0) out->send_queues = 1;
    if (ask(fd, name, &flags) && (flags.data & ETH_FLAG_RXVLAN) != 0) out->hides_vlans = has_vlans(name);
    out->wants_kernel = ask(fd, name, &driver) && wants_kernel(driver.driver);
    memcpy(out->station, hardware.ifr_hwaddr.sa_data, sizeof out->station);
    close(fd);
    errno = ENODEV;
    return ethernet;
}

// ---- One interface ----------------------------------------------------------------------------------------------------

static void close_if_open(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void close_interface(cw_xdp_interface *interface) {
    int saved = errno;
    close_if_open(&interface->link); // first: what arrives from here on is the stack's
    close_if_open(&interface->map);
    for (uint32_t i = 0; i < interface->queue_count; i++) cw_xsk_queue_destroy(&interface->queues[i]);
    free(interface->queues);
    *interface = (cw_xdp_interface){.map = -1, .link = -1};
    errno = saved;
}

static uint32_t frames_of_queue(uint32_t queues, uint32_t workers) {
    uint32_t frames = frames_most;
    while (frames > frames_least && frames * queues > frames_in_all) frames /= 2;
    while (frames < 2 * CW_XSK_LEAST_PLACES * workers) frames *= 2; // half of them is for the workers' rings
    return frames;
}

static bool open_queues(cw_xdp_interface *interface, uint32_t wanted, uint32_t workers, bool zero_copy) {
    interface->queues = calloc(wanted, sizeof *interface->queues);
    if (interface->queues == NULL) return false;
    for (uint32_t i = 0; i < wanted; i++) {
        interface->queue_count++;
        if (!cw_xsk_queue_create(&interface->queues[i], interface->number, i, workers, frames_of_queue(wanted, workers), zero_copy)) return false;
        for (uint32_t w = 0; w < workers; w++)
            if (!cw_xdp_map_put(interface->map, i * workers + w, interface->queues[i].sockets[w].fd)) return false;
    }
    return true;
}

// The sockets first, so that there is somebody for the first packet.
static const char *open_interface(cw_xdp_interface *interface, const cw_xdp_config *config, const traits *traits, uint32_t workers, bool native) {
    *interface = (cw_xdp_interface){.number = config->interface, .native = native, .link = -1};
    interface->send_queues = traits->send_queues < traits->queues ? traits->send_queues : traits->queues;
    interface->map = cw_xdp_map_open(traits->queues * workers);
    if (interface->map < 0) return "make a map of AF_XDP sockets (CAP_BPF and CAP_NET_ADMIN are needed)";
    if (!open_queues(interface, traits->queues, workers, native)) return "open AF_XDP sockets (CAP_NET_RAW is needed, and memory that may be locked)";
    cw_xdp_program program = {
        .worker_count = workers, .address_count = config->address_count, .addresses = config->addresses, .sockets = interface->map};
    memcpy(program.station, traits->station, sizeof program.station);
    int fd = cw_xdp_program_load(&program);
    if (fd < 0) return "load the XDP program (CAP_BPF and CAP_NET_ADMIN are needed)";
    interface->link = cw_xdp_program_attach(fd, config->interface, native);
    int saved = errno;
    close(fd); // the link has it
    errno = saved;
    if (interface->link >= 0) return NULL;
    return errno == EBUSY || errno == EEXIST ? "attach the XDP program (the interface has another one)" : "attach the XDP program (Linux 5.9 is needed)";
}

static bool is_valid(const cw_xdp_config *config) {
    if (config->interface == 0 || config->address_count < 1 || config->address_count > CW_MAX_TAP_ADDRESSES) return false;
    for (uint32_t i = 0; i < config->address_count; i++)
        if (config->addresses[i].family != 4) return false;
    return true;
}

static void describe(const cw_xdp_interface *interface, cw_xdp_report *report) {
    report->native = interface->native;
    report->zero_copy = true;
    report->queues = interface->queue_count;
    for (uint32_t i = 0; i < interface->queue_count; i++) {
        report->memory += cw_xsk_queue_size(&interface->queues[i]);
        report->zero_copy = report->zero_copy && interface->queues[i].zero_copy;
    }
}

cw_status cw_xdp_add(cw_xdp *xdp, const cw_xdp_config *config, cw_xdp_report *report) {
    *report = (cw_xdp_report){0};
    if (!is_valid(config) || xdp->count == CW_MAX_TAP_ADDRESSES) return CW_INVALID;
    for (uint32_t i = 0; i < xdp->count; i++)
        if (xdp->interfaces[i].number == config->interface) return CW_INVALID;
    traits traits;
    report->failed = "find its Ethernet address";
    if (!look_at(config->interface, &traits)) return CW_SYSTEM;
    report->failed = "tell packets of its VLANs apart (see ethtool -K ... rxvlan off)";
    errno = EOPNOTSUPP;
    if (traits.hides_vlans) return CW_SYSTEM;
    report->failed = "open so many sockets (ethtool -L makes receive queues fewer)";
    errno = E2BIG;
    if (traits.queues > CW_XSK_SOCKETS / xdp->worker_count) return CW_SYSTEM;
    cw_xdp_interface *interface = &xdp->interfaces[xdp->count];
    bool try_native = config->mode == CW_XDP_NATIVE || (config->mode == CW_XDP_BEST && !traits.wants_kernel);
    for (int native = try_native; native >= (config->mode == CW_XDP_NATIVE); native--) {
        report->failed = open_interface(interface, config, &traits, xdp->worker_count, native != 0);
        if (report->failed == NULL) {
            xdp->count++;
            describe(interface, report);
            return CW_OK;
        }
        close_interface(interface);
        if (errno == EPERM || errno == EBUSY || errno == EEXIST) break; // the same for the other way
    }
    return CW_SYSTEM;
}

cw_status cw_xdp_create(uint32_t worker_count, cw_xdp **out) {
    if (worker_count == 0 || worker_count > CW_MAX_WORKERS) return CW_INVALID;
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return CW_NO_MEMORY;
    (*out)->worker_count = worker_count;
    return CW_OK;
}

void cw_xdp_detach(cw_xdp *xdp) {
    for (uint32_t i = 0; i < xdp->count; i++) close_if_open(&xdp->interfaces[i].link);
}

void cw_xdp_destroy(cw_xdp *xdp) {
    if (xdp == NULL) return;
    cw_xdp_detach(xdp);
    while (xdp->count > 0) close_interface(&xdp->interfaces[--xdp->count]);
    free(xdp);
}

// ---- A worker's part --------------------------------------------------------------------------------------------------

// One socket is looked at as it is; several through a set of their own.
static bool watch(cw_xsks *xsks) {
    if (xsks->count == 0) return true;
    if (xsks->count == 1) {
        xsks->fd = xsks->all[0]->fd;
        return true;
    }
    xsks->fd = epoll_create1(EPOLL_CLOEXEC);
    xsks->own_fd = xsks->fd >= 0;
    bool watched = xsks->own_fd;
    for (uint32_t i = 0; watched && i < xsks->count; i++) {
        struct epoll_event interest = {.events = EPOLLIN};
        watched = epoll_ctl(xsks->fd, EPOLL_CTL_ADD, xsks->all[i]->fd, &interest) == 0;
    }
    return watched;
}

bool cw_xsks_create(cw_xsks *xsks, cw_xdp *xdp, uint32_t worker) {
    *xsks = (cw_xsks){.fd = -1};
    uint32_t sockets = 0;
    for (uint32_t i = 0; xdp != NULL && i < xdp->count; i++) sockets += xdp->interfaces[i].queue_count;
    if (sockets == 0) return true;
    xsks->all = calloc(sockets, sizeof(cw_xsk *));
    if (xsks->all == NULL) return false;
    for (uint32_t i = 0; i < xdp->count; i++) {
        cw_xdp_interface *interface = &xdp->interfaces[i];
        for (uint32_t q = 0; q < interface->queue_count; q++) xsks->all[xsks->count++] = &interface->queues[q].sockets[worker];
        xsks->ways[i].interface = interface->number;
        xsks->ways[i].xsk = &interface->queues[worker % interface->send_queues].sockets[worker];
    }
    xsks->interface_count = xdp->count;
    return watch(xsks);
}

void cw_xsks_destroy(cw_xsks *xsks) {
    if (xsks->own_fd) close(xsks->fd);
    free(xsks->all);
    *xsks = (cw_xsks){.fd = -1};
}

cw_tapped cw_xsks_receive(cw_xsks *xsks, cw_buffer *const *buffers, uint32_t capacity) {
    cw_tapped all = {0};
    // Round and round, so that a queue with much does not hide the others.
    for (uint32_t i = 0; i < xsks->count; i++) {
        cw_xsk *xsk = xsks->all[xsks->next];
        cw_tapped found = capacity == 0 ? cw_xsk_discard(xsk) : cw_xsk_receive(xsk, buffers + all.count, capacity - all.count);
        xsks->next = xsks->next + 1 == xsks->count ? 0 : xsks->next + 1;
        all.count += found.count;
        all.malformed += found.malformed;
        all.lost += found.lost;
        if (all.count == capacity && (capacity > 0 || found.lost > 0)) break;
    }
    return all;
}

uint32_t cw_xsks_send(cw_xsks *xsks, uint32_t interface, const struct iovec *frames, uint32_t count) {
    for (uint32_t i = 0; i < xsks->interface_count; i++) {
        if (xsks->ways[i].interface != interface) continue;
        uint32_t sent = cw_xsk_send(xsks->ways[i].xsk, frames, count);
        xsks->unsent = xsks->unsent || xsks->ways[i].xsk->unsent;
        return sent;
    }
    return 0;
}

bool cw_xsks_kick(cw_xsks *xsks) {
    if (!xsks->unsent) return false;
    xsks->unsent = false;
    for (uint32_t i = 0; i < xsks->interface_count; i++)
        if (xsks->ways[i].xsk->unsent && cw_xsk_kick(xsks->ways[i].xsk)) xsks->unsent = true;
    return xsks->unsent;
}
