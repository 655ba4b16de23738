#include <string.h>

#include "link_bytes.h"
#include "mppe.h"

void cw_mppe_transmitter_clear(cw_mppe_transmitter *transmitter) {
    cw_mppe_stock_return(&transmitter->keys);
    if (transmitter->keys.suite.bits != 0 && !transmitter->stateless)
        explicit_bzero(&transmitter->streams->transmit, sizeof transmitter->streams->transmit);
    explicit_bzero(transmitter, sizeof *transmitter);
}

bool cw_mppe_transmitter_init(cw_mppe_transmitter *transmitter, const cw_rekey *rekey, cw_mppe_streams *streams) {
    cw_mppe_transmitter_clear(transmitter);
    transmitter->streams = streams;
    cw_mppe_keys *keys = &transmitter->keys;
    if (!cw_mppe_suite_init(&keys->suite, rekey->key_bits, rekey->start_key, keys->key)) return false;
    transmitter->stateless = (rekey->flags & CW_MPPE_STATELESS) != 0;
    if (!transmitter->stateless) cw_rc4_key(&streams->transmit, keys->key, keys->suite.length);
    return true;
}

static void change_key(cw_mppe_transmitter *transmitter, uint64_t *key_changes) {
    cw_mppe_keys *keys = &transmitter->keys;
    if (cw_mppe_stock_count(keys) > 0) {
        cw_mppe_stock_pass(keys, cw_mppe_stock_key(keys, 0), 1);
        return;
    }
    cw_mppe_key_change(&keys->suite, keys->key, keys->key);
    ++*key_changes;
}

// After a Reset-Ack a FLUSHED packet has to come. A Linux receiver changes its key for it and RFC 3078 does not, and which key Linux
// expects in the next one depends on whether it has seen this one, which nobody tells us. But a flag packet (count xxFF) restarts the
// stream everywhere, and with one change for each flag packet since, seen or lost: so the answer is always the next flag packet, and the
// counts up to there are skipped as if they had been lost.
static uint16_t take_count(cw_mppe_transmitter *transmitter) {
    uint16_t count = transmitter->next;
    if (!transmitter->stateless && transmitter->flush) count |= 0xff;
    transmitter->flush = false;
    transmitter->next = (count + 1) & CW_MPPE_COUNT_MASK;
    return count;
}

void cw_mppe_transmit(cw_mppe_transmitter *transmitter, uint64_t *key_changes, uint8_t *packet, size_t length, cw_mppe_work *work) {
    const cw_mppe_keys *keys = &transmitter->keys;
    uint16_t count = take_count(transmitter);
    uint16_t header = CW_MPPE_ENCRYPTED | count;
    uint8_t *plain = packet + CW_MPPE_HEADER;
    uint16_t plain_length = (uint16_t)(length - CW_MPPE_HEADER);
    bool new_key = transmitter->stateless || cw_mppe_is_flag(count);
    if (new_key) {
        change_key(transmitter, key_changes);
        // Linux receivers want FLUSHED on flag packets (RFC 3078 section 7.2 leaves it open), the others do not mind.
        header |= CW_MPPE_FLUSHED;
    }
    cw_put16(packet, header);
    if (transmitter->stateless) {
        cw_mppe_job *job = &work->jobs[work->job_count++];
        *job = (cw_mppe_job){.in = plain, .out = plain, .length = plain_length, .key_length = keys->suite.length};
        memcpy(job->key, keys->key, sizeof job->key);
    } else {
        cw_mppe_stream *stream = &work->streams[work->stream_count++];
        *stream = (cw_mppe_stream){.rc4 = &transmitter->streams->transmit, .in = plain, .out = plain, .length = plain_length};
        if (!new_key) return;
        stream->key_length = keys->suite.length;
        memcpy(stream->key, keys->key, sizeof stream->key);
    }
}
