#include <string.h>

#include "link_internal.h"

size_t cw_link_size(void) { return sizeof(cw_link); }

void cw_link_init(cw_link *link, const cw_link_shared *shared, cw_mppe_streams *streams, uint32_t flags, cw_counters *counters) {
    const cw_link_limits *limits = &shared->limits;
    memset(link, 0, sizeof *link);
    link->shared = shared;
    link->streams = streams;
    link->flags = flags;
    link->counters = counters;
    link->control = cw_bucket_full(limits->control_rate, limits->control_burst, 0);
    link->budget = cw_bucket_full(limits->key_budget, limits->key_budget, 0);
    link->next_sequence = (flags & CW_SEND_SEQUENCE_ZERO) != 0 ? 0 : 1;
}

void cw_link_wipe(cw_link *link, cw_pool *pool) {
    while (link->held != NULL) {
        cw_buffer *buffer = link->held;
        link->held = buffer->next;
        cw_pool_give(pool, buffer);
    }
    cw_mppe_receiver_clear(&link->receiver);
    cw_mppe_transmitter_clear(&link->transmitter);
    explicit_bzero(link, sizeof *link);
}

void cw_link_set_flags(cw_link *link, uint32_t flags) { link->flags = flags; }

void cw_link_set_open(cw_link *link, bool open) { link->open = open; }

void cw_link_set_prefixes(cw_link *link, const cw_prefix *prefixes, uint32_t count) {
    link->prefixes = prefixes;
    link->prefix_count = count;
}

void cw_link_rekey(cw_link *link, const cw_rekey *rekey) {
    switch (rekey->direction) {
    case CW_RECEIVE:
        cw_mppe_receiver_init(&link->receiver, rekey, link->streams);
        link->doubt = (cw_link_doubt){0};
        // Identifiers go on: one that comes back would be taken for a repetition.
        link->requests = (cw_link_requests){.identifier = link->requests.identifier};
        break;
    case CW_TRANSMIT:
        cw_mppe_transmitter_init(&link->transmitter, rekey, link->streams);
        link->answers = (cw_link_answers){0};
        break;
    }
}

uint32_t cw_link_held(const cw_link *link) { return link->held_count; }

uint64_t cw_link_deadline(const cw_link *link) {
    if (link->answers.count > 0) return 0;
    uint64_t deadline = UINT64_MAX;
    if (link->held != NULL) deadline = link->held->arrived + link->shared->limits.reorder_nanoseconds;
    if (link->ack_due && link->ack_at < deadline) deadline = link->ack_at;
    if (link->requests.due && link->requests.not_before < deadline) deadline = link->requests.not_before;
    return deadline;
}
