#include "limiter.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "token_bucket.h"
#include "wire.h"

// A bucket is full again this long after its last token was taken at the latest; a second later its source is forgotten.
#define FORGET_AFTER (CW_WG_SECOND + CW_LIMITER_BURST * CW_WG_SECOND / CW_LIMITER_RATE)

typedef uint32_t place; // in `sources`, plus 1; 0: none

typedef struct source {
    uint64_t network; // IPv4 address or IPv6 /64
    uint8_t family;
    place next;              // of the same chain, or of the free ones
    place older, newer;      // by `taken`
    uint64_t taken;          // when its last token was
    cw_bucket bucket;
} source;

struct cw_limiter {
    uint8_t key[crypto_shorthash_KEYBYTES]; // who sends cannot choose a chain
    uint32_t mask, capacity;
    uint32_t used; // of `sources`: what was never needed is never touched
    place free, oldest, newest;
    place *chains;
    source *sources;
};

static source *at(cw_limiter *limiter, place p) { return &limiter->sources[p - 1]; }

static place *chain_of(cw_limiter *limiter, uint64_t network, uint8_t family) {
    uint8_t input[9], hash[crypto_shorthash_BYTES];
    cw_put_le64(input, network);
    input[8] = family;
    crypto_shorthash(hash, input, sizeof input, limiter->key);
    return &limiter->chains[cw_le32(hash) & limiter->mask];
}

// The list by age holds every source in use, so the one to forget first is at its end.
static void append(cw_limiter *limiter, place p) {
    source *s = at(limiter, p);
    s->older = limiter->newest;
    s->newer = 0;
    if (limiter->newest != 0) at(limiter, limiter->newest)->newer = p;
    else limiter->oldest = p;
    limiter->newest = p;
}

static void unlink_age(cw_limiter *limiter, place p) {
    source *s = at(limiter, p);
    if (s->older != 0) at(limiter, s->older)->newer = s->newer;
    else limiter->oldest = s->newer;
    if (s->newer != 0) at(limiter, s->newer)->older = s->older;
    else limiter->newest = s->older;
}

static void forget(cw_limiter *limiter, place p) {
    source *s = at(limiter, p);
    place *from = chain_of(limiter, s->network, s->family);
    while (*from != p) from = &at(limiter, *from)->next;
    *from = s->next;
    unlink_age(limiter, p);
    s->next = limiter->free;
    limiter->free = p;
}

static place take_free(cw_limiter *limiter) {
    place p = limiter->free;
    if (p != 0) limiter->free = at(limiter, p)->next;
    else if (limiter->used < limiter->capacity) p = ++limiter->used;
    return p;
}

// At most two for each call: as many go as come, and a crowd that has gone is let go over the next calls.
static void forget_old(cw_limiter *limiter, uint64_t now) {
    for (int i = 0; i < 2 && limiter->oldest != 0; i++) {
        if (now - at(limiter, limiter->oldest)->taken < FORGET_AFTER) return;
        forget(limiter, limiter->oldest);
    }
}

cw_limiter *cw_limiter_create(uint32_t capacity) {
    uint32_t chains = 1;
    while (chains < capacity && chains < UINT32_C(1) << 31) chains <<= 1;
    cw_limiter *limiter = calloc(1, sizeof *limiter);
    if (limiter == NULL) return NULL;
    limiter->mask = chains - 1;
    limiter->chains = calloc(chains, sizeof *limiter->chains);
    limiter->sources = calloc(capacity, sizeof *limiter->sources);
    if (capacity == 0 || limiter->chains == NULL || limiter->sources == NULL) {
        cw_limiter_destroy(limiter);
        return NULL;
    }
    crypto_shorthash_keygen(limiter->key);
    limiter->capacity = capacity;
    return limiter;
}

void cw_limiter_destroy(cw_limiter *limiter) {
    if (limiter == NULL) return;
    free(limiter->chains);
    free(limiter->sources);
    free(limiter);
}

bool cw_limiter_allow(cw_limiter *limiter, const cw_address *address, uint64_t now) {
    if (address->family != 4 && address->family != 6) return false;
    uint64_t network = address->family == 4 ? cw_le32(address->bytes) : cw_le64(address->bytes);
    forget_old(limiter, now);
    place *chain = chain_of(limiter, network, address->family);
    place p = *chain;
    while (p != 0 && (at(limiter, p)->network != network || at(limiter, p)->family != address->family)) p = at(limiter, p)->next;
    if (p != 0) {
        if (!cw_bucket_take(&at(limiter, p)->bucket, 1, now)) return false;
        unlink_age(limiter, p);
    } else {
        p = take_free(limiter);
        if (p == 0) return false;
        source *s = at(limiter, p);
        *s = (source){.network = network, .family = address->family, .next = *chain};
        s->bucket = cw_bucket_full(CW_LIMITER_RATE, CW_LIMITER_BURST, now);
        (void)cw_bucket_take(&s->bucket, 1, now);
        *chain = p;
    }
    at(limiter, p)->taken = now;
    append(limiter, p);
    return true;
}
