#include <string.h>

#include "link_bytes.h"
#include "link_internal.h"

// Puts the GRE header in front; an acknowledgment rides along if one is owed.
static void put_gre(cw_link *link, uint16_t peer_call_id, cw_buffer *buffer) {
    cw_gre_header header = {
        .call_id = peer_call_id,
        .payload_length = buffer->length,
        .sequence = link->next_sequence++,
        .has_sequence = true,
        .acknowledgment = link->acknowledged,
        .has_acknowledgment = link->ack_due,
    };
    link->ack_due = false;
    size_t length = cw_gre_header_length(&header);
    buffer->offset -= (uint16_t)length;
    buffer->length += (uint16_t)length;
    cw_gre_build(&header, cw_buffer_data(buffer));
    link->counters->gre_out++;
}

static void put_ppp(cw_link *link, uint16_t protocol, cw_buffer *buffer) {
    // RFC 1661 section 6.5 and 6.6: LCP frames are never shortened.
    bool shorten = protocol != CW_PPP_LCP;
    size_t length = cw_ppp_prepend(cw_buffer_data(buffer), protocol, shorten && (link->flags & CW_SEND_ACFC) != 0,
                                   shorten && (link->flags & CW_SEND_PFC) != 0);
    buffer->offset -= (uint16_t)length;
    buffer->length += (uint16_t)length;
}

// The cause for which a data packet may not be sent; CW_DROP_COUNT: it may.
static cw_drop refusal(const cw_link *link, const cw_buffer *buffer) {
    if (!link->open) return CW_DROP_NOT_OPEN;
    if (buffer->protocol != CW_PPP_IPV4 && buffer->protocol != CW_PPP_IPV6) return CW_DROP_PROTOCOL;
    if (!cw_link_sends_encrypted(link) && (link->flags & CW_REQUIRE_ENCRYPTION) != 0) return CW_DROP_UNENCRYPTED;
    return CW_DROP_COUNT;
}

bool cw_link_send_plan(cw_link *link, size_t count, cw_mppe_chain *chain) {
    cw_mppe_transmitter *transmitter = &link->transmitter;
    if (!link->open || !cw_link_sends_encrypted(link) || !transmitter->stateless) return false;
    if (!cw_mppe_stock_lend(link->shared->stocks, &transmitter->keys)) return false;
    return cw_mppe_stock_chain(&transmitter->keys, (unsigned)count, &link->counters->key_changes, chain);
}

size_t cw_link_send_planned(cw_link *link, uint16_t peer_call_id, cw_buffer *const *packets, size_t count, cw_buffer **out,
                            cw_mppe_work *work, cw_pool *pool) {
    size_t sent = 0;
    for (size_t n = 0; n < count; n++) {
        cw_buffer *buffer = packets[n];
        cw_drop cause = refusal(link, buffer);
        if (cause != CW_DROP_COUNT) {
            cw_link_drop(link, cause, buffer, pool);
            continue;
        }
        uint16_t protocol = buffer->protocol;
        if (cw_link_sends_encrypted(link)) {
            // Two octets inside, as pppd sends it: what was negotiated for the outside is not certain to hold for the inside.
            size_t length = cw_ppp_prepend(cw_buffer_data(buffer), protocol, true, false) + CW_MPPE_HEADER;
            buffer->offset -= (uint16_t)length;
            buffer->length += (uint16_t)length;
            cw_mppe_transmit(&link->transmitter, &link->counters->key_changes, cw_buffer_data(buffer), buffer->length, work);
            protocol = CW_PPP_COMPRESSED;
        }
        put_ppp(link, protocol, buffer);
        put_gre(link, peer_call_id, buffer);
        out[sent++] = buffer;
    }
    return sent;
}

size_t cw_link_send_data(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer *const *packets, size_t count, cw_buffer **out,
                         cw_pool *pool) {
    (void)now;
    size_t sent = 0;
    for (size_t at = 0, n; at < count; at += n) {
        cw_mppe_job jobs[CW_LINK_RUN];
        cw_mppe_stream streams[CW_LINK_RUN];
        cw_mppe_work work = {.jobs = jobs, .streams = streams};
        cw_mppe_chain chain;
        n = count - at < CW_LINK_RUN ? count - at : CW_LINK_RUN;
        if (cw_link_send_plan(link, n, &chain)) cw_mppe_batch_keys(link->shared->kernels, &chain, 1);
        sent += cw_link_send_planned(link, peer_call_id, packets + at, n, out + sent, &work, pool);
        cw_mppe_batch_work(link->shared->kernels, &work);
    }
    return sent;
}

void cw_link_send_control(cw_link *link, uint64_t now, uint16_t peer_call_id, uint16_t protocol, cw_buffer *buffer) {
    (void)now;
    put_ppp(link, protocol, buffer);
    put_gre(link, peer_call_id, buffer);
    link->counters->control_out++;
}

// ---- What the link has to say itself ----

static bool send_reset(cw_link *link, uint64_t now, uint16_t peer_call_id, uint8_t code, uint8_t identifier, cw_buffer **out,
                       cw_pool *pool) {
    cw_buffer *buffer = cw_pool_take(pool);
    if (buffer == NULL) return false;
    uint8_t *frame = cw_buffer_data(buffer);
    frame[0] = code;
    frame[1] = identifier;
    cw_put16(frame + 2, CW_CCP_HEADER);
    buffer->length = CW_CCP_HEADER;
    cw_link_send_control(link, now, peer_call_id, CW_PPP_CCP, buffer);
    *out = buffer;
    return true;
}

static bool send_answer(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer **out, cw_pool *pool) {
    cw_link_answers *answers = &link->answers;
    if (!send_reset(link, now, peer_call_id, CW_CCP_RESET_ACK, answers->identifiers[0], out, pool)) return false;
    for (unsigned n = 1; n < answers->count; n++) answers->identifiers[n - 1] = answers->identifiers[n];
    if (--answers->count == 0) link->transmitter.flush = true;
    return true;
}

static bool send_request(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer **out, cw_pool *pool) {
    cw_link_requests *requests = &link->requests;
    uint8_t identifier = requests->state == CW_REQUEST_SENT ? requests->identifier : (uint8_t)(requests->identifier + 1);
    if (!send_reset(link, now, peer_call_id, CW_CCP_RESET_REQUEST, identifier, out, pool)) return false;
    requests->identifier = identifier;
    requests->state = CW_REQUEST_SENT;
    requests->due = false;
    requests->sent_at = now;
    requests->not_before = now + CW_RESET_INTERVAL;
    link->counters->resets_sent++;
    if (link->receiver.outstanding < CW_MPPE_OUTSTANDING) link->receiver.outstanding++;
    return true;
}

static bool send_acknowledgment(cw_link *link, uint16_t peer_call_id, cw_buffer **out, cw_pool *pool) {
    cw_buffer *buffer = cw_pool_take(pool);
    if (buffer == NULL) return false;
    cw_gre_header header = {.call_id = peer_call_id, .acknowledgment = link->acknowledged, .has_acknowledgment = true};
    cw_gre_build(&header, cw_buffer_data(buffer));
    buffer->length = (uint16_t)cw_gre_header_length(&header);
    link->ack_due = false;
    link->counters->gre_out++;
    *out = buffer;
    return true;
}

size_t cw_link_poll(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer **out, size_t capacity, cw_pool *pool) {
    size_t count = 0;
    while (count < capacity && link->answers.count > 0) {
        if (!send_answer(link, now, peer_call_id, &out[count], pool)) return count;
        count++;
    }
    if (count < capacity && link->requests.due && now >= link->requests.not_before) {
        if (!send_request(link, now, peer_call_id, &out[count], pool)) return count;
        count++;
    }
    if (count < capacity && link->ack_due && now >= link->ack_at) {
        if (!send_acknowledgment(link, peer_call_id, &out[count], pool)) return count;
        count++;
    }
    return count;
}
