#include <string.h>

#include "link_bytes.h"
#include "mppe.h"

// Flag packets (counts xxFF) among the `difference` packets from `next` on.
static uint32_t flags_between(uint16_t next, uint32_t difference) { return ((next & 0xffu) + difference) / 256; }

static cw_proof try_stream(const cw_rc4 *stream, const cw_mppe_context *context, const uint8_t *cipher, size_t length,
                           cw_ppp_header *inner) {
    uint8_t head[CW_PPP_PROOF_HEAD];
    cw_rc4 copy = *stream;
    cw_rc4_crypt(&copy, cipher, head, length < sizeof head ? length : sizeof head);
    explicit_bzero(&copy, sizeof copy);
    return cw_ppp_prove(head, length, context->prefixes, context->prefix_count, inner);
}

static void commit(cw_mppe_receiver *receiver, uint16_t count, uint8_t *cipher, size_t length) {
    cw_rc4_crypt(&receiver->streams->receive, cipher, cipher, length);
    receiver->next = (uint16_t)((count + 1) & CW_MPPE_COUNT_MASK);
    receiver->has_tentative = false;
}

// The stream goes on from the last packet.
static cw_mppe_result continue_stream(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint16_t count, uint8_t *cipher,
                                      size_t length, bool probe) {
    cw_mppe_result result = {.verdict = CW_MPPE_UNVERIFIED};
    if (count == receiver->next) {
        if (try_stream(&receiver->streams->receive, context, cipher, length, &result.inner) >= cw_mppe_needed(context, 0)) {
            result.verdict = CW_MPPE_PROVEN;
            if (!probe) commit(receiver, count, cipher, length);
        } else if (!probe && context->in_order) {
            // Genuine or forged? If genuine, the next packet needs the stream after this one.
            receiver->streams->tentative = receiver->streams->receive;
            cw_rc4_skip(&receiver->streams->tentative, length);
            receiver->tentative_next = (uint16_t)((count + 1) & CW_MPPE_COUNT_MASK);
            receiver->has_tentative = true;
        }
        return result;
    }
    if (receiver->has_tentative && count == receiver->tentative_next) {
        if (try_stream(&receiver->streams->tentative, context, cipher, length, &result.inner) >= CW_PROOF_EVIDENCE) {
            result.verdict = CW_MPPE_PROVEN;
            if (!probe) {
                receiver->streams->receive = receiver->streams->tentative;
                commit(receiver, count, cipher, length);
            }
        } else if (!probe && context->in_order) {
            cw_rc4_skip(&receiver->streams->tentative, length);
            receiver->tentative_next = (uint16_t)((count + 1) & CW_MPPE_COUNT_MASK);
        }
        return result;
    }
    result.verdict = CW_MPPE_WAIT_RESET;
    return result;
}

// The stream starts anew, with a key some changes after the last one.
static cw_mppe_result restart_stream(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint16_t count, bool flushed,
                                     uint8_t *cipher, size_t length, bool probe) {
    cw_mppe_result result = {.verdict = CW_MPPE_UNVERIFIED};
    bool flag = cw_mppe_is_flag(count);
    uint32_t difference = (uint32_t)(count - receiver->next) & CW_MPPE_COUNT_MASK;
    uint32_t extra_limit = receiver->outstanding + (flag ? 0u : 1u);
    uint8_t key[CW_MPPE_KEY_SIZE];
    memcpy(key, receiver->keys.key, sizeof key);
    uint32_t position = 0; // changes between receiver->key and key
    uint32_t tried = 0;    // positions below this one were tried: the extra changes of one wrap reach into the next
    uint64_t spent = 0;
    for (uint32_t wraps = 0; wraps <= CW_MPPE_WRAPS && result.verdict == CW_MPPE_UNVERIFIED; wraps++) {
        uint32_t lost = difference + wraps * CW_MPPE_COUNT_SPACE;
        if (wraps > 0 && lost >= context->gap + receiver->outstanding * CW_MPPE_SKIP) break;
        uint32_t due = flags_between(receiver->next, lost) + (flag ? 1 : 0);
        for (uint32_t target = due > tried ? due : tried; target <= due + extra_limit; target++) {
            // Near packets are free, or a spent budget would stop the genuine stream at its next flag packet, which may be the answer
            // to a request of ours. A trial costs about as much as a change.
            uint64_t cost = lost < CW_MPPE_SKIP ? 0 : target - position + 1;
            if (cost > 0 && !cw_bucket_take(context->budget, cost, context->now)) {
                result.verdict = CW_MPPE_BUDGET;
                break;
            }
            spent += cost;
            *context->key_changes += target - position;
            for (; position < target; position++) cw_mppe_key_change(&receiver->keys.suite, key, key);
            tried = target + 1;
            if (cw_mppe_try_key(receiver, context, key, cipher, length, &result.inner) < cw_mppe_needed(context, lost)) continue;
            result.verdict = CW_MPPE_PROVEN;
            context->budget->tokens += spent;
            if (!probe) {
                uint32_t extra = target - due;
                if (flushed && !flag) receiver->outstanding = (uint8_t)(receiver->outstanding > extra ? receiver->outstanding - extra : 0);
                memcpy(receiver->keys.key, key, sizeof key);
                cw_rc4_key(&receiver->streams->receive, key, receiver->keys.suite.length);
                commit(receiver, count, cipher, length);
            }
            break;
        }
    }
    explicit_bzero(key, sizeof key);
    return result;
}

cw_mppe_result cw_mppe_receive_stateful(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint16_t header, uint8_t *cipher,
                                        size_t length, bool probe) {
    uint16_t count = header & CW_MPPE_COUNT_MASK;
    bool flushed = (header & CW_MPPE_FLUSHED) != 0;
    // FreeBSD does not set FLUSHED on flag packets, but the stream starts anew there as well.
    if (flushed || cw_mppe_is_flag(count)) return restart_stream(receiver, context, count, flushed, cipher, length, probe);
    return continue_stream(receiver, context, count, cipher, length, probe);
}

// ---- Decrypted ahead ----

// A FLUSHED packet between flag packets may have any of several keys, and after one without proof there are two streams.
bool cw_mppe_follows(const cw_mppe_receiver *receiver, const uint8_t *packet, size_t length, uint32_t n) {
    if (receiver->has_tentative || length < CW_MPPE_HEADER) return false;
    uint16_t header = cw_get16(packet), count = header & CW_MPPE_COUNT_MASK;
    if (cw_mppe_malformed(header, length) || count != ((receiver->next + n) & CW_MPPE_COUNT_MASK)) return false;
    return (header & CW_MPPE_FLUSHED) == 0 || cw_mppe_is_flag(count);
}

static bool is_flag_packet(const cw_mppe_span *span) { return cw_mppe_is_flag(cw_get16(span->packet) & CW_MPPE_COUNT_MASK); }

void cw_mppe_prepare_run(cw_mppe_receiver *receiver, const cw_mppe_span *spans, size_t count, cw_mppe_work *work) {
    cw_mppe_keys *keys = &receiver->keys;
    receiver->streams->tentative = receiver->streams->receive;
    for (size_t n = 0; n < count; n++) {
        uint8_t *text = spans[n].packet + CW_MPPE_HEADER;
        cw_mppe_stream *stream = &work->streams[work->stream_count++];
        *stream = (cw_mppe_stream){
            .rc4 = &receiver->streams->tentative, .in = text, .out = text, .length = (uint16_t)(spans[n].length - CW_MPPE_HEADER)};
        if (!is_flag_packet(&spans[n])) continue;
        // The only flag packet of the run. keys->key stays until it has been proven.
        cw_mppe_key_change(&keys->suite, keys->key, stream->key);
        stream->key_length = keys->suite.length;
    }
}

// Where the stream is at the beginning of this packet, if `rc4` is where it is at the end of the one before.
static void begin_packet(const cw_mppe_receiver *receiver, cw_rc4 *rc4, const cw_mppe_span *span) {
    if (!is_flag_packet(span)) return;
    uint8_t key[CW_MPPE_KEY_SIZE];
    cw_mppe_key_change(&receiver->keys.suite, receiver->keys.key, key);
    cw_rc4_key(rc4, key, receiver->keys.suite.length);
    explicit_bzero(key, sizeof key);
}

size_t cw_mppe_settle(cw_mppe_receiver *receiver, const cw_prefix *prefixes, uint32_t prefix_count, const cw_mppe_span *spans,
                      size_t count) {
    cw_mppe_streams *streams = receiver->streams;
    size_t proven = 0;
    for (cw_ppp_header inner; proven < count; proven++) {
        const cw_mppe_span *span = &spans[proven];
        cw_proof proof = cw_ppp_prove(span->packet + CW_MPPE_HEADER, span->length - CW_MPPE_HEADER, prefixes, prefix_count, &inner);
        if (proof < CW_PROOF_WELL_FORMED) break; // they are in order: cw_mppe_needed
    }
    if (proven == count) {
        streams->receive = streams->tentative;
        return count;
    }
    for (size_t n = 0; n < proven; n++) {
        begin_packet(receiver, &streams->receive, &spans[n]);
        cw_rc4_skip(&streams->receive, spans[n].length - CW_MPPE_HEADER);
    }
    streams->tentative = streams->receive;
    for (size_t n = proven; n < count; n++) { // RC4 undoes itself
        uint8_t *text = spans[n].packet + CW_MPPE_HEADER;
        begin_packet(receiver, &streams->tentative, &spans[n]);
        cw_rc4_crypt(&streams->tentative, text, text, spans[n].length - CW_MPPE_HEADER);
    }
    return proven;
}

cw_mppe_result cw_mppe_receive_settled(cw_mppe_receiver *receiver, const cw_mppe_context *context, const uint8_t *packet, size_t length) {
    cw_mppe_result result = {.verdict = CW_MPPE_PROVEN};
    cw_ppp_prove(packet + CW_MPPE_HEADER, length - CW_MPPE_HEADER, context->prefixes, context->prefix_count, &result.inner);
    if (cw_mppe_is_flag(receiver->next)) {
        cw_mppe_key_change(&receiver->keys.suite, receiver->keys.key, receiver->keys.key);
        ++*context->key_changes;
    }
    receiver->next = (receiver->next + 1) & CW_MPPE_COUNT_MASK;
    return result;
}
