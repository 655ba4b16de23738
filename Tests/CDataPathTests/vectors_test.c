// Published vectors: FIPS 180 (SHA-1), RFC 6229 (RC4), RFC 3079 section 3.5 (MPPE keys), and RC4 and SHA-1 against nettle.
#include <nettle/arcfour.h>
#include <nettle/md4.h>
#include <nettle/sha1.h>

#include "harness.h"
#include "mppe_key.h"
#include "rc4.h"
#include "sha1.h"

// RFC 6229 section 2: 32 octets of key stream at each of these offsets.
static const size_t rc4_offsets[9] = {0, 240, 496, 752, 1008, 1520, 2032, 3056, 4080};
static const struct {
    const char *key;
    const char *stream[9];
} rc4_vectors[] = {
    {"0102030405",
     {"b2396305f03dc027ccc3524a0a1118a86982944f18fc82d589c403a47a0d0919",
      "28cb1132c96ce286421dcaadb8b69eae1cfcf62b03eddb641d77dfcf7f8d8c93",
      "42b7d0cdd918a8a33dd51781c81f40416459844432a7da923cfb3eb4980661f6",
      "ec10327bde2beefd18f9277680457e22eb62638d4f0ba1fe9fca20e05bf8ff2b",
      "45129048e6a0ed0b56b490338f078da530abbcc7c20b01609f23ee2d5f6bb7df",
      "3294f744d8f9790507e70f62e5bbceead8729db41882259bee4f825325f5a130",
      "1eb14a0c13b3bf47fa2a0ba93ad45b8bcc582f8ba9f265e2b1be9112e975d2d7",
      "f2e30f9bd102ecbf75aaade9bc35c43cec0e11c479dc329dc8da7968fe965681",
      "068326a2118416d21f9d04b2cd1ca050ff25b58995996707e51fbdf08b34d875"}},
    {"01020304050607",
     {"293f02d47f37c9b633f2af5285feb46be620f1390d19bd84e2e0fd752031afc1",
      "914f02531c9218810df60f67e338154cd0fdb583073ce85ab83917740ec011d5",
      "75f81411e871cffa70b90c74c592e4540bb87202938dad609e87a5a1b079e5e4",
      "c2911246b612e7e7b903dfeda1dad86632828f91502b6291368de8081de36fc2",
      "f3b9a7e3b297bf9ad804512f9063eff18ecb67a9ba1f55a5a067e2b026a3676f",
      "d2aa902bd42d0d7cfd340cd45810529f78b272c96e42eab4c60bd914e39d06e3",
      "f4332fd31a079396ee3cee3f2a4ff04905459781d41fda7f30c1be7e1246c623",
      "adfd3868b8e51485d5e610017e3dd609ad26581c0c5be45f4cea01db2f3805d5",
      "f3172ceffc3b3d997c85ccd5af1a950ce74b0b9731227fd37c0ec08a47ddd8b8"}},
    {"0102030405060708",
     {"97ab8a1bf0afb96132f2f67258da15a88263efdb45c4a18684ef87e6b19e5b09",
      "9636ebc9841926f4f7d1f362bddf6e18d0a990ff2c05fef5b90373c9ff4b870a",
      "73239f1db7f41d80b643c0c52518ec63163b319923a6bdb4527c626126703c0f",
      "49d6c8af0f97144a87df21d91472f96644173a103b6616c5d5ad1cee40c863d0",
      "273c9c4b27f322e4e716ef53a47de7a4c6d0e7b226259fa9023490b26167ad1d",
      "1fe8986713f07c3d9ae1c163ff8cf9d38369e1a965610be887fbd0c79162aafb",
      "0a0127abb44484b9fbef5abcae1b579fc2cdadc6402e8ee866e1f37bdb47e42c",
      "26b51ea37df8e1d6f76fc3b66a7429b3bc7683205d4f443dc1f29dda3315c87b",
      "d5fa5a3469d29aaaf83d23589db8c85b3fb46e2c8f0f068edce8cdcd7dfc5862"}},
    {"0102030405060708090a0b0c0d0e0f10",
     {"9ac7cc9a609d1ef7b2932899cde41b975248c4959014126a6e8a84f11d1a9e1c",
      "065902e4b620f6cc36c8589f66432f2bd39d566bc6bce3010768151549f3873f",
      "b6d1e6c4a5e4771cad79538df295fb11c68c1d5c559a974123df1dbc52a43b89",
      "c5ecf88de897fd57fed301701b82a259eccbe13de1fcc91c11a0b26c0bc8fa4d",
      "e7a72574f8782ae26aabcf9ebcd66065bdf0324e6083dcc6d3cedd3ca8c53c16",
      "b40110c4190b5622a96116b0017ed297ffa0b514647ec04f6306b892ae661181",
      "d03d1bc03cd33d70dff9fa5d71963ebd8a44126411eaa78bd51e8d87a8879bf5",
      "fabeb76028ade2d0e48722e46c4615a3c05d88abd50357f935a63c59ee537623",
      "ff38265c1642c1abe8d3c2fe5e572bf8a36a4c301ae8ac13610ccbc12256cacc"}},
    {"ebb46227c6cc8b37641910833222772a",
     {"720c94b63edf44e131d950ca211a5a30c366fdeacf9ca80436be7c358424d20b",
      "b3394a40aabf75cba42282ef25a0059f4847d81da4942dbc249defc48c922b9f",
      "08128c469f275342adda202b2b58da95970dacef40ad98723bac5d6955b81761",
      "3cb89993b07b0ced93de13d2a11013acef2d676f1545c2c13dc680a02f4adbfe",
      "b60595514f24bc9fe522a6cad7393644b515a8c5011754f59003058bdb81514e",
      "3c70047e8cbc038e3b9820db601da4951175da6ee756de46a53e2b075660b770",
      "00a542bba02111cc2c65b38ebdba587e5865fdbb5b48064104e830b380f2aede",
      "34b21ad2ad44e999db2d7f0863f0d9b684a9218fc36e8a5f2ccfbeae53a27d25",
      "a2221a11b833ccb498a59540f0545f4a5bbeb4787d59e5373fdbea6c6f75c29b"}},
};

static void test_rc4_rfc6229(void) {
    for (size_t v = 0; v < sizeof rc4_vectors / sizeof rc4_vectors[0]; v++) {
        uint8_t key[16];
        size_t length = from_hex(rc4_vectors[v].key, key, sizeof key);
        static uint8_t stream[4112];
        memset(stream, 0, sizeof stream);
        cw_rc4 rc4;
        cw_rc4_key(&rc4, key, length);
        // In uneven pieces: the position has to carry over.
        for (size_t at = 0; at < sizeof stream;) {
            size_t piece = at % 37 + 1;
            if (piece > sizeof stream - at) piece = sizeof stream - at;
            cw_rc4_crypt(&rc4, stream + at, stream + at, piece);
            at += piece;
        }
        for (size_t n = 0; n < 9; n++) CHECK(equals_hex(stream + rc4_offsets[n], rc4_vectors[v].stream[n]));
    }
}

static void test_rc4_skip(void) {
    cw_rc4 a, b;
    uint8_t zeros[300] = {0}, left[300], right[300];
    cw_rc4_key(&a, (const uint8_t *)"0123456789abcdef", 16);
    b = a;
    cw_rc4_crypt(&a, zeros, left, 300);
    cw_rc4_skip(&b, 300);
    cw_rc4_crypt(&a, zeros, left, 300);
    cw_rc4_crypt(&b, zeros, right, 300);
    CHECK(memcmp(left, right, 300) == 0);
}

static void test_rc4_against_nettle(void) {
    test_random random = {42};
    for (unsigned round = 0; round < 200; round++) {
        uint8_t key[16], in[1500], ours[1500], theirs[1500];
        size_t key_length = 1 + random_below(&random, 16), length = random_below(&random, 1500);
        for (size_t n = 0; n < key_length; n++) key[n] = (uint8_t)next_random(&random);
        for (size_t n = 0; n < length; n++) in[n] = (uint8_t)next_random(&random);
        cw_rc4 rc4;
        cw_rc4_key(&rc4, key, key_length);
        cw_rc4_crypt(&rc4, in, ours, length);
        struct arcfour_ctx arcfour;
        arcfour_set_key(&arcfour, key_length, key);
        arcfour_crypt(&arcfour, length, theirs, in);
        CHECK(memcmp(ours, theirs, length) == 0);
    }
}

static void test_sha1_fips(void) {
    static const struct {
        const char *text, *digest;
    } vectors[] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "a49b2446a02c645bf419f995b67091253a04a259"},
    };
    uint8_t digest[CW_SHA1_DIGEST];
    for (size_t n = 0; n < sizeof vectors / sizeof vectors[0]; n++) {
        cw_sha1((const uint8_t *)vectors[n].text, strlen(vectors[n].text), digest);
        CHECK(equals_hex(digest, vectors[n].digest));
    }
    static uint8_t million[1000000];
    memset(million, 'a', sizeof million);
    cw_sha1(million, sizeof million, digest);
    CHECK(equals_hex(digest, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"));
}

static void test_sha1_against_nettle(void) {
    uint8_t data[300], ours[20], theirs[20];
    test_random random = {7};
    for (size_t n = 0; n < sizeof data; n++) data[n] = (uint8_t)next_random(&random);
    for (size_t length = 0; length <= sizeof data; length++) { // every way of padding
        cw_sha1(data, length, ours);
        struct sha1_ctx sha1;
        sha1_init(&sha1);
        sha1_update(&sha1, length, data);
        sha1_digest(&sha1, 20, theirs);
        CHECK(memcmp(ours, theirs, 20) == 0);
    }
}

// ---- RFC 3079 section 3.5: user "User", password "clientPass" ----

static void master_key(const char *password, const char *nt_response, uint8_t master[16]) {
    uint8_t unicode[64] = {0}, hash[16], hash_hash[16], response[24], digest[20];
    size_t n = strlen(password);
    for (size_t i = 0; i < n; i++) unicode[2 * i] = (uint8_t)password[i];
    struct md4_ctx md4;
    md4_init(&md4);
    md4_update(&md4, 2 * n, unicode);
    md4_digest(&md4, 16, hash);
    md4_init(&md4);
    md4_update(&md4, 16, hash);
    md4_digest(&md4, 16, hash_hash);
    CHECK(equals_hex(hash_hash, "41c00c584bd2d91c4017a2a12fa59f3f"));
    from_hex(nt_response, response, sizeof response);
    struct sha1_ctx sha1;
    sha1_init(&sha1);
    sha1_update(&sha1, 16, hash_hash);
    sha1_update(&sha1, 24, response);
    static const char magic[] = "This is the MPPE Master Key";
    sha1_update(&sha1, strlen(magic), (const uint8_t *)magic);
    sha1_digest(&sha1, 20, digest);
    memcpy(master, digest, 16);
}

// The server's sending key: GetAsymmetricStartKey with Magic3.
static void server_send_key(const uint8_t master[16], uint8_t key[20]) {
    static const char magic[] = "On the client side, this is the receive key; on the server side, it is the send key.";
    uint8_t pad1[40] = {0}, pad2[40];
    memset(pad2, 0xf2, sizeof pad2);
    struct sha1_ctx sha1;
    sha1_init(&sha1);
    sha1_update(&sha1, 16, master);
    sha1_update(&sha1, 40, pad1);
    sha1_update(&sha1, strlen(magic), (const uint8_t *)magic);
    sha1_update(&sha1, 40, pad2);
    sha1_digest(&sha1, 20, key);
}

static void test_rfc3079_samples(void) {
    static const struct {
        unsigned bits;
        const char *start, *session, *message;
    } samples[] = {
        {40, "8b7cdc149b993a1b", "d1269ec49fa62e3e", "929137917e5803d668d75898"},
        {56, "8b7cdc149b993a1b", "d15c00c49fa62e3e", "3f106833fa448da842bc57b8"},
        {128, "8b7cdc149b993a1ba118cb153f56dccb", "405cb2247a7956e6e211007ae27b22d4", "81848317df68846272fb5abe"},
    };
    uint8_t master[16], start[20];
    master_key("clientPass", "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df", master);
    CHECK(equals_hex(master, "fdece3717a8c838cb388e527ae3cdd31"));
    server_send_key(master, start);
    for (size_t n = 0; n < 3; n++) {
        cw_mppe_suite suite;
        uint8_t session[CW_MPPE_KEY_SIZE];
        CHECK(equals_hex(start, samples[n].start));
        CHECK(cw_mppe_suite_init(&suite, samples[n].bits, start, session));
        CHECK_EQUAL(suite.length, samples[n].bits == 128 ? 16 : 8);
        CHECK(equals_hex(session, samples[n].session));
        uint8_t message[12];
        cw_mppe_job job = {.in = (const uint8_t *)"test message", .out = message, .length = 12, .key_length = suite.length};
        memcpy(job.key, session, sizeof session);
        cw_mppe_crypt_batch(&job, 1);
        CHECK(equals_hex(message, samples[n].message));
        uint8_t zeros[CW_MPPE_KEY_SIZE] = {0};
        CHECK(memcmp(job.key, zeros, sizeof zeros) == 0); // wiped
    }
    cw_mppe_suite suite;
    uint8_t session[CW_MPPE_KEY_SIZE];
    CHECK(!cw_mppe_suite_init(&suite, 64, start, session));
    CHECK(!cw_mppe_suite_init(&suite, 0, start, session));
}

// RFC 3078 section 7.3 again, with nettle's primitives: the two must agree for every strength over a long chain.
static void test_key_change_against_nettle(void) {
    static const unsigned strengths[] = {40, 56, 128};
    for (size_t s = 0; s < 3; s++) {
        cw_mppe_suite suite;
        uint8_t start[16], key[16], expected[16];
        for (size_t n = 0; n < 16; n++) start[n] = (uint8_t)(17 * n + s);
        CHECK(cw_mppe_suite_init(&suite, strengths[s], start, key));
        memcpy(expected, key, 16);
        size_t length = strengths[s] == 128 ? 16 : 8;
        for (unsigned round = 0; round < 1000; round++) {
            uint8_t pad1[40] = {0}, pad2[40], digest[20];
            memset(pad2, 0xf2, sizeof pad2);
            struct sha1_ctx sha1;
            sha1_init(&sha1);
            sha1_update(&sha1, length, start);
            sha1_update(&sha1, 40, pad1);
            sha1_update(&sha1, length, expected);
            sha1_update(&sha1, 40, pad2);
            sha1_digest(&sha1, 20, digest);
            struct arcfour_ctx arcfour;
            arcfour_set_key(&arcfour, length, digest);
            arcfour_crypt(&arcfour, length, expected, digest);
            if (strengths[s] == 40) memcpy(expected, "\xd1\x26\x9e", 3);
            if (strengths[s] == 56) expected[0] = 0xd1;
            cw_mppe_key_change(&suite, key, key);
            CHECK(memcmp(key, expected, length) == 0);
        }
    }
}

int main(void) {
    RUN(rc4_rfc6229);
    RUN(rc4_skip);
    RUN(rc4_against_nettle);
    RUN(sha1_fips);
    RUN(sha1_against_nettle);
    RUN(rfc3079_samples);
    RUN(key_change_against_nettle);
    FINISH();
}
