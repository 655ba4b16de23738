// BLAKE2s, HMAC, KDF, X25519 and the AEADs against answers from elsewhere: the RFCs, and OpenSSL 3.0 (`openssl mac`) where no RFC has
// vectors of this form.
#include "crypto.h"
#include "harness.h"

static uint8_t counting[128]; // 0, 1, 2 ...

static void test_hash(void) {
    uint8_t out[CW_CRYPTO_HASH];
    cw_crypto_hash(out, "abc", 3, NULL, 0); // RFC 7693 appendix B
    CHECK(equals_hex(out, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
    static const struct {
        size_t length;
        const char *hash;
    } answers[] = { // around the block size
        {0, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9"},
        {1, "e34d74dbaf4ff4c6abd871cc220451d2ea2648846c7757fbaac82fe51ad64bea"},
        {63, "e57cb79487dd57902432b250733813bd96a84efce59f650fac26e6696aefafc3"},
        {64, "56f34e8b96557e90c1f24b52d0c89d51086acf1b00f634cf1dde9233b8eaaa3e"},
        {65, "1b53ee94aaf34e4b159d48de352c7f0661d0a40edff95a0b1639b4090e974472"},
        {100, "81dcc3a505eace3f879d8f702776770f9df50e521d1428a85daf04f9ad2150e0"},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (size_t split = 0; split <= answers[i].length; split++) {
            cw_crypto_hash(out, counting, split, counting + split, answers[i].length - split);
            CHECK(equals_hex(out, answers[i].hash));
        }
}

static void test_mac(void) {
    uint8_t out[CW_CRYPTO_MAC];
    cw_crypto_mac(out, counting, 32, counting, 0);
    CHECK(equals_hex(out, "9536f9b267655743dee97b8a670f9f53"));
    cw_crypto_mac(out, counting, 32, counting, 100);
    CHECK(equals_hex(out, "0b67d33f8b859c3157fbabd9e6e47ed0"));
    cw_crypto_mac(out, counting, 16, counting, 64);
    CHECK(equals_hex(out, "dd55c51c98f8ab96ed272882941f0b6a"));
}

static void test_hmac(void) {
    static const struct {
        size_t key, data;
        const char *mac;
    } answers[] = {
        {32, 0, "e2641d24dfa8dd89e8cb77f1cdc77d8c006e5bebdfc4d6a3a3a6f8d5b7586fb0"},
        {32, 50, "16dbe549faeb700617b13658d2668ea0d2a8d494e950cb51ae2c25957ff0d4b2"},
        {64, 100, "647576eb06d7546ce6db9b3c0c1509a64cc7fae9cb732ee3845e7b486ad26edc"},
        {20, 65, "eda1e4dae34e6128d54f5bc19178d600aca9443db4a0aa179431115bbe4b6735"},
    };
    uint8_t out[CW_CRYPTO_HASH];
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (size_t split = 0; split <= answers[i].data; split++) {
            cw_crypto_hmac(out, counting, answers[i].key, counting, split, counting + split, answers[i].data - split);
            CHECK(equals_hex(out, answers[i].mac));
        }
}

static void test_kdf(void) {
    static const char *const answers[] = {
        "3386e284e63edc5f32df2d0c470ebcd5db42748045a60897cbf50d14b22d3522",
        "96db296994bf1c7e60fa955add918d6210eafbdbf233bb30592e8e859da56565",
        "118e42b8b3461ed51ab10a262ec65d362e89720eafd2e1d97855baa4c43ac059",
    };
    for (int count = 1; count <= 3; count++) {
        uint8_t out[3][CW_CRYPTO_HASH] = {{0}};
        cw_crypto_kdf(counting, counting, 40, out[0], count > 1 ? out[1] : NULL, count > 2 ? out[2] : NULL);
        for (int i = 0; i < 3; i++)
            if (i < count) CHECK(equals_hex(out[i], answers[i]));
            else CHECK(cw_crypto_is_zero(out[i], sizeof out[i]));
    }
    uint8_t key[CW_CRYPTO_HASH], second[CW_CRYPTO_HASH];
    memcpy(key, counting, sizeof key);
    cw_crypto_kdf(key, counting, 40, key, second, NULL); // the chaining key replaces itself
    CHECK(equals_hex(key, answers[0]) && equals_hex(second, answers[1]));
    cw_crypto_kdf(counting, NULL, 0, key, NULL, NULL);
    CHECK(equals_hex(key, "7a38c34bf2b8738d7374ca77c44ecb309a11d2b2528304fa86052c365e722624"));
}

static void test_x25519(void) { // RFC 7748 section 6.1
    uint8_t alice[CW_CRYPTO_KEY], bob[CW_CRYPTO_KEY], alice_public[CW_CRYPTO_KEY], bob_public[CW_CRYPTO_KEY], shared[CW_CRYPTO_KEY];
    from_hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", alice, sizeof alice);
    from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", bob, sizeof bob);
    cw_crypto_public(alice_public, alice);
    cw_crypto_public(bob_public, bob);
    CHECK(equals_hex(alice_public, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    CHECK(equals_hex(bob_public, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    static const char secret[] = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    CHECK(cw_crypto_dh(shared, alice, bob_public) && equals_hex(shared, secret));
    CHECK(cw_crypto_dh(shared, bob, alice_public) && equals_hex(shared, secret));
    cw_crypto_clamp(alice); // clamping is part of the function: it changes no result
    CHECK(cw_crypto_dh(shared, alice, bob_public) && equals_hex(shared, secret));
    cw_crypto_clamp(bob);
    CHECK(bob[0] % 8 == 0 && bob[31] >> 6 == 1);
}

static void test_small_order_is_refused(void) {
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // order 8
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", // order 8
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p - 1
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p + 1
    };
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        uint8_t point[CW_CRYPTO_KEY], shared[CW_CRYPTO_KEY];
        from_hex(points[i], point, sizeof point);
        memset(shared, 0xAA, sizeof shared);
        CHECK(!cw_crypto_dh(shared, counting, point) && cw_crypto_is_zero(shared, sizeof shared));
        point[31] |= 0x80; // the top bit does not count
        CHECK(!cw_crypto_dh(shared, counting, point));
    }
}

static void test_aead(void) {
    // What libsodium's AEAD does is RFC 8439; here it matters that the counter is in the last 8 octets of the nonce, little-endian.
    // OpenSSL's chacha20-poly1305 with the nonce 00000000efcdab8967452301 wrote this.
    uint8_t sealed[40 + CW_CRYPTO_TAG], plain[40];
    cw_crypto_seal(sealed, counting, 40, counting, 12, UINT64_C(0x0123456789abcdef), counting + 64);
    CHECK(equals_hex(sealed, "bfd55a546df29e6fc8c5e307704fd0df88e963a940e6e51147c285d680a5dfd2"
                             "2875cab8199f8f77cae13e51cffa2560bec45e0aa3a1349c"));
    CHECK(cw_crypto_open(plain, sealed, sizeof sealed, counting, 12, UINT64_C(0x0123456789abcdef), counting + 64));
    CHECK(memcmp(plain, counting, sizeof plain) == 0);
    CHECK(!cw_crypto_open(plain, sealed, sizeof sealed, counting, 12, UINT64_C(0x0123456789abcdee), counting + 64));
    CHECK(!cw_crypto_open(plain, sealed, sizeof sealed, counting, 11, UINT64_C(0x0123456789abcdef), counting + 64));
    CHECK(!cw_crypto_open(plain, sealed, sizeof sealed - 1, counting, 12, UINT64_C(0x0123456789abcdef), counting + 64));
    CHECK(!cw_crypto_open(plain, sealed, CW_CRYPTO_TAG - 1, counting, 12, UINT64_C(0x0123456789abcdef), counting + 64));
}

static void test_xaead(void) { // draft-irtf-cfrg-xchacha-03 appendix A.3.1
    static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    enum { length = sizeof text - 1 };
    uint8_t key[CW_CRYPTO_KEY], nonce[CW_CRYPTO_XNONCE], additional[12], sealed[length + CW_CRYPTO_TAG], plain[length];
    for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)(0x80 + i);
    for (size_t i = 0; i < sizeof nonce; i++) nonce[i] = (uint8_t)(0x40 + i);
    from_hex("50515253c0c1c2c3c4c5c6c7", additional, sizeof additional);
    cw_crypto_xseal(sealed, text, length, additional, sizeof additional, nonce, key);
    CHECK(equals_hex(sealed, "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
                             "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
                             "21f9664c97637da9768812f615c68b13b52e" "c0875924c1c7987947deafd8780acf49"));
    CHECK(cw_crypto_xopen(plain, sealed, sizeof sealed, additional, sizeof additional, nonce, key));
    CHECK(memcmp(plain, text, length) == 0);
    nonce[0] ^= 1;
    CHECK(!cw_crypto_xopen(plain, sealed, sizeof sealed, additional, sizeof additional, nonce, key));
}

int main(void) {
    for (size_t i = 0; i < sizeof counting; i++) counting[i] = (uint8_t)i;
    cw_crypto_prepare();
    RUN(hash);
    RUN(mac);
    RUN(hmac);
    RUN(kdf);
    RUN(x25519);
    RUN(small_order_is_refused);
    RUN(aead);
    RUN(xaead);
    FINISH();
}
