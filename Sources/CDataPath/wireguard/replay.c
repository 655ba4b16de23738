#include "replay.h"

#include <string.h>

enum { words = CW_REPLAY_BITS / 64 };

void cw_replay_reset(cw_replay *replay) { memset(replay, 0, sizeof *replay); }

// The bits are a ring of words; the word of the greatest counter is the newest. Only whole words are cleared when the window moves, so
// one word of the ring is not part of the window (RFC 6479 section 2).
bool cw_replay_accept(cw_replay *replay, uint64_t counter, uint64_t limit) {
    if (counter >= limit) return false;
    if (counter >= replay->next) {
        // With nothing seen yet, word 0 is current and clear.
        uint64_t current = replay->next == 0 ? 0 : (replay->next - 1) / 64, fresh = counter / 64 - current;
        if (fresh > words) fresh = words;
        for (uint64_t i = 1; i <= fresh; i++) replay->bits[(current + i) % words] = 0;
        replay->next = counter + 1;
    } else if (replay->next - 1 - counter > CW_REPLAY_WINDOW) {
        return false;
    }
    uint64_t bit = UINT64_C(1) << counter % 64, *word = &replay->bits[counter / 64 % words];
    if ((*word & bit) != 0) return false;
    *word |= bit;
    return true;
}
