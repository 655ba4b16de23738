// ChaCha20-Poly1305, seal and open: libsodium, libcrypto with its context kept, the core's choice (aead.c; CAUSEWAY_ISA=scalar makes it
// one between these libraries), and the multi-buffer kernels of this CPU (aead_batch.h). CPU time for each packet; the outputs are
// compared before anything is timed.
//   aead           packets of 64, 576 and 1,400 bytes in batches of 1, 4, 16 and 32
//   aead lengths   batches of 32 by length: where the two libraries cross
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aead.h"
#include "aead_batch.h"

enum { ROUNDS = 21, BATCH = 32, MOST = 9000, TAG = 16, SODIUM = 0, CRYPTO, OURS, KERNEL, WAYS = KERNEL + CW_AEAD_KERNELS };

typedef struct buffers {
    uint8_t sealed[BATCH][MOST + TAG], opened[BATCH][MOST];
} buffers;

static uint8_t plain[BATCH][MOST], keys[BATCH][32];
static buffers of[WAYS];
static EVP_CIPHER_CTX *contexts[2];
static cw_aead *ours;
static const cw_aead_batch *kernels[CW_AEAD_KERNELS];

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
    buffers *b = &of[CRYPTO];
    int n, end;
    if (seal) {
        return EVP_EncryptInit_ex(context, NULL, NULL, keys[i], nonce) == 1 &&
               EVP_EncryptUpdate(context, b->sealed[i], &n, plain[i], length) == 1 &&
               EVP_EncryptFinal_ex(context, b->sealed[i] + n, &end) == 1 &&
               EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, b->sealed[i] + length) == 1;
    }
    return EVP_DecryptInit_ex(context, NULL, NULL, keys[i], nonce) == 1 &&
           EVP_DecryptUpdate(context, b->opened[i], &n, b->sealed[i], length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, b->sealed[i] + length) == 1 &&
           EVP_DecryptFinal_ex(context, b->opened[i] + n, &end) == 1;
}

static bool by_sodium(bool seal, int i, const uint8_t nonce[12], size_t length) {
    buffers *b = &of[SODIUM];
    if (seal) return crypto_aead_chacha20poly1305_ietf_encrypt(b->sealed[i], NULL, plain[i], length, NULL, 0, NULL, nonce, keys[i]) == 0;
    return crypto_aead_chacha20poly1305_ietf_decrypt(b->opened[i], NULL, NULL, b->sealed[i], length + TAG, NULL, 0, nonce, keys[i]) == 0;
}

static bool run(int way, bool seal, size_t length, int count) {
    bool good = true;
    if (way < OURS) {
        for (int i = 0; i < count; i++) {
            uint8_t nonce[12];
            nonce_of(nonce, (uint64_t)i);
            good = (way == CRYPTO ? by_crypto(seal, i, nonce, (int)length) : by_sodium(seal, i, nonce, length)) && good;
        }
        return good;
    }
    cw_aead_job jobs[BATCH];
    for (int i = 0; i < count; i++) {
        jobs[i] = (cw_aead_job){.key = keys[i], .counter = (uint64_t)i, .length = length, .ok = true};
        jobs[i].in = seal ? plain[i] : of[way].sealed[i];
        jobs[i].out = seal ? of[way].sealed[i] : of[way].opened[i];
    }
    const cw_aead_batch *batch = way == OURS ? NULL : kernels[way - KERNEL];
    if (batch == NULL) (seal ? cw_aead_seal : cw_aead_open)(ours, jobs, (size_t)count);
    else (seal ? cw_aead_batch_seal : cw_aead_batch_open)(batch, jobs, (size_t)count);
    for (int i = 0; i < count; i++) good = jobs[i].ok && good;
    return good;
}

static bool here(int way) { return way < KERNEL || kernels[way - KERNEL] != NULL; }
static const char *name(int way) {
    return way == SODIUM ? "libsodium" : way == CRYPTO ? "libcrypto" : way == OURS ? "core" : cw_aead_batch_name(kernels[way - KERNEL]);
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool agree(size_t length, int count) {
    for (int way = 0; way < WAYS; way++) {
        if (!here(way)) continue;
        memset(of[way].opened, 0, sizeof of[way].opened);
        if (!run(way, true, length, count) || !run(way, false, length, count)) return false;
        for (int i = 0; i < count; i++)
            if (memcmp(of[way].sealed[i], of[SODIUM].sealed[i], length + TAG) != 0 || memcmp(of[way].opened[i], plain[i], length) != 0)
                return false;
    }
    return true;
}

// One line. Round by round in turns, so that a disturbance of the machine meets all; the ratio is the median of the rounds' ratios.
static bool measure(bool seal, size_t length, int count) {
    if (!agree(length, count)) {
        fprintf(stderr, "they do not agree: %zu bytes, %d packets\n", length, count);
        return false;
    }
    static double spent[WAYS][ROUNDS];
    int times = (int)(600000 / (length + 400) / (size_t)count) + 1;
    for (int round = 0; round < ROUNDS; round++) {
        for (int way = 0; way < WAYS; way++) {
            if (!here(way)) continue;
            double t = now();
            for (int i = 0; i < times; i++) run(way, seal, length, count);
            spent[way][round] = (now() - t) / (times * count);
        }
    }
    printf("%-5s %6zu %6d", seal ? "seal" : "open", length, count);
    for (int way = 0; way < WAYS; way++) {
        if (!here(way)) continue;
        double ratio[ROUNDS], sorted[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) ratio[round] = spent[SODIUM][round] / spent[way][round];
        memcpy(sorted, spent[way], sizeof sorted);
        qsort(sorted, ROUNDS, sizeof *sorted, order);
        qsort(ratio, ROUNDS, sizeof *ratio, order);
        printf("  | %5.0f", sorted[ROUNDS / 2]);
        if (way != SODIUM) printf(" %5.2fx (%.2f-%.2f)", ratio[ROUNDS / 2], ratio[0], ratio[ROUNDS - 1]);
    }
    printf("\n");
    return true;
}

static void heading(void) {
    printf("%-5s %6s %6s", "", "bytes", "batch");
    for (int way = 0; way < WAYS; way++)
        if (here(way)) printf(way == SODIUM ? "  | %s" : "  | %s ns, times libsodium", way == SODIUM ? "ns" : name(way));
    printf("\n");
}

int main(int argc, char **argv) {
    static const size_t lengths[] = {64, 128, 256, 512, 528, 576, 640, 768, 896, 1024, 1152, 1280, 1424, 2048, 8192};
    static const size_t packets[] = {64, 576, 1400};
    static const int counts[] = {1, 4, 16, 32};
    bool by_length = argc > 1 && strcmp(argv[1], "lengths") == 0;
    const cw_cpu cpu = cw_cpu_probe();
    for (int i = 0; i < CW_AEAD_KERNELS; i++) kernels[i] = cw_aead_batch_get((cw_aead_kernel)i, &cpu);
    ours = cw_aead_create();
    if (ours == NULL) return 1;
    printf("the core uses: %s\n", cw_aead_name(ours));
    for (int seal = 0; seal < 2; seal++) {
        contexts[seal] = EVP_CIPHER_CTX_new();
        if (EVP_CipherInit_ex(contexts[seal], EVP_chacha20_poly1305(), NULL, NULL, NULL, seal) != 1) return 1;
    }
    randombytes_buf(plain, sizeof plain);
    randombytes_buf(keys, sizeof keys);
    heading();
    for (int seal = 1; seal >= 0; seal--) {
        if (by_length) {
            for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
                if (!measure(seal, lengths[n], BATCH)) return 1;
            continue;
        }
        for (size_t n = 0; n < sizeof packets / sizeof *packets; n++)
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                if (!measure(seal, packets[n], counts[c])) return 1;
    }
    return 0;
}
