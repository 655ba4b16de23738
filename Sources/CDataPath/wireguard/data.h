// The work space of each thread that seals or opens, and what data_*.c, table.c and udp*.c share.
#ifndef CW_WG_DATA_H
#define CW_WG_DATA_H

#include "allowed_ips.h"
#include "state.h"
#include "udp.h"

enum { // limits of ours
    CW_WG_STAGE_TOTAL = 8192, // packets of all peers that wait for handshakes
    // A buffer's worth, with the padding that the other side may add. Longer ones would need buffers that the rest of the data path does not
    // have.
    CW_WG_LONGEST_INNER = CW_BUFFER_DATA,
};
_Static_assert((int)CW_WG_LONGEST_PACKET + (int)CW_WG_PADDING <= (int)CW_WG_LONGEST_INNER, "what is promised fits");

typedef struct cw_wg_queued {
    cw_wg_peer *peer;
    cw_buffer *buffer;
} cw_wg_queued;

// A data message between its check and its delivery.
typedef struct cw_wg_opening {
    cw_wg_keypair *pair;
    cw_buffer *buffer;
    uint16_t arrival; // which of lane->arrivals it came in
    uint16_t length;  // of the whole message
} cw_wg_opening;

// One for each worker and, the last, one for control.
typedef struct cw_wg_lane {
    uint32_t index;
    int epoll_fd; // -1: not attached yet
    cw_aead *aead;

    uint32_t queued;
    cw_wg_queued queue[CW_MAX_BATCH];
    cw_aead_job sealing[CW_MAX_BATCH];
    cw_wg_datagram datagrams[CW_MAX_BATCH], outgoing[CW_MAX_BATCH];

    cw_wg_arrival arrivals[CW_WG_RECEIVE];
    uint32_t opening_count;
    cw_wg_opening openings[CW_MAX_BATCH];
    cw_aead_job opening[CW_MAX_BATCH];
    cw_wg_incoming incoming[CW_MAX_BATCH];

    cw_wg_udp_space udp;
} cw_wg_lane;

// A worker's `now` may be a little older than the keypair: it was read before the worker came in. So times are added, not subtracted.
static inline bool cw_wg_pair_is_older(const cw_wg_keypair *pair, uint64_t now, uint64_t age) { return now >= pair->born + age; }

// A keypair may be used for sending. Each worker may reserve a batch of counters after this look, so it ends some before the limit.
static inline bool cw_wg_pair_may_send(const cw_wg_keypair *pair, uint64_t now) {
    return pair != NULL && !cw_wg_pair_is_older(pair, now, CW_WG_REJECT_AFTER_TIME) &&
           atomic_load_explicit(&pair->sent, memory_order_relaxed) < CW_WG_REJECT_AFTER_MESSAGES - (CW_MAX_WORKERS + 1) * CW_MAX_BATCH;
}

// One counter more of a thread's own.
static inline void cw_wg_drop_one(cw_wg *wg, uint32_t thread, cw_wg_drop drop) { cw_wg_tally_add(wg, thread, CW_WG_TALLY_DROP(drop), 1); }

// Asks control, unless it has been asked already.
static inline void cw_wg_wish(cw_wg *wg, cw_wg_peer *peer, uint32_t what) {
    if ((atomic_load_explicit(&peer->attention, memory_order_relaxed) & what) != what) cw_wg_ask(wg, peer, what);
}

// stage.c: packets that wait for a handshake
bool cw_wg_stage_create(cw_wg *wg);
void cw_wg_stage_destroy(cw_wg *wg);
// Copies the packet, the oldest of the peer goes if there are too many; returns how many were lost by that.
uint32_t cw_wg_stage_add(cw_wg *wg, cw_wg_peer *peer, const cw_buffer *packet);
cw_wg_staged cw_wg_stage_take(cw_wg_peer *peer); // all of them
void cw_wg_stage_give(cw_wg *wg, cw_wg_staged *staged);

// table.c
bool cw_wg_tables_create(cw_wg *wg);
void cw_wg_tables_destroy(cw_wg *wg);

#endif
