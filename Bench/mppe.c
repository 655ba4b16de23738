// MPPE-128 stateless, whole packet: key change and stream. Ours (the core's batch function) against Nettle's SHA-1 and RC4 put together
// the plain way, one packet after the other. Both work through the same key chain; the outputs are compared before anything is timed.
#include <inttypes.h>
#include <nettle/arcfour.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mppe_key.h"

enum { ROUNDS = 21, PACKETS = 2048, MOST = 1400 };

static uint8_t plain[CW_MPPE_BATCH][MOST], ours[CW_MPPE_BATCH][MOST], theirs[CW_MPPE_BATCH][MOST];
static const uint8_t start[CW_MPPE_KEY_SIZE] = "sixteen octets!";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void run_ours(const cw_mppe_suite *suite, uint8_t key[CW_MPPE_KEY_SIZE], size_t length) {
    cw_mppe_job jobs[CW_MPPE_BATCH];
    for (int i = 0; i < CW_MPPE_BATCH; i++) {
        cw_mppe_key_change(suite, key, key);
        memcpy(jobs[i].key, key, CW_MPPE_KEY_SIZE);
        jobs[i].in = plain[i];
        jobs[i].out = ours[i];
        jobs[i].length = (uint16_t)length;
        jobs[i].key_length = 16;
    }
    cw_mppe_crypt_batch(jobs, CW_MPPE_BATCH);
}

// RFC 3078 section 7.3 with a library's parts.
static void change_theirs(uint8_t key[16]) {
    static const uint8_t pad1[40], pad2[40] = {[0 ... 39] = 0xf2};
    struct sha1_ctx sha;
    struct arcfour_ctx rc4;
    uint8_t digest[20];
    sha1_init(&sha);
    sha1_update(&sha, 16, start);
    sha1_update(&sha, 40, pad1);
    sha1_update(&sha, 16, key);
    sha1_update(&sha, 40, pad2);
    sha1_digest(&sha, 20, digest);
    arcfour_set_key(&rc4, 16, digest);
    arcfour_crypt(&rc4, 16, key, digest);
}

static void run_theirs(uint8_t key[16], size_t length) {
    struct arcfour_ctx rc4;
    for (int i = 0; i < CW_MPPE_BATCH; i++) {
        change_theirs(key);
        arcfour_set_key(&rc4, 16, key);
        arcfour_crypt(&rc4, length, theirs[i], plain[i]);
    }
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, order);
    return values[ROUNDS / 2];
}

int main(void) {
    static const size_t lengths[] = {64, 576, 1400};
    for (int i = 0; i < CW_MPPE_BATCH; i++)
        for (int j = 0; j < MOST; j++) plain[i][j] = (uint8_t)(i * 31 + j * 7);
    printf("%-8s %16s %16s %8s\n", "bytes", "Causeway ns", "Nettle ns", "ratio");
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        cw_mppe_suite suite;
        uint8_t a[CW_MPPE_KEY_SIZE], b[CW_MPPE_KEY_SIZE];
        if (!cw_mppe_suite_init(&suite, 128, start, a)) return 1;
        memcpy(b, a, sizeof b);
        run_ours(&suite, a, lengths[n]);
        run_theirs(b, lengths[n]);
        if (memcmp(a, b, sizeof a) != 0 || memcmp(ours, theirs, sizeof ours) != 0) {
            fprintf(stderr, "the two do not agree\n");
            return 1;
        }
        // Round by round in turns, so that a disturbance of the machine meets both.
        double mine[ROUNDS], other[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            double t = now();
            for (int i = 0; i < PACKETS / CW_MPPE_BATCH; i++) run_ours(&suite, a, lengths[n]);
            mine[round] = (now() - t) / PACKETS;
            t = now();
            for (int i = 0; i < PACKETS / CW_MPPE_BATCH; i++) run_theirs(b, lengths[n]);
            other[round] = (now() - t) / PACKETS;
        }
        double x = median(mine), y = median(other);
        printf("%-8zu %16.0f %16.0f %7.2fx\n", lengths[n], x, y, y / x);
    }
    return 0;
}
