// A few lines of test harness: CHECK counts, TEST names, the last line is "N passed, M failed" and the exit code says the same.
#ifndef CW_TEST_HARNESS_H
#define CW_TEST_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
enum { SANITIZED = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) };
#else
enum { SANITIZED = 0 };
#endif

static unsigned test_failed_checks;
static unsigned test_passed, test_failed;

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            test_failed_checks++;                                                          \
            if (test_failed_checks <= 10)                                                  \
                fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);  \
        }                                                                                  \
    } while (0)

#define CHECK_EQUAL(left, right)                                                                                    \
    do {                                                                                                            \
        unsigned long long left_value = (unsigned long long)(left), right_value = (unsigned long long)(right);      \
        if (left_value != right_value) {                                                                            \
            test_failed_checks++;                                                                                   \
            if (test_failed_checks <= 10)                                                                           \
                fprintf(stderr, "%s:%d: %s is %llu, %s is %llu\n", __FILE__, __LINE__, #left, left_value, #right,   \
                        right_value);                                                                               \
        }                                                                                                           \
    } while (0)

// RUN(name) runs test_<name>().
#define RUN(name)                                                                   \
    do {                                                                            \
        test_failed_checks = 0;                                                     \
        test_##name();                                                              \
        if (test_failed_checks == 0) test_passed++;                                 \
        else {                                                                      \
            test_failed++;                                                          \
            fprintf(stderr, "FAILED %s: %u checks\n", #name, test_failed_checks);   \
        }                                                                           \
    } while (0)

#define FINISH()                                                      \
    do {                                                              \
        printf("%u passed, %u failed\n", test_passed, test_failed);   \
        return test_failed == 0 && test_passed > 0 ? 0 : 1;           \
    } while (0)

static inline size_t from_hex(const char *hex, uint8_t *out, size_t capacity) {
    size_t n = 0;
    while (hex[0] != 0 && hex[1] != 0 && n < capacity) {
        if (hex[0] == ' ') {
            hex++;
            continue;
        }
        unsigned value;
        if (sscanf(hex, "%2x", &value) != 1) break;
        out[n++] = (uint8_t)value;
        hex += 2;
    }
    return n;
}

static inline bool equals_hex(const uint8_t *octets, const char *hex) {
    uint8_t expected[512];
    size_t n = from_hex(hex, expected, sizeof expected);
    return memcmp(octets, expected, n) == 0;
}

// Repeatable randomness (xorshift64*): a failing test fails again.
typedef struct test_random {
    uint64_t state;
} test_random;

static inline uint64_t next_random(test_random *random) {
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * UINT64_C(2685821657736338717);
}

static inline uint64_t random_below(test_random *random, uint64_t limit) { return (next_random(random) >> 11) % limit; }

#endif
