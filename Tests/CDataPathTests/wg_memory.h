// Ports without sockets: hosts with an IPv4 and an IPv6 address on one wire. A test may look at every datagram on its way, change it
// or lose it. Safe for several threads.
#ifndef CW_WG_MEMORY_H
#define CW_WG_MEMORY_H

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"

typedef struct memory_datagram {
    struct memory_datagram *next;
    cw_wg_route_to to;    // `to` is the destination
    cw_wg_route_to from;  // `to` is the sender
    uint8_t tos;
    uint32_t length;
    uint8_t bytes[2400];
} memory_datagram;

typedef struct memory_queue {
    memory_datagram *first, *last;
    uint32_t count;
} memory_queue;

typedef struct memory_wire {
    pthread_mutex_t lock;
    struct memory_host *hosts;
    uint16_t next_number;
    bool refuse;       // what is sent is refused, as by a full socket
    bool no_receive_merge; // every read brings one datagram
    // False: lost. Called under the wire's lock for each datagram; it may change all of it.
    bool (*watch)(void *context, memory_datagram *datagram);
    void *context;
    uint64_t sent, lost, delivered, nowhere;
} memory_wire;

typedef struct memory_host {
    cw_wg_network network; // first
    memory_wire *wire;
    struct memory_host *next;
    struct in_addr v4;
    struct in6_addr v6;
    struct memory_port *ports;
} memory_host;

typedef struct memory_port {
    cw_wg_udp udp; // first
    memory_host *host;
    struct memory_port *next;
    uint32_t workers;
    bool family[2];
    uint32_t fwmark;
    memory_queue queues[2][CW_MAX_WORKERS];
} memory_port;

static inline void memory_append(memory_queue *queue, memory_datagram *datagram) {
    datagram->next = NULL;
    if (queue->last != NULL) queue->last->next = datagram;
    else queue->first = datagram;
    queue->last = datagram;
    queue->count++;
}

static inline memory_datagram *memory_pop(memory_queue *queue) {
    memory_datagram *first = queue->first;
    if (first == NULL) return NULL;
    queue->first = first->next;
    if (queue->first == NULL) queue->last = NULL;
    queue->count--;
    return first;
}

static inline bool memory_is_local(const memory_host *host, const cw_wg_route_to *to, bool source) {
    if (to->to.any.sa_family == AF_INET) {
        struct in_addr address = source ? to->from.v4 : to->to.v4.sin_addr;
        return address.s_addr == host->v4.s_addr;
    }
    const struct in6_addr *address = source ? &to->from.v6 : &to->to.v6.sin6_addr;
    return memcmp(address, &host->v6, sizeof host->v6) == 0;
}

static inline bool memory_has_source(const cw_wg_route_to *to) {
    static const cw_wg_route_to none;
    size_t size = to->to.any.sa_family == AF_INET ? sizeof to->from.v4 : sizeof to->from.v6;
    return memcmp(&to->from, &none.from, size) != 0;
}

static inline uint16_t memory_number(const cw_wg_route_to *to) {
    return ntohs(to->to.any.sa_family == AF_INET ? to->to.v4.sin_port : to->to.v6.sin6_port);
}

// As the kernel's program (udp.c): the receiver's worker, or the first.
static inline uint32_t memory_worker(const memory_port *port, const memory_datagram *datagram) {
    if (datagram->length < 12) return 0;
    switch (datagram->bytes[0]) {
    case CW_WG_DATA:
    case CW_WG_COOKIE: return cw_le32(datagram->bytes + 4) % port->workers;
    case CW_WG_RESPONSE: return cw_le32(datagram->bytes + 8) % port->workers;
    default: return 0;
    }
}

// Takes the datagram. The wire is locked.
static inline void memory_deliver(memory_wire *wire, memory_datagram *datagram) {
    wire->sent++;
    if (wire->watch != NULL && !wire->watch(wire->context, datagram)) {
        wire->lost++;
        free(datagram);
        return;
    }
    int family = datagram->to.to.any.sa_family == AF_INET6;
    for (memory_host *host = wire->hosts; host != NULL; host = host->next) {
        if (!memory_is_local(host, &datagram->to, false)) continue;
        for (memory_port *port = host->ports; port != NULL; port = port->next) {
            if (!port->family[family] || port->udp.number != memory_number(&datagram->to)) continue;
            // The receiver sees its own address as the local one.
            if (family == 0) datagram->from.from.v4 = datagram->to.to.v4.sin_addr;
            else datagram->from.from.v6 = datagram->to.to.v6.sin6_addr;
            datagram->from.from_interface = 1;
            memory_append(&port->queues[family][memory_worker(port, datagram)], datagram);
            wire->delivered++;
            return;
        }
    }
    wire->nowhere++;
    free(datagram);
}

static inline void memory_send(cw_wg_udp *udp, cw_wg_udp_space *space, cw_wg_datagram *datagrams, size_t count) {
    memory_port *port = (memory_port *)udp;
    memory_host *host = port->host;
    (void)space;
    pthread_mutex_lock(&host->wire->lock);
    for (size_t i = 0; i < count; i++) {
        cw_wg_datagram *one = &datagrams[i];
        one->sent = one->forget_source = false;
        bool ipv6 = one->to->to.any.sa_family == AF_INET6;
        if (host->wire->refuse || !port->family[ipv6]) continue;
        if (memory_has_source(one->to) && !memory_is_local(host, one->to, true)) one->forget_source = true;
        memory_datagram *datagram = calloc(1, sizeof *datagram);
        if (datagram == NULL || one->length > sizeof datagram->bytes) abort();
        datagram->to = *one->to;
        datagram->tos = one->tos;
        datagram->length = one->length;
        memcpy(datagram->bytes, one->data, one->length);
        if (ipv6) {
            datagram->from.to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(udp->number), .sin6_addr = host->v6};
        } else {
            datagram->from.to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(udp->number), .sin_addr = host->v4};
        }
        one->sent = true;
        memory_deliver(host->wire, datagram);
    }
    pthread_mutex_unlock(&host->wire->lock);
}

// Datagrams of one sender that are as long as the first are put together, as the kernel does it; a shorter one ends the read.
static inline size_t memory_receive(cw_wg_udp *udp, cw_wg_udp_space *space, uint8_t family, cw_wg_arrival *arrivals) {
    memory_port *port = (memory_port *)udp;
    memory_wire *wire = port->host->wire;
    pthread_mutex_lock(&wire->lock);
    memory_queue *queue = &port->queues[family == 6][space->thread % port->workers];
    size_t count = 0;
    while (count < CW_WG_RECEIVE && queue->first != NULL) {
        cw_wg_arrival *arrival = &arrivals[count];
        uint8_t *space_of_it = space->in.space + count * CW_WG_RECEIVE_SPACE;
        const memory_datagram *first = queue->first;
        *arrival = (cw_wg_arrival){.data = space_of_it, .segment = first->length, .tos = first->tos, .from = first->from};
        count++;
        for (bool more = true; more && queue->first != NULL;) {
            const memory_datagram *next = queue->first;
            if (next->length > arrival->segment || next->tos != arrival->tos || !cw_wg_same_route(&next->from, &arrival->from) ||
                arrival->length + next->length > CW_WG_RECEIVE_SPACE - 100)
                break;
            memcpy(space_of_it + arrival->length, next->bytes, next->length);
            arrival->length += next->length;
            more = next->length == arrival->segment && !wire->no_receive_merge && next->length > 0;
            free(memory_pop(queue));
        }
    }
    pthread_mutex_unlock(&wire->lock);
    return count;
}

static inline cw_status memory_attach(cw_wg_udp *udp, uint32_t worker, int epoll_fd, uint64_t data4, uint64_t data6) {
    (void)udp, (void)worker, (void)epoll_fd, (void)data4, (void)data6;
    return CW_OK;
}

static inline cw_status memory_set_fwmark(cw_wg_udp *udp, uint32_t fwmark) {
    ((memory_port *)udp)->fwmark = fwmark;
    return CW_OK;
}

static inline void memory_close(cw_wg_udp *udp) {
    memory_port *port = (memory_port *)udp;
    pthread_mutex_lock(&port->host->wire->lock);
    for (memory_port **at = &port->host->ports; *at != NULL; at = &(*at)->next) {
        if (*at != port) continue;
        *at = port->next;
        break;
    }
    for (int family = 0; family < 2; family++)
        for (uint32_t i = 0; i < port->workers; i++)
            while (port->queues[family][i].first != NULL) free(memory_pop(&port->queues[family][i]));
    pthread_mutex_unlock(&port->host->wire->lock);
    free(port);
}

static inline cw_status memory_open(const cw_wg_network *network, uint32_t workers, const cw_wg_port_config *config, cw_wg_udp **udp) {
    static const cw_wg_udp_operations operations = {memory_send, memory_receive, memory_attach, memory_set_fwmark, memory_close};
    memory_host *host = (memory_host *)(uintptr_t)network;
    memory_port *port = calloc(1, sizeof *port);
    if (port == NULL) return CW_NO_MEMORY;
    pthread_mutex_lock(&host->wire->lock);
    port->udp.operations = &operations;
    port->udp.number = config->port != 0 ? config->port : (uint16_t)(40000 + host->wire->next_number++);
    port->host = host;
    port->workers = workers;
    port->family[0] = config->ipv4;
    port->family[1] = config->ipv6;
    port->fwmark = config->fwmark;
    port->next = host->ports;
    host->ports = port;
    pthread_mutex_unlock(&host->wire->lock);
    *udp = &port->udp;
    return CW_OK;
}

static inline void memory_wire_init(memory_wire *wire) {
    memset(wire, 0, sizeof *wire);
    pthread_mutex_init(&wire->lock, NULL);
}

// The host's ports come from this wire from now on: call it after cw_wg_create, before a port is opened.
static inline void memory_host_init(memory_host *host, memory_wire *wire, const char *v4, const char *v6, cw_wg *wg) {
    memset(host, 0, sizeof *host);
    host->network.open = memory_open;
    host->wire = wire;
    inet_pton(AF_INET, v4, &host->v4);
    inet_pton(AF_INET6, v6, &host->v6);
    host->next = wire->hosts;
    wire->hosts = host;
    wg->network = &host->network;
}

static inline void memory_move(memory_host *host, const char *v4, const char *v6) { // its addresses change: it roams
    pthread_mutex_lock(&host->wire->lock);
    if (v4 != NULL) inet_pton(AF_INET, v4, &host->v4);
    if (v6 != NULL) inet_pton(AF_INET6, v6, &host->v6);
    pthread_mutex_unlock(&host->wire->lock);
}

static inline uint32_t memory_pending(memory_host *host) {
    uint32_t count = 0;
    pthread_mutex_lock(&host->wire->lock);
    for (memory_port *port = host->ports; port != NULL; port = port->next)
        for (int family = 0; family < 2; family++)
            for (uint32_t i = 0; i < port->workers; i++) count += port->queues[family][i].count;
    pthread_mutex_unlock(&host->wire->lock);
    return count;
}

// One step of `worker` on every port it has packets on, inside the gate. What the sink queues is flushed.
static inline void memory_step(cw_wg *wg, uint32_t worker, cw_pool *pool, uint64_t now, cw_wg_sink *sink, void *context) {
    cw_wg_enter(wg, worker);
    for (uint32_t port = 1; port <= CW_WG_MAX_PORTS; port++) {
        if (wg->ports[port].udp == NULL) continue;
        cw_wg_receive(wg, worker, cw_wg_epoll_data(port, 4), pool, now, sink, context);
        cw_wg_receive(wg, worker, cw_wg_epoll_data(port, 6), pool, now, sink, context);
    }
    cw_wg_flush(wg, worker, pool, now);
    cw_wg_leave(wg, worker);
}

// All workers, until nothing is left to receive.
static inline void memory_pump(cw_wg *wg, memory_host *host, cw_pool *pool, uint64_t now, cw_wg_sink *sink, void *context) {
    while (memory_pending(host) > 0)
        for (uint32_t worker = 0; worker < wg->config.worker_count; worker++) memory_step(wg, worker, pool, now, sink, context);
}

#endif
