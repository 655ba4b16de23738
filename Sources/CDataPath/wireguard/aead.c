#include "aead.h"

#include <limits.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "aead_batch.h"
#include "isa.h"
#include "wire.h"

// Packets from this length on go to libcrypto, shorter ones to libsodium. Measured with Bench/aead.c (CPU time, medians of 21 rounds taken in
// turns, several runs; libsodium 1.0.18, OpenSSL 3.0.22, Sapphire Rapids class): libcrypto costs some 400 ns before the first byte. The time
// of libsodium divided by that of libcrypto is 0.65 at 64 bytes, 0.90 at 512, 0.86 at 528, 1.08 at 576, 1.28 at 768 and 1.46 at 1,424
// bytes, and the same within the noise for opening.
enum { nonce_size = crypto_aead_chacha20poly1305_ietf_NPUBBYTES, crossover = 560 };

struct cw_aead {
    EVP_CIPHER_CTX *seal, *open;
    const cw_aead_batch *batch; // NULL: none
};

// libcrypto's context keeps the cipher; only key and nonce change for each packet.
static EVP_CIPHER_CTX *context(const EVP_CIPHER *cipher, int encrypt) {
    EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
    if (made == NULL) return NULL;
    if (EVP_CipherInit_ex(made, cipher, NULL, NULL, NULL, encrypt) == 1 &&
        EVP_CIPHER_CTX_ctrl(made, EVP_CTRL_AEAD_SET_IVLEN, nonce_size, NULL) == 1)
        return made;
    EVP_CIPHER_CTX_free(made);
    return NULL;
}

cw_aead *cw_aead_create(void) {
    const cw_cpu cpu = cw_cpu_probe();
    cw_isa isa;
    if (cw_isa_choose(&cpu, cw_isa_forced(), &isa) != CW_ISA_CHOSEN) return NULL;
    const cw_cpu limited = cw_cpu_limited(&cpu, isa);
    cw_aead *aead = calloc(1, sizeof *aead);
    if (aead == NULL || sodium_init() < 0) {
        free(aead);
        return NULL;
    }
    aead->seal = context(EVP_chacha20_poly1305(), 1);
    aead->open = context(EVP_chacha20_poly1305(), 0);
    if (aead->seal == NULL || aead->open == NULL) {
        cw_aead_destroy(aead);
        return NULL;
    }
    aead->batch = cw_aead_batch_best(&limited);
    return aead;
}

const char *cw_aead_name(const cw_aead *aead) { return aead->batch == NULL ? "libraries" : cw_aead_batch_name(aead->batch); }

void cw_aead_destroy(cw_aead *aead) {
    if (aead == NULL) return;
    EVP_CIPHER_CTX_free(aead->seal); // wipes the last key
    EVP_CIPHER_CTX_free(aead->open);
    free(aead);
}

static void set_nonce(uint8_t nonce[nonce_size], uint64_t counter) {
    memset(nonce, 0, 4);
    cw_put_le64(nonce + 4, counter);
}

static void seal_long(EVP_CIPHER_CTX *context, const cw_aead_job *job, const uint8_t *nonce) {
    int written;
    if (EVP_EncryptInit_ex(context, NULL, NULL, job->key, nonce) == 1 &&
        EVP_EncryptUpdate(context, job->out, &written, job->in, (int)job->length) == 1 &&
        EVP_EncryptFinal_ex(context, job->out + written, &written) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CW_WG_TAG, job->out + job->length) == 1)
        return;
    // Nothing of it can fail. If it did, in place and half way, another try would turn ciphertext back into plaintext.
    sodium_memzero(job->out, job->length + CW_WG_TAG);
}

static bool open_long(EVP_CIPHER_CTX *context, const cw_aead_job *job, const uint8_t *nonce) {
    int written;
    uint8_t tag[CW_WG_TAG]; // libcrypto takes it through a pointer that is not const
    memcpy(tag, job->in + job->length, sizeof tag);
    return EVP_DecryptInit_ex(context, NULL, NULL, job->key, nonce) == 1 &&
           EVP_DecryptUpdate(context, job->out, &written, job->in, (int)job->length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CW_WG_TAG, tag) == 1 &&
           EVP_DecryptFinal_ex(context, job->out + written, &written) == 1;
}

void cw_aead_seal(cw_aead *aead, cw_aead_job *jobs, size_t count) {
    if (aead->batch != NULL && cw_aead_batch_pays(aead->batch, jobs, count)) {
        cw_aead_batch_seal(aead->batch, jobs, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cw_aead_job *job = &jobs[i];
        uint8_t nonce[nonce_size];
        set_nonce(nonce, job->counter);
        if (job->length >= crossover && job->length <= INT_MAX) {
            seal_long(aead->seal, job, nonce);
        } else {
            crypto_aead_chacha20poly1305_ietf_encrypt_detached(job->out, job->out + job->length, NULL, job->in, job->length, NULL, 0, NULL,
                                                               nonce, job->key);
        }
    }
}

void cw_aead_open(cw_aead *aead, cw_aead_job *jobs, size_t count) {
    if (aead->batch != NULL && cw_aead_batch_pays(aead->batch, jobs, count)) {
        cw_aead_batch_open(aead->batch, jobs, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cw_aead_job *job = &jobs[i];
        uint8_t nonce[nonce_size];
        set_nonce(nonce, job->counter);
        if (job->length >= crossover && job->length <= INT_MAX) {
            job->ok = open_long(aead->open, job, nonce);
        } else {
            job->ok = crypto_aead_chacha20poly1305_ietf_decrypt_detached(job->out, NULL, job->in, job->length, job->in + job->length, NULL, 0,
                                                                         nonce, job->key) == 0;
        }
        if (!job->ok) sodium_memzero(job->out, job->length);
    }
}
