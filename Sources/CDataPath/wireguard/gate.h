// Keeps changes and packets apart. Every worker holds its own lock (uncontended, on a cache line of its own) while it handles
// packets; whoever changes what they read takes all of them. Changes are rare and short: a pointer to new keys, a new endpoint,
// an allowed IP. Handshake cryptography happens outside. A writer that waits is let in before a worker enters again.
#ifndef CW_WG_GATE_H
#define CW_WG_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct cw_gate_leaf {
    _Alignas(64) pthread_mutex_t lock;
} cw_gate_leaf;

typedef struct cw_gate {
    uint32_t count;
    cw_gate_leaf *leaves;
    _Alignas(64) _Atomic uint32_t writers;
    pthread_mutex_t turn; // a worker that sees a writer waits here
} cw_gate;

bool cw_gate_create(cw_gate *gate, uint32_t workers);
void cw_gate_destroy(cw_gate *gate);
void cw_gate_enter(cw_gate *gate, uint32_t worker);
void cw_gate_leave(cw_gate *gate, uint32_t worker);
void cw_gate_close(cw_gate *gate); // all workers are outside from here on, until open
void cw_gate_open(cw_gate *gate);

#endif
