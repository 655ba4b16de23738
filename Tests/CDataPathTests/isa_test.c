#include "causeway_datapath.h"
#include "harness.h"
#include "isa.h"

static void test_choice(void) {
    static const struct {
        cw_isa level;
        const char *forced;
        cw_isa_choice choice;
        cw_isa isa;
    } cases[] = {
        {CW_ISA_SCALAR, NULL, CW_ISA_CHOSEN, CW_ISA_SCALAR},
        {CW_ISA_AVX2, NULL, CW_ISA_CHOSEN, CW_ISA_AVX2},
        {CW_ISA_AVX512, NULL, CW_ISA_CHOSEN, CW_ISA_AVX512},
        {CW_ISA_AVX512, "", CW_ISA_CHOSEN, CW_ISA_AVX512},
        {CW_ISA_AVX512, "scalar", CW_ISA_CHOSEN, CW_ISA_SCALAR},
        {CW_ISA_AVX512, "avx2", CW_ISA_CHOSEN, CW_ISA_AVX2},
        {CW_ISA_AVX512, "avx512", CW_ISA_CHOSEN, CW_ISA_AVX512},
        {CW_ISA_AVX2, "avx512", CW_ISA_LACKING, 0},
        {CW_ISA_SCALAR, "avx2", CW_ISA_LACKING, 0},
        {CW_ISA_SCALAR, "scalar", CW_ISA_CHOSEN, CW_ISA_SCALAR},
        {CW_ISA_AVX512, "AVX2", CW_ISA_UNKNOWN, 0},
        {CW_ISA_AVX512, "avx", CW_ISA_UNKNOWN, 0},
        {CW_ISA_AVX512, "avx2 ", CW_ISA_UNKNOWN, 0},
        {CW_ISA_AVX512, "neon", CW_ISA_UNKNOWN, 0},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        cw_cpu cpu = {.level = cases[n].level};
        cw_isa before = cases[n].level == CW_ISA_SCALAR ? CW_ISA_AVX2 : CW_ISA_SCALAR;
        cw_isa isa = before;
        CHECK_EQUAL(cw_isa_choose(&cpu, cases[n].forced, &isa), cases[n].choice);
        CHECK_EQUAL(isa, cases[n].choice == CW_ISA_CHOSEN ? cases[n].isa : before);
    }
}

static void test_names(void) {
    for (unsigned level = 0; level < CW_ISA_LEVELS; level++) {
        cw_cpu cpu = {.level = CW_ISA_AVX512};
        cw_isa isa = CW_ISA_SCALAR;
        CHECK_EQUAL(cw_isa_choose(&cpu, cw_isa_name((cw_isa)level), &isa), CW_ISA_CHOSEN);
        CHECK_EQUAL(isa, level);
    }
}

static void test_limits(void) {
    cw_cpu all = {.level = CW_ISA_AVX512, .sha = true, .ifma = true};
    cw_cpu cpu = cw_cpu_limited(&all, CW_ISA_AVX512);
    CHECK(cpu.level == CW_ISA_AVX512 && cpu.sha && cpu.ifma);
    cpu = cw_cpu_limited(&all, CW_ISA_AVX2);
    CHECK(cpu.level == CW_ISA_AVX2 && cpu.sha && !cpu.ifma);
    cpu = cw_cpu_limited(&all, CW_ISA_SCALAR);
    CHECK(cpu.level == CW_ISA_SCALAR && !cpu.sha && !cpu.ifma);
    cw_cpu plain = {.level = CW_ISA_AVX512};
    cpu = cw_cpu_limited(&plain, CW_ISA_AVX512);
    CHECK(!cpu.sha && !cpu.ifma);
}

// As callers see it.
static void test_setting(void) {
    unsetenv("CAUSEWAY_ISA");
    CHECK(cw_isa_setting_valid());
    CHECK(strcmp(cw_isa_highest(), cw_isa_name(cw_cpu_probe().level)) == 0);
    const char *best = cw_wg_cipher_kernels();
    bool lower = true; // than what the processor has
    for (uint32_t level = 0; cw_isa_level(level) != NULL; level++) {
        setenv("CAUSEWAY_ISA", cw_isa_level(level), 1);
        CHECK_EQUAL(cw_isa_setting_valid(), lower);
        if (strcmp(cw_isa_level(level), cw_isa_highest()) == 0) {
            CHECK(strcmp(cw_wg_cipher_kernels(), best) == 0);
            lower = false;
        }
    }
    CHECK(!lower);
    setenv("CAUSEWAY_ISA", "scalar", 1);
    CHECK(strcmp(cw_wg_cipher_kernels(), "libraries") == 0);
    setenv("CAUSEWAY_ISA", "neon", 1);
    CHECK(!cw_isa_setting_valid());
    CHECK(strcmp(cw_wg_cipher_kernels(), "none") == 0);
    unsetenv("CAUSEWAY_ISA");
}

// What the system says about the processor, put together in another way.
static void test_probe(void) {
    cw_cpu cpu = cw_cpu_probe();
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) {
        printf("SKIPPED probe: no /proc/cpuinfo\n");
        return;
    }
    static char line[16384];
    bool avx2 = false, avx512 = false, sha = false, ifma = false, found = false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "flags", 5) != 0) continue;
        found = true;
        line[strcspn(line, "\n")] = 0;
        strcat(line, " ");
        avx2 = strstr(line, " avx2 ") != NULL;
        avx512 = strstr(line, " avx512f ") != NULL && strstr(line, " avx512bw ") != NULL && strstr(line, " avx512dq ") != NULL &&
                 strstr(line, " avx512vl ") != NULL;
        sha = strstr(line, " sha_ni ") != NULL;
        ifma = strstr(line, " avx512ifma ") != NULL;
    }
    fclose(file);
    if (!found) {
        CHECK_EQUAL(cpu.level, CW_ISA_SCALAR);
        return;
    }
    CHECK_EQUAL(cpu.level, avx512 ? CW_ISA_AVX512 : avx2 ? CW_ISA_AVX2 : CW_ISA_SCALAR);
    CHECK_EQUAL(cpu.sha, sha);
    CHECK_EQUAL(cpu.ifma, ifma && avx512);
}

static void test_environment(void) {
    unsetenv("CAUSEWAY_ISA");
    CHECK(cw_isa_forced() == NULL);
    setenv("CAUSEWAY_ISA", "scalar", 1);
    CHECK(cw_isa_forced() != NULL && strcmp(cw_isa_forced(), "scalar") == 0);
    unsetenv("CAUSEWAY_ISA");
}

int main(void) {
    RUN(choice);
    RUN(names);
    RUN(limits);
    RUN(probe);
    RUN(environment);
    RUN(setting);
    FINISH();
}
