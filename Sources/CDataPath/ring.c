#include "ring.h"

#include "memory.h"

bool cw_ring_create(cw_ring *ring, size_t slot_size, uint32_t capacity) {
    if (capacity == 0 || (capacity & (capacity - 1)) != 0) return false;
    slot_size = (slot_size + 7) & ~(size_t)7;
    uint8_t *slots = cw_map(slot_size * capacity);
    if (slots == NULL) return false;
    ring->slots = slots;
    ring->slot_size = slot_size;
    ring->capacity = capacity;
    ring->filled = ring->head_seen = ring->trimmed = ring->taken = ring->tail_seen = 0;
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->head, 0);
    return true;
}

void cw_ring_destroy(cw_ring *ring) {
    if (ring->slots != NULL) cw_unmap(ring->slots, ring->slot_size * ring->capacity);
    ring->slots = NULL;
}

static void *slot_at(cw_ring *ring, uint32_t index) {
    return ring->slots + (size_t)(index & (ring->capacity - 1)) * ring->slot_size;
}

uint32_t cw_ring_room(cw_ring *ring) {
    // Sequentially consistent: a producer that announced that it is blocked, and then still finds no room, is woken by the
    // consumer, which releases first and looks for the announcement afterwards.
    ring->head_seen = atomic_load(&ring->head);
    return ring->capacity - (ring->filled - ring->head_seen);
}

void *cw_ring_reserve(cw_ring *ring) {
    if (ring->filled - ring->head_seen == ring->capacity && cw_ring_room(ring) == 0) return NULL;
    return slot_at(ring, ring->filled++);
}

bool cw_ring_publish(cw_ring *ring) {
    if (atomic_load_explicit(&ring->tail, memory_order_relaxed) == ring->filled) return false;
    atomic_store(&ring->tail, ring->filled);
    return true;
}

void cw_ring_trim(cw_ring *ring) {
    enum { worth_the_call = 65536 }; // bytes
    if ((uint64_t)(ring->filled - ring->trimmed) * ring->slot_size < worth_the_call) return;
    if (cw_ring_room(ring) < ring->capacity) return;
    // Nothing is published or reserved, and only the producer, who is here, writes slots.
    if (cw_give_back(ring->slots, ring->slot_size * ring->capacity)) ring->trimmed = ring->filled;
}

void *cw_ring_peek(cw_ring *ring) {
    if (ring->taken == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (ring->taken == ring->tail_seen) return NULL;
    }
    return slot_at(ring, ring->taken);
}

void cw_ring_release(cw_ring *ring) { atomic_store(&ring->head, ++ring->taken); }

uint32_t cw_ring_count(cw_ring *ring) { return atomic_load(&ring->tail) - ring->taken; }

bool cw_ring_waiting(cw_ring *ring) { return cw_ring_count(ring) != 0; }
