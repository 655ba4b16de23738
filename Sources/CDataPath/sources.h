// From which outer IPv4 addresses packets are taken: allowed prefixes (none: all) less blocked ones, as ranges that are in order and do
// not overlap. Needed beside the host's packet filter, which the rings of io_tap.c go around.
#ifndef CW_SOURCES_H
#define CW_SOURCES_H

#include "causeway_datapath.h"

typedef struct cw_source_range {
    uint32_t first, last; // in the host's byte order
} cw_source_range;

// At most this many ranges come of so many prefixes: each blocked one splits a range in two, or ends one.
static inline uint32_t cw_sources_capacity(uint32_t allowed, uint32_t blocked) { return (allowed == 0 ? 1 : allowed) + blocked; }
// Valid IPv4 prefixes in any order. Returns how many ranges were written.
uint32_t cw_sources_build(const cw_prefix *allowed, uint32_t allowed_count, const cw_prefix *blocked, uint32_t blocked_count,
                          cw_source_range *ranges);
bool cw_sources_permit(const cw_source_range *ranges, uint32_t count, uint32_t source);

#endif
