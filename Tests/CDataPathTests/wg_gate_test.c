// The gate: workers inside at the same time, nobody inside with a writer, and a writer that gets in however busy the workers are.
#include <time.h>

#include "gate.h"
#include "harness.h"

enum { WORKERS = 3, WRITERS = 2, CHANGES = 300 };

static cw_gate gate;
static uint64_t guarded[2];      // equal whenever no writer is inside; plain memory: the thread sanitizer looks on
static _Atomic bool stop;
static _Atomic uint32_t entered[WORKERS], torn, inside;
static _Atomic uint32_t writers_inside;

static void *work(void *argument) {
    uint32_t worker = (uint32_t)(uintptr_t)argument;
    while (!atomic_load(&stop)) {
        cw_gate_enter(&gate, worker);
        atomic_fetch_add(&inside, 1);
        if (guarded[0] != guarded[1] || atomic_load(&writers_inside) != 0) atomic_fetch_add(&torn, 1);
        for (volatile int i = 0; i < 200; i++) {}
        atomic_fetch_sub(&inside, 1);
        cw_gate_leave(&gate, worker);
        atomic_fetch_add(&entered[worker], 1);
    }
    return NULL;
}

static void *change(void *argument) {
    (void)argument;
    for (int i = 0; i < CHANGES; i++) {
        cw_gate_close(&gate);
        if (atomic_fetch_add(&writers_inside, 1) != 0 || atomic_load(&inside) != 0) atomic_fetch_add(&torn, 1);
        guarded[0]++;
        for (volatile int j = 0; j < 200; j++) {}
        guarded[1]++;
        atomic_fetch_sub(&writers_inside, 1);
        cw_gate_open(&gate);
    }
    return NULL;
}

// Workers never pause between leaving and entering; every writer must come through all the same, well within the test's time.
static void test_exclusion_without_starvation(void) {
    pthread_t workers[WORKERS], writers[WRITERS];
    CHECK(cw_gate_create(&gate, WORKERS));
    for (uintptr_t i = 0; i < WORKERS; i++) CHECK_EQUAL(pthread_create(&workers[i], NULL, work, (void *)i), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        while (atomic_load(&entered[i]) == 0) {}
    for (uint32_t i = 0; i < WRITERS; i++) CHECK_EQUAL(pthread_create(&writers[i], NULL, change, NULL), 0);
    for (uint32_t i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    uint32_t before[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) before[i] = atomic_load(&entered[i]);
    for (uint32_t i = 0; i < WORKERS; i++) // and the workers come in again afterwards
        while (atomic_load(&entered[i]) == before[i]) {}
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
    CHECK_EQUAL(torn, 0);
    CHECK_EQUAL(guarded[0], WRITERS * CHANGES);
    CHECK_EQUAL(guarded[1], WRITERS * CHANGES);
    cw_gate_destroy(&gate);
}

static void *enter_and_leave(void *argument) {
    cw_gate_enter(&gate, (uint32_t)(uintptr_t)argument);
    atomic_fetch_add(&entered[1], 1);
    cw_gate_leave(&gate, (uint32_t)(uintptr_t)argument);
    return NULL;
}

// One worker inside does not keep another out.
static void test_workers_do_not_wait_for_each_other(void) {
    pthread_t other;
    atomic_store(&entered[1], 0);
    CHECK(cw_gate_create(&gate, 2));
    cw_gate_enter(&gate, 0);
    CHECK_EQUAL(pthread_create(&other, NULL, enter_and_leave, (void *)(uintptr_t)1), 0);
    pthread_join(other, NULL);
    CHECK_EQUAL(atomic_load(&entered[1]), 1);
    cw_gate_leave(&gate, 0);
    cw_gate_destroy(&gate);
}

static void *close_and_open(void *argument) {
    (void)argument;
    cw_gate_close(&gate);
    atomic_store(&entered[2], 1);
    cw_gate_open(&gate);
    return NULL;
}

// A writer waits for the worker that is inside, and a second worker that comes then waits for the writer.
static void test_order(void) {
    pthread_t writer, late;
    atomic_store(&entered[1], 0);
    atomic_store(&entered[2], 0);
    CHECK(cw_gate_create(&gate, 2));
    cw_gate_enter(&gate, 0);
    CHECK_EQUAL(pthread_create(&writer, NULL, close_and_open, NULL), 0);
    while (atomic_load(&gate.writers) == 0) {}
    struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&moment, NULL);
    CHECK_EQUAL(atomic_load(&entered[2]), 0);
    CHECK_EQUAL(pthread_create(&late, NULL, enter_and_leave, (void *)(uintptr_t)1), 0);
    nanosleep(&moment, NULL);
    CHECK_EQUAL(atomic_load(&entered[1]), 0);
    cw_gate_leave(&gate, 0);
    pthread_join(writer, NULL);
    pthread_join(late, NULL);
    CHECK_EQUAL(atomic_load(&entered[2]), 1);
    CHECK_EQUAL(atomic_load(&entered[1]), 1);
    CHECK_EQUAL(atomic_load(&gate.writers), 0);
    cw_gate_destroy(&gate);
}

int main(void) {
    RUN(exclusion_without_starvation);
    RUN(workers_do_not_wait_for_each_other);
    RUN(order);
    FINISH();
}
