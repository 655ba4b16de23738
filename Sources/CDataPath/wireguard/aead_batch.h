// ChaCha20-Poly1305 across packets: kernels that work on the blocks of many packets at once. Jobs as in aead.h, nonces and results too; a
// kernel is a table of functions, and a CPU that lacks it has none.
#ifndef CW_WG_AEAD_BATCH_H
#define CW_WG_AEAD_BATCH_H

#include "aead.h"
#include "isa.h"

typedef enum cw_aead_kernel {
    CW_AEAD_AVX2,
    CW_AEAD_AVX512, // with IFMA
    CW_AEAD_KERNELS,
} cw_aead_kernel;

typedef struct cw_aead_batch cw_aead_batch;

// NULL: the CPU does not have it, or must not use it (isa.h).
const cw_aead_batch *cw_aead_batch_get(cw_aead_kernel kernel, const cw_cpu *cpu);
// The best that the CPU has and that works; NULL: none.
const cw_aead_batch *cw_aead_batch_best(const cw_cpu *cpu);
const char *cw_aead_batch_name(const cw_aead_batch *batch);

// Whether a kernel agrees with libsodium here and now: lengths around all borders, wrong tags. Some 100 µs.
bool cw_aead_batch_works(const cw_aead_batch *batch);

// Whether it is faster than the libraries of aead.h: nearly always, unless a packet is alone.
bool cw_aead_batch_pays(const cw_aead_batch *batch, const cw_aead_job *jobs, size_t count);

void cw_aead_batch_seal(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count);
void cw_aead_batch_open(const cw_aead_batch *batch, cw_aead_job *jobs, size_t count);

#endif
