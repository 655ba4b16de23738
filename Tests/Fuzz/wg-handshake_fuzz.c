// WireGuard's handshake messages against a fixed identity and a fixed peer. What is not one of the genuine messages is refused and
// leaves no trace; macs are those of whoever knows the public keys, so that forgeries get past them.
//   first octet: 0 initiation, 1 response, 2 cookie reply, 3 initiation with a cookie, all modulo 4; 4: the rest is XORed into the
//   genuine message; 8: mac1 is made again
#include <stdlib.h>
#include <string.h>

#include "cookie.h"
#include "crypto.h"
#include "noise.h"

enum { KIND = 3, XORED = 4, SIGNED = 8, NOW = 1000, INITIATOR_INDEX = 0x01020304, RESPONDER_INDEX = 0x05060708 };

static const uint8_t source[6] = {192, 0, 2, 1, 0x10, 0x92};

static cw_noise_identity initiator, responder;
static cw_noise_remote to_responder, to_initiator;
static cw_cookie_keys initiator_keys, responder_keys;
static cw_cookie_secret secret;
static cw_cookie_jar asked; // of the initiator, after its first message
static cw_noise_handshake waiting;
static struct {
    cw_wg_initiation initiation, with_cookie;
    cw_wg_response response;
    cw_wg_cookie_reply reply;
} genuine;

static void require(bool condition) {
    if (!condition) abort();
}

static void seed(uint8_t out[CW_WG_KEY], uint8_t from) {
    for (int i = 0; i < CW_WG_KEY; i++) out[i] = (uint8_t)(from + 3 * i);
}

static void sign(const cw_cookie_keys *keys, void *message, size_t length) {
    cw_cookie_jar jar = {.keys = *keys};
    require(cw_cookie_sign(&jar, NOW, message, length));
}

static bool take_initiation(cw_noise_handshake *handshake, const cw_wg_initiation *message) {
    cw_noise_opened opened;
    uint8_t timestamp[CW_WG_TIMESTAMP];
    return cw_cookie_check_mac1(&responder_keys, (const uint8_t *)message, sizeof *message) &&
           cw_noise_open_initiation(&opened, &responder, message) &&
           cw_noise_finish_initiation(handshake, &opened, &to_initiator, message, timestamp);
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    uint8_t key[CW_WG_KEY], timestamp[CW_WG_TIMESTAMP];
    seed(key, 1);
    cw_noise_identity_set(&initiator, key);
    seed(key, 2);
    cw_noise_identity_set(&responder, key);
    require(cw_noise_remote_set(&to_responder, &initiator, responder.public_key));
    require(cw_noise_remote_set(&to_initiator, &responder, initiator.public_key));
    seed(to_responder.preshared_key, 3);
    seed(to_initiator.preshared_key, 3);
    cw_cookie_keys_set(&initiator_keys, initiator.public_key);
    cw_cookie_keys_set(&responder_keys, responder.public_key);
    asked.keys = responder_keys;

    cw_noise_handshake answering;
    seed(key, 4);
    cw_noise_timestamp(timestamp, 1700000000, 0);
    require(cw_noise_create_initiation(&waiting, &initiator, &to_responder, INITIATOR_INDEX, timestamp, key, &genuine.initiation));
    require(cw_cookie_sign(&asked, NOW, (uint8_t *)&genuine.initiation, sizeof genuine.initiation));
    require(take_initiation(&answering, &genuine.initiation));
    seed(key, 5);
    require(cw_noise_create_response(&answering, &to_initiator, RESPONDER_INDEX, key, &genuine.response));
    sign(&initiator_keys, &genuine.response, sizeof genuine.response);
    seed(key, 6);
    cw_cookie_refresh(&secret, NOW, key);
    require(cw_cookie_create_reply(&secret, &responder_keys, (uint8_t *)&genuine.initiation, sizeof genuine.initiation, source, sizeof source,
                                   key, &genuine.reply));
    cw_cookie_jar jar = asked;
    require(cw_cookie_consume_reply(&jar, NOW, &genuine.reply));
    genuine.with_cookie = genuine.initiation;
    require(cw_cookie_sign(&jar, NOW, (uint8_t *)&genuine.with_cookie, sizeof genuine.with_cookie));
    return 0;
}

// The fields that nobody can choose without the keys; sender indices can be, by whoever can make macs.
static void check_initiation(const cw_wg_initiation *message) {
    cw_noise_handshake handshake = {.state = CW_NOISE_NONE}, before = handshake;
    const size_t from = offsetof(cw_wg_initiation, ephemeral), to = offsetof(cw_wg_initiation, mac1);
    bool same = memcmp(message->type, genuine.initiation.type, 4) == 0 &&
                memcmp((const uint8_t *)message + from, (uint8_t *)&genuine.initiation + from, to - from) == 0;
    bool taken = take_initiation(&handshake, message);
    require(taken || memcmp(&handshake, &before, sizeof before) == 0);
    require(taken == (same && cw_cookie_check_mac1(&responder_keys, (const uint8_t *)message, sizeof *message)));
    require(!taken || (handshake.state == CW_NOISE_INITIATION_CONSUMED && handshake.remote_index == cw_le32(message->sender)));
}

static void check_response(const cw_wg_response *message) {
    cw_noise_handshake handshake = waiting;
    const size_t from = offsetof(cw_wg_response, receiver), to = offsetof(cw_wg_response, mac1);
    bool same = memcmp(message->type, genuine.response.type, 4) == 0 &&
                memcmp((const uint8_t *)message + from, (uint8_t *)&genuine.response + from, to - from) == 0;
    bool signed_right = cw_cookie_check_mac1(&initiator_keys, (const uint8_t *)message, sizeof *message);
    bool taken = signed_right && cw_noise_consume_response(&handshake, &initiator, &to_responder, message);
    require(taken || memcmp(&handshake, &waiting, sizeof waiting) == 0);
    require(taken == (same && signed_right));
    require(!taken || (handshake.state == CW_NOISE_RESPONSE_CONSUMED && handshake.remote_index == cw_le32(message->sender)));
}

static void check_reply(const cw_wg_cookie_reply *message) {
    cw_cookie_jar jar = asked;
    const size_t from = offsetof(cw_wg_cookie_reply, nonce);
    bool same = memcmp(message->type, genuine.reply.type, 4) == 0 &&
                memcmp((const uint8_t *)message + from, (uint8_t *)&genuine.reply + from, sizeof *message - from) == 0;
    bool taken = cw_cookie_consume_reply(&jar, NOW, message);
    require(taken == same);
    require(taken || memcmp(&jar, &asked, sizeof jar) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    uint8_t how = *data++;
    size--;
    static const struct {
        const void *message;
        size_t length;
    } all[] = {
        {&genuine.initiation, sizeof genuine.initiation},
        {&genuine.response, sizeof genuine.response},
        {&genuine.reply, sizeof genuine.reply},
        {&genuine.with_cookie, sizeof genuine.with_cookie},
    };
    unsigned kind = how & KIND;
    const cw_cookie_keys *keys = kind == 1 ? &initiator_keys : &responder_keys;
    // Memory that ends where the message ends. XORed has the genuine length, as has what is longer than that.
    size_t length = (how & XORED) != 0 || size > all[kind].length ? all[kind].length : size;
    uint8_t *message = malloc(length > 0 ? length : 1);
    for (size_t i = 0; i < length; i++)
        message[i] = (how & XORED) != 0 ? ((const uint8_t *)all[kind].message)[i] ^ (i < size ? data[i] : 0) : data[i];
    if (length != all[kind].length) { // what is shorter has no macs, or is another message
        if (length != sizeof genuine.response) require(!cw_cookie_check_mac1(keys, message, length));
    } else {
        bool same = memcmp(message, all[kind].message, length) == 0;
        if (kind == 3) require(cw_cookie_check_mac2(&secret, NOW, message, length, source, sizeof source) == same);
        if ((how & SIGNED) != 0 && kind != 2) sign(keys, message, length);
        if (kind == 1) check_response((const cw_wg_response *)message);
        else if (kind == 2) check_reply((const cw_wg_cookie_reply *)message);
        else check_initiation((const cw_wg_initiation *)message);
    }
    free(message);
    return 0;
}
