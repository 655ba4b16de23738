// The handshake: against messages recorded with wireguard-go, back to back, in every wrong order, and with every octet damaged.
#include "cookie.h"
#include "crypto.h"
#include "harness.h"
#include "noise.h"
#include "wg_vectors.h"

enum { COUNT = 2 }; // recordings of each kind: without and with a preshared key

static cw_noise_identity us;
static cw_noise_remote them;

static void octets(const char *hex, void *out, size_t length) {
    CHECK_EQUAL(strlen(hex), 2 * length);
    CHECK_EQUAL(from_hex(hex, out, length), length);
}

static void recorded_pair(const char *preshared) {
    uint8_t private_key[CW_WG_KEY], public_key[CW_WG_KEY];
    octets(wg_our_private, private_key, sizeof private_key);
    octets(wg_their_public, public_key, sizeof public_key);
    cw_noise_identity_set(&us, private_key);
    CHECK(cw_noise_remote_set(&them, &us, public_key));
    octets(preshared, them.preshared_key, CW_WG_KEY);
}

// Opens the recorded data message: an IPv4 packet with what their host said.
static void check_theirs(const wg_recording *recording, const uint8_t receive_key[CW_WG_KEY]) {
    uint8_t message[256], plain[256];
    size_t length = from_hex(recording->theirs, message, sizeof message), header = sizeof(cw_wg_data_header);
    CHECK_EQUAL(message[0], CW_WG_DATA);
    CHECK_EQUAL(cw_le32(message + 4), WG_OUR_INDEX);
    CHECK_EQUAL(cw_le64(message + 8), 0);
    CHECK(cw_crypto_open(plain, message + header, length - header, NULL, 0, cw_le64(message + 8), receive_key));
    CHECK_EQUAL(plain[0] >> 4, 4);
    size_t total = (size_t)plain[2] << 8 | plain[3];
    CHECK(total <= length - header - CW_WG_TAG);
    CHECK(total == 28 + sizeof wg_said - 1 && memcmp(plain + 28, wg_said, sizeof wg_said - 1) == 0);
    CHECK_EQUAL((length - header - CW_WG_TAG) % CW_WG_PADDING, 0);
}

// What we sent was accepted there: made again, it is the same.
static void check_ours(const wg_recording *recording, uint32_t remote_index, const uint8_t send_key[CW_WG_KEY]) {
    uint8_t message[CW_WG_DATA_OVERHEAD] = {CW_WG_DATA}, expected[CW_WG_DATA_OVERHEAD];
    cw_put_le32(message + 4, remote_index);
    cw_crypto_seal(message + sizeof(cw_wg_data_header), NULL, 0, NULL, 0, 0, send_key);
    octets(recording->ours, expected, sizeof expected);
    CHECK(memcmp(message, expected, sizeof expected) == 0);
}

static void recorded_initiation(const wg_recording *recording, cw_noise_handshake *handshake) {
    uint8_t ephemeral[CW_WG_KEY], timestamp[CW_WG_TIMESTAMP];
    cw_wg_initiation message, expected;
    cw_cookie_jar jar = {0};
    recorded_pair(recording->preshared);
    octets(recording->ephemeral, ephemeral, sizeof ephemeral);
    octets(recording->timestamp, timestamp, sizeof timestamp);
    CHECK(cw_noise_create_initiation(handshake, &us, &them, WG_OUR_INDEX, timestamp, ephemeral, &message));
    cw_cookie_keys_set(&jar.keys, them.public_key);
    CHECK(cw_cookie_sign(&jar, 1, (uint8_t *)&message, sizeof message));
    octets(recording->initiation, &expected, sizeof expected);
    CHECK(memcmp(&message, &expected, sizeof expected) == 0);
}

static void test_recorded_as_initiator(void) {
    for (int i = 0; i < COUNT; i++) {
        const wg_recording *recording = &wg_as_initiator[i];
        cw_noise_handshake handshake = {0};
        cw_wg_response response;
        uint8_t send_key[CW_WG_KEY], receive_key[CW_WG_KEY];
        recorded_initiation(recording, &handshake);
        octets(recording->response, &response, sizeof response);
        cw_cookie_keys keys;
        cw_cookie_keys_set(&keys, us.public_key);
        CHECK(cw_cookie_check_mac1(&keys, (uint8_t *)&response, sizeof response));
        CHECK(cw_noise_consume_response(&handshake, &us, &them, &response));
        uint32_t remote = handshake.remote_index;
        CHECK_EQUAL(remote, cw_le32(response.sender));
        CHECK(cw_noise_begin_session(&handshake, send_key, receive_key));
        check_ours(recording, remote, send_key);
        check_theirs(recording, receive_key);
    }
}

static void test_recorded_as_responder(void) {
    for (int i = 0; i < COUNT; i++) {
        const wg_recording *recording = &wg_as_responder[i];
        cw_noise_handshake handshake = {0};
        cw_noise_opened opened;
        cw_wg_initiation initiation;
        cw_wg_response response, expected;
        cw_cookie_jar jar = {0};
        cw_cookie_keys keys;
        uint8_t timestamp[CW_WG_TIMESTAMP], ephemeral[CW_WG_KEY], send_key[CW_WG_KEY], receive_key[CW_WG_KEY];
        recorded_pair(recording->preshared);
        octets(recording->initiation, &initiation, sizeof initiation);
        octets(recording->ephemeral, ephemeral, sizeof ephemeral);
        octets(recording->response, &expected, sizeof expected);
        cw_cookie_keys_set(&keys, us.public_key);
        CHECK(cw_cookie_check_mac1(&keys, (uint8_t *)&initiation, sizeof initiation));

        CHECK(cw_noise_open_initiation(&opened, &us, &initiation));
        CHECK(equals_hex(opened.remote_public, wg_their_public));
        CHECK(cw_noise_finish_initiation(&handshake, &opened, &them, &initiation, timestamp));
        // TAI64N between 2026 and 2100, whitened.
        CHECK(memcmp(timestamp, "\x40\x00\x00\x00", 4) == 0 && cw_le32(timestamp + 4) != 0);
        uint64_t seconds = 0;
        for (int k = 0; k < 8; k++) seconds = seconds << 8 | timestamp[k];
        CHECK(seconds > (UINT64_C(1) << 62) + 1767225600 && seconds < (UINT64_C(1) << 62) + 4102444800);
        CHECK(memcmp(timestamp + 9, "\0\0\0", 3) == 0 && timestamp[8] <= 59);

        CHECK(cw_noise_create_response(&handshake, &them, WG_OUR_INDEX, ephemeral, &response));
        cw_cookie_keys_set(&jar.keys, them.public_key);
        CHECK(cw_cookie_sign(&jar, 1, (uint8_t *)&response, sizeof response));
        CHECK(memcmp(&response, &expected, sizeof expected) == 0);
        uint32_t remote = handshake.remote_index;
        CHECK(cw_noise_begin_session(&handshake, send_key, receive_key));
        check_ours(recording, remote, send_key);
        check_theirs(recording, receive_key);
    }
}

// ---- Back to back ---------------------------------------------------------------------------------------------------

typedef struct side {
    cw_noise_identity identity;
    cw_noise_remote other;
    cw_noise_handshake handshake;
    uint8_t send_key[CW_WG_KEY], receive_key[CW_WG_KEY];
} side;

typedef struct pair {
    test_random random;
    side a, b; // a initiates
    uint8_t timestamp[CW_WG_TIMESTAMP];
    cw_wg_initiation initiation;
    cw_wg_response response;
} pair;

static void random_octets(pair *p, uint8_t *out, size_t length) {
    for (size_t i = 0; i < length; i++) out[i] = (uint8_t)next_random(&p->random);
}

static void new_key(pair *p, cw_noise_identity *identity) {
    uint8_t key[CW_WG_KEY];
    random_octets(p, key, sizeof key);
    cw_noise_identity_set(identity, key);
}

static pair new_pair(uint64_t seed, bool preshared) {
    pair p = {.random = {seed}};
    new_key(&p, &p.a.identity);
    new_key(&p, &p.b.identity);
    CHECK(cw_noise_remote_set(&p.a.other, &p.a.identity, p.b.identity.public_key));
    CHECK(cw_noise_remote_set(&p.b.other, &p.b.identity, p.a.identity.public_key));
    CHECK(memcmp(p.a.other.static_static, p.b.other.static_static, CW_WG_KEY) == 0);
    if (preshared) random_octets(&p, p.a.other.preshared_key, CW_WG_KEY);
    memcpy(p.b.other.preshared_key, p.a.other.preshared_key, CW_WG_KEY);
    cw_noise_timestamp(p.timestamp, 1700000000 + seed, 123456789);
    return p;
}

static bool create_initiation(pair *p) {
    uint8_t ephemeral[CW_WG_KEY];
    random_octets(p, ephemeral, sizeof ephemeral);
    return cw_noise_create_initiation(&p->a.handshake, &p->a.identity, &p->a.other, 0xA1A2A3A4, p->timestamp, ephemeral, &p->initiation);
}

static bool consume_initiation(pair *p) {
    cw_noise_opened opened;
    uint8_t timestamp[CW_WG_TIMESTAMP];
    return cw_noise_open_initiation(&opened, &p->b.identity, &p->initiation) &&
           cw_noise_finish_initiation(&p->b.handshake, &opened, &p->b.other, &p->initiation, timestamp) &&
           memcmp(timestamp, p->timestamp, sizeof timestamp) == 0;
}

static bool create_response(pair *p) {
    uint8_t ephemeral[CW_WG_KEY];
    random_octets(p, ephemeral, sizeof ephemeral);
    return cw_noise_create_response(&p->b.handshake, &p->b.other, 0xB1B2B3B4, ephemeral, &p->response);
}

static bool consume_response(pair *p) {
    return cw_noise_consume_response(&p->a.handshake, &p->a.identity, &p->a.other, &p->response);
}

static bool begin(side *s) { return cw_noise_begin_session(&s->handshake, s->send_key, s->receive_key); }

static void test_back_to_back(void) {
    for (uint64_t seed = 1; seed <= 50; seed++) {
        pair p = new_pair(seed, seed % 2 == 0);
        CHECK(create_initiation(&p) && consume_initiation(&p) && create_response(&p) && consume_response(&p));
        CHECK_EQUAL(p.a.handshake.remote_index, 0xB1B2B3B4);
        CHECK_EQUAL(p.b.handshake.remote_index, 0xA1A2A3A4);
        CHECK_EQUAL(p.a.handshake.local_index, 0xA1A2A3A4);
        CHECK_EQUAL(p.b.handshake.local_index, 0xB1B2B3B4);
        CHECK(begin(&p.a) && begin(&p.b));
        CHECK(memcmp(p.a.send_key, p.b.receive_key, CW_WG_KEY) == 0 && memcmp(p.b.send_key, p.a.receive_key, CW_WG_KEY) == 0);
        CHECK(memcmp(p.a.send_key, p.a.receive_key, CW_WG_KEY) != 0);
        CHECK(cw_crypto_is_zero(&p.a.handshake, sizeof p.a.handshake) && cw_crypto_is_zero(&p.b.handshake, sizeof p.b.handshake));
    }
}

// ---- States ---------------------------------------------------------------------------------------------------------

// Brings both sides' handshakes to where they are after that many of the four steps.
static pair after(int steps) {
    pair p = new_pair(77, true);
    bool (*const all[])(pair *) = {create_initiation, consume_initiation, create_response, consume_response};
    for (int i = 0; i < steps; i++) CHECK(all[i](&p));
    return p;
}

static void test_order_of_initiator(void) {
    pair whole = after(3); // a response for the initiation that every `after` makes
    for (int state = CW_NOISE_NONE; state <= CW_NOISE_RESPONSE_CONSUMED; state++) {
        pair p = after(1);
        p.response = whole.response;
        p.a.handshake.state = (cw_noise_state)state;
        cw_noise_handshake before = p.a.handshake;
        bool right = state == CW_NOISE_INITIATION_CREATED;
        CHECK(consume_response(&p) == right);
        CHECK((memcmp(&before, &p.a.handshake, sizeof before) == 0) == !right);
        CHECK(!right || p.a.handshake.state == CW_NOISE_RESPONSE_CONSUMED);
        CHECK(!consume_response(&p)); // never twice
        p.a.handshake.state = (cw_noise_state)state;
        CHECK(create_initiation(&p) && p.a.handshake.state == CW_NOISE_INITIATION_CREATED); // from any state
    }
}

static void test_order_of_responder(void) {
    for (int state = CW_NOISE_NONE; state <= CW_NOISE_RESPONSE_CONSUMED; state++) {
        pair p = after(2);
        p.b.handshake.state = (cw_noise_state)state;
        cw_noise_handshake before = p.b.handshake;
        bool right = state == CW_NOISE_INITIATION_CONSUMED;
        CHECK(create_response(&p) == right);
        CHECK((memcmp(&before, &p.b.handshake, sizeof before) == 0) == !right);
        CHECK(!right || p.b.handshake.state == CW_NOISE_RESPONSE_CREATED);
        CHECK(!create_response(&p)); // never twice
        p.b.handshake.state = (cw_noise_state)state;
        CHECK(consume_initiation(&p) && p.b.handshake.state == CW_NOISE_INITIATION_CONSUMED); // from any state
    }
}

static void test_order_of_session(void) {
    for (int state = CW_NOISE_NONE; state <= CW_NOISE_RESPONSE_CONSUMED; state++) {
        pair p = after(4);
        p.a.handshake.state = (cw_noise_state)state;
        cw_noise_handshake before = p.a.handshake;
        bool right = state == CW_NOISE_RESPONSE_CREATED || state == CW_NOISE_RESPONSE_CONSUMED;
        CHECK(begin(&p.a) == right);
        CHECK(right || memcmp(&before, &p.a.handshake, sizeof before) == 0);
        CHECK(right || cw_crypto_is_zero(p.a.send_key, CW_WG_KEY));
        CHECK(!begin(&p.a));
    }
}

static void test_response_to_an_older_initiation(void) {
    pair p = after(3);
    p.timestamp[8]++;
    CHECK(create_initiation(&p));
    cw_noise_handshake before = p.a.handshake;
    CHECK(!consume_response(&p));
    CHECK(memcmp(&before, &p.a.handshake, sizeof before) == 0);
}

static void test_wipe(void) {
    pair p = after(4);
    cw_noise_handshake_wipe(&p.a.handshake);
    CHECK(cw_crypto_is_zero(&p.a.handshake, sizeof p.a.handshake));
    cw_noise_opened opened;
    CHECK(cw_noise_open_initiation(&opened, &p.b.identity, &p.initiation));
    cw_noise_opened_wipe(&opened);
    CHECK(cw_crypto_is_zero(&opened, sizeof opened));
}

static void test_ephemeral_does_not_outlive_its_use(void) {
    pair p = after(1);
    CHECK(!cw_crypto_is_zero(p.a.handshake.ephemeral_private, CW_WG_KEY));
    p = after(4);
    CHECK(cw_crypto_is_zero(p.a.handshake.ephemeral_private, CW_WG_KEY));
    CHECK(cw_crypto_is_zero(p.b.handshake.ephemeral_private, CW_WG_KEY));
}

// ---- Damage ---------------------------------------------------------------------------------------------------------

// As whoever receives a message does: mac1 first, which protects the fields that the transcript does not have.
static bool accept_initiation(pair *p) {
    cw_cookie_keys keys;
    cw_cookie_keys_set(&keys, p->b.identity.public_key);
    return cw_cookie_check_mac1(&keys, (uint8_t *)&p->initiation, sizeof p->initiation) && consume_initiation(p);
}

static bool accept_response(pair *p) {
    cw_cookie_keys keys;
    cw_cookie_keys_set(&keys, p->a.identity.public_key);
    return cw_cookie_check_mac1(&keys, (uint8_t *)&p->response, sizeof p->response) && consume_response(p);
}

static void sign(const cw_noise_remote *to, void *message, size_t length) {
    cw_cookie_jar jar = {0};
    cw_cookie_keys_set(&jar.keys, to->public_key);
    CHECK(cw_cookie_sign(&jar, 1, message, length));
}

static void test_damaged_initiation(void) {
    pair p = after(1);
    sign(&p.a.other, &p.initiation, sizeof p.initiation);
    uint8_t *message = (uint8_t *)&p.initiation;
    for (size_t at = 0; at < offsetof(cw_wg_initiation, mac2); at++) // mac2 counts under load only: wg_cookie_test.c
        for (int bit = 0; bit < 8; bit += at < 8 ? 1 : 7) {
            message[at] ^= (uint8_t)(1 << bit);
            cw_noise_handshake before = p.b.handshake;
            CHECK(!accept_initiation(&p));
            CHECK(memcmp(&before, &p.b.handshake, sizeof before) == 0);
            message[at] ^= (uint8_t)(1 << bit);
        }
    CHECK(accept_initiation(&p));
}

static void test_damaged_response(void) {
    pair p = after(3);
    sign(&p.b.other, &p.response, sizeof p.response);
    uint8_t *message = (uint8_t *)&p.response;
    for (size_t at = 0; at < offsetof(cw_wg_response, mac2); at++)
        for (int bit = 0; bit < 8; bit += at < 12 ? 1 : 7) {
            message[at] ^= (uint8_t)(1 << bit);
            cw_noise_handshake before = p.a.handshake;
            CHECK(!accept_response(&p));
            CHECK(memcmp(&before, &p.a.handshake, sizeof before) == 0);
            message[at] ^= (uint8_t)(1 << bit);
        }
    CHECK(accept_response(&p));
}

// The transcript alone, with macs that are right: whoever knows the public keys can make those.
static void test_damaged_and_signed_again(void) {
    pair p = after(1);
    for (size_t at = 0; at < offsetof(cw_wg_initiation, mac1); at++) {
        if (at >= offsetof(cw_wg_initiation, sender) && at < offsetof(cw_wg_initiation, ephemeral)) continue; // anybody's to choose
        pair forged = p;
        ((uint8_t *)&forged.initiation)[at] ^= 0x10;
        sign(&forged.a.other, &forged.initiation, sizeof forged.initiation);
        CHECK(!accept_initiation(&forged));
        CHECK(memcmp(&forged.b.handshake, &p.b.handshake, sizeof p.b.handshake) == 0);
    }
    p = after(3);
    for (size_t at = 0; at < offsetof(cw_wg_response, mac1); at++) {
        if (at >= offsetof(cw_wg_response, sender) && at < offsetof(cw_wg_response, receiver)) continue;
        pair forged = p;
        ((uint8_t *)&forged.response)[at] ^= 0x10;
        sign(&forged.b.other, &forged.response, sizeof forged.response);
        CHECK(!accept_response(&forged));
        CHECK(memcmp(&forged.a.handshake, &p.a.handshake, sizeof p.a.handshake) == 0);
    }
}

static void test_small_order_ephemerals(void) {
    pair p = after(3);
    cw_noise_handshake before = p.a.handshake;
    memset(p.response.ephemeral, 0, CW_WG_KEY);
    CHECK(!consume_response(&p) && memcmp(&before, &p.a.handshake, sizeof before) == 0);
    memset(p.initiation.ephemeral, 0, CW_WG_KEY);
    CHECK(!consume_initiation(&p));
}

// ---- Wrong keys -----------------------------------------------------------------------------------------------------

static void test_wrong_preshared_key(void) {
    pair p = after(2);
    p.b.other.preshared_key[31] ^= 1;
    CHECK(create_response(&p) && !consume_response(&p));
    CHECK_EQUAL(p.a.handshake.state, CW_NOISE_INITIATION_CREATED);
}

static void test_for_somebody_else(void) {
    pair p = after(1);
    cw_noise_opened opened;
    cw_noise_identity third;
    new_key(&p, &third);
    CHECK(!cw_noise_open_initiation(&opened, &third, &p.initiation));
    // It opens, but the peer that is taken for it is not its sender.
    CHECK(cw_noise_open_initiation(&opened, &p.b.identity, &p.initiation));
    cw_noise_remote other = p.b.other;
    CHECK(cw_noise_remote_set(&other, &p.b.identity, third.public_key));
    uint8_t timestamp[CW_WG_TIMESTAMP];
    CHECK(!cw_noise_finish_initiation(&p.b.handshake, &opened, &other, &p.initiation, timestamp));
    memcpy(other.static_static, p.b.other.static_static, CW_WG_KEY); // even where the secret is the same
    CHECK(!cw_noise_finish_initiation(&p.b.handshake, &opened, &other, &p.initiation, timestamp));
    CHECK_EQUAL(p.b.handshake.state, CW_NOISE_NONE);
}

// Key compromise impersonation is not in scope here; but without the sender's static key nobody gets past the timestamp.
static void test_without_the_static_key(void) {
    pair p = new_pair(5, false);
    pair q = p;
    new_key(&q, &q.a.identity); // pretends to be a: its public key, another private one
    memcpy(q.a.identity.public_key, p.a.identity.public_key, CW_WG_KEY);
    CHECK(cw_noise_remote_set(&q.a.other, &q.a.identity, p.b.identity.public_key));
    CHECK(create_initiation(&q));
    cw_noise_opened opened;
    uint8_t timestamp[CW_WG_TIMESTAMP];
    CHECK(cw_noise_open_initiation(&opened, &q.b.identity, &q.initiation));
    CHECK(memcmp(opened.remote_public, p.a.identity.public_key, CW_WG_KEY) == 0);
    CHECK(!cw_noise_finish_initiation(&q.b.handshake, &opened, &q.b.other, &q.initiation, timestamp));
}

static void test_without_a_key(void) {
    static const uint8_t nothing[CW_WG_KEY];
    pair whole = after(3), p = whole;
    cw_noise_identity_set(&p.a.identity, nothing);
    CHECK(!p.a.identity.has_key && cw_crypto_is_zero(p.a.identity.private_key, CW_WG_KEY));
    CHECK(!cw_noise_remote_set(&p.a.other, &p.a.identity, p.b.identity.public_key));
    CHECK(memcmp(p.a.other.public_key, p.b.identity.public_key, CW_WG_KEY) == 0);
    CHECK(cw_crypto_is_zero(p.a.other.static_static, CW_WG_KEY));
    CHECK(memcmp(p.a.other.preshared_key, whole.a.other.preshared_key, CW_WG_KEY) == 0);
    cw_noise_handshake before = p.a.handshake;
    CHECK(!create_initiation(&p) && !consume_response(&p));
    CHECK(memcmp(&before, &p.a.handshake, sizeof before) == 0);
    p.a.other = whole.a.other; // with what an earlier key left
    CHECK(!create_initiation(&p) && !consume_response(&p));
    cw_noise_identity_set(&p.b.identity, nothing);
    CHECK(!consume_initiation(&p));
}

// A peer that was set before its identity had a key, and not again since: no secret, no handshake.
static void test_without_static_static(void) {
    pair p = new_pair(8, false), honest = p;
    CHECK(create_initiation(&honest));
    memset(p.a.other.static_static, 0, CW_WG_KEY);
    CHECK(!create_initiation(&p));
    p.initiation = honest.initiation;
    memset(p.b.other.static_static, 0, CW_WG_KEY);
    CHECK(!consume_initiation(&p));
    CHECK_EQUAL(p.b.handshake.state, CW_NOISE_NONE);
}

static void test_small_order_public_key(void) {
    static const uint8_t one[CW_WG_KEY] = {1};
    pair p = new_pair(6, false);
    CHECK(!cw_noise_remote_set(&p.a.other, &p.a.identity, one));
    CHECK(cw_crypto_is_zero(p.a.other.static_static, CW_WG_KEY));
    CHECK(!create_initiation(&p));
    CHECK_EQUAL(p.a.handshake.state, CW_NOISE_NONE);
}

static void test_identity(void) {
    uint8_t private_key[CW_WG_KEY];
    cw_noise_identity identity;
    octets(wg_their_private, private_key, sizeof private_key);
    cw_noise_identity_set(&identity, private_key);
    CHECK(identity.has_key && equals_hex(identity.public_key, wg_their_public)); // by `wg pubkey`
    CHECK((identity.private_key[0] & 7) == 0 && identity.private_key[31] >> 6 == 1);
}

static void test_timestamp(void) {
    uint8_t stamp[CW_WG_TIMESTAMP], next[CW_WG_TIMESTAMP];
    cw_noise_timestamp(stamp, 0, 0);
    CHECK(equals_hex(stamp, "400000000000000a00000000"));
    cw_noise_timestamp(stamp, 1700000000, 999999999);
    CHECK(equals_hex(stamp, "400000006553f10a3b000000"));
    cw_noise_timestamp(stamp, 1, 0x00FFFFFF);
    CHECK(equals_hex(stamp, "400000000000000b00000000"));
    cw_noise_timestamp(next, 1, 0x01000000);
    CHECK(equals_hex(next, "400000000000000b01000000"));
    CHECK(memcmp(stamp, next, sizeof stamp) < 0); // later is greater, as octets
}

int main(void) {
    RUN(recorded_as_initiator);
    RUN(recorded_as_responder);
    RUN(back_to_back);
    RUN(order_of_initiator);
    RUN(order_of_responder);
    RUN(order_of_session);
    RUN(response_to_an_older_initiation);
    RUN(wipe);
    RUN(ephemeral_does_not_outlive_its_use);
    RUN(damaged_initiation);
    RUN(damaged_response);
    RUN(damaged_and_signed_again);
    RUN(small_order_ephemerals);
    RUN(wrong_preshared_key);
    RUN(for_somebody_else);
    RUN(without_the_static_key);
    RUN(without_a_key);
    RUN(without_static_static);
    RUN(small_order_public_key);
    RUN(identity);
    RUN(timestamp);
    FINISH();
}
