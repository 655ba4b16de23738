#include "isa.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[CW_ISA_LEVELS] = {"scalar", "avx2", "avx512"};

#if defined(__x86_64__)
#include <cpuid.h>

// Not every compiler knows this one by name.
static bool has_sha(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & 1u << 29) != 0;
}

cw_cpu cw_cpu_probe(void) {
    __builtin_cpu_init();
    cw_cpu cpu = {.level = CW_ISA_SCALAR, .sha = has_sha() && __builtin_cpu_supports("sse4.1")};
    // The compiler's answer includes whether the system saves the registers.
    if (!__builtin_cpu_supports("avx2")) return cpu;
    cpu.level = CW_ISA_AVX2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return cpu;
    cpu.level = CW_ISA_AVX512;
    cpu.ifma = __builtin_cpu_supports("avx512ifma");
    return cpu;
}
#else
cw_cpu cw_cpu_probe(void) { return (cw_cpu){.level = CW_ISA_SCALAR}; }
#endif

const char *cw_isa_name(cw_isa isa) { return names[isa]; }

cw_isa_choice cw_isa_choose(const cw_cpu *cpu, const char *forced, cw_isa *isa) {
    if (forced == NULL || forced[0] == 0) {
        *isa = cpu->level;
        return CW_ISA_CHOSEN;
    }
    for (unsigned level = 0; level < CW_ISA_LEVELS; level++) {
        if (strcmp(forced, names[level]) != 0) continue;
        if (level > (unsigned)cpu->level) return CW_ISA_LACKING;
        *isa = (cw_isa)level;
        return CW_ISA_CHOSEN;
    }
    return CW_ISA_UNKNOWN;
}

cw_cpu cw_cpu_limited(const cw_cpu *cpu, cw_isa isa) {
    return (cw_cpu){.level = isa, .sha = cpu->sha && isa > CW_ISA_SCALAR, .ifma = cpu->ifma && isa == CW_ISA_AVX512};
}

const char *cw_isa_forced(void) { return getenv("CAUSEWAY_ISA"); }
