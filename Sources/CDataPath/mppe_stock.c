#include "mppe_stock.h"

#include <string.h>

#include "memory.h"

enum { fill_chains = 16, fill_keys = 8 }; // at one time
enum { low_mark = CW_MPPE_SPARE / 2 };

bool cw_mppe_stocks_create(cw_mppe_stocks *stocks, const cw_mppe_kernels *kernels, uint32_t capacity) {
    *stocks = (cw_mppe_stocks){.kernels = kernels, .capacity = capacity, .step = 1};
    stocks->stocks = cw_map_secret(capacity * sizeof *stocks->stocks);
    return stocks->stocks != NULL;
}

void cw_mppe_stocks_destroy(cw_mppe_stocks *stocks) {
    if (stocks->stocks == NULL) return;
    explicit_bzero(stocks->stocks, stocks->touched * sizeof *stocks->stocks);
    cw_unmap(stocks->stocks, stocks->capacity * sizeof *stocks->stocks);
    *stocks = (cw_mppe_stocks){0};
}

void cw_mppe_stocks_step(cw_mppe_stocks *stocks) { stocks->step++; }

// The list without those that nobody has.
static void forget_low(cw_mppe_stocks *stocks) {
    for (cw_mppe_stock **at = &stocks->low; *at != NULL;) {
        cw_mppe_stock *stock = *at;
        if (stock->owner != NULL) {
            at = &stock->next_low;
            continue;
        }
        *at = stock->next_low;
        stock->low = false;
    }
}

void cw_mppe_stocks_trim(cw_mppe_stocks *stocks) {
    uint32_t touched = stocks->touched, used = 0;
    for (uint32_t n = 0; n < touched; n++) {
        cw_mppe_stock *stock = &stocks->stocks[n];
        if (stock->owner != NULL && (int32_t)(stock->step - stocks->trimmed) <= 0) cw_mppe_stock_return(stock->owner);
        if (stock->owner != NULL) used = n + 1;
    }
    stocks->trimmed = stocks->step;
    cw_mppe_stocks_step(stocks); // whatever is used from here on is used after this
    if (used == touched) return;
    forget_low(stocks);
    cw_discard(stocks->stocks + used, (touched - used) * sizeof *stocks->stocks); // all zero from here on
    stocks->touched = used;
    stocks->hand = 0;
    stocks->free = NULL;
    for (uint32_t n = used; n > 0; n--) {
        cw_mppe_stock *stock = &stocks->stocks[n - 1];
        if (stock->owner != NULL) continue;
        stock->next_free = stocks->free;
        stocks->free = stock;
    }
}

// One that was not used in this step. Who had it derives its keys again.
static cw_mppe_stock *take_away(cw_mppe_stocks *stocks) {
    for (uint32_t tried = 0; tried < stocks->capacity; tried++) {
        cw_mppe_stock *stock = &stocks->stocks[stocks->hand];
        stocks->hand = (stocks->hand + 1) % stocks->capacity;
        if (stock->step == stocks->step) continue;
        cw_mppe_stock_return(stock->owner);
        return stock;
    }
    return NULL;
}

bool cw_mppe_stock_lend(cw_mppe_stocks *stocks, cw_mppe_keys *keys) {
    if (keys->stock == NULL) {
        if (stocks == NULL) return false;
        if (stocks->free == NULL && stocks->touched < stocks->capacity) {
            cw_mppe_stock *fresh = &stocks->stocks[stocks->touched++];
            fresh->from = stocks;
            stocks->free = fresh;
        }
        if (stocks->free == NULL && take_away(stocks) == NULL) return false;
        cw_mppe_stock *stock = stocks->free;
        stocks->free = stock->next_free;
        stocks->lent++;
        stock->owner = keys;
        keys->stock = stock;
    }
    keys->stock->step = keys->stock->from->step;
    return true;
}

void cw_mppe_stock_return(cw_mppe_keys *keys) {
    cw_mppe_stock *stock = keys->stock;
    if (stock == NULL) return;
    explicit_bzero(stock->ring, sizeof stock->ring);
    stock->first = stock->count = stock->uncounted = 0;
    stock->owner = NULL;
    stock->next_free = stock->from->free;
    stock->from->free = stock;
    stock->from->lent--;
    keys->stock = NULL;
}

const uint8_t *cw_mppe_stock_key(const cw_mppe_keys *keys, unsigned n) {
    return keys->stock->ring[(keys->stock->first + n) % CW_MPPE_AHEAD];
}

static void extend(cw_mppe_keys *keys, unsigned by, cw_mppe_chain *chain) {
    cw_mppe_stock *stock = keys->stock;
    *chain = (cw_mppe_chain){
        .suite = &keys->suite,
        .key = stock->count == 0 ? keys->key : cw_mppe_stock_key(keys, stock->count - 1u),
        .ring = stock->ring,
        .size = CW_MPPE_AHEAD,
        .first = (uint16_t)((stock->first + stock->count) % CW_MPPE_AHEAD),
        .count = (uint16_t)by,
    };
    stock->count = (uint8_t)(stock->count + by);
}

bool cw_mppe_stock_chain(cw_mppe_keys *keys, unsigned wanted, uint64_t *key_changes, cw_mppe_chain *chain) {
    cw_mppe_stock *stock = keys->stock;
    *key_changes += stock->uncounted;
    stock->uncounted = 0;
    if (stock->count >= wanted) return false;
    *key_changes += wanted - stock->count;
    extend(keys, wanted - stock->count, chain);
    return true;
}

void cw_mppe_stock_pass(cw_mppe_keys *keys, const uint8_t key[CW_MPPE_KEY_SIZE], uint32_t n) {
    memmove(keys->key, key, sizeof keys->key);
    cw_mppe_stock *stock = keys->stock;
    if (stock == NULL) return;
    if (n > stock->count) {
        stock->first = stock->count = stock->uncounted = 0;
    } else {
        stock->first = (uint8_t)((stock->first + n) % CW_MPPE_AHEAD);
        stock->count = (uint8_t)(stock->count - n);
    }
    if (stock->low || stock->count >= low_mark) return;
    stock->low = true;
    stock->next_low = stock->from->low;
    stock->from->low = stock;
}

void cw_mppe_stocks_fill(cw_mppe_stocks *stocks) {
    cw_mppe_chain chains[fill_chains];
    size_t count = 0;
    for (cw_mppe_stock **at = &stocks->low; *at != NULL && count < fill_chains;) {
        cw_mppe_stock *stock = *at;
        if (stock->owner != NULL && stock->count < CW_MPPE_SPARE) {
            unsigned by = CW_MPPE_SPARE - stock->count;
            if (by > fill_keys) by = fill_keys;
            stock->uncounted = (uint8_t)(stock->uncounted + by);
            extend(stock->owner, by, &chains[count++]);
            if (stock->count < CW_MPPE_SPARE) {
                at = &stock->next_low;
                continue;
            }
        }
        *at = stock->next_low;
        stock->low = false;
    }
    cw_mppe_batch_keys(stocks->kernels, chains, count);
}
