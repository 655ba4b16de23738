#include "prefix_trie.h"

#include <string.h>

#include "memory.h"

// Bits of an address from the most significant one down; IPv4 uses the upper half of `high`.
typedef struct bits {
    uint64_t high, low;
} bits;

struct cw_trie_node {
    bits key;
    uint64_t value; // 0: an inner node only
    uint32_t child[2];
    uint8_t length;
};

static uint64_t load64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

static bits address_bits(uint8_t family, const uint8_t *p) {
    if (family == 4) return (bits){(uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 | (uint64_t)p[3] << 32, 0};
    return (bits){load64(p), load64(p + 8)};
}

static bits keep(bits b, unsigned length) {
    if (length == 0) return (bits){0, 0};
    if (length <= 64) return (bits){b.high & (~UINT64_C(0) << (64 - length)), 0};
    if (length < 128) return (bits){b.high, b.low & (~UINT64_C(0) << (128 - length))};
    return b;
}

static unsigned bit_at(bits b, unsigned index) {
    return (unsigned)((index < 64 ? b.high >> (63 - index) : b.low >> (127 - index)) & 1);
}

static unsigned common_length(bits a, bits b, unsigned limit) {
    unsigned n = 128;
    if (a.high != b.high) n = (unsigned)__builtin_clzll(a.high ^ b.high);
    else if (a.low != b.low) n = 64 + (unsigned)__builtin_clzll(a.low ^ b.low);
    return n < limit ? n : limit;
}

static bool covers(const cw_trie_node *node, bits key) {
    bits kept = keep(key, node->length);
    return kept.high == node->key.high && kept.low == node->key.low;
}

bool cw_prefix_valid(const cw_prefix *prefix) {
    uint8_t family = prefix->address.family;
    if ((family != 4 && family != 6) || prefix->length > (family == 4 ? 32 : 128)) return false;
    bits key = address_bits(family, prefix->address.bytes), kept = keep(key, prefix->length);
    return key.high == kept.high && key.low == kept.low;
}

bool cw_prefix_contains(const cw_prefix *prefix, uint8_t family, const uint8_t *address) {
    if (prefix->address.family != family) return false;
    bits a = keep(address_bits(family, address), prefix->length), key = address_bits(family, prefix->address.bytes);
    return a.high == key.high && a.low == key.low;
}

// Each prefix adds its own node and at most one branch.
static uint32_t nodes_for(uint32_t prefixes) { return 2 * prefixes + 1; }

size_t cw_trie_memory(uint32_t prefixes) { return (size_t)nodes_for(prefixes) * sizeof(cw_trie_node); }

void cw_trie_use(cw_trie *trie, void *memory, uint32_t prefixes) {
    if (trie->used > 0) memcpy(memory, trie->nodes, (size_t)trie->used * sizeof(cw_trie_node));
    else trie->used = 1;
    trie->nodes = memory;
    trie->capacity = nodes_for(prefixes);
}

bool cw_trie_create(cw_trie *trie, uint32_t prefixes) {
    memset(trie, 0, sizeof *trie);
    uint32_t capacity = nodes_for(prefixes);
    trie->nodes = cw_map((size_t)capacity * sizeof(cw_trie_node));
    if (trie->nodes == NULL) return false;
    trie->capacity = capacity;
    trie->used = 1;
    return true;
}

void cw_trie_destroy(cw_trie *trie) {
    cw_unmap(trie->nodes, (size_t)trie->capacity * sizeof(cw_trie_node));
    trie->nodes = NULL;
}

static uint32_t take_node(cw_trie *trie, bits key, unsigned length) {
    uint32_t index = trie->free;
    if (index != 0) trie->free = trie->nodes[index].child[0];
    else if (trie->used < trie->capacity) index = trie->used++;
    else return 0;
    trie->nodes[index] = (cw_trie_node){.key = key, .length = (uint8_t)length};
    return index;
}

static void give_node(cw_trie *trie, uint32_t index) {
    trie->nodes[index] = (cw_trie_node){.child = {trie->free, 0}};
    trie->free = index;
}

static uint32_t *root_of(cw_trie *trie, uint8_t family) { return &trie->root[family == 6]; }

bool cw_trie_set(cw_trie *trie, const cw_prefix *prefix, uint64_t value) {
    bits key = address_bits(prefix->address.family, prefix->address.bytes);
    unsigned length = prefix->length;
    uint32_t *at = root_of(trie, prefix->address.family);
    for (;;) {
        if (*at == 0) {
            uint32_t leaf = take_node(trie, key, length);
            if (leaf == 0) return false;
            trie->nodes[leaf].value = value;
            *at = leaf;
            return true;
        }
        cw_trie_node *node = &trie->nodes[*at];
        unsigned shared = common_length(key, node->key, length < node->length ? length : node->length);
        if (shared == node->length) {
            if (shared == length) {
                node->value = value;
                return true;
            }
            at = &node->child[bit_at(key, shared)];
            continue;
        }
        // The node parts from the key: put one above it that is the new prefix itself, or a branch to both.
        uint32_t above = take_node(trie, keep(key, shared), shared);
        if (above == 0) return false;
        if (shared == length) {
            trie->nodes[above].value = value;
        } else {
            uint32_t leaf = take_node(trie, key, length);
            if (leaf == 0) {
                give_node(trie, above);
                return false;
            }
            trie->nodes[leaf].value = value;
            trie->nodes[above].child[bit_at(key, shared)] = leaf;
        }
        trie->nodes[above].child[bit_at(node->key, shared)] = *at;
        *at = above;
        return true;
    }
}

uint64_t cw_trie_get(const cw_trie *trie, const cw_prefix *prefix) {
    bits key = address_bits(prefix->address.family, prefix->address.bytes);
    for (uint32_t index = trie->root[prefix->address.family == 6]; index != 0;) {
        const cw_trie_node *node = &trie->nodes[index];
        if (node->length > prefix->length || !covers(node, key)) break;
        if (node->length == prefix->length) return node->value;
        index = node->child[bit_at(key, node->length)];
    }
    return 0;
}

bool cw_trie_remove(cw_trie *trie, const cw_prefix *prefix, uint64_t value) {
    bits key = address_bits(prefix->address.family, prefix->address.bytes);
    uint32_t *at = root_of(trie, prefix->address.family), *parent = NULL;
    while (*at != 0) {
        cw_trie_node *node = &trie->nodes[*at];
        if (node->length > prefix->length || !covers(node, key)) return false;
        if (node->length == prefix->length) break;
        parent = at;
        at = &node->child[bit_at(key, node->length)];
    }
    if (*at == 0 || trie->nodes[*at].value == 0 || trie->nodes[*at].value != value) return false;
    trie->nodes[*at].value = 0;
    // A node without a value stays only where it branches; removing a leaf may leave its parent without a reason as well.
    for (uint32_t *link = at; link != NULL; link = link == at ? parent : NULL) {
        cw_trie_node *node = &trie->nodes[*link];
        if (node->value != 0 || (node->child[0] != 0 && node->child[1] != 0)) break;
        uint32_t gone = *link;
        *link = node->child[0] != 0 ? node->child[0] : node->child[1];
        give_node(trie, gone);
    }
    return true;
}

uint64_t cw_trie_find(const cw_trie *trie, uint8_t family, const uint8_t *address) {
    bits key = address_bits(family, address);
    unsigned width = family == 4 ? 32 : 128;
    uint64_t best = 0;
    for (uint32_t index = trie->root[family == 6]; index != 0;) {
        const cw_trie_node *node = &trie->nodes[index];
        if (!covers(node, key)) break;
        if (node->value != 0) best = node->value;
        if (node->length == width) break;
        index = node->child[bit_at(key, node->length)];
    }
    return best;
}
