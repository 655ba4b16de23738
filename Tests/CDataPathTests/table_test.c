// The session table against a plain model; the timer heap and the token bucket.
#include "harness.h"
#include "table.h"
#include "timer_heap.h"
#include "token_bucket.h"

static void test_random_sessions(void) {
    enum { capacity = 500, workers = 3, handles = 900 };
    static struct {
        bool open;
        uint16_t call;
        uint32_t slot, generation;
    } model[handles];
    static bool call_used[65536], slot_used[workers][capacity];
    cw_table table;
    test_random random = {3};
    unsigned open = 0;
    CHECK(cw_table_create(&table, capacity, workers));
    CHECK_EQUAL(table.slots, capacity);
    for (unsigned step = 0; step < 100000; step++) {
        uint64_t h = random_below(&random, handles), handle = (h + 1) * UINT64_C(0x100000001);
        uint16_t call = (uint16_t)random_below(&random, 700);
        if (step % 25000 != 24999 && random_below(&random, 5) < 3) {
            cw_record *record = NULL;
            cw_status status = cw_table_add(&table, handle, call, &record);
            if (model[h].open || call_used[call]) {
                CHECK_EQUAL(status, CW_INVALID);
            } else if (open == capacity) {
                CHECK_EQUAL(status, CW_FULL);
            } else {
                CHECK_EQUAL(status, CW_OK);
                CHECK_EQUAL(record->worker, call % workers);
                CHECK(record->slot < table.slots && !slot_used[record->worker][record->slot]);
                CHECK(record->generation != model[h].generation);
                slot_used[record->worker][record->slot] = true;
                call_used[call] = true;
                model[h].open = true;
                model[h].call = call;
                model[h].slot = record->slot;
                model[h].generation = record->generation;
                open++;
            }
        } else if (step % 25000 == 24999) { // all go, the memory with them
            for (uint64_t i = 0; i < handles; i++) {
                if (!model[i].open) continue;
                cw_table_trim(&table); // not empty: nothing happens
                cw_table_remove(&table, cw_table_find(&table, (i + 1) * UINT64_C(0x100000001)));
                model[i].open = slot_used[model[i].call % workers][model[i].slot] = call_used[model[i].call] = false;
                open--;
            }
            cw_table_trim(&table);
            CHECK_EQUAL(table.records_used, 1);
        } else {
            cw_record *record = cw_table_find(&table, handle);
            CHECK_EQUAL(record != NULL, model[h].open);
            if (record == NULL) continue;
            CHECK(record->call_id == model[h].call && record->slot == model[h].slot && record->handle == handle);
            slot_used[record->worker][record->slot] = false;
            call_used[record->call_id] = false;
            model[h].open = false;
            open--;
            cw_table_remove(&table, record);
            CHECK(cw_table_find(&table, handle) == NULL);
        }
    }
    for (uint64_t h = 0; h < handles; h++)
        CHECK_EQUAL(cw_table_find(&table, (h + 1) * UINT64_C(0x100000001)) != NULL, model[h].open);
    cw_table_destroy(&table);
}

static void test_every_call_id(void) {
    cw_table table;
    cw_record *record;
    CHECK(cw_table_create(&table, 65535, 64));
    CHECK_EQUAL(table.slots, 1024);
    for (uint32_t call = 0; call < 65535; call++) CHECK_EQUAL(cw_table_add(&table, call + 1, (uint16_t)call, &record), CW_OK);
    CHECK_EQUAL(cw_table_add(&table, 70000, 65535, &record), CW_FULL);
    for (uint32_t call = 0; call < 65535; call++) cw_table_remove(&table, cw_table_find(&table, call + 1));
    CHECK_EQUAL(table.count, 0);
    cw_table_destroy(&table);
}

// Sessions without a call ID go where the fewest are, and may leave no room for call IDs of a worker.
static void test_native_sessions(void) {
    enum { capacity = 60000, workers = 4, slots = 16384 };
    cw_table table;
    cw_record *record = NULL;
    CHECK(cw_table_create(&table, capacity, workers));
    CHECK_EQUAL(table.slots, slots);
    uint64_t handle = 0;
    for (uint32_t call = 0; call < 4 * 10; call += 4) CHECK_EQUAL(cw_table_add(&table, ++handle, (uint16_t)call, &record), CW_OK);
    for (unsigned i = 0; i < 33; i++) { // worker 0 has ten: the others first
        CHECK_EQUAL(cw_table_add_native(&table, ++handle, 7, &record), CW_OK);
        CHECK_EQUAL(record->worker, i < 30 ? 1 + i % 3 : i - 30);
        CHECK(record->access == 7 && record->prefix_count == 0 && cw_table_find(&table, handle) == record);
    }
    CHECK_EQUAL(cw_table_add_native(&table, handle, 7, &record), CW_INVALID);
    CHECK_EQUAL(cw_table_add(&table, handle, 999, &record), CW_INVALID);
    // One that closes takes no call ID with it.
    cw_table_remove(&table, cw_table_find(&table, handle));
    CHECK_EQUAL(cw_table_add(&table, handle, 0, &record), CW_INVALID);
    while (table.count < 56000) CHECK_EQUAL(cw_table_add_native(&table, ++handle, 7, &record), CW_OK);
    uint32_t added = 0;
    for (uint32_t call = 1; call < 65536; call += 4) { // as many as there are slots of this worker
        cw_status status = cw_table_add(&table, ++handle, (uint16_t)call, &record);
        CHECK_EQUAL(status, added < slots - 56000 / 4 ? CW_OK : CW_FULL);
        if (status != CW_OK) break;
        CHECK(record->access == 0 && record->slot < slots);
        added++;
    }
    CHECK_EQUAL(added, slots - 56000 / 4);
    while (table.count < capacity) CHECK_EQUAL(cw_table_add_native(&table, ++handle, 7, &record), CW_OK);
    CHECK_EQUAL(cw_table_add_native(&table, ++handle, 7, &record), CW_FULL);
    cw_table_destroy(&table);
}

static void test_timers(void) {
    enum { slots = 300 };
    static uint64_t due[slots]; // 0: not armed
    cw_timer_heap heap;
    test_random random = {5};
    CHECK(cw_timers_create(&heap, slots));
    CHECK_EQUAL(cw_timers_next(&heap), UINT64_MAX);
    uint64_t now = 1;
    for (unsigned step = 0; step < 50000; step++) {
        uint32_t slot = (uint32_t)random_below(&random, slots);
        uint64_t deadline = now + 1 + random_below(&random, 1000);
        switch (random_below(&random, 4)) {
        case 0: case 1:
            cw_timers_arm(&heap, slot, deadline);
            if (due[slot] == 0 || deadline < due[slot]) due[slot] = deadline; // never later
            break;
        case 2:
            cw_timers_disarm(&heap, slot);
            due[slot] = 0;
            break;
        default: now += random_below(&random, 20);
        }
        uint64_t next = UINT64_MAX;
        for (unsigned i = 0; i < slots; i++)
            if (due[i] != 0 && due[i] < next) next = due[i];
        CHECK_EQUAL(cw_timers_next(&heap), next);
        uint32_t taken;
        while (cw_timers_take(&heap, now, &taken)) {
            CHECK(due[taken] != 0 && due[taken] <= now);
            due[taken] = 0;
        }
        for (unsigned i = 0; i < slots; i++) CHECK(due[i] == 0 || due[i] > now);
    }
    cw_timers_destroy(&heap);
}

static void test_bucket(void) {
    const uint64_t second = 1000000000;
    cw_bucket bucket = cw_bucket_full(10, 3, 0);
    for (unsigned i = 0; i < 3; i++) CHECK(cw_bucket_take(&bucket, 1, 0));
    CHECK(!cw_bucket_take(&bucket, 1, 0));
    CHECK(!cw_bucket_take(&bucket, 1, second / 10 - 1));
    CHECK(cw_bucket_take(&bucket, 1, second / 10));
    // Asking often does not lose fractions: 10 a second over ten seconds.
    bucket = cw_bucket_full(10, 1, 0);
    unsigned taken = 0;
    for (uint64_t now = 0; now < 10 * second; now += second / 1000) taken += cw_bucket_take(&bucket, 1, now);
    CHECK(taken >= 99 && taken <= 101);
    // A long silence fills it to the burst and no further, whatever the rate.
    bucket = cw_bucket_full(UINT64_MAX / 8, 1000, 0);
    CHECK(cw_bucket_take(&bucket, 1000, 1));
    CHECK(cw_bucket_take(&bucket, 1000, UINT64_MAX));
    CHECK(!cw_bucket_take(&bucket, 1, UINT64_MAX));
    // The clock of a caller that is behind takes nothing away.
    bucket = cw_bucket_full(10, 10, second);
    CHECK(cw_bucket_take(&bucket, 10, 0));
    CHECK(!cw_bucket_take(&bucket, 1, second));
    bucket = cw_bucket_full(0, 0, 0);
    CHECK(cw_bucket_take(&bucket, UINT64_MAX, 0));
}

int main(void) {
    RUN(random_sessions);
    RUN(every_call_id);
    RUN(native_sessions);
    RUN(timers);
    RUN(bucket);
    FINISH();
}
