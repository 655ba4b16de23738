// Session keys computed ahead. A direction's key chain does not depend on its data, so keys may be there before the packets are: for packets
// that arrived early, for a whole batch at once, and because a worker had nothing better to do.
//
// The keys are in stocks, which belong to a worker and are lent to the directions that carry packets: an idle session has none. There are
// fewer stocks than directions of a full gateway; a stock can be taken away from whom it was lent to, since all of its keys can be derived
// again. What was used since the last cw_mppe_stocks_step stays where it is.
#ifndef CW_MPPE_STOCK_H
#define CW_MPPE_STOCK_H

#include "mppe_batch.h"

enum { // ours
    CW_MPPE_AHEAD = 64,  // keys of a stock
    CW_MPPE_SPARE = 16,  // that an idle worker sees to
};

typedef struct cw_mppe_stock cw_mppe_stock;

// One direction's chain.
typedef struct cw_mppe_keys {
    cw_mppe_stock *stock;          // the keys after `key`, as far as they were derived; NULL: none
    uint8_t key[CW_MPPE_KEY_SIZE]; // of the last packet; before the first one: the initial key
    cw_mppe_suite suite;
} cw_mppe_keys;

typedef struct cw_mppe_stocks cw_mppe_stocks;

struct cw_mppe_stock {
    cw_mppe_stocks *from;
    cw_mppe_keys *owner; // NULL: free
    cw_mppe_stock *next_free, *next_low;
    uint32_t step;     // of the last use
    bool low;          // on the list of those that an idle worker fills
    uint8_t first, count;
    uint8_t uncounted; // of them: derived by an idle worker, nobody's key changes yet
    uint8_t ring[CW_MPPE_AHEAD][CW_MPPE_KEY_SIZE];
};

struct cw_mppe_stocks {
    const cw_mppe_kernels *kernels;
    cw_mppe_stock *stocks;
    uint32_t capacity, touched, lent;
    uint32_t hand; // where the search for one to take away goes on
    uint32_t step, trimmed; // trimmed: the step of the last cw_mppe_stocks_trim
    cw_mppe_stock *free, *low;
};

bool cw_mppe_stocks_create(cw_mppe_stocks *stocks, const cw_mppe_kernels *kernels, uint32_t capacity); // memory as it is needed
void cw_mppe_stocks_destroy(cw_mppe_stocks *stocks);
void cw_mppe_stocks_step(cw_mppe_stocks *stocks);
// Those that were not used since the last time come back, and the memory behind the last one in use goes to the system.
void cw_mppe_stocks_trim(cw_mppe_stocks *stocks);
// Some keys for those on the list `low`, who have used theirs: at most some microseconds' work. When there are enough, the list is empty.
void cw_mppe_stocks_fill(cw_mppe_stocks *stocks);

// Makes sure of a stock for keys. False: all are in use in this step (or stocks is NULL), and the caller derives its keys itself.
bool cw_mppe_stock_lend(cw_mppe_stocks *stocks, cw_mppe_keys *keys);
void cw_mppe_stock_return(cw_mppe_keys *keys); // wiped; keys need not have one
static inline unsigned cw_mppe_stock_count(const cw_mppe_keys *keys) { return keys->stock == NULL ? 0 : keys->stock->count; }
// The n-th key after keys->key, n from 0 to count - 1.
const uint8_t *cw_mppe_stock_key(const cw_mppe_keys *keys, unsigned n);
// The chain by which keys, which have a stock, come to have `wanted` (at most CW_MPPE_AHEAD) in it: they count as being there. False:
// they are there. *key_changes gets what is new.
bool cw_mppe_stock_chain(cw_mppe_keys *keys, unsigned wanted, uint64_t *key_changes, cw_mppe_chain *chain);
// keys->key becomes `key`, which is n keys further on.
void cw_mppe_stock_pass(cw_mppe_keys *keys, const uint8_t key[CW_MPPE_KEY_SIZE], uint32_t n);

#endif
