// Which instructions this machine has, and which of them are used. Levels are ordered: a higher one includes the lower ones.
#ifndef CW_ISA_H
#define CW_ISA_H

#include <stdbool.h>

typedef enum cw_isa {
    CW_ISA_SCALAR, // portable C
    CW_ISA_AVX2,
    CW_ISA_AVX512, // F, BW, DQ and VL
} cw_isa;

enum { CW_ISA_LEVELS = 3 };

typedef struct cw_cpu {
    cw_isa level; // the highest that processor and system offer
    bool sha;     // SHA-NI; beside the levels, since old processors of small size have it and old large ones do not
    bool ifma;    // AVX-512 IFMA
} cw_cpu;

typedef enum cw_isa_choice {
    CW_ISA_CHOSEN,
    CW_ISA_UNKNOWN, // no such name
    CW_ISA_LACKING, // the processor does not have it
} cw_isa_choice;

cw_cpu cw_cpu_probe(void);
const char *cw_isa_name(cw_isa isa); // "scalar", "avx2", "avx512"
// `forced` is a name as above, or NULL or empty for the best that there is. Other than CW_ISA_CHOSEN: *isa is unchanged. Lowering the
// level lowers what goes with it: without AVX-512 no IFMA, and the scalar level uses no special instruction at all.
cw_isa_choice cw_isa_choose(const cw_cpu *cpu, const char *forced, cw_isa *isa);
cw_cpu cw_cpu_limited(const cw_cpu *cpu, cw_isa isa);
// The environment variable CAUSEWAY_ISA, or NULL.
const char *cw_isa_forced(void);

#endif
