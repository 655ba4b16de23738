#include "sources.h"

#include <stdlib.h>
#include <string.h>

#include "link_bytes.h"

static cw_source_range range_of(const cw_prefix *prefix) {
    uint32_t address = cw_get32(prefix->address.bytes), hosts = prefix->length == 0 ? UINT32_MAX : ~(UINT32_MAX << (32 - prefix->length));
    return (cw_source_range){address & ~hosts, address | hosts};
}

static int by_first(const void *a, const void *b) {
    uint32_t left = ((const cw_source_range *)a)->first, right = ((const cw_source_range *)b)->first;
    return left < right ? -1 : left > right;
}

// In order, without overlaps.
static uint32_t merge(cw_source_range *ranges, uint32_t count) {
    if (count == 0) return 0;
    qsort(ranges, count, sizeof *ranges, by_first);
    uint32_t last = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (ranges[i].first > ranges[last].last) ranges[++last] = ranges[i];
        else if (ranges[i].last > ranges[last].last) ranges[last].last = ranges[i].last;
    }
    return last + 1;
}

// Takes one range out of all.
static uint32_t subtract(cw_source_range *ranges, uint32_t count, cw_source_range out) {
    uint32_t from = 0;
    while (from < count && ranges[from].last < out.first) from++;
    uint32_t to = from; // [from, to) have something in common with it
    while (to < count && ranges[to].first <= out.last) to++;
    if (from == to) return count;
    cw_source_range left[2];
    uint32_t kept = 0;
    if (ranges[from].first < out.first) left[kept++] = (cw_source_range){ranges[from].first, out.first - 1};
    if (ranges[to - 1].last > out.last) left[kept++] = (cw_source_range){out.last + 1, ranges[to - 1].last};
    memmove(ranges + from + kept, ranges + to, (count - to) * sizeof *ranges);
    memcpy(ranges + from, left, kept * sizeof *ranges);
    return count - (to - from) + kept;
}

uint32_t cw_sources_build(const cw_prefix *allowed, uint32_t allowed_count, const cw_prefix *blocked, uint32_t blocked_count,
                          cw_source_range *ranges) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < allowed_count; i++) ranges[count++] = range_of(&allowed[i]);
    if (allowed_count == 0) ranges[count++] = (cw_source_range){0, UINT32_MAX};
    count = merge(ranges, count);
    for (uint32_t i = 0; i < blocked_count; i++) count = subtract(ranges, count, range_of(&blocked[i]));
    return count;
}

bool cw_sources_permit(const cw_source_range *ranges, uint32_t count, uint32_t source) {
    uint32_t low = 0, high = count; // the first range that ends at or behind the source
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (ranges[middle].last < source) low = middle + 1;
        else high = middle;
    }
    return low < count && ranges[low].first <= source;
}
