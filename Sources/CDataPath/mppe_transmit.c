#include <string.h>

#include "link_bytes.h"
#include "mppe.h"

bool cw_mppe_transmitter_init(cw_mppe_transmitter *transmitter, const cw_rekey *rekey) {
    explicit_bzero(transmitter, sizeof *transmitter);
    if (!cw_mppe_suite_init(&transmitter->suite, rekey->key_bits, rekey->start_key, transmitter->key)) return false;
    transmitter->stateless = (rekey->flags & CW_MPPE_STATELESS) != 0;
    transmitter->reset_same_key = (rekey->flags & CW_MPPE_RESET_SAME_KEY) != 0;
    if (!transmitter->stateless) cw_rc4_key(&transmitter->stream, transmitter->key, transmitter->suite.length);
    return true;
}

static void change_key(cw_mppe_transmitter *transmitter, uint64_t *key_changes) {
    cw_mppe_key_change(&transmitter->suite, transmitter->key, transmitter->key);
    ++*key_changes;
}

bool cw_mppe_transmit(cw_mppe_transmitter *transmitter, uint64_t *key_changes, uint8_t *packet, size_t length, cw_mppe_job *job) {
    uint16_t count = transmitter->next;
    transmitter->next = (count + 1) & CW_MPPE_COUNT_MASK;
    uint16_t header = CW_MPPE_ENCRYPTED | count;
    uint8_t *plain = packet + CW_MPPE_HEADER;
    size_t plain_length = length - CW_MPPE_HEADER;
    if (transmitter->stateless) {
        change_key(transmitter, key_changes);
        cw_put16(packet, header | CW_MPPE_FLUSHED);
        *job = (cw_mppe_job){.in = plain, .out = plain, .length = (uint16_t)plain_length, .key_length = transmitter->suite.length};
        memcpy(job->key, transmitter->key, sizeof job->key);
        return true;
    }
    bool flag = cw_mppe_is_flag(count);
    bool answer = transmitter->flush != CW_MPPE_FLUSH_NONE;
    bool change = flag;
    if (!transmitter->reset_same_key) {
        // A Linux receiver counts one change for the FLUSHED packet that it sees first, and one for each flag packet before it. So a
        // new answer never shares its change with a flag packet (it waits for the next packet), and a repeated one always does.
        if (transmitter->flush == CW_MPPE_FLUSH_NEW) change = true;
        if (transmitter->flush == CW_MPPE_FLUSH_REPEAT) change = false;
    }
    if (change) change_key(transmitter, key_changes);
    if (!(flag && transmitter->flush == CW_MPPE_FLUSH_NEW && !transmitter->reset_same_key)) transmitter->flush = CW_MPPE_FLUSH_NONE;
    // Linux receivers want FLUSHED on flag packets (RFC 3078 section 7.2 leaves it open), the others do not mind.
    if (flag || answer) {
        cw_rc4_key(&transmitter->stream, transmitter->key, transmitter->suite.length);
        header |= CW_MPPE_FLUSHED;
    }
    cw_put16(packet, header);
    cw_rc4_crypt(&transmitter->stream, plain, plain, plain_length);
    return false;
}
