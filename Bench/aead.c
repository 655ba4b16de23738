// ChaCha20-Poly1305 by packet length: libsodium, libcrypto with its context kept, and the core's choice between them (aead.c), seal and
// open. The outputs are compared before anything is timed.
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aead.h"

enum { ROUNDS = 21, BATCH = 32, MOST = 9000, TAG = 16 };

typedef enum library { SODIUM, CRYPTO, OURS, LIBRARIES } library;

static uint8_t plain[BATCH][MOST], sealed[LIBRARIES][BATCH][MOST + TAG], opened[BATCH][MOST];
static uint8_t keys[BATCH][32];
static EVP_CIPHER_CTX *contexts[2];
static cw_aead *ours;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void nonce_of(uint8_t nonce[12], uint64_t counter) {
    memset(nonce, 0, 12);
    for (int i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(counter >> 8 * i);
}

static bool by_crypto(bool seal, int i, uint8_t nonce[12], int length) {
    EVP_CIPHER_CTX *context = contexts[seal];
    int n, end;
    if (seal) {
        return EVP_EncryptInit_ex(context, NULL, NULL, keys[i], nonce) == 1 &&
               EVP_EncryptUpdate(context, sealed[CRYPTO][i], &n, plain[i], length) == 1 &&
               EVP_EncryptFinal_ex(context, sealed[CRYPTO][i] + n, &end) == 1 &&
               EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, sealed[CRYPTO][i] + length) == 1;
    }
    return EVP_DecryptInit_ex(context, NULL, NULL, keys[i], nonce) == 1 &&
           EVP_DecryptUpdate(context, opened[i], &n, sealed[CRYPTO][i], length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, sealed[CRYPTO][i] + length) == 1 &&
           EVP_DecryptFinal_ex(context, opened[i] + n, &end) == 1;
}

static bool run(library library, bool seal, size_t length) {
    if (library == OURS) {
        cw_aead_job jobs[BATCH];
        for (int i = 0; i < BATCH; i++) {
            jobs[i] = (cw_aead_job){.key = keys[i], .counter = (uint64_t)i, .length = length};
            jobs[i].in = seal ? plain[i] : sealed[OURS][i];
            jobs[i].out = seal ? sealed[OURS][i] : opened[i];
        }
        if (seal) cw_aead_seal(ours, jobs, BATCH);
        else cw_aead_open(ours, jobs, BATCH);
        for (int i = 0; i < BATCH && !seal; i++)
            if (!jobs[i].ok) return false;
        return true;
    }
    bool good = true;
    for (int i = 0; i < BATCH; i++) {
        uint8_t nonce[12];
        nonce_of(nonce, (uint64_t)i);
        if (library == CRYPTO) good = by_crypto(seal, i, nonce, (int)length) && good;
        else if (seal)
            crypto_aead_chacha20poly1305_ietf_encrypt(sealed[SODIUM][i], NULL, plain[i], length, NULL, 0, NULL, nonce, keys[i]);
        else
            good = crypto_aead_chacha20poly1305_ietf_decrypt(opened[i], NULL, NULL, sealed[SODIUM][i], length + TAG, NULL, 0, nonce,
                                                             keys[i]) == 0 && good;
    }
    return good;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, order);
    return values[ROUNDS / 2];
}

static bool agree(size_t length) {
    for (int library = 0; library < LIBRARIES; library++) {
        if (!run((enum library)library, true, length)) return false;
        memset(opened, 0, sizeof opened);
        if (!run((enum library)library, false, length)) return false;
        for (int i = 0; i < BATCH; i++)
            if (memcmp(sealed[library][i], sealed[SODIUM][i], length + TAG) != 0 || memcmp(opened[i], plain[i], length) != 0) return false;
    }
    return true;
}

int main(void) {
    static const size_t lengths[] = {64, 128, 256, 512, 528, 576, 640, 768, 896, 1024, 1152, 1280, 1424, 2048, 8192};
    ours = cw_aead_create();
    if (ours == NULL) return 1;
    for (int seal = 0; seal < 2; seal++) {
        contexts[seal] = EVP_CIPHER_CTX_new();
        if (EVP_CipherInit_ex(contexts[seal], EVP_chacha20_poly1305(), NULL, NULL, NULL, seal) != 1) return 1;
    }
    randombytes_buf(plain, sizeof plain);
    randombytes_buf(keys, sizeof keys);
    for (int seal = 1; seal >= 0; seal--) {
        printf("%-5s %7s %13s %13s %13s %18s\n", seal ? "seal" : "open", "bytes", "libsodium ns", "libcrypto ns", "Causeway ns",
               "sodium/crypto");
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
            if (!agree(lengths[n])) {
                fprintf(stderr, "they do not agree\n");
                return 1;
            }
            // Round by round in turns, so that a disturbance of the machine meets all.
            double spent[LIBRARIES][ROUNDS];
            int batches = lengths[n] > 2048 ? 4 : 16;
            for (int round = 0; round < ROUNDS; round++) {
                for (int library = 0; library < LIBRARIES; library++) {
                    double t = now();
                    for (int i = 0; i < batches; i++) run((enum library)library, seal, lengths[n]);
                    spent[library][round] = (now() - t) / (batches * BATCH);
                }
            }
            double sodium = median(spent[SODIUM]), crypto = median(spent[CRYPTO]), mine = median(spent[OURS]);
            printf("%-5s %7zu %13.0f %13.0f %13.0f %17.2fx\n", "", lengths[n], sodium, crypto, mine, sodium / crypto);
        }
    }
    return 0;
}
