#include "table.h"

#include <string.h>

#include "memory.h"

enum { call_ids = 65536 };

uint32_t cw_table_slots(uint32_t capacity, uint32_t worker_count) {
    uint32_t ids = (call_ids + worker_count - 1) / worker_count;
    return capacity < ids ? capacity : ids;
}

bool cw_table_create(cw_table *table, uint32_t capacity, uint32_t worker_count) {
    memset(table, 0, sizeof *table);
    table->worker_count = worker_count;
    table->capacity = capacity;
    table->slots = cw_table_slots(capacity, worker_count);
    uint32_t buckets = 16;
    while (buckets < 2 * capacity) buckets *= 2;
    table->by_handle_mask = buckets - 1;
    table->records_used = 1;
    table->records = cw_map((capacity + 1) * sizeof *table->records);
    table->by_handle = cw_map(buckets * sizeof *table->by_handle);
    table->by_call = cw_map(call_ids * sizeof *table->by_call);
    table->free_slots = cw_map((size_t)worker_count * table->slots * sizeof *table->free_slots);
    table->free_counts = cw_map(worker_count * sizeof *table->free_counts);
    table->slots_used = cw_map(worker_count * sizeof *table->slots_used);
    if (table->records != NULL && table->by_handle != NULL && table->by_call != NULL && table->free_slots != NULL &&
        table->free_counts != NULL && table->slots_used != NULL)
        return true;
    cw_table_destroy(table);
    return false;
}

void cw_table_destroy(cw_table *table) {
    cw_unmap(table->records, (table->capacity + 1) * sizeof *table->records);
    cw_unmap(table->by_handle, (table->by_handle_mask + 1) * sizeof *table->by_handle);
    cw_unmap(table->by_call, call_ids * sizeof *table->by_call);
    cw_unmap(table->free_slots, (size_t)table->worker_count * table->slots * sizeof *table->free_slots);
    cw_unmap(table->free_counts, table->worker_count * sizeof *table->free_counts);
    cw_unmap(table->slots_used, table->worker_count * sizeof *table->slots_used);
    memset(table, 0, sizeof *table);
}

static uint32_t bucket_of(const cw_table *table, uint64_t handle) {
    handle ^= handle >> 32;
    return (uint32_t)(handle * UINT64_C(0x9E3779B97F4A7C15) >> 32) & table->by_handle_mask;
}

static uint32_t *find_bucket(const cw_table *table, uint64_t handle) {
    uint32_t at = bucket_of(table, handle);
    while (table->by_handle[at] != 0 && table->records[table->by_handle[at]].handle != handle) at = (at + 1) & table->by_handle_mask;
    return &table->by_handle[at];
}

cw_record *cw_table_find(const cw_table *table, uint64_t handle) {
    uint32_t index = *find_bucket(table, handle);
    return index == 0 ? NULL : &table->records[index];
}

static uint32_t sessions_of(const cw_table *table, uint32_t worker) { return table->slots_used[worker] - table->free_counts[worker]; }

static cw_status add(cw_table *table, uint64_t handle, uint32_t worker, cw_record **out) {
    uint32_t *bucket = find_bucket(table, handle);
    // Legacy sessions alone never fill a worker: there are as many slots as sessions or call IDs. Native ones may have taken them.
    if (table->count == table->capacity || sessions_of(table, worker) == table->slots) return CW_FULL;
    uint32_t index, slot;
    if (table->free_counts[worker] > 0) slot = table->free_slots[(size_t)worker * table->slots + --table->free_counts[worker]];
    else slot = table->slots_used[worker]++;
    if (table->records_free != 0) {
        index = table->records_free;
        table->records_free = table->records[index].next_free;
    } else {
        index = table->records_used++;
    }
    if (++table->generation == 0) table->generation = 1;
    cw_record *record = &table->records[index];
    record->handle = handle;
    record->worker = worker;
    record->slot = slot;
    record->generation = table->generation;
    record->access = 0;
    record->prefix_count = 0;
    *bucket = index;
    table->count++;
    *out = record;
    return CW_OK;
}

cw_status cw_table_add(cw_table *table, uint64_t handle, uint16_t call_id, cw_record **out) {
    if (cw_table_find(table, handle) != NULL || table->by_call[call_id] != 0) return CW_INVALID;
    cw_status status = add(table, handle, call_id % table->worker_count, out);
    if (status != CW_OK) return status;
    (*out)->call_id = call_id;
    table->by_call[call_id] = (uint32_t)(*out - table->records);
    return CW_OK;
}

cw_status cw_table_add_native(cw_table *table, uint64_t handle, uint32_t access, cw_record **out) {
    if (cw_table_find(table, handle) != NULL) return CW_INVALID;
    uint32_t worker = 0;
    for (uint32_t i = 1; i < table->worker_count; i++)
        if (sessions_of(table, i) < sessions_of(table, worker)) worker = i;
    cw_status status = add(table, handle, worker, out);
    if (status == CW_OK) (*out)->access = access;
    return status;
}

void cw_table_remove(cw_table *table, cw_record *record) {
    uint32_t mask = table->by_handle_mask, hole = (uint32_t)(find_bucket(table, record->handle) - table->by_handle);
    // Close the gap: an entry moves back when its own bucket is not between the hole and itself.
    for (uint32_t at = (hole + 1) & mask; table->by_handle[at] != 0; at = (at + 1) & mask) {
        uint32_t home = bucket_of(table, table->records[table->by_handle[at]].handle);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        table->by_handle[hole] = table->by_handle[at];
        hole = at;
    }
    table->by_handle[hole] = 0;
    if (record->access == 0) table->by_call[record->call_id] = 0;
    table->free_slots[(size_t)record->worker * table->slots + table->free_counts[record->worker]++] = record->slot;
    record->handle = 0;
    record->next_free = table->records_free;
    table->records_free = (uint32_t)(record - table->records);
    table->count--;
}

void cw_table_trim(cw_table *table) {
    if (table->count > 0 || table->records_used == 1) return;
    // Empty, the indices read as zero already; the lists of what is free begin anew.
    uint32_t workers = table->worker_count;
    memset(table->free_counts, 0, workers * sizeof *table->free_counts);
    memset(table->slots_used, 0, workers * sizeof *table->slots_used);
    table->records_used = 1;
    table->records_free = 0;
    (void)cw_give_back(table->by_call, call_ids * sizeof *table->by_call);
    (void)cw_give_back(table->by_handle, (table->by_handle_mask + 1) * sizeof *table->by_handle);
    (void)cw_give_back(table->free_slots, (size_t)workers * table->slots * sizeof *table->free_slots);
    (void)cw_give_back(table->records, (table->capacity + 1) * sizeof *table->records);
}
