// Which sessions exist, seen from the side that submits commands: handle -> worker, slot and bound prefixes.
//
// Slots are handed out here, and a worker applies commands in the order in which they were submitted; so a slot that was freed by
// CLOSE may be given to the next OPEN at once. The caller locks: submit changes the table, counters reads it.
#ifndef CW_TABLE_H
#define CW_TABLE_H

#include "causeway_datapath.h"

typedef struct cw_record {
    uint64_t handle; // 0: free
    uint32_t worker;
    uint32_t slot;       // in that worker's memory
    uint32_t generation; // differs for each opening of a slot
    uint32_t next_free;
    uint32_t access;     // WireGuard identity of a native session; 0: a legacy session, which has a call ID
    uint16_t call_id;
    uint16_t prefix_count; // 0: not bound
    cw_prefix prefixes[CW_MAX_PREFIXES];
} cw_record;

typedef struct cw_table {
    uint32_t worker_count, capacity, count;
    uint32_t slots;       // of each worker
    uint32_t generation;
    cw_record *records;   // index 0 is not used
    uint32_t records_used, records_free;
    uint32_t *by_handle;  // open addressing, linear probing; 0: empty
    uint32_t by_handle_mask;
    uint32_t *by_call;    // record of each call ID; 0: none
    uint32_t *free_slots; // stacks, one for each worker
    uint32_t *free_counts;
    uint32_t *slots_used;
} cw_table;

// Slots that each worker needs: as many sessions as there are, but no more than call IDs that fall to it.
uint32_t cw_table_slots(uint32_t capacity, uint32_t worker_count);
bool cw_table_create(cw_table *table, uint32_t capacity, uint32_t worker_count);
void cw_table_destroy(cw_table *table);
cw_record *cw_table_find(const cw_table *table, uint64_t handle);
// CW_INVALID: the handle or the call ID is taken. CW_FULL: no session is free.
cw_status cw_table_add(cw_table *table, uint64_t handle, uint16_t call_id, cw_record **record);
// A session without a call ID, on the worker with the fewest sessions. CW_INVALID: the handle is taken.
cw_status cw_table_add_native(cw_table *table, uint64_t handle, uint32_t access, cw_record **record);
void cw_table_remove(cw_table *table, cw_record *record);
void cw_table_trim(cw_table *table); // an empty table that was used gives its memory back

#endif
