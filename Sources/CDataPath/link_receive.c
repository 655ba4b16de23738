#include "link_internal.h"

static bool goes_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

// ---- Held packets ----

static cw_buffer *take_held(cw_link *link) {
    cw_buffer *buffer = link->held;
    link->held = buffer->next;
    link->held_count--;
    buffer->next = NULL;
    return buffer;
}

static void process_held(cw_link *link, cw_link_output *output, cw_gre_place place) {
    cw_buffer *buffer = take_held(link);
    switch (place) {
    case CW_GRE_DUPLICATE: cw_link_drop(link, CW_DROP_GRE_DUPLICATE, buffer, output->pool); break;
    case CW_GRE_LATE: cw_link_drop(link, CW_DROP_GRE_LATE, buffer, output->pool); break;
    case CW_GRE_NEXT:
    case CW_GRE_AHEAD:
    case CW_GRE_FAR:
    case CW_GRE_OPEN: cw_link_process(link, output, buffer, place); break;
    }
}

// Everything whose turn has come: what was missing is here, or has been waited for long enough.
static void drain(cw_link *link, cw_link_output *output) {
    while (link->held != NULL) {
        cw_gre_place place = cw_gre_window_place(&link->window, link->held->sequence);
        bool waits = place == CW_GRE_AHEAD || place == CW_GRE_FAR;
        if (waits && output->now < link->held->arrived + link->shared->limits.reorder_nanoseconds) return;
        process_held(link, output, place);
    }
}

static void release_all(cw_link *link, cw_link_output *output) {
    while (link->held != NULL) process_held(link, output, cw_gre_window_place(&link->window, link->held->sequence));
}

static uint32_t most_held(const cw_link *link) {
    uint32_t limit = link->shared->limits.reorder_packets;
    return limit < CW_GRE_WINDOW_REACH ? limit : CW_GRE_WINDOW_REACH;
}

static void hold(cw_link *link, cw_link_output *output, cw_buffer *buffer) {
    if (link->held_count == most_held(link)) { // bounded: the gap in front is given up
        process_held(link, output, cw_gre_window_place(&link->window, link->held->sequence));
        drain(link, output);
    }
    // Two packets with the same number are both kept: one of them may be forged.
    cw_buffer **at = &link->held;
    while (*at != NULL && !goes_before(buffer->sequence, (*at)->sequence)) at = &(*at)->next;
    // Nothing waits longer because something came in front of it: the first of the list has the earliest deadline.
    buffer->arrived = *at != NULL ? (*at)->arrived : output->now;
    if (*at != NULL) link->counters->reordered++;
    buffer->next = *at;
    *at = buffer;
    link->held_count++;
    drain(link, output);
}

// ---- Arrival ----

// Without keys that could prove a packet (before encryption, or when its state is lost) a jump is believed if two packets agree.
static bool jump_confirmed(cw_link *link, uint32_t sequence) {
    if (cw_link_receives_encrypted(link) && !link->doubt.lost) return false;
    uint32_t step = sequence - link->candidate;
    bool confirmed = link->has_candidate && step > 0 && step <= CW_GRE_WINDOW_REACH;
    link->has_candidate = !confirmed;
    link->candidate = sequence;
    return confirmed;
}

static void arrive_far(cw_link *link, cw_link_output *output, cw_buffer *buffer) {
    cw_drop cause = CW_DROP_CONTROL_STALE;
    if (cw_link_receives_encrypted(link) && cw_link_probe(link, output, buffer, &cause)) {
        release_all(link, output); // they come before it
        cw_link_process(link, output, buffer, cw_gre_window_place(&link->window, buffer->sequence));
        drain(link, output);
        return;
    }
    if (!jump_confirmed(link, buffer->sequence)) {
        cw_link_drop(link, cause, buffer, output->pool);
        return;
    }
    release_all(link, output);
    if (link->window.proven) {
        link->window.expected = buffer->sequence;
        link->window.accepted = 0;
    } else {
        cw_gre_window_begin(&link->window, buffer->sequence);
    }
    cw_link_process(link, output, buffer, CW_GRE_NEXT);
}

static void arrive(cw_link *link, cw_link_output *output, cw_buffer *buffer) {
    cw_gre_place place = cw_gre_window_place(&link->window, buffer->sequence);
    switch (place) {
    case CW_GRE_DUPLICATE: cw_link_drop(link, CW_DROP_GRE_DUPLICATE, buffer, output->pool); return;
    case CW_GRE_LATE: cw_link_drop(link, CW_DROP_GRE_LATE, buffer, output->pool); return;
    case CW_GRE_FAR: arrive_far(link, output, buffer); return;
    case CW_GRE_AHEAD:
        if (link->shared->limits.reorder_packets > 0 && (buffer->flags & CW_BUFFER_PREPARED) == 0) {
            hold(link, output, buffer);
            return;
        }
        break;
    case CW_GRE_NEXT:
        if (link->held != NULL) link->counters->reordered++;
        break;
    case CW_GRE_OPEN: break;
    }
    cw_link_process(link, output, buffer, place);
    drain(link, output);
}

// True: a packet with payload, and the buffer is now at its PPP frame.
static bool open_gre(cw_link *link, uint64_t now, cw_buffer *buffer, cw_pool *pool) {
    cw_gre_header header;
    if (!cw_gre_parse(cw_buffer_data(buffer), buffer->length, &header)) {
        cw_link_drop(link, CW_DROP_GRE_MALFORMED, buffer, pool);
        return false;
    }
    link->counters->gre_in++;
    link->counters->last_in_nanoseconds = now;
    // What is acknowledged does not matter to us: nobody's sending waits for it any more (RFC 2637 section 4.4 notwithstanding).
    if (!header.has_sequence) {
        cw_pool_give(pool, buffer);
        return false;
    }
    buffer->offset += header.header_length;
    buffer->length = header.payload_length;
    buffer->sequence = header.sequence;
    buffer->flags = 0;
    return true;
}

size_t cw_link_open(cw_link *link, uint64_t now, cw_buffer **packets, size_t count, cw_pool *pool) {
    size_t left = 0;
    for (size_t n = 0; n < count; n++)
        if (open_gre(link, now, packets[n], pool)) packets[left++] = packets[n];
    return left;
}

// ---- Decrypted ahead ----

// The PPP frame's payload, if the frame is an encrypted one.
static uint8_t *mppe_packet(cw_buffer *buffer, size_t *length) {
    cw_ppp_header ppp;
    uint8_t *frame = cw_buffer_data(buffer);
    if (!cw_ppp_parse(frame, buffer->length, &ppp) || ppp.protocol != CW_PPP_COMPRESSED) return NULL;
    *length = (size_t)buffer->length - ppp.length;
    return frame + ppp.length;
}

_Static_assert(CW_LINK_RUN < 256, "a run of stateful packets has one flag packet at most");

static size_t plan_stateful(const cw_link *link, cw_buffer *const *packets, size_t count) {
    size_t run = 0;
    for (; run < count && run < CW_LINK_RUN && packets[run]->sequence == link->window.expected + (uint32_t)run; run++) {
        size_t length;
        const uint8_t *packet = mppe_packet(packets[run], &length);
        if (packet == NULL || !cw_mppe_follows(&link->receiver, packet, length, (uint32_t)run)) break;
    }
    return run;
}

// With something held, or a gap in which the count may have wrapped, what one packet does decides how the next one is looked at.
size_t cw_link_plan(cw_link *link, cw_buffer *const *packets, size_t count, cw_mppe_chain *chain, bool *needed) {
    *needed = false;
    if (link->held != NULL || !cw_link_receives_encrypted(link)) return 0;
    if (!link->receiver.stateless) return plan_stateful(link, packets, count);
    uint32_t expected = link->window.expected;
    unsigned keys = 0;
    size_t run = 0;
    for (; run < count && run < CW_LINK_RUN && packets[run]->sequence == expected; run++, expected++) {
        size_t length;
        const uint8_t *packet = mppe_packet(packets[run], &length);
        unsigned ahead = packet == NULL ? 0 : cw_mppe_ahead(&link->receiver, packet, length);
        if (ahead == 0 || cw_gre_window_gap(&link->window, expected) > CW_MPPE_COUNT_SPACE) break;
        if (ahead > keys) keys = ahead;
    }
    if (run == 0 || !cw_mppe_stock_lend(link->shared->stocks, &link->receiver.keys)) return 0;
    *needed = cw_mppe_stock_chain(&link->receiver.keys, keys, &link->counters->key_changes, chain);
    return run;
}

static void find_spans(cw_buffer *const *packets, size_t run, cw_mppe_span spans[CW_LINK_RUN]) {
    for (size_t n = 0; n < run; n++) spans[n].packet = mppe_packet(packets[n], &spans[n].length);
}

void cw_link_prepare(cw_link *link, cw_buffer *const *packets, size_t run, cw_mppe_work *work) {
    cw_mppe_span spans[CW_LINK_RUN];
    if (run == 0) return;
    find_spans(packets, run, spans);
    for (size_t n = 0; n < run; n++) packets[n]->flags = CW_BUFFER_PREPARED;
    if (!link->receiver.stateless) {
        cw_mppe_prepare_run(&link->receiver, spans, run, work);
        return;
    }
    for (size_t n = 0; n < run; n++)
        cw_mppe_prepare(&link->receiver, spans[n].packet, spans[n].length, &work->jobs[work->job_count++]);
}

// The stateful packets of a run whose plaintext is right; those after them have to go the other way.
static size_t settle(cw_link *link, cw_buffer *const *packets, size_t run) {
    cw_mppe_span spans[CW_LINK_RUN];
    find_spans(packets, run, spans);
    size_t proven = cw_mppe_settle(&link->receiver, link->prefixes, link->prefix_count, spans, run);
    for (size_t n = proven; n < run; n++) packets[n]->flags = 0;
    return proven;
}

// For one link alone. The packets of a stateful one have nothing to be side by side with.
static size_t prepare_run(cw_link *link, cw_buffer *const *packets, size_t count) {
    if (!link->receiver.stateless) return 0;
    cw_mppe_job jobs[CW_LINK_RUN];
    cw_mppe_work work = {.jobs = jobs};
    cw_mppe_chain chain;
    bool needed;
    size_t run = cw_link_plan(link, packets, count, &chain, &needed);
    if (needed) cw_mppe_batch_keys(link->shared->kernels, &chain, 1);
    cw_link_prepare(link, packets, run, &work);
    cw_mppe_batch_work(link->shared->kernels, &work);
    return run;
}

size_t cw_link_receive_opened(cw_link *link, uint64_t now, cw_buffer *const *packets, size_t count, size_t run, cw_delivered *out,
                              size_t capacity, cw_pool *pool) {
    cw_link_output output = {.out = out, .capacity = capacity, .pool = pool, .now = now};
    if (run > 0 && !link->receiver.stateless) run = settle(link, packets, run);
    drain(link, &output);
    for (size_t n = 0; n < count;) {
        if (run == 0) run = prepare_run(link, packets + n, count - n);
        size_t end = n + (run > 0 ? run : 1);
        for (; n < end; n++) arrive(link, &output, packets[n]);
        run = 0;
    }
    return output.count;
}

size_t cw_link_receive(cw_link *link, uint64_t now, cw_buffer *const *packets, size_t count, cw_delivered *out, size_t capacity,
                       cw_pool *pool) {
    size_t delivered = 0;
    for (size_t at = 0; at < count;) {
        cw_buffer *batch[CW_LINK_RUN];
        size_t taken = 0;
        for (; at < count && taken < CW_LINK_RUN; at++) batch[taken++] = packets[at];
        taken = cw_link_open(link, now, batch, taken, pool);
        delivered += cw_link_receive_opened(link, now, batch, taken, 0, out + delivered, capacity - delivered, pool);
    }
    return delivered;
}

size_t cw_link_expire(cw_link *link, uint64_t now, cw_delivered *out, size_t capacity, cw_pool *pool) {
    cw_link_output output = {.out = out, .capacity = capacity, .pool = pool, .now = now};
    drain(link, &output);
    return output.count;
}
