// CAUSEWAY_ISA as callers see it.
#include "aead_batch.h"
#include "causeway_datapath.h"
#include "isa.h"

// false: no level could be chosen.
static bool allowed(cw_cpu *limited) {
    const cw_cpu cpu = cw_cpu_probe();
    cw_isa isa;
    if (cw_isa_choose(&cpu, cw_isa_forced(), &isa) != CW_ISA_CHOSEN) return false;
    *limited = cw_cpu_limited(&cpu, isa);
    return true;
}

bool cw_isa_setting_valid(void) { return allowed(&(cw_cpu){0}); }

const char *cw_isa_level(uint32_t number) { return number < CW_ISA_LEVELS ? cw_isa_name((cw_isa)number) : NULL; }

const char *cw_isa_highest(void) { return cw_isa_name(cw_cpu_probe().level); }

const char *cw_wg_cipher_kernels(void) {
    cw_cpu limited;
    if (!allowed(&limited)) return "none";
    const cw_aead_batch *batch = cw_aead_batch_best(&limited);
    return batch == NULL ? "libraries" : cw_aead_batch_name(batch);
}
