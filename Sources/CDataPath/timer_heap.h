// Deadlines of one worker's sessions: a binary min-heap with each session's position, so idle sessions cost nothing.
// A stored deadline may be earlier than the session's real one; whoever takes it out looks again and puts it back.
#ifndef CW_TIMER_HEAP_H
#define CW_TIMER_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cw_timer {
    uint64_t deadline;
    uint32_t slot;
} cw_timer;

typedef struct cw_timer_heap {
    cw_timer *timers;
    uint32_t *position; // by slot; 0: not in the heap, otherwise index + 1
    uint32_t count, capacity;
} cw_timer_heap;

bool cw_timers_create(cw_timer_heap *heap, uint32_t slots);
void cw_timers_destroy(cw_timer_heap *heap);
// Wakes the slot at this time or earlier. Never moves a deadline to later: that is left to the time when it comes due.
void cw_timers_arm(cw_timer_heap *heap, uint32_t slot, uint64_t deadline);
void cw_timers_disarm(cw_timer_heap *heap, uint32_t slot);
uint64_t cw_timers_next(const cw_timer_heap *heap); // UINT64_MAX: none
bool cw_timers_take(cw_timer_heap *heap, uint64_t now, uint32_t *slot);

#endif
