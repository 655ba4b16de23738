// The thread that keeps the table of next hops (io_hop.h). Its timers: `settle_milliseconds` from the first change to asking again, and
// `refresh_seconds` while the table has entries. Otherwise it sleeps until a worker asks or the kernel notifies.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io_hop.h"
#include "io_route.h"
#include "link_bytes.h"
#include "memory.h"

enum {
    settle_milliseconds = 100,
    refresh_seconds = 30,
    ask_again_at_once = 128, // places, before the notifications are looked at again
    links_maximum = 16,      // that are remembered
    checked_routes = 16,     // notifications of one look that are compared with every destination; more count as all of them
    nothing = 0,             // no place: places are numbered from 1 on
};

// What belongs to a slot. Places with the same next hop are on one chain.
typedef struct cw_hop_place {
    uint64_t key; // 0: free
    uint32_t gateway;
    uint32_t previous, next, bucket; // `bucket` and both neighbours of it; `nothing` where there is none
    uint32_t interface;              // 0: on no chain
    cw_hop hop;                      // as if the neighbour could be reached
} cw_hop_place;

typedef struct cw_hop_watch {
    cw_rtnl rtnl;
    int notices_fd;
    cw_hop_place *places; // by slot + 1
    uint32_t *chains;
    uint32_t count;
    struct {
        uint32_t interface;
        cw_ether_link link;
    } links[links_maximum];
    uint32_t link_count;
    bool many_links; // not all of them are remembered
    bool plain_rules, rules_known;
    uint8_t default_ttl;
    uint32_t cursor;              // places from here on are still to be asked for again; above the last: none
    uint64_t settle_at, refresh_at; // milliseconds; UINT64_MAX: never
} cw_hop_watch;

static uint64_t now_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static size_t places_size(const cw_hops *hops) { return (hops->slot_count + 1) * sizeof(cw_hop_place); }
static size_t chains_size(const cw_hops *hops) { return hops->slot_count * sizeof(uint32_t); }

bool cw_hop_watch_create(cw_hops *hops) {
    cw_hop_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return false;
    hops->watch = watch;
    *watch = (cw_hop_watch){.rtnl.fd = -1, .cursor = UINT32_MAX, .settle_at = UINT64_MAX, .refresh_at = UINT64_MAX};
    watch->notices_fd = cw_rtnl_subscribe();
    watch->places = cw_map(places_size(hops));
    watch->chains = cw_map(chains_size(hops));
    return watch->notices_fd >= 0 && cw_rtnl_open(&watch->rtnl) && watch->places != NULL && watch->chains != NULL;
}

void cw_hop_watch_destroy(cw_hops *hops) {
    cw_hop_watch *watch = hops->watch;
    if (watch == NULL) return;
    cw_rtnl_close(&watch->rtnl);
    if (watch->notices_fd >= 0) close(watch->notices_fd);
    cw_unmap(watch->places, places_size(hops));
    cw_unmap(watch->chains, chains_size(hops));
    free(watch);
    hops->watch = NULL;
}

// ---- Chains ---------------------------------------------------------------------------------------------------------------

static uint32_t bucket_of(const cw_hops *hops, uint32_t interface, uint32_t gateway) {
    return cw_hop_hash(interface, gateway) & (hops->slot_count - 1);
}

static void leave_chain(cw_hop_watch *watch, uint32_t number) {
    cw_hop_place *place = &watch->places[number];
    if (place->interface == 0) return;
    if (place->previous != nothing) watch->places[place->previous].next = place->next;
    else watch->chains[place->bucket] = place->next;
    if (place->next != nothing) watch->places[place->next].previous = place->previous;
    place->interface = 0;
}

static void join_chain(cw_hops *hops, uint32_t number, uint32_t interface, uint32_t gateway) {
    cw_hop_watch *watch = hops->watch;
    cw_hop_place *place = &watch->places[number];
    place->interface = interface;
    place->gateway = gateway;
    place->bucket = bucket_of(hops, interface, gateway);
    place->previous = nothing;
    place->next = watch->chains[place->bucket];
    if (place->next != nothing) watch->places[place->next].previous = number;
    watch->chains[place->bucket] = number;
}

// ---- Answers --------------------------------------------------------------------------------------------------------------

static uint8_t read_default_ttl(void) {
    unsigned ttl = 64;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_default_ttl", "re");
    if (file == NULL) return 64;
    if (fscanf(file, "%u", &ttl) != 1 || ttl == 0 || ttl > 255) ttl = 64;
    fclose(file);
    return (uint8_t)ttl;
}

static bool find_link(cw_hop_watch *watch, uint32_t interface, cw_ether_link *out) {
    for (uint32_t i = 0; i < watch->link_count; i++) {
        if (watch->links[i].interface != interface) continue;
        *out = watch->links[i].link;
        return out->mtu != 0;
    }
    if (!cw_rtnl_link(&watch->rtnl, interface, out)) *out = (cw_ether_link){0};
    if (watch->link_count == links_maximum) {
        watch->link_count = 0;
        watch->many_links = true;
    }
    watch->links[watch->link_count].interface = interface;
    watch->links[watch->link_count++].link = *out;
    return out->mtu != 0;
}

// What the workers see of it with this neighbour.
static void show(cw_hops *hops, uint32_t number, const cw_neighbour *neighbour) {
    cw_hop hop = hops->watch->places[number].hop;
    if ((neighbour->state & (NUD_REACHABLE | NUD_PERMANENT)) != 0 && neighbour->has_station) memcpy(hop.ethernet, neighbour->station, ETH_ALEN);
    else hop.interface = 0;
    cw_hops_publish(hops, number - 1, &hop);
}

static void probe_if_stale(cw_hops *hops, const cw_neighbour *neighbour) {
    if ((neighbour->state & NUD_STALE) != 0) cw_rtnl_probe(&hops->watch->rtnl, neighbour->interface, neighbour->address);
}

static void resolve(cw_hops *hops, uint32_t number) {
    cw_hop_watch *watch = hops->watch;
    cw_hop_place *place = &watch->places[number];
    uint32_t generation = atomic_load(&hops->generation);
    cw_route route;
    cw_ether_link link;
    leave_chain(watch, number);
    if (!watch->rules_known) {
        watch->plain_rules = cw_rtnl_rules_are_plain(&watch->rtnl);
        watch->default_ttl = read_default_ttl();
        watch->rules_known = true;
    }
    if (!watch->plain_rules || !cw_rtnl_route(&watch->rtnl, (uint32_t)(place->key >> 32), (uint32_t)place->key, &route) ||
        !find_link(watch, route.interface, &link)) {
        cw_hops_publish(hops, number - 1, &(cw_hop){0});
        return;
    }
    uint32_t longest = route.mtu != 0 && route.mtu < link.mtu ? route.mtu : link.mtu;
    place->hop = (cw_hop){
        .generation = generation,
        .interface = route.interface,
        .source = route.source,
        .longest = (uint16_t)(longest > UINT16_MAX ? UINT16_MAX : longest),
        .ttl = route.hop_limit != 0 && route.hop_limit <= 255 ? (uint8_t)route.hop_limit : watch->default_ttl,
    };
    memcpy(place->hop.ethernet + ETH_ALEN, link.address, ETH_ALEN);
    cw_put16(place->hop.ethernet + 2 * ETH_ALEN, ETH_P_IP);
    join_chain(hops, number, route.interface, route.gateway);
    cw_neighbour neighbour = {0};
    if (cw_rtnl_neighbour(&watch->rtnl, route.interface, route.gateway, &neighbour)) probe_if_stale(hops, &neighbour);
    else neighbour.state = 0; // the raw socket's packet brings it
    show(hops, number, &neighbour);
}

static void forget(cw_hops *hops, uint32_t number) {
    leave_chain(hops->watch, number);
    hops->watch->places[number].key = 0;
    hops->watch->count--;
    cw_hops_forget(hops, number - 1);
}

// ---- What happens ---------------------------------------------------------------------------------------------------------

static void take_requests(cw_hops *hops) {
    cw_hop_watch *watch = hops->watch;
    for (uint32_t worker = 0; worker < hops->worker_count; worker++) {
        for (uint32_t *request; (request = cw_ring_peek(&hops->requests[worker])) != NULL; cw_ring_release(&hops->requests[worker])) {
            uint32_t number = *request + 1;
            uint64_t key = atomic_load_explicit(&hops->slots[*request].key, memory_order_acquire);
            if (key == 0 || watch->places[number].key == key) continue;
            watch->places[number].key = key;
            if (watch->count++ == 0) watch->refresh_at = now_milliseconds() + refresh_seconds * 1000;
            resolve(hops, number);
        }
    }
}

static void void_all(cw_hops *hops) {
    cw_hop_watch *watch = hops->watch;
    atomic_fetch_add(&hops->generation, 1);
    watch->link_count = 0;
    watch->rules_known = false;
    watch->cursor = UINT32_MAX;
    if (watch->settle_at == UINT64_MAX) watch->settle_at = now_milliseconds() + settle_milliseconds;
}

static void take_neighbour(cw_hops *hops, const cw_neighbour *neighbour) {
    cw_hop_watch *watch = hops->watch;
    bool used = false;
    for (uint32_t number = watch->chains[bucket_of(hops, neighbour->interface, neighbour->address)]; number != nothing;
         number = watch->places[number].next) {
        if (watch->places[number].interface != neighbour->interface || watch->places[number].gateway != neighbour->address) continue;
        show(hops, number, neighbour);
        used = used || cw_hops_was_used(hops, number - 1, false);
    }
    if (used) probe_if_stale(hops, neighbour);
}

static bool leads_to_one_of_ours(const cw_hops *hops, const cw_notice *notice) {
    for (uint32_t number = 1; number <= hops->slot_count; number++) {
        uint64_t key = hops->watch->places[number].key;
        if (key != 0 && (((uint32_t)(key >> 32) ^ notice->network) & notice->mask) == 0) return true;
    }
    return false;
}

static bool is_link_of_ours(const cw_hop_watch *watch, uint32_t interface) {
    for (uint32_t i = 0; i < watch->link_count; i++)
        if (watch->links[i].interface == interface) return true;
    return watch->many_links;
}

static bool changes_answers(cw_hops *hops, const cw_notice *notice, uint32_t *routes) {
    switch (notice->type) {
    case CW_NOTICE_ROUTE: return ++*routes > checked_routes || leads_to_one_of_ours(hops, notice);
    case CW_NOTICE_LINK: return is_link_of_ours(hops->watch, notice->interface);
    case CW_NOTICE_RULE:
    case CW_NOTICE_ADDRESS: return true;
    case CW_NOTICE_NEIGHBOUR:
    case CW_NOTICE_OTHER: break;
    }
    return false;
}

static void take_notices(cw_hops *hops) {
    static const size_t space = 32 * 1024;
    _Alignas(8) uint8_t datagram[32 * 1024];
    uint32_t routes = 0;
    bool changed = false;
    for (;;) {
        ssize_t got = recv(hops->watch->notices_fd, datagram, space, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got < 0 || (size_t)got > space) { // some were lost (ENOBUFS)
            if (got < 0 && errno != ENOBUFS) break;
            void_all(hops);
            continue;
        }
        const uint8_t *at = datagram;
        size_t left = (size_t)got;
        for (cw_notice notice; cw_rtnl_next(&at, &left, &notice);) {
            if (notice.type == CW_NOTICE_NEIGHBOUR) take_neighbour(hops, &notice.neighbour);
            else changed = changed || changes_answers(hops, &notice, &routes);
        }
        if (changed) void_all(hops); // before anything else is read
        changed = false;
    }
}

static void ask_again(cw_hops *hops) {
    cw_hop_watch *watch = hops->watch;
    for (uint32_t asked = 0; watch->cursor <= hops->slot_count && asked < ask_again_at_once; watch->cursor++) {
        if (watch->places[watch->cursor].key == 0) continue;
        resolve(hops, watch->cursor);
        asked++;
    }
    if (watch->cursor > hops->slot_count) watch->cursor = UINT32_MAX;
}

static void refresh(cw_hops *hops) {
    cw_hop_watch *watch = hops->watch;
    for (uint32_t number = 1; number <= hops->slot_count; number++)
        if (watch->places[number].key != 0 && !cw_hops_was_used(hops, number - 1, true)) forget(hops, number);
    watch->link_count = 0;
    watch->rules_known = false;
    watch->cursor = 1;
    watch->refresh_at = watch->count == 0 ? UINT64_MAX : now_milliseconds() + refresh_seconds * 1000;
}

static int patience(const cw_hop_watch *watch) {
    if (watch->cursor != UINT32_MAX) return 0;
    uint64_t until = watch->settle_at < watch->refresh_at ? watch->settle_at : watch->refresh_at, now = now_milliseconds();
    return until == UINT64_MAX ? -1 : until <= now ? 0 : (int)(until - now);
}

void *cw_hop_watch_main(void *argument) {
    cw_hops *hops = argument;
    cw_hop_watch *watch = hops->watch;
    pthread_setname_np(pthread_self(), "causeway-hops");
    while (!atomic_load(&hops->stopping)) {
        struct pollfd waits[] = {{.fd = hops->wake_fd, .events = POLLIN}, {.fd = watch->notices_fd, .events = POLLIN}};
        (void)poll(waits, 2, patience(watch));
        uint64_t ignored;
        (void)!read(hops->wake_fd, &ignored, sizeof ignored);
        take_notices(hops);
        take_requests(hops);
        uint64_t now = now_milliseconds();
        if (watch->settle_at <= now) {
            watch->settle_at = UINT64_MAX;
            watch->cursor = 1;
        }
        if (watch->refresh_at <= now) refresh(hops);
        if (watch->cursor != UINT32_MAX) ask_again(hops);
    }
    return NULL;
}
