#include <string.h>

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
