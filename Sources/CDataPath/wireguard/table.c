// Receiver indices, and memory for keypairs.
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "memory.h"

// ---- Indices ----
//
// An index is a slot of the table and how often that has been used, put through a keyed permutation of 32 bits: it looks random on the
// wire, is unique without a search, and finding it again costs no search either. It comes back only once its slot has been used as often as
// the other bits can count: a message that was long under way does not meet the keys of another session.

enum { rounds = 4, per_peer = 4 }; // an index of each peer's handshake and of its three keypairs

struct cw_wg_indices {
    cw_wg_index_entry *entries;
    uint32_t *free; // a stack
    uint32_t *uses; // of each slot; they begin anywhere
    uint32_t capacity, slot_bits, used, free_count;
    uint32_t turn;  // whose worker the next one is
    uint32_t keys[rounds];
};

static uint32_t mix(uint32_t half, uint32_t key) {
    uint32_t x = (half ^ key) * 0x9E3779B1u;
    x = (x ^ x >> 15) * 0x85EBCA77u;
    return (x ^ x >> 13) & 0xFFFF;
}

// A Feistel network. It hides how many sessions there are; nothing that is secret depends on it.
static uint32_t permute(const struct cw_wg_indices *indices, uint32_t value) {
    uint32_t left = value >> 16, right = value & 0xFFFF;
    for (int i = 0; i < rounds; i++) {
        uint32_t next = left ^ mix(right, indices->keys[i]);
        left = right;
        right = next;
    }
    return left << 16 | right;
}

static uint32_t permute_back(const struct cw_wg_indices *indices, uint32_t value) {
    uint32_t left = value >> 16, right = value & 0xFFFF;
    for (int i = rounds; i-- > 0;) {
        uint32_t before = right ^ mix(left, indices->keys[i]);
        right = left;
        left = before;
    }
    return left << 16 | right;
}

static uint32_t slot_of(const struct cw_wg_indices *indices, uint32_t index) {
    return permute_back(indices, index) & ((UINT32_C(1) << indices->slot_bits) - 1);
}

static struct cw_wg_indices *indices_create(uint32_t peers) {
    struct cw_wg_indices *indices = calloc(1, sizeof *indices);
    if (indices == NULL) return NULL;
    indices->capacity = per_peer * peers;
    while (UINT32_C(1) << indices->slot_bits < indices->capacity) indices->slot_bits++;
    indices->entries = cw_map(indices->capacity * sizeof *indices->entries);
    indices->free = cw_map(indices->capacity * sizeof *indices->free);
    indices->uses = cw_map(indices->capacity * sizeof *indices->uses);
    randombytes_buf(indices->keys, sizeof indices->keys);
    return indices;
}

static void indices_destroy(struct cw_wg_indices *indices) {
    if (indices == NULL) return;
    cw_unmap(indices->entries, indices->capacity * sizeof *indices->entries);
    cw_unmap(indices->free, indices->capacity * sizeof *indices->free);
    cw_unmap(indices->uses, indices->capacity * sizeof *indices->uses);
    free(indices);
}

uint32_t cw_wg_index_add(cw_wg *wg, cw_wg_peer *peer) {
    struct cw_wg_indices *indices = wg->indices;
    uint32_t slot;
    if (indices->free_count > 0) {
        slot = indices->free[--indices->free_count];
    } else if (indices->used < indices->capacity) {
        slot = indices->used++;
        indices->uses[slot] = randombytes_random();
    } else {
        return 0;
    }
    // Uses are passed over until the index belongs to the worker whose turn it is; 0 stands for a free entry.
    uint32_t workers = wg->config.worker_count, worker = indices->turn++ % workers, index;
    do {
        uint32_t use = indices->uses[slot]++;
        index = permute(indices, (indices->slot_bits < 32 ? use << indices->slot_bits : 0) | slot);
    } while (index == 0 || index % workers != worker);
    indices->entries[slot] = (cw_wg_index_entry){.index = index, .peer = peer};
    return index;
}

const cw_wg_index_entry *cw_wg_index_find(const cw_wg *wg, uint32_t index) {
    const struct cw_wg_indices *indices = wg->indices;
    uint32_t slot = slot_of(indices, index);
    if (index == 0 || slot >= indices->capacity || indices->entries[slot].index != index) return NULL;
    return &indices->entries[slot];
}

void cw_wg_index_set_pair(cw_wg *wg, uint32_t index, cw_wg_keypair *pair) {
    if (cw_wg_index_find(wg, index) != NULL) wg->indices->entries[slot_of(wg->indices, index)].pair = pair;
}

void cw_wg_index_remove(cw_wg *wg, uint32_t index) {
    if (cw_wg_index_find(wg, index) == NULL) return;
    uint32_t slot = slot_of(wg->indices, index);
    wg->indices->entries[slot] = (cw_wg_index_entry){0};
    wg->indices->free[wg->indices->free_count++] = slot;
}

// ---- Keypairs ----
//
// In blocks of locked memory, so that a small limit for it covers as many as possible; a block without keypairs is unmapped.

enum { block_bytes = 1 << 17 };

typedef struct block {
    struct block *before, *next; // blocks with something free
    uint32_t taken;
    struct place *free;
} block;

typedef struct place { // a keypair, or a free place
    union {
        cw_wg_keypair pair;
        struct place *next;
    };
    block *home;
} place;

enum { first_place = (sizeof(block) + _Alignof(place) - 1) / _Alignof(place) * _Alignof(place),
       places = (block_bytes - first_place) / sizeof(place) };

struct cw_wg_keypairs {
    block *available;
    uint32_t blocks;
};

static void list_add(struct cw_wg_keypairs *keypairs, block *one) {
    one->before = NULL;
    one->next = keypairs->available;
    if (one->next != NULL) one->next->before = one;
    keypairs->available = one;
}

static void list_remove(struct cw_wg_keypairs *keypairs, block *one) {
    if (one->before != NULL) one->before->next = one->next;
    else keypairs->available = one->next;
    if (one->next != NULL) one->next->before = one->before;
}

static block *block_create(struct cw_wg_keypairs *keypairs) {
    block *made = cw_map_secret(block_bytes);
    if (made == NULL) return NULL;
    place *all = (place *)(void *)((uint8_t *)made + first_place);
    for (size_t i = places; i-- > 0;) {
        all[i].home = made;
        all[i].next = made->free;
        made->free = &all[i];
    }
    list_add(keypairs, made);
    keypairs->blocks++;
    return made;
}

cw_wg_keypair *cw_wg_keypair_take(cw_wg *wg) {
    struct cw_wg_keypairs *keypairs = wg->keypairs;
    block *from = keypairs->available;
    if (from == NULL && (from = block_create(keypairs)) == NULL) return NULL;
    place *taken = from->free;
    from->free = taken->next;
    from->taken++;
    if (from->free == NULL) list_remove(keypairs, from);
    memset(&taken->pair, 0, sizeof taken->pair);
    pthread_spin_init(&taken->pair.replay_lock, PTHREAD_PROCESS_PRIVATE);
    return &taken->pair;
}

void cw_wg_keypair_give(cw_wg *wg, cw_wg_keypair *pair) {
    struct cw_wg_keypairs *keypairs = wg->keypairs;
    place *gone = (place *)(void *)pair;
    block *home = gone->home;
    pthread_spin_destroy(&pair->replay_lock);
    sodium_memzero(pair, sizeof *pair);
    if (home->free == NULL) list_add(keypairs, home);
    gone->next = home->free;
    home->free = gone;
    home->taken--;
    // The only block with something free stays: a keypair that comes and goes does not map and unmap.
    if (home->taken > 0 || (keypairs->available == home && home->next == NULL)) return;
    list_remove(keypairs, home);
    cw_unmap(home, block_bytes);
    keypairs->blocks--;
}

// ---- Both ----

bool cw_wg_tables_create(cw_wg *wg) {
    wg->indices = indices_create(wg->config.peer_capacity);
    wg->keypairs = calloc(1, sizeof *wg->keypairs);
    return wg->indices != NULL && wg->indices->entries != NULL && wg->indices->free != NULL && wg->indices->uses != NULL && wg->keypairs != NULL;
}

// Keypairs that are still taken keep their block: their owners go first.
void cw_wg_tables_destroy(cw_wg *wg) {
    indices_destroy(wg->indices);
    wg->indices = NULL;
    if (wg->keypairs == NULL) return;
    for (block *one = wg->keypairs->available, *next; one != NULL; one = next) {
        next = one->next;
        cw_unmap(one, block_bytes);
    }
    free(wg->keypairs);
    wg->keypairs = NULL;
}
