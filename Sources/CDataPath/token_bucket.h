// A token bucket: `rate` tokens a second, at most `burst` saved up. A rate of 0 means unlimited.
#ifndef CW_TOKEN_BUCKET_H
#define CW_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cw_bucket {
    uint64_t rate;
    uint64_t burst;
    uint64_t tokens;
    uint64_t filled; // ns: time up to which tokens were credited
} cw_bucket;

static inline cw_bucket cw_bucket_full(uint64_t rate, uint64_t burst, uint64_t now) {
    return (cw_bucket){.rate = rate, .burst = burst, .tokens = burst, .filled = now};
}

static inline bool cw_bucket_take(cw_bucket *bucket, uint64_t cost, uint64_t now) {
    enum { second = 1000000000 };
    if (bucket->rate == 0) return true;
    if (now > bucket->filled) {
        uint64_t elapsed = now - bucket->filled;
        if (elapsed >= second) { // more than a second is a full second's credit: no product can overflow
            bucket->tokens += bucket->rate;
            bucket->filled = now;
        } else {
            uint64_t credit = (uint64_t)((__uint128_t)elapsed * bucket->rate / second);
            bucket->tokens += credit;
            // Only the time that became whole tokens is used up, so slow rates keep their fractions.
            if (credit > 0) bucket->filled += (uint64_t)((__uint128_t)credit * second / bucket->rate);
        }
        if (bucket->tokens > bucket->burst) bucket->tokens = bucket->burst;
    }
    if (bucket->tokens < cost) return false;
    bucket->tokens -= cost;
    return true;
}

#endif
