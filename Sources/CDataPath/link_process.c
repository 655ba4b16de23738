#include "link_internal.h"

static cw_mppe_context context_of(cw_link *link, uint64_t now, uint32_t sequence, bool in_order) {
    return (cw_mppe_context){
        .now = now,
        .gap = cw_gre_window_gap(&link->window, sequence),
        .in_order = in_order,
        .budget = &link->budget,
        .prefixes = link->prefixes,
        .prefix_count = link->prefix_count,
        .key_changes = &link->counters->key_changes,
        .stocks = link->shared->stocks,
    };
}

static void deliver(cw_link_output *output, cw_delivery kind, cw_buffer *buffer) {
    output->out[output->count++] = (cw_delivered){.kind = kind, .buffer = buffer};
}

static void owe_ack(cw_link *link, uint32_t sequence, uint64_t now) {
    link->acknowledged = sequence;
    if (link->ack_due) return;
    link->ack_due = true;
    link->ack_at = now + link->shared->limits.ack_nanoseconds;
}

// The packet did nothing for us; those that come later need not wait for it. Those that wait already go on waiting, because this one may
// have been forged into the gap in front of them. Far ones move nothing at all.
static void refuse(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place, cw_drop cause) {
    bool near = place == CW_GRE_NEXT || place == CW_GRE_AHEAD;
    if (near && link->held == NULL) cw_gre_window_pass(&link->window, buffer->sequence);
    cw_link_drop(link, cause, buffer, output->pool);
}

static void accept_proven(cw_link *link, cw_link_output *output, const cw_buffer *buffer) {
    link->counters->lost += cw_gre_window_verify(&link->window, buffer->sequence);
    owe_ack(link, buffer->sequence, output->now);
}

// ---- MPPE ----

static cw_drop drop_cause(cw_mppe_verdict verdict) {
    switch (verdict) {
    case CW_MPPE_MALFORMED: return CW_DROP_MPPE_MALFORMED;
    case CW_MPPE_BUDGET: return CW_DROP_MPPE_BUDGET;
    case CW_MPPE_WAIT_RESET: return CW_DROP_MPPE_WAIT_RESET;
    case CW_MPPE_PROVEN:
    case CW_MPPE_UNVERIFIED: break;
    }
    return CW_DROP_MPPE_UNVERIFIED;
}

// Forged packets can cause this while the genuine peer is silent, never while it talks: each proof starts the count again.
static void doubt(cw_link *link, cw_link_output *output, cw_mppe_verdict verdict) {
    if (verdict == CW_MPPE_MALFORMED) return;
    cw_link_doubt *state = &link->doubt;
    if (state->packets++ == 0) state->since = output->now;
    if (verdict == CW_MPPE_WAIT_RESET || state->packets >= CW_RESET_SUSPICION) cw_link_request_reset(link);
    uint64_t patience = link->receiver.stateless ? CW_LOST_AFTER : CW_LOST_AFTER_STATEFUL;
    if (state->packets < CW_LOST_PACKETS || output->now - state->since < patience || output->now < state->next_notice) return;
    if (output->count == output->capacity) return;
    state->lost = true;
    state->next_notice = output->now + (CW_LOST_AFTER << state->notices);
    if (state->notices < CW_LOST_BACKOFF_MAX) state->notices++;
    deliver(output, CW_DELIVER_LOST, NULL);
}

static void process_encrypted(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place) {
    if (!cw_link_receives_encrypted(link)) {
        refuse(link, output, buffer, place, CW_DROP_NOT_OPEN);
        return;
    }
    cw_mppe_context context = context_of(link, output->now, buffer->sequence, place == CW_GRE_NEXT);
    bool prepared = (buffer->flags & CW_BUFFER_PREPARED) != 0;
    cw_mppe_result result = prepared
                                ? cw_mppe_receive_prepared(&link->receiver, &context, cw_buffer_data(buffer), buffer->length)
                                : cw_mppe_receive(&link->receiver, &context, cw_buffer_data(buffer), buffer->length, false);
    if (result.verdict != CW_MPPE_PROVEN) {
        refuse(link, output, buffer, place, drop_cause(result.verdict));
        doubt(link, output, result.verdict);
        return;
    }
    cw_link_recovered(link);
    accept_proven(link, output, buffer);
    if (!link->open) { // the keys have moved all the same
        cw_link_drop(link, CW_DROP_NOT_OPEN, buffer, output->pool);
        return;
    }
    unsigned skip = CW_MPPE_HEADER + result.inner.length;
    buffer->offset += (uint16_t)skip;
    buffer->length -= (uint16_t)skip;
    buffer->protocol = result.inner.protocol;
    buffer->flags = 0;
    deliver(output, CW_DELIVER_DATA, buffer);
}

// ---- In the clear ----

static void process_clear(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place) {
    // Once the peer encrypts, it encrypts everything (RFC 3078 section 3): a clear packet is somebody else's.
    if ((link->flags & CW_REQUIRE_ENCRYPTION) != 0 || cw_link_receives_encrypted(link)) {
        refuse(link, output, buffer, place, CW_DROP_UNENCRYPTED);
        return;
    }
    if (!link->open) {
        refuse(link, output, buffer, place, CW_DROP_NOT_OPEN);
        return;
    }
    if (cw_ip_prove(buffer->protocol, cw_buffer_data(buffer), buffer->length, link->prefixes, link->prefix_count) == CW_PROOF_NONE) {
        refuse(link, output, buffer, place, CW_DROP_IP_MALFORMED);
        return;
    }
    accept_proven(link, output, buffer);
    deliver(output, CW_DELIVER_DATA, buffer);
}

static void process_control(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place) {
    // Beyond the marks of what was accepted, an old frame could come twice.
    bool stale = place == CW_GRE_FAR || (place == CW_GRE_OPEN && link->window.expected - buffer->sequence > CW_GRE_WINDOW_MEMORY);
    if (stale) {
        cw_link_drop(link, CW_DROP_CONTROL_STALE, buffer, output->pool);
        return;
    }
    if (!cw_bucket_take(&link->control, 1, output->now)) {
        refuse(link, output, buffer, place, CW_DROP_CONTROL_RATE);
        return;
    }
    cw_gre_window_accept(&link->window, buffer->sequence);
    owe_ack(link, buffer->sequence, output->now);
    link->counters->control_in++;
    if (buffer->protocol == CW_PPP_CCP && cw_link_take_reset(link, cw_buffer_data(buffer), buffer->length)) {
        cw_pool_give(output->pool, buffer);
        return;
    }
    deliver(output, CW_DELIVER_CONTROL, buffer);
}

void cw_link_process(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place) {
    cw_ppp_header header;
    if (!cw_ppp_parse(cw_buffer_data(buffer), buffer->length, &header)) {
        refuse(link, output, buffer, place, CW_DROP_PPP_MALFORMED);
        return;
    }
    buffer->offset += header.length;
    buffer->length -= header.length;
    buffer->protocol = header.protocol;
    if (header.protocol == CW_PPP_COMPRESSED) {
        process_encrypted(link, output, buffer, place);
    } else if (header.protocol == CW_PPP_IPV4 || header.protocol == CW_PPP_IPV6) {
        process_clear(link, output, buffer, place);
    } else if (cw_ppp_is_control(header.protocol)) {
        process_control(link, output, buffer, place);
    } else {
        refuse(link, output, buffer, place, CW_DROP_PROTOCOL);
    }
}

bool cw_link_probe(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_drop *cause) {
    cw_ppp_header header;
    uint8_t *frame = cw_buffer_data(buffer);
    if (!cw_ppp_parse(frame, buffer->length, &header)) {
        *cause = CW_DROP_PPP_MALFORMED;
        return false;
    }
    if (header.protocol != CW_PPP_COMPRESSED) {
        *cause = cw_ppp_is_control(header.protocol) ? CW_DROP_CONTROL_STALE : CW_DROP_UNENCRYPTED;
        return false;
    }
    cw_mppe_context context = context_of(link, output->now, buffer->sequence, false);
    cw_mppe_result result = cw_mppe_receive(&link->receiver, &context, frame + header.length, (size_t)buffer->length - header.length, true);
    if (result.verdict == CW_MPPE_PROVEN) return true;
    *cause = drop_cause(result.verdict);
    doubt(link, output, result.verdict);
    return false;
}
