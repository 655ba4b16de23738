#include "mppe.h"

#include <string.h>

#include "link_bytes.h"

void cw_mppe_receiver_clear(cw_mppe_receiver *receiver) {
    cw_mppe_stock_return(&receiver->keys);
    if (receiver->keys.suite.bits != 0 && !receiver->stateless) {
        explicit_bzero(&receiver->streams->receive, sizeof receiver->streams->receive);
        explicit_bzero(&receiver->streams->tentative, sizeof receiver->streams->tentative);
    }
    explicit_bzero(receiver, sizeof *receiver);
}

bool cw_mppe_receiver_init(cw_mppe_receiver *receiver, const cw_rekey *rekey, cw_mppe_streams *streams) {
    cw_mppe_receiver_clear(receiver);
    receiver->streams = streams;
    cw_mppe_keys *keys = &receiver->keys;
    if (!cw_mppe_suite_init(&keys->suite, rekey->key_bits, rekey->start_key, keys->key)) return false;
    receiver->stateless = (rekey->flags & CW_MPPE_STATELESS) != 0;
    // RFC 3078 section 7.1 and 7.2: a stateless packet is always preceded by a key change, the first stateful one is not.
    if (!receiver->stateless) cw_rc4_key(&streams->receive, keys->key, keys->suite.length);
    return true;
}

cw_proof cw_mppe_try_key(const cw_mppe_receiver *receiver, const cw_mppe_context *context, const uint8_t *key, const uint8_t *cipher,
                         size_t length, cw_ppp_header *inner) {
    uint8_t head[CW_PPP_PROOF_HEAD];
    cw_mppe_job job = {
        .in = cipher,
        .out = head,
        .length = (uint16_t)(length < sizeof head ? length : sizeof head),
        .key_length = receiver->keys.suite.length,
    };
    memcpy(job.key, key, sizeof job.key);
    cw_mppe_crypt_batch(&job, 1);
    return cw_ppp_prove(head, length, context->prefixes, context->prefix_count, inner);
}

// The key for the count `next + steps`. steps < CW_MPPE_AHEAD.
static void key_ahead(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint32_t steps, uint8_t key[CW_MPPE_KEY_SIZE]) {
    cw_mppe_keys *keys = &receiver->keys;
    if (!cw_mppe_stock_lend(context->stocks, keys)) {
        memcpy(key, keys->key, CW_MPPE_KEY_SIZE);
        for (uint32_t n = 0; n <= steps; n++) cw_mppe_key_change(&keys->suite, key, key);
        *context->key_changes += steps + 1;
        return;
    }
    cw_mppe_chain chain;
    if (cw_mppe_stock_chain(keys, steps + 1, context->key_changes, &chain)) cw_mppe_batch_keys(context->stocks->kernels, &chain, 1);
    memcpy(key, cw_mppe_stock_key(keys, steps), CW_MPPE_KEY_SIZE);
}

static void commit(cw_mppe_receiver *receiver, uint32_t difference, const uint8_t *key) {
    cw_mppe_stock_pass(&receiver->keys, key, difference + 1);
    explicit_bzero(receiver->trail, sizeof receiver->trail);
    receiver->next = (uint16_t)((receiver->next + difference + 1) & CW_MPPE_COUNT_MASK);
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
    uint32_t position = 0; // of `key`, if it is past the stock: as `difference`
    uint64_t spent = 0;
    for (uint32_t wraps = 0; wraps <= CW_MPPE_WRAPS; wraps++) {
        uint32_t target = difference + wraps * CW_MPPE_COUNT_SPACE;
        if (wraps > 0 && target >= context->gap) break;
        if (target < CW_MPPE_AHEAD) {
            key_ahead(receiver, context, target, key);
        } else {
            if (position < CW_MPPE_AHEAD) {
                key_ahead(receiver, context, CW_MPPE_AHEAD - 1, key);
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
            for (; position < target; position++) cw_mppe_key_change(&receiver->keys.suite, key, key);
            receiver->trail[wraps % CW_MPPE_TRAIL].position = position;
            memcpy(receiver->trail[wraps % CW_MPPE_TRAIL].key, key, sizeof key);
        }
        if (cw_mppe_try_key(receiver, context, key, cipher, length, &result.inner) < cw_mppe_needed(context, target)) continue;
        // What was found was not wasted.
        context->budget->tokens += spent;
        result.verdict = CW_MPPE_PROVEN;
        if (!probe) {
            cw_mppe_job job = {.in = cipher, .out = cipher, .length = (uint16_t)length, .key_length = receiver->keys.suite.length};
            memcpy(job.key, key, sizeof key);
            cw_mppe_crypt_batch(&job, 1);
            commit(receiver, target, key);
        }
        break;
    }
    explicit_bzero(key, sizeof key);
    return result;
}

bool cw_mppe_malformed(uint16_t header, size_t length) {
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
    if (cw_mppe_malformed(header, length)) return (cw_mppe_result){.verdict = CW_MPPE_MALFORMED};
    uint32_t difference = (uint32_t)(header - receiver->next) & CW_MPPE_COUNT_MASK;
    if (impossible(context, difference)) return (cw_mppe_result){.verdict = CW_MPPE_UNVERIFIED};
    uint8_t *cipher = packet + CW_MPPE_HEADER;
    if (!receiver->stateless) return cw_mppe_receive_stateful(receiver, context, header, cipher, length - CW_MPPE_HEADER, probe);
    return prove_stateless(receiver, context, difference, cipher, length - CW_MPPE_HEADER, probe);
}

unsigned cw_mppe_ahead(const cw_mppe_receiver *receiver, const uint8_t *packet, size_t length) {
    if (!receiver->stateless || length < CW_MPPE_HEADER) return 0;
    uint16_t header = cw_get16(packet);
    if (cw_mppe_malformed(header, length)) return 0;
    uint32_t difference = (uint32_t)(header - receiver->next) & CW_MPPE_COUNT_MASK;
    return difference < CW_MPPE_AHEAD ? difference + 1 : 0;
}

void cw_mppe_prepare(const cw_mppe_receiver *receiver, uint8_t *packet, size_t length, cw_mppe_job *job) {
    uint32_t difference = (uint32_t)(cw_get16(packet) - receiver->next) & CW_MPPE_COUNT_MASK;
    *job = (cw_mppe_job){
        .in = packet + CW_MPPE_HEADER,
        .out = packet + CW_MPPE_HEADER,
        .length = (uint16_t)(length - CW_MPPE_HEADER),
        .key_length = receiver->keys.suite.length,
    };
    memcpy(job->key, cw_mppe_stock_key(&receiver->keys, difference), sizeof job->key);
}

cw_mppe_result cw_mppe_receive_prepared(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint8_t *packet, size_t length) {
    if (!receiver->stateless) return cw_mppe_receive_settled(receiver, context, packet, length);
    cw_mppe_result result = {.verdict = CW_MPPE_UNVERIFIED};
    uint32_t difference = (uint32_t)(cw_get16(packet) - receiver->next) & CW_MPPE_COUNT_MASK;
    // Another packet of the batch has moved the state past this one.
    if (difference >= cw_mppe_stock_count(&receiver->keys)) return result;
    uint8_t *plain = packet + CW_MPPE_HEADER;
    size_t plain_length = length - CW_MPPE_HEADER;
    const uint8_t *key = cw_mppe_stock_key(&receiver->keys, difference);
    if (cw_ppp_prove(plain, plain_length, context->prefixes, context->prefix_count, &result.inner) >=
        cw_mppe_needed(context, difference)) {
        result.verdict = CW_MPPE_PROVEN;
        commit(receiver, difference, key);
        return result;
    }
    // Perhaps the count has wrapped: put the ciphertext back (RC4 undoes itself) and take the long way.
    if (context->gap <= CW_MPPE_COUNT_SPACE) return result;
    cw_mppe_job job = {.in = plain, .out = plain, .length = (uint16_t)plain_length, .key_length = receiver->keys.suite.length};
    memcpy(job.key, key, sizeof job.key);
    cw_mppe_crypt_batch(&job, 1);
    return prove_stateless(receiver, context, difference, plain, plain_length, false);
}
