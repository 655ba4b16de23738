// The sliding window of RFC 6479 over 8,192 counters (the WireGuard paper, section 5.4.6). A leaf unit; the caller locks.
#ifndef CW_WG_REPLAY_H
#define CW_WG_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

enum { CW_REPLAY_BITS = 8192, CW_REPLAY_WINDOW = CW_REPLAY_BITS - 64 };

typedef struct cw_replay {
    uint64_t next; // one more than the greatest counter seen
    uint64_t bits[CW_REPLAY_BITS / 64];
} cw_replay;

void cw_replay_reset(cw_replay *replay);
// True once for each counter that is not older than the window and below `limit`. Call only after the tag was verified.
bool cw_replay_accept(cw_replay *replay, uint64_t counter, uint64_t limit);

#endif
