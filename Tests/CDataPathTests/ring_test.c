// The single-producer ring: full and empty, batches, and two threads at once (also under the thread sanitizer).
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "ring.h"

static void test_capacity(void) {
    cw_ring ring;
    CHECK(!cw_ring_create(&ring, 8, 0));
    CHECK(!cw_ring_create(&ring, 8, 12)); // not a power of two
    CHECK(cw_ring_create(&ring, 5, 4));
    CHECK_EQUAL(ring.slot_size, 8);
    CHECK_EQUAL(cw_ring_room(&ring), 4);
    CHECK(cw_ring_peek(&ring) == NULL);
    for (unsigned i = 0; i < 4; i++) CHECK(cw_ring_reserve(&ring) != NULL);
    CHECK(cw_ring_reserve(&ring) == NULL);
    CHECK_EQUAL(cw_ring_room(&ring), 0);
    CHECK(cw_ring_peek(&ring) == NULL); // reserved is not published
    CHECK(!cw_ring_waiting(&ring));
    CHECK(cw_ring_publish(&ring));
    CHECK(!cw_ring_publish(&ring)); // nothing new
    CHECK(cw_ring_waiting(&ring));
    for (unsigned i = 0; i < 4; i++) {
        CHECK(cw_ring_peek(&ring) != NULL);
        CHECK(cw_ring_peek(&ring) == cw_ring_peek(&ring));
        cw_ring_release(&ring);
    }
    CHECK(cw_ring_peek(&ring) == NULL);
    CHECK(cw_ring_reserve(&ring) != NULL);
    cw_ring_destroy(&ring);
}

static size_t resident(cw_ring *ring) {
    static unsigned char pages[4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = ring->slot_size * ring->capacity / page, sum = 0;
    CHECK(mincore(ring->slots, count * page, pages) == 0);
    for (size_t i = 0; i < count; i++) sum += pages[i] & 1;
    return sum;
}

// A turn through all slots touches all memory; trimming an idle ring gives it back, and the ring goes on as before.
static void test_trim(void) {
    cw_ring ring;
    CHECK(cw_ring_create(&ring, 4096, 64));
    for (unsigned turn = 0; turn < 100; turn++) {
        *(unsigned *)cw_ring_reserve(&ring) = turn;
        cw_ring_publish(&ring);
        CHECK_EQUAL(*(unsigned *)cw_ring_peek(&ring), turn);
        cw_ring_release(&ring);
    }
    CHECK_EQUAL(resident(&ring), 64);
    *(unsigned *)cw_ring_reserve(&ring) = 7;
    cw_ring_trim(&ring); // reserved: nothing happens
    CHECK_EQUAL(resident(&ring), 64);
    cw_ring_publish(&ring);
    cw_ring_trim(&ring); // published: nothing happens
    CHECK_EQUAL(resident(&ring), 64);
    CHECK_EQUAL(*(unsigned *)cw_ring_peek(&ring), 7);
    cw_ring_release(&ring);
    cw_ring_trim(&ring);
    CHECK_EQUAL(resident(&ring), 0);
    *(unsigned *)cw_ring_reserve(&ring) = 8;
    cw_ring_publish(&ring);
    CHECK_EQUAL(*(unsigned *)cw_ring_peek(&ring), 8);
    cw_ring_release(&ring);
    cw_ring_trim(&ring); // too little since the last time
    CHECK_EQUAL(resident(&ring), 1);
    cw_ring_destroy(&ring);
}

// The indices run past 2^32 without notice.
static void test_wrap(void) {
    cw_ring ring;
    CHECK(cw_ring_create(&ring, 4, 8));
    uint32_t start = UINT32_MAX - 20;
    atomic_store(&ring.tail, start);
    atomic_store(&ring.head, start);
    ring.filled = ring.head_seen = ring.taken = ring.tail_seen = start;
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t j = 0; j < 5; j++) *(uint32_t *)cw_ring_reserve(&ring) = i * 5 + j;
        CHECK_EQUAL(cw_ring_room(&ring), 3);
        cw_ring_publish(&ring);
        for (uint32_t j = 0; j < 5; j++) {
            uint32_t *slot = cw_ring_peek(&ring);
            CHECK(slot != NULL && *slot == i * 5 + j);
            cw_ring_release(&ring);
        }
    }
    cw_ring_destroy(&ring);
}

enum { MESSAGES = 200000 };

static void *produce(void *argument) {
    cw_ring *ring = argument;
    test_random random = {42};
    for (uint64_t next = 0; next < MESSAGES;) {
        uint64_t batch = 1 + random_below(&random, 7);
        for (; batch > 0 && next < MESSAGES; batch--) {
            uint64_t *slot = cw_ring_reserve(ring);
            if (slot == NULL) break;
            slot[0] = next;
            slot[1] = next * 3;
            next++;
        }
        if (!cw_ring_publish(ring)) sched_yield();
    }
    return NULL;
}

static void test_two_threads(void) {
    cw_ring ring;
    pthread_t producer;
    CHECK(cw_ring_create(&ring, 16, 64));
    CHECK_EQUAL(pthread_create(&producer, NULL, produce, &ring), 0);
    uint64_t wrong = 0;
    for (uint64_t next = 0; next < MESSAGES;) {
        uint64_t *slot = cw_ring_peek(&ring);
        if (slot == NULL) {
            sched_yield();
            continue;
        }
        wrong += slot[0] != next || slot[1] != next * 3;
        next++;
        cw_ring_release(&ring);
    }
    CHECK_EQUAL(wrong, 0);
    pthread_join(producer, NULL);
    CHECK(!cw_ring_waiting(&ring));
    cw_ring_destroy(&ring);
}

int main(void) {
    RUN(capacity);
    RUN(trim);
    RUN(wrap);
    RUN(two_threads);
    FINISH();
}
