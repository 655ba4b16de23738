#include "allowed_ips.h"

#include <stdlib.h>
#include <string.h>

#include "prefix_trie.h"

// A prefix with its place in the list of its peer's.
typedef struct entry {
    cw_prefix prefix;
    uint32_t before, next; // 0: none; of a free entry, `next` is the next free one
    cw_wg_peer *peer;
} entry;

typedef struct room {
    entry *entries; // index 0 is not used
    void *nodes;    // of the trie
    uint32_t prefixes;
} room;

struct cw_allowed_ips {
    cw_trie trie; // prefix -> index of its entry
    room room, next_room; // the second: allocated by reserve, taken into use by the next set
    uint32_t used, free, count;
};

cw_allowed_ips *cw_allowed_ips_create(void) { return calloc(1, sizeof(cw_allowed_ips)); }

static void room_free(room *room) {
    free(room->entries);
    free(room->nodes);
    memset(room, 0, sizeof *room);
}

void cw_allowed_ips_destroy(cw_allowed_ips *table) {
    if (table == NULL) return;
    room_free(&table->room);
    room_free(&table->next_room);
    free(table);
}

static size_t entry_bytes(uint32_t prefixes) { return ((size_t)prefixes + 1) * sizeof(entry); }

bool cw_allowed_ips_reserve(cw_allowed_ips *table, size_t prefixes) {
    enum { most = 1 << 28 };
    if (prefixes > most - table->count) return false;
    uint32_t wanted = table->count + (uint32_t)prefixes;
    if (wanted <= table->room.prefixes || wanted <= table->next_room.prefixes) return true;
    // A table that grows bit by bit grows by half; most have one prefix and stay as small as that.
    uint32_t grown = table->room.prefixes + table->room.prefixes / 2;
    room fresh = {.prefixes = wanted > grown ? wanted : grown};
    fresh.entries = malloc(entry_bytes(fresh.prefixes));
    fresh.nodes = malloc(cw_trie_memory(fresh.prefixes));
    if (fresh.entries == NULL || fresh.nodes == NULL) {
        room_free(&fresh);
        return false;
    }
    room_free(&table->next_room);
    table->next_room = fresh;
    return true;
}

static void take_room(cw_allowed_ips *table) {
    if (table->next_room.entries == NULL) return;
    room old = table->room;
    if (table->used > 0) memcpy(table->next_room.entries, old.entries, (size_t)table->used * sizeof(entry));
    else table->used = 1;
    cw_trie_use(&table->trie, table->next_room.nodes, table->next_room.prefixes);
    table->room = table->next_room;
    table->next_room = (room){0};
    room_free(&old);
}

static void append(cw_allowed_ips *table, uint32_t index, cw_wg_peer *peer) {
    entry *entries = table->room.entries;
    entries[index].peer = peer;
    entries[index].next = 0;
    entries[index].before = peer->allowed_last;
    if (peer->allowed_last != 0) entries[peer->allowed_last].next = index;
    else peer->allowed_first = index;
    peer->allowed_last = index;
    peer->allowed_ip_count++;
}

static void unlink_entry(cw_allowed_ips *table, uint32_t index) {
    entry *entries = table->room.entries, *gone = &entries[index];
    if (gone->before != 0) entries[gone->before].next = gone->next;
    else gone->peer->allowed_first = gone->next;
    if (gone->next != 0) entries[gone->next].before = gone->before;
    else gone->peer->allowed_last = gone->before;
    gone->peer->allowed_ip_count--;
}

// Bits after the length do not count, as in the kernel module: 10.0.0.1/8 is 10.0.0.0/8.
static cw_prefix masked(const cw_prefix *prefix) {
    cw_prefix kept = {.address.family = prefix->address.family, .length = prefix->length};
    unsigned bytes = prefix->length / 8, bits = prefix->length % 8;
    memcpy(kept.address.bytes, prefix->address.bytes, bytes);
    if (bits != 0) kept.address.bytes[bytes] = (uint8_t)(prefix->address.bytes[bytes] & 0xFF00 >> bits);
    return kept;
}

void cw_allowed_ips_set(cw_allowed_ips *table, const cw_prefix *prefix, cw_wg_peer *peer) {
    take_room(table);
    cw_prefix key = masked(prefix);
    uint32_t index = (uint32_t)cw_trie_get(&table->trie, &key);
    if (index != 0) {
        if (table->room.entries[index].peer == peer) return;
        unlink_entry(table, index);
        append(table, index, peer);
        return;
    }
    index = table->free;
    if (index != 0) table->free = table->room.entries[index].next;
    else index = table->used++;
    table->room.entries[index].prefix = key;
    append(table, index, peer);
    table->count++;
    (void)cw_trie_set(&table->trie, &key, index); // there is room: the caller has reserved it
}

void cw_allowed_ips_remove_peer(cw_allowed_ips *table, cw_wg_peer *peer) {
    while (peer->allowed_first != 0) {
        uint32_t index = peer->allowed_first;
        entry *gone = &table->room.entries[index];
        unlink_entry(table, index);
        cw_trie_remove(&table->trie, &gone->prefix, index);
        gone->next = table->free;
        table->free = index;
        table->count--;
    }
}

size_t cw_allowed_ips_list(const cw_allowed_ips *table, const cw_wg_peer *peer, cw_prefix *out, size_t capacity) {
    size_t count = 0;
    for (uint32_t index = peer->allowed_first; index != 0 && count < capacity; index = table->room.entries[index].next)
        out[count++] = table->room.entries[index].prefix;
    return count;
}

cw_wg_peer *cw_allowed_ips_find(const cw_allowed_ips *table, uint8_t family, const uint8_t *address) {
    uint64_t index = cw_trie_find(&table->trie, family, address);
    return index == 0 ? NULL : table->room.entries[index].peer;
}

size_t cw_allowed_ips_bytes(const cw_allowed_ips *table) {
    size_t bytes = sizeof *table;
    if (table->room.prefixes > 0) bytes += entry_bytes(table->room.prefixes) + cw_trie_memory(table->room.prefixes);
    if (table->next_room.prefixes > 0) bytes += entry_bytes(table->next_room.prefixes) + cw_trie_memory(table->next_room.prefixes);
    return bytes;
}
