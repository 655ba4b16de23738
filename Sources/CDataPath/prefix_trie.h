// Longest-prefix match over inner addresses of both families: a path-compressed binary trie in a fixed pool of nodes.
// Each worker has its own and changes it only between batches, so look-ups take no lock. WireGuard's identities have one each, which
// grows (wireguard/allowed_ips.c).
#ifndef CW_PREFIX_TRIE_H
#define CW_PREFIX_TRIE_H

#include "causeway_datapath.h"

typedef struct cw_trie_node cw_trie_node;

typedef struct cw_trie {
    cw_trie_node *nodes; // index 0 means "none"
    uint32_t capacity;   // nodes
    uint32_t used;       // nodes ever taken from the pool
    uint32_t free;       // list of returned nodes, linked through child[0]
    uint32_t root[2];    // IPv4, IPv6
} cw_trie;

bool cw_trie_create(cw_trie *trie, uint32_t prefixes); // room for that many prefixes
void cw_trie_destroy(cw_trie *trie);

// The same in memory of the caller's, who gives more when there are more prefixes; no create and no destroy then. What was in the trie
// moves to `memory`, which has at least cw_trie_memory(prefixes) bytes; the memory before that is not needed any more.
size_t cw_trie_memory(uint32_t prefixes);
void cw_trie_use(cw_trie *trie, void *memory, uint32_t prefixes); // a zeroed trie is empty; never less than it had

// True when family and length are in range and no bit after the length is set.
bool cw_prefix_valid(const cw_prefix *prefix);
bool cw_prefix_contains(const cw_prefix *prefix, uint8_t family, const uint8_t *address);

// Sets a prefix's value, replacing what it had. Values are not 0. False: the pool is exhausted.
bool cw_trie_set(cw_trie *trie, const cw_prefix *prefix, uint64_t value);
// Removes the prefix only if it still has this value: a late removal cannot undo a newer binding.
bool cw_trie_remove(cw_trie *trie, const cw_prefix *prefix, uint64_t value);
// Value of exactly this prefix; 0: none.
uint64_t cw_trie_get(const cw_trie *trie, const cw_prefix *prefix);
// Value of the longest prefix that contains the address (4 or 16 bytes in network order); 0: none.
uint64_t cw_trie_find(const cw_trie *trie, uint8_t family, const uint8_t *address);

#endif
