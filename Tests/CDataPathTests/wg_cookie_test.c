// Macs and cookies: against what was recorded with wireguard-go, both ways, and with every octet damaged.
#include "cookie.h"
#include "crypto.h"
#include "harness.h"
#include "noise.h"
#include "wg_vectors.h"

enum { INITIATION = sizeof(cw_wg_initiation), RESPONSE = sizeof(cw_wg_response) };

static cw_cookie_keys our_keys; // ours of wg_vectors.h
static cw_noise_identity us;
static cw_noise_remote them;
static const uint8_t source[6] = {192, 0, 2, 1, 0xCA, 0x6C};
static const uint8_t nonce[CW_WG_COOKIE_NONCE] = {1, 2, 3};
static const uint8_t random_octets[CW_WG_KEY] = {4, 5, 6};

static void octets(const char *hex, void *out, size_t length) {
    CHECK_EQUAL(strlen(hex), 2 * length);
    CHECK_EQUAL(from_hex(hex, out, length), length);
}

static void set_up(void) {
    uint8_t private_key[CW_WG_KEY], public_key[CW_WG_KEY];
    octets(wg_our_private, private_key, sizeof private_key);
    octets(wg_their_public, public_key, sizeof public_key);
    cw_noise_identity_set(&us, private_key);
    CHECK(cw_noise_remote_set(&them, &us, public_key));
    cw_cookie_keys_set(&our_keys, us.public_key);
}

static cw_cookie_jar new_jar(const uint8_t public_key[CW_WG_KEY]) {
    cw_cookie_jar jar = {0};
    cw_cookie_keys_set(&jar.keys, public_key);
    return jar;
}

static void fill(uint8_t *message, size_t length) {
    for (size_t i = 0; i < length; i++) message[i] = (uint8_t)(i * 11 + 3);
}

// ---- Recorded -------------------------------------------------------------------------------------------------------

static void initiation(cw_noise_handshake *handshake, const char *ephemeral_hex, const char *timestamp_hex, cw_wg_initiation *message) {
    uint8_t ephemeral[CW_WG_KEY], timestamp[CW_WG_TIMESTAMP];
    octets(ephemeral_hex, ephemeral, sizeof ephemeral);
    octets(timestamp_hex, timestamp, sizeof timestamp);
    CHECK(cw_noise_create_initiation(handshake, &us, &them, WG_OUR_INDEX, timestamp, ephemeral, message));
}

// wireguard-go was under load, gave a cookie, and let the message in that was signed with it.
static void test_recorded_cookie_from_them(void) {
    const wg_recorded_cookie *recorded = &wg_cookie_from_them;
    cw_cookie_jar jar = new_jar(them.public_key);
    cw_noise_handshake handshake = {0};
    cw_wg_initiation message, expected;
    cw_wg_cookie_reply reply;
    cw_wg_response response;
    initiation(&handshake, recorded->ephemeral, recorded->timestamp, &message);
    CHECK(cw_cookie_sign(&jar, 1, (uint8_t *)&message, sizeof message));
    octets(recorded->asking, &expected, sizeof expected);
    CHECK(memcmp(&message, &expected, sizeof message) == 0);
    octets(recorded->reply, &reply, sizeof reply);
    CHECK_EQUAL(cw_le32(reply.receiver), WG_OUR_INDEX);
    CHECK(cw_cookie_consume_reply(&jar, 1, &reply));
    initiation(&handshake, recorded->second_ephemeral, recorded->second_timestamp, &message);
    CHECK(cw_cookie_sign(&jar, 2, (uint8_t *)&message, sizeof message));
    octets(recorded->signed_one, &expected, sizeof expected);
    CHECK(!cw_crypto_is_zero(expected.mac2, sizeof expected.mac2));
    CHECK(memcmp(&message, &expected, sizeof message) == 0);
    octets(recorded->response, &response, sizeof response);
    CHECK(cw_noise_consume_response(&handshake, &us, &them, &response));
}

// wireguard-go took our cookie and signed its next initiation with it.
static void test_recorded_cookie_from_us(void) {
    const wg_recorded_cookie *recorded = &wg_cookie_from_us;
    cw_wg_initiation asking, signed_one;
    cw_wg_cookie_reply reply, expected;
    cw_cookie_secret secret = {0};
    uint8_t random[CW_WG_KEY], their_nonce[CW_WG_COOKIE_NONCE], their_source[6];
    octets(recorded->secret, random, sizeof random);
    octets(recorded->nonce, their_nonce, sizeof their_nonce);
    octets(recorded->source, their_source, sizeof their_source);
    octets(recorded->asking, &asking, sizeof asking);
    octets(recorded->signed_one, &signed_one, sizeof signed_one);
    octets(recorded->reply, &expected, sizeof expected);
    cw_cookie_refresh(&secret, 1, random);
    CHECK(cw_cookie_check_mac1(&our_keys, (uint8_t *)&asking, sizeof asking));
    CHECK(!cw_cookie_check_mac2(&secret, 1, (uint8_t *)&asking, sizeof asking, their_source, sizeof their_source));
    CHECK(cw_cookie_create_reply(&secret, &our_keys, (uint8_t *)&asking, sizeof asking, their_source, sizeof their_source, their_nonce, &reply));
    CHECK(memcmp(&reply, &expected, sizeof reply) == 0);
    CHECK(cw_cookie_check_mac1(&our_keys, (uint8_t *)&signed_one, sizeof signed_one));
    CHECK(cw_cookie_check_mac2(&secret, 1, (uint8_t *)&signed_one, sizeof signed_one, their_source, sizeof their_source));
}

// ---- Our own both ways ----------------------------------------------------------------------------------------------

typedef struct exchange {
    cw_cookie_jar jar;
    cw_cookie_secret secret;
    uint8_t message[INITIATION];
    cw_wg_cookie_reply reply;
} exchange;

static exchange new_exchange(uint64_t now) {
    exchange e = {.jar = new_jar(us.public_key)};
    fill(e.message, sizeof e.message);
    cw_cookie_refresh(&e.secret, now, random_octets);
    CHECK(cw_cookie_sign(&e.jar, now, e.message, sizeof e.message));
    CHECK(cw_cookie_create_reply(&e.secret, &our_keys, e.message, sizeof e.message, source, sizeof source, nonce, &e.reply));
    return e;
}

static bool mac2_ok(const exchange *e, uint64_t now, const void *from, size_t length) {
    return cw_cookie_check_mac2(&e->secret, now, e->message, sizeof e->message, from, length);
}

static void test_both_ways(void) {
    static const uint8_t other_port[6] = {192, 0, 2, 1, 0xCA, 0x6D}, other_host[6] = {192, 0, 2, 2, 0xCA, 0x6C};
    exchange e = new_exchange(CW_WG_SECOND);
    CHECK(cw_cookie_check_mac1(&our_keys, e.message, sizeof e.message));
    CHECK(cw_crypto_is_zero(e.message + INITIATION - CW_WG_MAC, CW_WG_MAC)); // no cookie yet
    CHECK(!mac2_ok(&e, CW_WG_SECOND, source, sizeof source));
    CHECK_EQUAL(cw_le32(e.reply.type), CW_WG_COOKIE);
    CHECK(memcmp(e.reply.receiver, e.message + 4, 4) == 0);
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
    CHECK(cw_cookie_sign(&e.jar, CW_WG_SECOND, e.message, sizeof e.message));
    CHECK(cw_cookie_check_mac1(&our_keys, e.message, sizeof e.message));
    CHECK(mac2_ok(&e, CW_WG_SECOND, source, sizeof source));
    CHECK(!mac2_ok(&e, CW_WG_SECOND, other_port, sizeof other_port));
    CHECK(!mac2_ok(&e, CW_WG_SECOND, other_host, sizeof other_host));
}

static void test_responses_have_macs_too(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    uint8_t message[RESPONSE];
    fill(message, sizeof message);
    CHECK(cw_cookie_sign(&e.jar, CW_WG_SECOND, message, sizeof message));
    CHECK(cw_cookie_check_mac1(&our_keys, message, sizeof message));
    CHECK(cw_cookie_create_reply(&e.secret, &our_keys, message, sizeof message, source, sizeof source, nonce, &e.reply));
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
    CHECK(cw_cookie_sign(&e.jar, CW_WG_SECOND, message, sizeof message));
    CHECK(cw_cookie_check_mac2(&e.secret, CW_WG_SECOND, message, sizeof message, source, sizeof source));
}

static void test_source_of_ipv6(void) {
    uint8_t from[18] = {0x20, 0x01, 0x0d, 0xb8, [17] = 9};
    exchange e = new_exchange(CW_WG_SECOND);
    CHECK(cw_cookie_create_reply(&e.secret, &our_keys, e.message, sizeof e.message, from, sizeof from, nonce, &e.reply));
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
    CHECK(cw_cookie_sign(&e.jar, CW_WG_SECOND, e.message, sizeof e.message));
    CHECK(mac2_ok(&e, CW_WG_SECOND, from, sizeof from));
    from[15] ^= 1;
    CHECK(!mac2_ok(&e, CW_WG_SECOND, from, sizeof from));
}

static void test_one_reply_for_each_message(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    cw_cookie_jar idle = new_jar(us.public_key), before = idle;
    CHECK(!cw_cookie_consume_reply(&idle, CW_WG_SECOND, &e.reply)); // nothing was sent
    CHECK(memcmp(&before, &idle, sizeof before) == 0);
    cw_cookie_jar later = e.jar;
    uint8_t other[INITIATION] = {1};
    CHECK(cw_cookie_sign(&later, CW_WG_SECOND, other, sizeof other));
    CHECK(!cw_cookie_consume_reply(&later, CW_WG_SECOND, &e.reply)); // that was for the message before
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
    before = e.jar;
    CHECK(!cw_cookie_consume_reply(&e.jar, 2 * CW_WG_SECOND, &e.reply));
    CHECK(memcmp(&before, &e.jar, sizeof before) == 0);
}

// ---- Time -----------------------------------------------------------------------------------------------------------

static void test_secret_lives_two_minutes(void) {
    static const uint8_t other_random[CW_WG_KEY] = {9};
    cw_cookie_secret secret = {0};
    uint64_t born = 5 * CW_WG_SECOND;
    CHECK(cw_cookie_is_stale(&secret, born));
    cw_cookie_refresh(&secret, born, random_octets);
    CHECK(!cw_cookie_is_stale(&secret, born));
    CHECK(!cw_cookie_is_stale(&secret, born + CW_WG_COOKIE_LIFETIME - 1));
    cw_cookie_refresh(&secret, born + CW_WG_COOKIE_LIFETIME - 1, other_random); // too early
    CHECK(memcmp(secret.secret, random_octets, CW_WG_KEY) == 0 && secret.born == born);
    CHECK(cw_cookie_is_stale(&secret, born + CW_WG_COOKIE_LIFETIME));
    cw_cookie_refresh(&secret, born + CW_WG_COOKIE_LIFETIME, other_random);
    CHECK(memcmp(secret.secret, other_random, CW_WG_KEY) == 0 && !cw_cookie_is_stale(&secret, born + CW_WG_COOKIE_LIFETIME));
}

static void test_cookie_ends_with_its_secret(void) {
    static const uint8_t other_random[CW_WG_KEY] = {9};
    uint64_t born = CW_WG_SECOND, end = born + CW_WG_COOKIE_LIFETIME;
    exchange e = new_exchange(born);
    CHECK(cw_cookie_consume_reply(&e.jar, born, &e.reply) && cw_cookie_sign(&e.jar, born, e.message, sizeof e.message));
    CHECK(mac2_ok(&e, end - 1, source, sizeof source));
    CHECK(!mac2_ok(&e, end, source, sizeof source)); // stale, even if nobody drew a new one
    cw_cookie_refresh(&e.secret, end, other_random);
    CHECK(!mac2_ok(&e, end, source, sizeof source));
}

static void test_cookie_is_used_for_less_than_its_life(void) {
    uint64_t got = 3 * CW_WG_SECOND, last = got + CW_WG_COOKIE_LIFETIME - CW_WG_COOKIE_LATENCY - 1;
    exchange e = new_exchange(got);
    CHECK(cw_cookie_consume_reply(&e.jar, got, &e.reply));
    const uint8_t *mac2 = e.message + INITIATION - CW_WG_MAC;
    CHECK(cw_cookie_sign(&e.jar, last, e.message, sizeof e.message) && !cw_crypto_is_zero(mac2, CW_WG_MAC));
    CHECK(cw_cookie_sign(&e.jar, last + 1, e.message, sizeof e.message) && cw_crypto_is_zero(mac2, CW_WG_MAC));
}

static void test_time_zero_is_a_time(void) {
    exchange e = new_exchange(0);
    CHECK(!cw_cookie_is_stale(&e.secret, 0));
    CHECK(cw_cookie_consume_reply(&e.jar, 0, &e.reply) && cw_cookie_sign(&e.jar, 0, e.message, sizeof e.message));
    CHECK(mac2_ok(&e, 0, source, sizeof source));
}

// ---- Damage ---------------------------------------------------------------------------------------------------------

static void test_damaged_messages(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply) && cw_cookie_sign(&e.jar, CW_WG_SECOND, e.message, sizeof e.message));
    for (size_t at = 0; at < sizeof e.message; at++)
        for (int bit = 0; bit < 8; bit++) {
            e.message[at] ^= (uint8_t)(1 << bit);
            CHECK(cw_cookie_check_mac1(&our_keys, e.message, sizeof e.message) == (at >= INITIATION - CW_WG_MAC));
            CHECK(!mac2_ok(&e, CW_WG_SECOND, source, sizeof source)); // mac2 covers mac1
            e.message[at] ^= (uint8_t)(1 << bit);
        }
    CHECK(mac2_ok(&e, CW_WG_SECOND, source, sizeof source));
}

static void test_damaged_reply(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    uint8_t *reply = (uint8_t *)&e.reply;
    for (size_t at = 0; at < sizeof e.reply; at++) {
        if (at >= 4 && at < 8) continue; // the receiver: whose jar it is, which the caller looks up
        for (int bit = 0; bit < 8; bit++) {
            reply[at] ^= (uint8_t)(1 << bit);
            cw_cookie_jar before = e.jar;
            CHECK(!cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
            CHECK(memcmp(&before, &e.jar, sizeof before) == 0);
            reply[at] ^= (uint8_t)(1 << bit);
        }
    }
    CHECK(cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
}

static void test_other_lengths(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    uint8_t message[INITIATION + 64] = {0}, before[sizeof message] = {0};
    cw_wg_cookie_reply reply = {.type = {0}}, none = {.type = {0}};
    for (size_t length = 0; length <= sizeof message; length++) {
        if (length == INITIATION || length == RESPONSE) continue;
        cw_cookie_jar jar = e.jar;
        CHECK(!cw_cookie_sign(&jar, CW_WG_SECOND, message, length) && memcmp(&jar, &e.jar, sizeof jar) == 0);
        CHECK(!cw_cookie_check_mac1(&our_keys, message, length));
        CHECK(!cw_cookie_check_mac2(&e.secret, CW_WG_SECOND, message, length, source, sizeof source));
        CHECK(!cw_cookie_create_reply(&e.secret, &our_keys, message, length, source, sizeof source, nonce, &reply));
    }
    CHECK(memcmp(message, before, sizeof message) == 0 && memcmp(&reply, &none, sizeof none) == 0);
}

static void test_keys_of_somebody_else(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    cw_cookie_keys other;
    cw_cookie_keys_set(&other, them.public_key);
    CHECK(!cw_cookie_check_mac1(&other, e.message, sizeof e.message));
    CHECK(cw_cookie_create_reply(&e.secret, &other, e.message, sizeof e.message, source, sizeof source, nonce, &e.reply));
    CHECK(!cw_cookie_consume_reply(&e.jar, CW_WG_SECOND, &e.reply));
}

static void test_no_secret_no_reply(void) {
    exchange e = new_exchange(CW_WG_SECOND);
    cw_cookie_secret none = {0};
    CHECK(!cw_cookie_create_reply(&none, &our_keys, e.message, sizeof e.message, source, sizeof source, nonce, &e.reply));
}

int main(void) {
    set_up();
    RUN(recorded_cookie_from_them);
    RUN(recorded_cookie_from_us);
    RUN(both_ways);
    RUN(responses_have_macs_too);
    RUN(source_of_ipv6);
    RUN(one_reply_for_each_message);
    RUN(secret_lives_two_minutes);
    RUN(cookie_ends_with_its_secret);
    RUN(cookie_is_used_for_less_than_its_life);
    RUN(time_zero_is_a_time);
    RUN(damaged_messages);
    RUN(damaged_reply);
    RUN(other_lengths);
    RUN(keys_of_somebody_else);
    RUN(no_secret_no_reply);
    FINISH();
}
