// The table of next hops: one writer, many readers, nobody waits.
#define _GNU_SOURCE
#include "io_hop.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ip.h"
#include "link_bytes.h"
#include "memory.h"

enum {
    slots_minimum = 64,
    reach = 8,      // places looked at from the first one on
    requests = 256, // of a worker that wait; more are asked for with a later packet
};

// ---- Life ---------------------------------------------------------------------------------------------------------------

bool cw_hops_create(cw_hops *hops, uint32_t sessions, uint32_t workers) {
    *hops = (cw_hops){.slot_count = slots_minimum, .worker_count = workers, .wake_fd = -1};
    while (hops->slot_count < 2 * sessions) hops->slot_count *= 2;
    atomic_store(&hops->generation, 1);
    hops->slots = cw_map(hops->slot_count * sizeof *hops->slots);
    size_t size = workers * sizeof *hops->requests;
    hops->requests = aligned_alloc(_Alignof(cw_ring), size);
    if (hops->requests != NULL) memset(hops->requests, 0, size);
    hops->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (hops->slots == NULL || hops->requests == NULL || hops->wake_fd < 0) return false;
    for (uint32_t i = 0; i < workers; i++)
        if (!cw_ring_create(&hops->requests[i], sizeof(uint32_t), requests)) return false;
    return cw_hop_watch_create(hops);
}

void cw_hops_destroy(cw_hops *hops) {
    cw_hops_stop(hops);
    cw_hop_watch_destroy(hops);
    for (uint32_t i = 0; hops->requests != NULL && i < hops->worker_count; i++) cw_ring_destroy(&hops->requests[i]);
    free(hops->requests);
    cw_unmap(hops->slots, hops->slot_count * sizeof *hops->slots);
    if (hops->wake_fd >= 0) close(hops->wake_fd);
    hops->requests = NULL;
    hops->slots = NULL;
    hops->wake_fd = -1;
}

static void wake(cw_hops *hops) {
    uint64_t one = 1;
    while (write(hops->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

bool cw_hops_start(cw_hops *hops) {
    atomic_store(&hops->stopping, false);
    sigset_t all, before; // signals belong to the rest of the process
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&hops->thread, NULL, cw_hop_watch_main, hops);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return hops->running = error == 0;
}

void cw_hops_stop(cw_hops *hops) {
    if (!hops->running) return;
    atomic_store(&hops->stopping, true);
    wake(hops);
    pthread_join(hops->thread, NULL);
    hops->running = false;
    atomic_fetch_add(&hops->generation, 1); // nobody keeps it any more
}

// ---- Reading ------------------------------------------------------------------------------------------------------------

static cw_hop_slot *nth(const cw_hops *hops, uint32_t first, uint32_t n) { return &hops->slots[(first + n) & (hops->slot_count - 1)]; }

static bool read_slot(cw_hop_slot *slot, uint64_t key, cw_hop *out) {
    uint64_t words[CW_HOP_WORDS];
    uint32_t version = atomic_load_explicit(&slot->version, memory_order_acquire);
    for (int i = 0; i < CW_HOP_WORDS; i++) words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    // Whoever saw a word of a later version sees that version too, and its key.
    if (version % 2 != 0 || atomic_load_explicit(&slot->version, memory_order_acquire) != version) return false;
    if (atomic_load_explicit(&slot->key, memory_order_acquire) != key) return false;
    memcpy(out, words, sizeof *out);
    return true;
}

static void ask(cw_hops *hops, uint32_t worker, cw_hop_slot *slot, uint64_t key) {
    uint32_t *request = cw_ring_reserve(&hops->requests[worker]);
    if (request == NULL) return;
    uint64_t none = 0;
    // Another worker may have been faster. The thread does not mind being asked about somebody else's place.
    (void)atomic_compare_exchange_strong(&slot->key, &none, key);
    *request = (uint32_t)(slot - hops->slots);
    cw_ring_publish(&hops->requests[worker]);
    wake(hops);
}

bool cw_hops_find(cw_hops *hops, uint32_t worker, uint32_t peer, uint32_t local, cw_hop *out) {
    uint64_t key = (uint64_t)peer << 32 | local;
    if (peer == 0) return false;
    uint32_t first = cw_hop_hash(peer, local);
    cw_hop_slot *found = NULL, *empty = NULL;
    for (uint32_t i = 0; i < reach && found == NULL; i++) {
        cw_hop_slot *slot = nth(hops, first, i);
        uint64_t has = atomic_load_explicit(&slot->key, memory_order_acquire);
        if (has == key) found = slot;
        else if (has == 0 && empty == NULL) empty = slot;
    }
    if (found == NULL) {
        if (empty != NULL) ask(hops, worker, empty, key);
        return false;
    }
    if (atomic_load_explicit(&found->used, memory_order_relaxed) == 0) atomic_store_explicit(&found->used, 1, memory_order_relaxed);
    return read_slot(found, key, out) && out->interface != 0 &&
           out->generation == atomic_load_explicit(&hops->generation, memory_order_acquire);
}

void cw_hop_frame(const cw_hop *hop, uint32_t peer, uint16_t identification, uint8_t *gre, uint32_t length) {
    uint8_t *ip = gre - CW_IPV4_HEADER;
    memcpy(gre - CW_HOP_FRAME, hop->ethernet, CW_HOP_ETHERNET);
    ip[0] = 0x45;
    ip[1] = 0;
    cw_put16(ip + 2, (uint16_t)(CW_IPV4_HEADER + length));
    cw_put16(ip + 4, identification);
    cw_put16(ip + 6, 0);
    ip[8] = hop->ttl;
    ip[9] = IPPROTO_GRE;
    cw_put16(ip + 10, 0);
    memcpy(ip + 12, &hop->source, 4);
    memcpy(ip + 16, &peer, 4);
    cw_put16(ip + 10, cw_checksum(cw_sum(0, ip, CW_IPV4_HEADER)));
}

// ---- Writing ------------------------------------------------------------------------------------------------------------

void cw_hops_publish(cw_hops *hops, uint32_t slot, const cw_hop *hop) {
    cw_hop_slot *out = &hops->slots[slot];
    uint64_t words[CW_HOP_WORDS];
    memcpy(words, hop, sizeof words);
    uint32_t version = atomic_load_explicit(&out->version, memory_order_relaxed);
    atomic_store_explicit(&out->version, version + 1, memory_order_relaxed);
    for (int i = 0; i < CW_HOP_WORDS; i++) atomic_store_explicit(&out->words[i], words[i], memory_order_release);
    atomic_store_explicit(&out->version, version + 2, memory_order_release);
}

void cw_hops_forget(cw_hops *hops, uint32_t slot) {
    cw_hops_publish(hops, slot, &(cw_hop){0}); // what the next owner of the place finds
    atomic_store_explicit(&hops->slots[slot].key, 0, memory_order_release);
}

bool cw_hops_was_used(cw_hops *hops, uint32_t slot, bool clear) {
    _Atomic uint32_t *used = &hops->slots[slot].used;
    return (clear ? atomic_exchange_explicit(used, 0, memory_order_relaxed) : atomic_load_explicit(used, memory_order_relaxed)) != 0;
}
