// Which kernels a processor gets.
#include <string.h>
#include <time.h>

#include "mppe_batch_internal.h"

cw_mppe_kernels cw_mppe_kernels_make(const cw_cpu *cpu, cw_mppe_rc4 rc4) {
    cw_mppe_kernels kernels = {
        .isa = cpu->level,
        .rc4 = rc4,
        .digest = cw_mppe_digest_lanes,
        .digest_few = cw_mppe_digest_each,
        .few = 1,
    };
#if defined(__x86_64__)
    if (cpu->level == CW_ISA_AVX2) kernels.digest = cw_mppe_digest_avx2;
    if (cpu->level == CW_ISA_AVX512) kernels.digest = cw_mppe_digest_avx512;
    if (cpu->sha) {
        kernels.digest_few = cw_mppe_digest_sha;
        kernels.few = 3;
    }
    // The costs are measured: a group's key schedules, and one step of all its lanes.
    switch (rc4) {
    case CW_MPPE_RC4_INTERLEAVED: break;
    case CW_MPPE_RC4_ROWS:
        kernels.lanes_crypt = cw_mppe_rows_crypt;
        kernels.group = 8;
        kernels.lanes = 32;
        kernels.schedule_cost = 1200;
        kernels.step_cost = 7;
        break;
    case CW_MPPE_RC4_GATHER:
        kernels.lanes_crypt = cw_mppe_gather_crypt;
        kernels.group = kernels.lanes = 16;
        kernels.schedule_cost = 2200;
        kernels.step_cost = 11;
        break;
    }
#endif
    return kernels;
}

// Nanoseconds for a batch that every kernel finds convenient; the best of some, since whatever disturbs makes it longer.
static uint64_t measure(const cw_mppe_kernels *kernels) {
    enum { rounds = 6, jobs = 32, length = 256 };
    uint8_t octets[jobs][length] = {{0}};
    uint64_t best = UINT64_MAX;
    for (unsigned round = 0; round < rounds; round++) {
        cw_mppe_job batch[jobs];
        for (unsigned n = 0; n < jobs; n++) {
            batch[n] = (cw_mppe_job){.in = octets[n], .out = octets[n], .length = length, .key_length = CW_MPPE_KEY_SIZE};
            memset(batch[n].key, (int)(n + 1), sizeof batch[n].key);
        }
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        cw_mppe_batch_crypt(kernels, batch, jobs, NULL, 0);
        clock_gettime(CLOCK_MONOTONIC, &to);
        uint64_t taken = (uint64_t)((to.tv_sec - from.tv_sec) * 1000000000 + (to.tv_nsec - from.tv_nsec));
        if (taken < best) best = taken;
    }
    return best;
}

cw_mppe_kernels cw_mppe_kernels_measure(const cw_cpu *cpu) {
    static const cw_mppe_rc4 last[CW_ISA_LEVELS] = {CW_MPPE_RC4_INTERLEAVED, CW_MPPE_RC4_ROWS, CW_MPPE_RC4_GATHER};
    cw_mppe_kernels best = cw_mppe_kernels_make(cpu, CW_MPPE_RC4_INTERLEAVED);
    if (cpu->level == CW_ISA_SCALAR) return best;
    uint64_t best_time = measure(&best);
    for (unsigned rc4 = CW_MPPE_RC4_ROWS; rc4 <= (unsigned)last[cpu->level]; rc4++) {
        cw_mppe_kernels other = cw_mppe_kernels_make(cpu, (cw_mppe_rc4)rc4);
        uint64_t time = measure(&other);
        if (time >= best_time) continue;
        best = other;
        best_time = time;
    }
    return best;
}

const char *cw_mppe_kernels_name(const cw_mppe_kernels *kernels) {
    static const char *const names[CW_ISA_LEVELS][3] = {
        {"scalar"},
        {"avx2 (interleaved)", "avx2 (rows)"},
        {"avx512 (interleaved)", "avx512 (rows)", "avx512 (gather)"},
    };
    return names[kernels->isa][kernels->rc4];
}
