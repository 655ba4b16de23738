#include "mppe_key.h"

#include <string.h>

#include "link_bytes.h"
#include "rc4.h"

void cw_mppe_fix_salt(const cw_mppe_suite *suite, uint8_t key[CW_MPPE_KEY_SIZE]) {
    if (suite->bits == 128) return;
    key[0] = 0xd1;
    if (suite->bits == 56) return;
    key[1] = 0x26;
    key[2] = 0x9e;
}

// SHA-1 over start key, 40 octets 0x00, session key, 40 octets 0xf2, cut to the key's length. The message always fits two blocks, so it is
// laid out with its padding in one piece.
void cw_mppe_key_digest(const cw_mppe_suite *suite, const uint8_t key[CW_MPPE_KEY_SIZE], uint8_t *interim, cw_sha1_step *step) {
    enum { pad = 40 };
    uint8_t message[2 * CW_SHA1_BLOCK] = {0};
    size_t n = suite->length;
    memcpy(message, suite->start, n);
    memcpy(message + n + pad, key, n);
    memset(message + 2 * n + pad, 0xf2, pad);
    size_t length = 2 * n + 2 * pad;
    message[length] = 0x80;
    cw_put16(message + sizeof message - 2, (uint16_t)(length * 8));

    uint32_t state[5];
    cw_sha1_begin(state);
    step(state, message);
    step(state, message + CW_SHA1_BLOCK);
    for (size_t i = 0; i < n / 4; i++) cw_put32(interim + 4 * i, state[i]);
    explicit_bzero(message, sizeof message);
    explicit_bzero(state, sizeof state);
}

bool cw_mppe_suite_init(cw_mppe_suite *suite, unsigned bits, const uint8_t start_key[CW_MPPE_KEY_SIZE],
                        uint8_t key[CW_MPPE_KEY_SIZE]) {
    memset(suite, 0, sizeof *suite);
    memset(key, 0, CW_MPPE_KEY_SIZE);
    if (bits != 40 && bits != 56 && bits != 128) return false;
    suite->bits = (uint8_t)bits;
    suite->length = bits == 128 ? 16 : 8;
    memcpy(suite->start, start_key, suite->length);
    cw_mppe_key_digest(suite, suite->start, key, cw_sha1_block);
    cw_mppe_fix_salt(suite, key);
    return true;
}

void cw_mppe_key_change(const cw_mppe_suite *suite, const uint8_t key[CW_MPPE_KEY_SIZE], uint8_t next[CW_MPPE_KEY_SIZE]) {
    uint8_t interim[CW_MPPE_KEY_SIZE] = {0};
    cw_mppe_key_digest(suite, key, interim, cw_sha1_block);
    cw_rc4 rc4;
    cw_rc4_key(&rc4, interim, suite->length);
    memset(next, 0, CW_MPPE_KEY_SIZE);
    cw_rc4_crypt(&rc4, interim, next, suite->length);
    cw_mppe_fix_salt(suite, next);
    explicit_bzero(&rc4, sizeof rc4);
    explicit_bzero(interim, sizeof interim);
}

void cw_mppe_crypt_batch(cw_mppe_job *jobs, size_t count) {
    cw_rc4 rc4;
    for (size_t n = 0; n < count; n++) {
        cw_rc4_key(&rc4, jobs[n].key, jobs[n].key_length);
        cw_rc4_crypt(&rc4, jobs[n].in, jobs[n].out, jobs[n].length);
        explicit_bzero(jobs[n].key, sizeof jobs[n].key);
    }
    explicit_bzero(&rc4, sizeof rc4);
}
