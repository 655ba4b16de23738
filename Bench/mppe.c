// MPPE-128 stateless, whole packet: key change, key schedule, stream. The core's kernels against a baseline in plain C (mppe-plain.h) and
// against Nettle's SHA-1 and RC4. All work through the same key chains and the outputs are compared before anything is timed; they are timed
// in turns, round by round, so that what disturbs the machine meets all of them.
#include <nettle/arcfour.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mppe-plain.h"
#include "mppe_batch.h"

enum { ROUNDS = 21, BATCH = 32, ROUND_PACKETS = 768, MOST = 1500, CONTENDERS_MAX = 8 };

typedef struct load {
    const char *name;
    unsigned packets, sessions;
    uint16_t lengths[BATCH];
} load;

typedef struct contender {
    const char *name;
    enum { PLAIN, NETTLE, OURS } kind;
    cw_mppe_kernels kernels;
    uint8_t keys[BATCH][CW_MPPE_KEY_SIZE]; // of the sessions
    uint8_t out[BATCH][MOST];
    double rounds[ROUNDS];
} contender;

static uint8_t plain[BATCH][MOST];
static uint8_t starts[BATCH][CW_MPPE_KEY_SIZE];
static cw_mppe_suite suites[BATCH];
static plain_session plain_sessions[BATCH];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// Packet n belongs to session n modulo sessions.
static void run_plain(contender *c, const load *load) {
    for (unsigned n = 0; n < load->sessions; n++) memcpy(plain_sessions[n].key, c->keys[n], CW_MPPE_KEY_SIZE);
    for (unsigned n = 0; n < load->packets; n++) plain_packet(&plain_sessions[n % load->sessions], c->out[n], plain[n], load->lengths[n]);
    for (unsigned n = 0; n < load->sessions; n++) memcpy(c->keys[n], plain_sessions[n].key, CW_MPPE_KEY_SIZE);
}

static void run_nettle(contender *c, const load *load) {
    static const uint8_t pad1[40], pad2[40] = {[0 ... 39] = 0xf2};
    for (unsigned n = 0; n < load->packets; n++) {
        uint8_t *key = c->keys[n % load->sessions], digest[20];
        struct sha1_ctx sha1;
        struct arcfour_ctx rc4;
        sha1_init(&sha1);
        sha1_update(&sha1, 16, starts[n % load->sessions]);
        sha1_update(&sha1, sizeof pad1, pad1);
        sha1_update(&sha1, 16, key);
        sha1_update(&sha1, sizeof pad2, pad2);
        sha1_digest(&sha1, 20, digest);
        arcfour_set_key(&rc4, 16, digest);
        arcfour_crypt(&rc4, 16, key, digest);
        arcfour_set_key(&rc4, 16, key);
        arcfour_crypt(&rc4, load->lengths[n], c->out[n], plain[n]);
    }
}

static void run_ours(contender *c, const load *load) {
    unsigned each = load->packets / load->sessions;
    static uint8_t rings[BATCH][BATCH][CW_MPPE_KEY_SIZE];
    cw_mppe_chain chains[BATCH];
    for (unsigned n = 0; n < load->sessions; n++)
        chains[n] = (cw_mppe_chain){.suite = &suites[n], .key = c->keys[n], .ring = rings[n], .size = BATCH, .count = (uint16_t)each};
    cw_mppe_batch_keys(&c->kernels, chains, load->sessions);
    cw_mppe_job jobs[BATCH];
    for (unsigned n = 0; n < load->packets; n++) {
        jobs[n] = (cw_mppe_job){.in = plain[n], .out = c->out[n], .length = load->lengths[n], .key_length = CW_MPPE_KEY_SIZE};
        memcpy(jobs[n].key, rings[n % load->sessions][n / load->sessions], CW_MPPE_KEY_SIZE);
    }
    for (unsigned n = 0; n < load->sessions; n++) memcpy(c->keys[n], rings[n][each - 1], CW_MPPE_KEY_SIZE);
    cw_mppe_batch_crypt(&c->kernels, jobs, load->packets, NULL, 0);
}

static void run(contender *c, const load *load) {
    switch (c->kind) {
    case PLAIN: run_plain(c, load); break;
    case NETTLE: run_nettle(c, load); break;
    case OURS: run_ours(c, load); break;
    }
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void begin(contender *c) {
    for (unsigned n = 0; n < BATCH; n++) {
        for (unsigned i = 0; i < CW_MPPE_KEY_SIZE; i++) starts[n][i] = (uint8_t)(n * 89 + i * 7 + 1);
        if (!cw_mppe_suite_init(&suites[n], 128, starts[n], c->keys[n])) exit(1);
        memcpy(plain_sessions[n].start, starts[n], sizeof starts[n]);
    }
}

static void compare(contender *contenders, unsigned count, const load *load) {
    for (unsigned c = 0; c < count; c++) {
        begin(&contenders[c]);
        run(&contenders[c], load);
        for (unsigned n = 0; n < load->packets; n++) {
            if (memcmp(contenders[c].out[n], contenders[0].out[n], load->lengths[n]) == 0) continue;
            fprintf(stderr, "%s does not agree with %s\n", contenders[c].name, contenders[0].name);
            exit(1);
        }
    }
}

static double median(const double values[ROUNDS], double sorted[ROUNDS]) {
    memcpy(sorted, values, ROUNDS * sizeof *values);
    qsort(sorted, ROUNDS, sizeof *sorted, order);
    return sorted[ROUNDS / 2];
}

static void measure(contender *contenders, unsigned count, const load *load) {
    compare(contenders, count, load);
    unsigned repeats = ROUND_PACKETS / load->packets;
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned c = 0; c < count; c++) {
            double from = now();
            for (unsigned n = 0; n < repeats; n++) run(&contenders[c], load);
            contenders[c].rounds[round] = (now() - from) / (repeats * load->packets);
        }
}

// Ratios within each round: then their median, least and greatest.
static double ratio(const contender *contenders, unsigned c, double sorted[ROUNDS]) {
    double ratios[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) ratios[round] = contenders[0].rounds[round] / contenders[c].rounds[round];
    return median(ratios, sorted);
}

static void report(const contender *contenders, unsigned count, const load *load) {
    printf("%s\n", load->name);
    for (unsigned c = 0; c < count; c++) {
        double times[ROUNDS], ratios[ROUNDS];
        double time = median(contenders[c].rounds, times), times_faster = ratio(contenders, c, ratios);
        printf("    %-24s %6.0f ns (%.0f-%.0f) %8.2fx (%.2f-%.2f)\n", contenders[c].name, time, times[0], times[ROUNDS - 1], times_faster,
               ratios[0], ratios[ROUNDS - 1]);
    }
}

static load uniform(const char *name, unsigned packets, unsigned sessions, uint16_t length) {
    load load = {.name = name, .packets = packets, .sessions = sessions};
    for (unsigned n = 0; n < packets; n++) load.lengths[n] = length;
    return load;
}

// Medians of the ratio to the baseline for batches that do not fill the lanes.
static void short_batches(contender *contenders, unsigned count, uint16_t length) {
    static const unsigned packets[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
    enum { sizes = sizeof packets / sizeof *packets };
    double table[CONTENDERS_MAX][sizes], sorted[ROUNDS];
    printf("many sessions, %u octets, packets in a batch:", length);
    for (unsigned n = 0; n < sizes; n++) {
        load load = uniform("", packets[n], packets[n], length);
        measure(contenders, count, &load);
        for (unsigned c = 0; c < count; c++) table[c][n] = ratio(contenders, c, sorted);
        printf(" %u", packets[n]);
    }
    printf("\n");
    for (unsigned c = 2; c < count; c++) {
        printf("    %-24s", contenders[c].name);
        for (unsigned n = 0; n < sizes; n++) printf(" %5.2fx", table[c][n]);
        printf("\n");
    }
}

int main(void) {
    static contender contenders[CONTENDERS_MAX];
    unsigned count = 0;
    contenders[count++] = (contender){.name = "plain C, the baseline", .kind = PLAIN};
    contenders[count++] = (contender){.name = "Nettle", .kind = NETTLE};
    cw_cpu cpu = cw_cpu_probe();
    static const cw_mppe_rc4 rc4[CW_ISA_LEVELS][2] = {
        {CW_MPPE_RC4_INTERLEAVED, CW_MPPE_RC4_INTERLEAVED},
        {CW_MPPE_RC4_ROWS, CW_MPPE_RC4_ROWS},
        {CW_MPPE_RC4_ROWS, CW_MPPE_RC4_GATHER},
    };
    for (unsigned level = 0; level <= (unsigned)cpu.level; level++) {
        cw_cpu limited = cw_cpu_limited(&cpu, (cw_isa)level);
        for (unsigned n = 0; n < 2; n++) {
            if (n > 0 && rc4[level][n] == rc4[level][0]) continue;
            contenders[count] = (contender){.kind = OURS, .kernels = cw_mppe_kernels_make(&limited, rc4[level][n])};
            contenders[count].name = cw_mppe_kernels_name(&contenders[count].kernels);
            count++;
        }
    }
    cw_mppe_kernels chosen = cw_mppe_kernels_measure(&cpu);
    printf("chosen at a start here: %s\n", cw_mppe_kernels_name(&chosen));

    for (unsigned n = 0; n < BATCH; n++)
        for (unsigned i = 0; i < MOST; i++) plain[n][i] = (uint8_t)(n * 31 + i * 7);
    static const uint16_t sizes[] = {1400, 576, 64};
    for (unsigned one = 0; one < 2; one++)
        for (unsigned size = 0; size < sizeof sizes / sizeof *sizes; size++) {
            char name[64];
            snprintf(name, sizeof name, "%s, %u octets", one ? "one session" : "many sessions", sizes[size]);
            load load = uniform(name, BATCH, one ? 1 : BATCH, sizes[size]);
            measure(contenders, count, &load);
            report(contenders, count, &load);
        }
    // The usual mix, 7 : 4 : 1.
    static const uint16_t mix[12] = {64, 64, 576, 64, 576, 64, 1400, 64, 576, 64, 576, 64};
    load load = uniform("many sessions, mix of 64, 576 and 1400 octets", BATCH, BATCH, 0);
    for (unsigned n = 0; n < BATCH; n++) load.lengths[n] = mix[n % 12];
    measure(contenders, count, &load);
    report(contenders, count, &load);
    short_batches(contenders, count, 1400);
    short_batches(contenders, count, 64);
    return 0;
}
