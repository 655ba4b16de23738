// Commands on their way into the workers' rings. Everything that can be refused is refused here, where all sessions are known; a
// worker only applies. A command that concerns several workers is put into all their rings or into none.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "worker.h"

static cw_work *reserve(cw_worker *worker, uint32_t type) {
    cw_work *work = cw_ring_reserve(&worker->commands);
    work->type = type;
    work->slot = work->generation = work->length = 0;
    work->session = 0;
    return work;
}

static cw_work *reserve_for(cw_engine *engine, const cw_record *record, uint32_t type) {
    cw_work *work = reserve(&engine->workers[record->worker], type);
    work->slot = record->slot;
    work->generation = record->generation;
    work->session = record->handle;
    return work;
}

// Every command needs at most one slot in each ring for routes, one for an access identity and one more in its session's.
static bool has_room(cw_engine *engine) {
    for (uint32_t i = 0; i < engine->config.worker_count; i++)
        if (cw_ring_room(&engine->workers[i].commands) < 3) return false;
    return true;
}

static void refuse(cw_engine *engine, const cw_command *command, const cw_record *record, cw_status reason) {
    // By the session's own worker, so that the refusal comes after the events of what was submitted before.
    cw_work *work = reserve(&engine->workers[record != NULL ? record->worker : 0], CW_WORK_REFUSE);
    work->session = command->session;
    work->refuse.command = command->type;
    work->refuse.reason = reason;
}

static void change_routes(cw_engine *engine, cw_record *record, const cw_prefix *add, uint16_t add_count) {
    if (record->prefix_count == 0 && add_count == 0) return;
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        cw_work *work = reserve(&engine->workers[i], CW_WORK_ROUTES);
        work->routes.route = cw_route_make(record->worker, record->slot, record->generation);
        work->routes.remove_count = record->prefix_count;
        work->routes.add_count = add_count;
        memcpy(work->routes.prefixes, record->prefixes, record->prefix_count * sizeof *add);
        if (add_count > 0) memcpy(work->routes.prefixes + record->prefix_count, add, add_count * sizeof *add);
    }
    record->prefix_count = add_count;
    if (add_count > 0) memcpy(record->prefixes, add, add_count * sizeof *add);
}

static void submit_open(cw_engine *engine, const cw_command *command) {
    cw_record *record = NULL;
    cw_status status = cw_table_add(&engine->table, command->session, command->open.local_call_id, &record);
    if (status != CW_OK) refuse(engine, command, cw_table_find(&engine->table, command->session), status);
    else reserve_for(engine, record, CW_OPEN)->open = command->open;
}

static void tell_access(cw_engine *engine, uint32_t identity, bool opened) {
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        cw_work *work = reserve(&engine->workers[i], CW_WORK_ACCESS);
        work->access.identity = identity;
        work->access.opened = opened;
    }
}

static cw_access *find_access(cw_engine *engine, uint32_t identity) {
    for (uint32_t i = 0; i < CW_MAX_ACCESS_IDENTITIES; i++)
        if (engine->access[i].identity == identity) return &engine->access[i];
    return NULL;
}

static void submit_open_native(cw_engine *engine, const cw_command *command) {
    const cw_native_config *native = &command->open_native;
    cw_access *access = find_access(engine, native->identity);
    if (access == NULL) access = find_access(engine, 0); // a free one
    cw_record *record = NULL;
    cw_status status = access == NULL ? CW_FULL : cw_table_add_native(&engine->table, command->session, native->identity, &record);
    if (status != CW_OK) {
        refuse(engine, command, cw_table_find(&engine->table, command->session), status);
        return;
    }
    access->identity = native->identity;
    if (access->sessions++ == 0) tell_access(engine, native->identity, true);
    reserve_for(engine, record, CW_OPEN_NATIVE)->open_native = *native;
}

static void remove_record(cw_engine *engine, cw_record *record) {
    if (record->access != 0) {
        cw_access *access = find_access(engine, record->access);
        if (--access->sessions == 0) {
            access->identity = 0;
            tell_access(engine, record->access, false);
        }
    }
    cw_table_remove(&engine->table, record);
}

static cw_status submit_import(cw_engine *engine, const cw_command *command) {
    cw_saved saved;
    size_t used;
    cw_status status = cw_state_parse(command->import_state.state, command->import_state.length, &saved);
    if (status != CW_OK) return status;
    if (saved.bound && (saved.bind.identity != 0) != (command->import_state.identity != 0)) return CW_INVALID;
    // The link's part is tried on a link of our own, so that the worker's import cannot fail.
    cw_link *probe = (cw_link *)(void *)engine->probe;
    cw_counters ignored = {0};
    cw_pool pool = {0};
    cw_link_shared shared = {.limits = engine->limits, .kernels = &engine->kernels};
    cw_mppe_streams streams = {0};
    cw_link_init(probe, &shared, &streams, saved.open.flags, &ignored);
    status = cw_link_import(probe, saved.link, saved.link_length, &used);
    cw_link_wipe(probe, &pool);
    if (status != CW_OK) return status;
    uint8_t *copy = malloc(command->import_state.length);
    if (copy == NULL) return CW_NO_MEMORY;
    memcpy(copy, command->import_state.state, command->import_state.length);
    cw_record *record = NULL;
    status = cw_table_add(&engine->table, command->session, saved.open.local_call_id, &record);
    if (status != CW_OK) {
        explicit_bzero(copy, command->import_state.length);
        free(copy);
        refuse(engine, command, cw_table_find(&engine->table, command->session), status);
        return CW_OK;
    }
    cw_work *work = reserve_for(engine, record, CW_IMPORT);
    work->block = copy;
    work->length = command->import_state.length;
    work->identity = command->import_state.identity;
    if (saved.bound) change_routes(engine, record, saved.bind.prefixes, saved.bind.prefix_count);
    return CW_OK;
}

static int compare_addresses(const void *a, const void *b) { return memcmp(a, b, sizeof(cw_address)); }

static cw_status submit_local_addresses(cw_engine *engine, const cw_local_addresses *local) {
    cw_address *copies[CW_MAX_WORKERS];
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        copies[i] = calloc(local->count + 1, sizeof(cw_address));
        if (copies[i] == NULL) {
            while (i > 0) free(copies[--i]);
            return CW_NO_MEMORY;
        }
        for (uint32_t j = 0; j < local->count; j++) { // only what counts, so that equal addresses compare equal
            copies[i][j].family = local->addresses[j].family;
            memcpy(copies[i][j].bytes, local->addresses[j].bytes, local->addresses[j].family == 4 ? 4 : 16);
        }
        qsort(copies[i], local->count, sizeof(cw_address), compare_addresses);
    }
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        cw_work *work = reserve(&engine->workers[i], CW_LOCAL_ADDRESSES);
        work->block = copies[i];
        work->length = local->count * (uint32_t)sizeof(cw_address);
    }
    return CW_OK;
}

static cw_status submit_sources(cw_engine *engine, const cw_sources *sources) {
    cw_source_range *copies[CW_MAX_WORKERS] = {0};
    uint32_t count = 0;
    bool all = sources->allowed_count == 0 && sources->blocked_count == 0;
    for (uint32_t i = 0; !all && i < engine->config.worker_count; i++) {
        copies[i] = calloc(cw_sources_capacity(sources->allowed_count, sources->blocked_count), sizeof *copies[i]);
        if (copies[i] == NULL) {
            while (i > 0) free(copies[--i]);
            return CW_NO_MEMORY;
        }
        count = cw_sources_build(sources->allowed, sources->allowed_count, sources->blocked, sources->blocked_count, copies[i]);
    }
    for (uint32_t i = 0; i < engine->config.worker_count; i++) {
        cw_work *work = reserve(&engine->workers[i], CW_SOURCES);
        work->block = copies[i];
        work->length = count * (uint32_t)sizeof(cw_source_range);
    }
    return CW_OK;
}

// What has no meaning without GRE and PPP.
static bool fits_native(const cw_command *command) {
    switch (command->type) {
    case CW_UPDATE: return (command->update.mask & (CW_UPDATE_FLAGS | CW_UPDATE_PEER_ADDRESS)) == 0;
    case CW_REKEY: case CW_INJECT: case CW_EXPORT: return false;
    default: return true;
    }
}

static void submit_to_session(cw_engine *engine, const cw_command *command) {
    cw_record *record = cw_table_find(&engine->table, command->session);
    if (record == NULL) {
        refuse(engine, command, NULL, CW_NOT_FOUND);
        return;
    }
    if (record->access != 0 && !fits_native(command)) {
        refuse(engine, command, record, CW_INVALID);
        return;
    }
    if (command->type == CW_UNBIND || command->type == CW_CLOSE || command->type == CW_EXPORT) change_routes(engine, record, NULL, 0);
    cw_work *work = reserve_for(engine, record, command->type);
    switch (command->type) {
    case CW_UPDATE: work->update = command->update; break;
    case CW_REKEY: work->rekey = command->rekey; break;
    case CW_BIND:
        work->bind = command->bind;
        change_routes(engine, record, command->bind.prefixes, command->bind.prefix_count);
        break;
    case CW_INJECT:
        work->length = command->inject.length;
        work->inject.protocol = command->inject.protocol;
        if (command->inject.length > 0) memcpy(work->inject.payload, command->inject.payload, command->inject.length);
        break;
    case CW_CLOSE: case CW_EXPORT: remove_record(engine, record); break;
    default: break;
    }
}

static bool names_identity(const cw_command *command) {
    switch (command->type) {
    case CW_OPEN_NATIVE: return true;
    case CW_BIND: return command->bind.identity != 0;
    case CW_IMPORT: return command->import_state.identity != 0;
    default: return false;
    }
}

static cw_status submit_one(cw_engine *engine, const cw_command *command) {
    if (!cw_command_valid(command) || (engine->wireguard == NULL && names_identity(command))) return CW_INVALID;
    if (!has_room(engine)) return CW_FULL;
    switch (command->type) {
    case CW_OPEN: submit_open(engine, command); return CW_OK;
    case CW_OPEN_NATIVE: submit_open_native(engine, command); return CW_OK;
    case CW_IMPORT: return submit_import(engine, command);
    case CW_TUNNEL:
        for (uint32_t i = 0; i < engine->config.worker_count; i++) reserve(&engine->workers[i], CW_TUNNEL)->tunnel = command->tunnel;
        return CW_OK;
    case CW_SOURCES: return submit_sources(engine, &command->sources);
    case CW_LOCAL_ADDRESSES: return submit_local_addresses(engine, &command->local_addresses);
    default: submit_to_session(engine, command); return CW_OK;
    }
}

cw_status cw_engine_put(cw_engine *engine, const cw_command *command) {
    pthread_mutex_lock(&engine->lock);
    cw_status status = submit_one(engine, command);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

void cw_engine_publish(cw_engine *engine) {
    for (uint32_t w = 0; w < engine->config.worker_count; w++) {
        cw_worker *worker = &engine->workers[w];
        if (cw_ring_publish(&worker->commands)) cw_worker_wake(worker);
    }
}

cw_status cw_engine_submit(cw_engine *engine, const cw_command *commands, size_t count, size_t *taken) {
    cw_status status = CW_OK;
    size_t i = 0;
    for (; i < count; i++) {
        status = cw_engine_put(engine, &commands[i]);
        if (status != CW_OK) break;
    }
    cw_engine_publish(engine);
    if (taken != NULL) *taken = i;
    return status;
}

void cw_engine_trim(cw_engine *engine) {
    for (uint32_t w = 0; w < engine->config.worker_count; w++) cw_ring_trim(&engine->workers[w].commands);
    pthread_mutex_lock(&engine->lock);
    cw_table_trim(&engine->table);
    pthread_mutex_unlock(&engine->lock);
}
