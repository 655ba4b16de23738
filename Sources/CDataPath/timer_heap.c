#include "timer_heap.h"

#include <string.h>

#include "memory.h"

bool cw_timers_create(cw_timer_heap *heap, uint32_t slots) {
    memset(heap, 0, sizeof *heap);
    heap->timers = cw_map(slots * sizeof(cw_timer));
    heap->position = cw_map(slots * sizeof(uint32_t));
    heap->capacity = slots;
    if (heap->timers != NULL && heap->position != NULL) return true;
    cw_timers_destroy(heap);
    return false;
}

void cw_timers_destroy(cw_timer_heap *heap) {
    cw_unmap(heap->timers, heap->capacity * sizeof(cw_timer));
    cw_unmap(heap->position, heap->capacity * sizeof(uint32_t));
    heap->timers = NULL;
    heap->position = NULL;
}

static void place(cw_timer_heap *heap, uint32_t index, cw_timer timer) {
    heap->timers[index] = timer;
    heap->position[timer.slot] = index + 1;
}

static void sift_up(cw_timer_heap *heap, uint32_t index, cw_timer timer) {
    while (index > 0 && heap->timers[(index - 1) / 2].deadline > timer.deadline) {
        place(heap, index, heap->timers[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    place(heap, index, timer);
}

static void sift_down(cw_timer_heap *heap, uint32_t index, cw_timer timer) {
    for (;;) {
        uint32_t child = 2 * index + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && heap->timers[child + 1].deadline < heap->timers[child].deadline) child++;
        if (heap->timers[child].deadline >= timer.deadline) break;
        place(heap, index, heap->timers[child]);
        index = child;
    }
    place(heap, index, timer);
}

void cw_timers_arm(cw_timer_heap *heap, uint32_t slot, uint64_t deadline) {
    uint32_t position = heap->position[slot];
    if (position == 0) {
        sift_up(heap, heap->count++, (cw_timer){deadline, slot});
    } else if (deadline < heap->timers[position - 1].deadline) {
        sift_up(heap, position - 1, (cw_timer){deadline, slot});
    }
}

void cw_timers_disarm(cw_timer_heap *heap, uint32_t slot) {
    uint32_t position = heap->position[slot];
    if (position == 0) return;
    heap->position[slot] = 0;
    cw_timer last = heap->timers[--heap->count];
    if (last.slot == slot) return;
    uint32_t index = position - 1;
    if (index > 0 && heap->timers[(index - 1) / 2].deadline > last.deadline) sift_up(heap, index, last);
    else sift_down(heap, index, last);
}

uint64_t cw_timers_next(const cw_timer_heap *heap) { return heap->count == 0 ? UINT64_MAX : heap->timers[0].deadline; }

bool cw_timers_take(cw_timer_heap *heap, uint64_t now, uint32_t *slot) {
    if (heap->count == 0 || heap->timers[0].deadline > now) return false;
    *slot = heap->timers[0].slot;
    cw_timers_disarm(heap, *slot);
    return true;
}
