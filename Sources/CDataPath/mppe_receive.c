#include "mppe.h"

#include <string.h>

#include "link_bytes.h"

bool cw_mppe_receiver_init(cw_mppe_receiver *receiver, const cw_rekey *rekey) {
    explicit_bzero(receiver, sizeof *receiver);
    if (!cw_mppe_suite_init(&receiver->suite, rekey->key_bits, rekey->start_key, receiver->key)) return false;
    receiver->stateless = (rekey->flags & CW_MPPE_STATELESS) != 0;
    // RFC 3078 section 7.1 and 7.2: a stateless packet is always preceded by a key change, the first stateful one is not.
    if (!receiver->stateless) cw_rc4_key(&receiver->stream, receiver->key, receiver->suite.length);
    return true;
}

cw_proof cw_mppe_try_key(const cw_mppe_receiver *receiver, const cw_mppe_context *context, const uint8_t *key, const uint8_t *cipher,
                         size_t length, cw_ppp_header *inner) {
    uint8_t head[CW_PPP_PROOF_HEAD];
    cw_mppe_job job = {
        .in = cipher,
        .out = head,
        .length = (uint16_t)(length < sizeof head ? length : sizeof head),
        .key_length = receiver->suite.length,
    };
    memcpy(job.key, key, sizeof job.key);
    cw_mppe_crypt_batch(&job, 1);
    return cw_ppp_prove(head, length, context->prefixes, context->prefix_count, inner);
}

// Makes sure that the key for the count `next + steps` is in the ring. steps < CW_MPPE_AHEAD.
static const uint8_t *key_ahead(cw_mppe_receiver *receiver, uint32_t steps, uint64_t *key_changes) {
    while (receiver->ahead_count <= steps) {
        unsigned at = (receiver->ahead_first + receiver->ahead_count) % CW_MPPE_AHEAD;
        const uint8_t *before =
            receiver->ahead_count == 0 ? receiver->key : receiver->ahead[(at + CW_MPPE_AHEAD - 1) % CW_MPPE_AHEAD];
        cw_mppe_key_change(&receiver->suite, before, receiver->ahead[at]);
        receiver->ahead_count++;
        ++*key_changes;
    }
    return receiver->ahead[(receiver->ahead_first + steps) % CW_MPPE_AHEAD];
}

static void commit(cw_mppe_receiver *receiver, uint32_t difference, const uint8_t *key) {
    memmove(receiver->key, key, sizeof receiver->key);
    explicit_bzero(receiver->trail, sizeof receiver->trail);
    receiver->next = (uint16_t)((receiver->next + difference + 1) & CW_MPPE_COUNT_MASK);
    if (difference >= receiver->ahead_count) {
        receiver->ahead_first = receiver->ahead_count = 0;
        return;
    }
    receiver->ahead_first = (uint8_t)((receiver->ahead_first + difference + 1) % CW_MPPE_AHEAD);
    receiver->ahead_count = (uint8_t)(receiver->ahead_count - difference - 1);
}

// The nearest known key that is not past `target` nor before *position.
static void follow_trail(const cw_mppe_receiver *receiver, uint32_t target, uint32_t *position, uint8_t key[CW_MPPE_KEY_SIZE]) {
    for (unsigned n = 0; n < CW_MPPE_TRAIL; n++) {
        if (receiver->trail[n].position <= *position || receiver->trail[n].position > target) continue;
        *position = receiver->trail[n].position;
        memcpy(key, receiver->trail[n].key, CW_MPPE_KEY_SIZE);
    }
}

static cw_mppe_result prove_stateless(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint32_t difference, uint8_t *cipher,
                                      size_t length, bool probe) {
    cw_mppe_result result = {.verdict = CW_MPPE_UNVERIFIED};
    uint8_t key[CW_MPPE_KEY_SIZE] = {0};
    uint32_t position = 0; // of `key`, if it is past the ring: as `difference`
    uint64_t spent = 0;
    for (uint32_t wraps = 0; wraps <= CW_MPPE_WRAPS; wraps++) {
        uint32_t target = difference + wraps * CW_MPPE_COUNT_SPACE;
        if (wraps > 0 && target >= context->gap) break;
        if (target < CW_MPPE_AHEAD) {
            memcpy(key, key_ahead(receiver, target, context->key_changes), sizeof key);
        } else {
            if (position < CW_MPPE_AHEAD) {
                memcpy(key, key_ahead(receiver, CW_MPPE_AHEAD - 1, context->key_changes), sizeof key);
                position = CW_MPPE_AHEAD - 1;
            }
            follow_trail(receiver, target, &position, key);
            uint64_t cost = target - position;
            if (!cw_bucket_take(context->budget, cost, context->now)) {
                result.verdict = CW_MPPE_BUDGET;
                break;
            }
            spent += cost;
            *context->key_changes += cost;
            for (; position < target; position++) cw_mppe_key_change(&receiver->suite, key, key);
            receiver->trail[wraps % CW_MPPE_TRAIL].position = position;
            memcpy(receiver->trail[wraps % CW_MPPE_TRAIL].key, key, sizeof key);
        }
        if (cw_mppe_try_key(receiver, context, key, cipher, length, &result.inner) < cw_mppe_needed(context, target)) continue;
        // What was found was not wasted.
        context->budget->tokens += spent;
        result.verdict = CW_MPPE_PROVEN;
        if (!probe) {
            cw_mppe_job job = {.in = cipher, .out = cipher, .length = (uint16_t)length, .key_length = receiver->suite.length};
            memcpy(job.key, key, sizeof key);
            cw_mppe_crypt_batch(&job, 1);
            commit(receiver, target, key);
        }
        break;
    }
    explicit_bzero(key, sizeof key);
    return result;
}

static bool malformed(uint16_t header, size_t length) {
    return length <= CW_MPPE_HEADER || length > UINT16_MAX || (header & CW_MPPE_COMPRESSED) != 0 || (header & CW_MPPE_ENCRYPTED) == 0;
}

// A count farther on than packets can have been lost is an old packet with a new number in front. Half the space of tolerance, because a
// peer may encrypt packets that it then does not send.
static bool impossible(const cw_mppe_context *context, uint32_t difference) {
    return (uint64_t)difference > (uint64_t)context->gap + CW_MPPE_COUNT_SPACE / 2;
}

cw_mppe_result cw_mppe_receive(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint8_t *packet, size_t length, bool probe) {
    if (length < CW_MPPE_HEADER) return (cw_mppe_result){.verdict = CW_MPPE_MALFORMED};
    uint16_t header = cw_get16(packet);
    if (malformed(header, length)) return (cw_mppe_result){.verdict = CW_MPPE_MALFORMED};
    uint32_t difference = (uint32_t)(header - receiver->next) & CW_MPPE_COUNT_MASK;
    if (impossible(context, difference)) return (cw_mppe_result){.verdict = CW_MPPE_UNVERIFIED};
    uint8_t *cipher = packet + CW_MPPE_HEADER;
    if (!receiver->stateless) return cw_mppe_receive_stateful(receiver, context, header, cipher, length - CW_MPPE_HEADER, probe);
    return prove_stateless(receiver, context, difference, cipher, length - CW_MPPE_HEADER, probe);
}

bool cw_mppe_prepare(cw_mppe_receiver *receiver, uint64_t *key_changes, uint8_t *packet, size_t length, cw_mppe_job *job) {
    if (!receiver->stateless || length < CW_MPPE_HEADER) return false;
    uint16_t header = cw_get16(packet);
    if (malformed(header, length)) return false;
    uint32_t difference = (uint32_t)(header - receiver->next) & CW_MPPE_COUNT_MASK;
    if (difference >= CW_MPPE_AHEAD) return false;
    *job = (cw_mppe_job){
        .in = packet + CW_MPPE_HEADER,
        .out = packet + CW_MPPE_HEADER,
        .length = (uint16_t)(length - CW_MPPE_HEADER),
        .key_length = receiver->suite.length,
    };
    memcpy(job->key, key_ahead(receiver, difference, key_changes), sizeof job->key);
    return true;
}

cw_mppe_result cw_mppe_receive_prepared(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint8_t *packet, size_t length) {
    cw_mppe_result result = {.verdict = CW_MPPE_UNVERIFIED};
    uint32_t difference = (uint32_t)(cw_get16(packet) - receiver->next) & CW_MPPE_COUNT_MASK;
    // Another packet of the batch has moved the state past this one.
    if (difference >= receiver->ahead_count) return result;
    uint8_t *plain = packet + CW_MPPE_HEADER;
    size_t plain_length = length - CW_MPPE_HEADER;
    const uint8_t *key = key_ahead(receiver, difference, context->key_changes);
    if (cw_ppp_prove(plain, plain_length, context->prefixes, context->prefix_count, &result.inner) >=
        cw_mppe_needed(context, difference)) {
        result.verdict = CW_MPPE_PROVEN;
        commit(receiver, difference, key);
        return result;
    }
    // Perhaps the count has wrapped: put the ciphertext back (RC4 undoes itself) and take the long way.
    if (context->gap <= CW_MPPE_COUNT_SPACE) return result;
    cw_mppe_job job = {.in = plain, .out = plain, .length = (uint16_t)plain_length, .key_length = receiver->suite.length};
    memcpy(job.key, key, sizeof job.key);
    cw_mppe_crypt_batch(&job, 1);
    return prove_stateless(receiver, context, difference, plain, plain_length, false);
}
