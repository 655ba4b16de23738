#include "gate.h"

#include <stdlib.h>
#include <string.h>

bool cw_gate_create(cw_gate *gate, uint32_t workers) {
    memset(gate, 0, sizeof *gate);
    gate->leaves = aligned_alloc(_Alignof(cw_gate_leaf), workers * sizeof(cw_gate_leaf));
    if (gate->leaves == NULL) return false;
    for (uint32_t i = 0; i < workers; i++) pthread_mutex_init(&gate->leaves[i].lock, NULL);
    pthread_mutex_init(&gate->turn, NULL);
    gate->count = workers;
    return true;
}

void cw_gate_destroy(cw_gate *gate) {
    if (gate->leaves == NULL) return;
    for (uint32_t i = 0; i < gate->count; i++) pthread_mutex_destroy(&gate->leaves[i].lock);
    pthread_mutex_destroy(&gate->turn);
    free(gate->leaves);
    gate->leaves = NULL;
}

void cw_gate_enter(cw_gate *gate, uint32_t worker) {
    // A mutex is not fair: without this a busy worker would take its own lock again and again before a waiting writer wakes. Whether the
    // worker sees the writer now or the next time does not matter, so nothing has to be ordered here.
    if (atomic_load_explicit(&gate->writers, memory_order_relaxed) != 0) {
        pthread_mutex_lock(&gate->turn);
        pthread_mutex_unlock(&gate->turn);
    }
    pthread_mutex_lock(&gate->leaves[worker].lock);
}

void cw_gate_leave(cw_gate *gate, uint32_t worker) { pthread_mutex_unlock(&gate->leaves[worker].lock); }

void cw_gate_close(cw_gate *gate) {
    atomic_fetch_add_explicit(&gate->writers, 1, memory_order_relaxed);
    pthread_mutex_lock(&gate->turn);
    for (uint32_t i = 0; i < gate->count; i++) pthread_mutex_lock(&gate->leaves[i].lock);
}

void cw_gate_open(cw_gate *gate) {
    for (uint32_t i = gate->count; i-- > 0;) pthread_mutex_unlock(&gate->leaves[i].lock);
    pthread_mutex_unlock(&gate->turn);
    atomic_fetch_sub_explicit(&gate->writers, 1, memory_order_relaxed);
}
