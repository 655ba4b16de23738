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
        if (waits && output->now < link->held->arrived + link->limits.reorder_nanoseconds) return;
        process_held(link, output, place);
    }
}

static void release_all(cw_link *link, cw_link_output *output) {
    while (link->held != NULL) process_held(link, output, cw_gre_window_place(&link->window, link->held->sequence));
}

static void hold(cw_link *link, cw_link_output *output, cw_buffer *buffer) {
    if (link->held_count == link->limits.reorder_packets) { // bounded: the gap in front is given up
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
        if (link->limits.reorder_packets > 0 && (buffer->flags & CW_BUFFER_PREPARED) == 0) {
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
static bool open_gre(cw_link *link, cw_link_output *output, cw_buffer *buffer) {
    cw_gre_header header;
    if (!cw_gre_parse(cw_buffer_data(buffer), buffer->length, &header)) {
        cw_link_drop(link, CW_DROP_GRE_MALFORMED, buffer, output->pool);
        return false;
    }
    link->counters->gre_in++;
    link->counters->last_in_nanoseconds = output->now;
    // What is acknowledged does not matter to us: nobody's sending waits for it any more (RFC 2637 section 4.4 notwithstanding).
    if (!header.has_sequence) {
        cw_pool_give(output->pool, buffer);
        return false;
    }
    buffer->offset += header.header_length;
    buffer->length = header.payload_length;
    buffer->sequence = header.sequence;
    buffer->flags = 0;
    return true;
}

// Packets in order, encrypted, with keys at hand: all decrypted in one batch before the first is looked at.
static size_t prepare_run(cw_link *link, cw_buffer *const *packets, size_t count) {
    if (!cw_link_receives_encrypted(link) || !link->receiver.stateless || !link->window.learned) return 0;
    cw_mppe_job jobs[CW_MPPE_BATCH];
    uint32_t expected = link->window.expected;
    size_t n = 0;
    for (; n < count && n < CW_MPPE_BATCH && packets[n]->sequence == expected; n++, expected++) {
        cw_buffer *buffer = packets[n];
        cw_ppp_header ppp;
        uint8_t *frame = cw_buffer_data(buffer);
        if (!cw_ppp_parse(frame, buffer->length, &ppp) || ppp.protocol != CW_PPP_COMPRESSED) break;
        if (!cw_mppe_prepare(&link->receiver, &link->counters->key_changes, frame + ppp.length, (size_t)buffer->length - ppp.length,
                             &jobs[n]))
            break;
        buffer->flags = CW_BUFFER_PREPARED;
    }
    cw_mppe_crypt_batch(jobs, n);
    return n;
}

size_t cw_link_receive(cw_link *link, uint64_t now, cw_buffer *const *packets, size_t count, cw_delivered *out, size_t capacity,
                       cw_pool *pool) {
    cw_link_output output = {.out = out, .capacity = capacity, .pool = pool, .now = now};
    for (size_t at = 0; at < count;) {
        cw_buffer *batch[CW_MPPE_BATCH];
        size_t taken = 0;
        for (; at < count && taken < CW_MPPE_BATCH; at++) {
            if (open_gre(link, &output, packets[at])) batch[taken++] = packets[at];
        }
        drain(link, &output);
        for (size_t n = 0; n < taken;) {
            size_t run = prepare_run(link, batch + n, taken - n);
            size_t end = n + (run > 0 ? run : 1);
            for (; n < end; n++) arrive(link, &output, batch[n]);
        }
    }
    return output.count;
}

size_t cw_link_expire(cw_link *link, uint64_t now, cw_delivered *out, size_t capacity, cw_pool *pool) {
    cw_link_output output = {.out = out, .capacity = capacity, .pool = pool, .now = now};
    drain(link, &output);
    return output.count;
}
