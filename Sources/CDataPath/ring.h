// A bounded single-producer, single-consumer ring of fixed-size slots. Slots are filled and read in place; the producer may fill
// several and publish them at once. Neither side ever waits: a full ring is the producer's problem to report.
#ifndef CW_RING_H
#define CW_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cw_ring {
    uint8_t *slots;
    size_t slot_size;
    uint32_t capacity; // a power of two
    // Indices run freely modulo 2^32. Each side keeps its own line, with its last view of the other side's index.
    _Alignas(64) _Atomic uint32_t tail; // written by the producer: slots before it are published
    uint32_t filled;                    // producer: slots before it are reserved
    uint32_t head_seen;
    uint32_t trimmed;                   // producer: `filled` when the memory was given back last
    _Alignas(64) _Atomic uint32_t head; // written by the consumer: slots before it are free again
    uint32_t taken;                     // consumer: next slot to read
    uint32_t tail_seen;
} cw_ring;

// slot_size is rounded up to 8 bytes. The memory is mapped, and touched only as slots are used.
bool cw_ring_create(cw_ring *ring, size_t slot_size, uint32_t capacity);
void cw_ring_destroy(cw_ring *ring);

// ---- Producer ----
uint32_t cw_ring_room(cw_ring *ring); // slots that can be reserved now
void *cw_ring_reserve(cw_ring *ring); // NULL: full
bool cw_ring_publish(cw_ring *ring);  // makes all reserved slots visible; false: there was nothing new
// A ring that is used turns through all its slots, so in time all its memory is touched, however few slots are in use at once.
// Gives it back to the system if no slot is in use and enough of them were since the last time. Costs nothing otherwise.
void cw_ring_trim(cw_ring *ring);

// ---- Consumer ----
void *cw_ring_peek(cw_ring *ring);   // oldest published slot, or NULL
void cw_ring_release(cw_ring *ring); // frees the slot that peek returned
// Whether something is published. Ordered after earlier sequentially consistent stores, so a consumer that announced that it
// will sleep, and then sees an empty ring, is woken by the producer's next publish.
bool cw_ring_waiting(cw_ring *ring);
uint32_t cw_ring_count(cw_ring *ring); // slots that are published

#endif
