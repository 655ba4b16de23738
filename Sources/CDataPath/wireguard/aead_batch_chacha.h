// The rounds of ChaCha20 (RFC 8439 section 2.3) over vectors: x[0] to x[15] are the words of the state, each lane is a block of its own;
// rotate(vector, bits) is the caller's. The four quarter rounds of a round go side by side, since each by itself is one chain of dependent
// instructions.
#ifndef CW_WG_AEAD_BATCH_CHACHA_H
#define CW_WG_AEAD_BATCH_CHACHA_H

#define CW_CHACHA_STEP(x, a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, rotate, bits) \
    do {                                                                                \
        x[a0] += x[b0], x[a1] += x[b1], x[a2] += x[b2], x[a3] += x[b3];                 \
        x[d0] ^= x[a0], x[d1] ^= x[a1], x[d2] ^= x[a2], x[d3] ^= x[a3];                 \
        x[d0] = rotate(x[d0], bits), x[d1] = rotate(x[d1], bits);                       \
        x[d2] = rotate(x[d2], bits), x[d3] = rotate(x[d3], bits);                       \
    } while (0)

#define CW_CHACHA_ROUNDS(x, rotate)                                                     \
    for (int twice = 0; twice < 10; twice++) {                                          \
        CW_CHACHA_STEP(x, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, rotate, 16);          \
        CW_CHACHA_STEP(x, 8, 9, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, rotate, 12);        \
        CW_CHACHA_STEP(x, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, rotate, 8);           \
        CW_CHACHA_STEP(x, 8, 9, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, rotate, 7);         \
        CW_CHACHA_STEP(x, 0, 1, 2, 3, 5, 6, 7, 4, 15, 12, 13, 14, rotate, 16);          \
        CW_CHACHA_STEP(x, 10, 11, 8, 9, 15, 12, 13, 14, 5, 6, 7, 4, rotate, 12);        \
        CW_CHACHA_STEP(x, 0, 1, 2, 3, 5, 6, 7, 4, 15, 12, 13, 14, rotate, 8);           \
        CW_CHACHA_STEP(x, 10, 11, 8, 9, 15, 12, 13, 14, 5, 6, 7, 4, rotate, 7);         \
    }

#endif
