// An engine from nothing to nothing.
#define _GNU_SOURCE
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control.h"
#include "crypto.h"
#include "memory.h"

void cw_wg_config_defaults(cw_wg_config *config) {
    *config = (cw_wg_config){
        .worker_count = 1,
        .identity_capacity = 4096,
        .peer_capacity = 8192,
        .staged_packets = 128,
        .outstanding = 64,
        .scan_budget = 200000,
    };
}

static bool is_valid(const cw_wg_config *config) {
    return config->worker_count >= 1 && config->worker_count <= CW_MAX_WORKERS && config->identity_capacity >= 1 &&
           config->identity_capacity <= 65535 && config->peer_capacity >= 1 && config->peer_capacity <= 262144 &&
           config->staged_packets <= 128 && config->outstanding >= 1 && config->outstanding <= 4096;
}

// At least twice as many places as entries.
static uint32_t mask_for(uint32_t entries) {
    uint32_t places = 16;
    while (places < 2 * entries) places *= 2;
    return places - 1;
}

static size_t identities_size(const cw_wg *wg) { return (wg->config.identity_capacity + 1) * sizeof(cw_wg_identity); }
static size_t peers_size(const cw_wg *wg) { return wg->config.peer_capacity * sizeof(cw_wg_peer); }
static size_t by_key_size(const cw_wg *wg) { return (wg->by_key_mask + 1) * sizeof(uint32_t); }
static size_t by_endpoint_size(const cw_wg *wg) { return (wg->by_endpoint_mask + 1) * sizeof(cw_wg_peer *); }
static size_t windows_size(const cw_wg *wg) { return (wg->by_endpoint_mask + 1) * sizeof(struct cw_wg_window *); }
static size_t letters_size(void) { return CW_WG_HANDSHAKE_QUEUE * sizeof(cw_wg_letter); }
static size_t free_peers_size(const cw_wg *wg) { return wg->config.peer_capacity * sizeof(uint32_t); }
static size_t free_identities_size(const cw_wg *wg) { return (wg->config.identity_capacity + 1) * sizeof(uint32_t); }
static size_t generations_size(const cw_wg *wg) { return (wg->config.identity_capacity + 1) * sizeof(uint16_t); }

// Everything is mapped for its greatest size and touched only when used.
static bool map_all(cw_wg *wg) {
    wg->by_key_mask = wg->by_endpoint_mask = mask_for(wg->config.peer_capacity);
    wg->identities = cw_map_secret(identities_size(wg));
    wg->peers = cw_map_secret(peers_size(wg));
    wg->by_key = cw_map(by_key_size(wg));
    wg->by_endpoint = cw_map(by_endpoint_size(wg));
    wg->windows = cw_map(windows_size(wg));
    wg->letters.ring = cw_map(letters_size());
    wg->free_peers = cw_map(free_peers_size(wg));
    wg->free_identities = cw_map(free_identities_size(wg));
    wg->generations = cw_map(generations_size(wg));
    wg->tallies = aligned_alloc(_Alignof(cw_wg_tally), (wg->config.worker_count + 1) * sizeof(cw_wg_tally));
    if (wg->tallies != NULL) memset(wg->tallies, 0, (wg->config.worker_count + 1) * sizeof(cw_wg_tally));
    wg->limiter = cw_limiter_create(8192); // sources of handshakes within a second or so
    return wg->identities != NULL && wg->peers != NULL && wg->by_key != NULL && wg->by_endpoint != NULL && wg->windows != NULL &&
           wg->letters.ring != NULL && wg->free_peers != NULL && wg->free_identities != NULL && wg->generations != NULL && wg->tallies != NULL && wg->limiter != NULL &&
           cw_timers_create(&wg->timers, wg->config.peer_capacity + 1); // and one for pacing
}

static void unmap_all(cw_wg *wg) {
    cw_unmap(wg->identities, identities_size(wg));
    cw_unmap(wg->peers, peers_size(wg));
    cw_unmap(wg->by_key, by_key_size(wg));
    cw_unmap(wg->by_endpoint, by_endpoint_size(wg));
    cw_unmap(wg->windows, windows_size(wg));
    cw_unmap(wg->letters.ring, letters_size());
    cw_unmap(wg->free_peers, free_peers_size(wg));
    cw_unmap(wg->free_identities, free_identities_size(wg));
    cw_unmap(wg->generations, generations_size(wg));
    free(wg->tallies);
    if (wg->limiter != NULL) cw_limiter_destroy(wg->limiter);
    if (wg->timers.timers != NULL) cw_timers_destroy(&wg->timers);
}

static void free_all(cw_wg *wg) {
    unmap_all(wg);
    if (wg->wake_fd >= 0) close(wg->wake_fd);
    pthread_mutex_destroy(&wg->letters.leaf);
    pthread_mutex_destroy(&wg->lock);
    sodium_memzero(wg, sizeof *wg);
    free(wg);
}

cw_status cw_wg_create(const cw_wg_config *config, cw_wg **out) {
    if (!is_valid(config) || !cw_isa_setting_valid()) return CW_INVALID;
    cw_crypto_prepare();
    cw_wg *wg = aligned_alloc(_Alignof(cw_wg), sizeof *wg);
    if (wg == NULL) return CW_NO_MEMORY;
    memset(wg, 0, sizeof *wg);
    wg->config = *config;
    pthread_mutex_init(&wg->lock, NULL);
    pthread_mutex_init(&wg->letters.leaf, NULL);
    wg->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cw_status status = wg->wake_fd < 0 ? CW_SYSTEM : CW_NO_MEMORY;
    if (wg->wake_fd >= 0 && map_all(wg) && cw_gate_create(&wg->gate, config->worker_count)) {
        randombytes_buf(&wg->hash_seed, sizeof wg->hash_seed);
        wg->scan_bucket = cw_bucket_full(config->scan_budget, config->scan_budget, 0);
        if (cw_wg_data_create(wg)) {
            *out = wg;
            return CW_OK;
        }
        cw_gate_destroy(&wg->gate);
    }
    int error = errno;
    free_all(wg);
    errno = error;
    return status;
}

void cw_wg_destroy(cw_wg *wg) {
    if (wg == NULL) return;
    cw_wg_stop(wg);
    for (uint32_t i = 1; i <= wg->identities_used; i++)
        if (wg->identities[i].handle != 0) (void)cw_wg_identity_remove(wg, wg->identities[i].handle);
    for (uint32_t port = 1; port <= CW_WG_MAX_PORTS; port++)
        if (wg->ports[port].udp != NULL) (void)cw_wg_port_close(wg, port);
    cw_wg_pacing_destroy(wg);
    cw_wg_data_destroy(wg);
    cw_gate_destroy(&wg->gate);
    free_all(wg);
}

void cw_wg_counters_read(cw_wg *wg, cw_wg_counters *out) {
    uint64_t values[sizeof *out / sizeof(uint64_t)] = {0};
    for (uint32_t thread = 0; thread <= wg->config.worker_count; thread++)
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
            values[i] += atomic_load_explicit(&wg->tallies[thread].values[i], memory_order_relaxed);
    memcpy(out, values, sizeof values);
    pthread_mutex_lock(&wg->lock);
    out->waiting = wg->waiting;
    out->outstanding = wg->outstanding;
    pthread_mutex_unlock(&wg->lock);
}

void cw_wg_public_key(uint8_t private_key[CW_WG_KEY_SIZE], uint8_t public_key[CW_WG_KEY_SIZE]) {
    cw_crypto_clamp(private_key);
    cw_crypto_public(public_key, private_key);
}
