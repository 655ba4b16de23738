// The other end of `record-wireguard`: handshakes with a WireGuard implementation, made by our own code with fixed keys, ephemerals and
// timestamps, written down as a C header on standard output.
//   record-wireguard UAPI-SOCKET OUR-PRIVATE THEIR-PRIVATE THEIR-PUBLIC     (keys in hexadecimal)
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cookie.h"
#include "crypto.h"
#include "noise.h"

enum { OUR_PORT = 51821, THEIR_PORT = 51820, OUR_INDEX = 0x11223344, FLOOD = 3000, FLOOD_ROUNDS = 20 };
static const char said[] = "said through the tunnel";

static cw_noise_identity us;
static cw_noise_remote them;
static cw_cookie_jar jar;
static const char *uapi, *their_private;
static const char *indent = "        "; // of what is printed
static int udp;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("record-wireguard: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void hex_in(const char *hex, uint8_t *out, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &out[i]) != 1) fail("not a key: %s", hex);
}

static const char *hex(const void *data, size_t length) { // a few results at a time
    static char texts[4][1024];
    static unsigned next;
    char *text = texts[next++ % 4];
    for (size_t i = 0; i < length; i++) snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)data)[i]);
    return text;
}

// A string for each 56 octets, so that the header can be read.
static void print_octets(const char *name, const void *data, size_t length) {
    printf("%s.%s =\n", indent, name);
    for (size_t at = 0; at < length; at += 56) {
        size_t part = length - at < 56 ? length - at : 56;
        printf("%s    \"%s\"%s\n", indent, hex((const uint8_t *)data + at, part), at + part == length ? "," : "");
    }
}

static void print_line(const char *name, const void *data, size_t length) {
    printf("%s.%s = \"%s\",\n", indent, name, hex(data, length));
}

// ---- The other implementation ---------------------------------------------------------------------------------------

static void configure(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", uapi);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("cannot reach %s", uapi);
    dprintf(fd,
            "set=1\nprivate_key=%s\nlisten_port=%d\nreplace_peers=true\npublic_key=%s\npreshared_key=%s\n"
            "endpoint=127.0.0.1:%d\nreplace_allowed_ips=true\nallowed_ip=10.77.0.2/32\n\n",
            their_private, THEIR_PORT, hex(us.public_key, CW_WG_KEY), hex(them.preshared_key, CW_WG_KEY), OUR_PORT);
    char answer[64] = {0};
    if (read(fd, answer, sizeof answer - 1) <= 0 || strncmp(answer, "errno=0\n", 8) != 0) fail("set: %s", answer);
    close(fd);
}

// A datagram from their side's host into the tunnel.
static void make_them_send(void) {
    struct sockaddr_in inside = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.77.0.2")};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (sendto(fd, said, strlen(said), 0, (struct sockaddr *)&inside, sizeof inside) < 0) fail("cannot send into the tunnel");
    close(fd);
}

static void transmit(const void *message, size_t length) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(THEIR_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (sendto(udp, message, length, 0, (struct sockaddr *)&to, sizeof to) != (ssize_t)length) fail("cannot send");
}

// The next message of that type, and for our index unless it is an initiation; 0: none came in that time.
static size_t receive(uint8_t type, uint8_t *message, size_t capacity, int milliseconds) {
    for (int waited = 0; waited < milliseconds;) {
        ssize_t n = recv(udp, message, capacity, 0);
        if (n < 0) waited += 50; // the socket's time-out
        if (n < 32 || message[0] != type) continue;
        size_t receiver = type == CW_WG_RESPONSE ? 8 : 4;
        if (type == CW_WG_INITIATION || cw_le32(message + receiver) == OUR_INDEX) return (size_t)n;
    }
    return 0;
}

static void receive_exactly(uint8_t type, void *message, size_t length, const char *what) {
    uint8_t any[2048];
    if (receive(type, any, sizeof any, 8000) != length) fail("%s did not come", what);
    memcpy(message, any, length);
}

static void drain(void) {
    uint8_t any[2048];
    while (recv(udp, any, sizeof any, MSG_DONTWAIT) >= 0) {}
}

// ---- Handshakes -----------------------------------------------------------------------------------------------------

static void fixed(uint8_t *out, size_t length, uint8_t seed) {
    for (size_t i = 0; i < length; i++) out[i] = (uint8_t)(seed + 7 * i);
}

// Our first data message confirms the keys; theirs has to contain what their host said.
static void exchange_data(cw_noise_handshake *handshake, bool we_initiated) {
    uint32_t remote = handshake->remote_index;
    uint8_t send_key[CW_WG_KEY], receive_key[CW_WG_KEY], any[2048], plain[2048], ours[CW_WG_DATA_OVERHEAD] = {CW_WG_DATA};
    if (!cw_noise_begin_session(handshake, send_key, receive_key)) fail("no session");
    cw_put_le32(ours + 4, remote);
    cw_crypto_seal(ours + sizeof(cw_wg_data_header), NULL, 0, NULL, 0, 0, send_key);
    transmit(ours, sizeof ours);
    if (we_initiated) make_them_send();
    size_t n = receive(CW_WG_DATA, any, sizeof any, 3000), header = sizeof(cw_wg_data_header);
    if (n <= sizeof ours) fail("no data came");
    if (!cw_crypto_open(plain, any + header, n - header, NULL, 0, cw_le64(any + 8), receive_key)) fail("their data does not decrypt");
    if (memmem(plain, n - header - CW_WG_TAG, said, strlen(said)) == NULL) fail("their data is not what their host said");
    print_octets("ours", ours, sizeof ours);
    print_octets("theirs", any, n);
}


static void initiation(cw_noise_handshake *handshake, uint8_t seed, uint64_t seconds, uint64_t now, uint8_t *ephemeral,
                       uint8_t *timestamp, cw_wg_initiation *message) {
    fixed(ephemeral, CW_WG_KEY, seed);
    cw_noise_timestamp(timestamp, seconds, 0);
    if (!cw_noise_create_initiation(handshake, &us, &them, OUR_INDEX, timestamp, ephemeral, message)) fail("no initiation");
    cw_cookie_sign(&jar, now, (uint8_t *)message, sizeof *message);
}

static void as_initiator(uint8_t seed, uint64_t seconds) {
    uint8_t ephemeral[CW_WG_KEY], timestamp[CW_WG_TIMESTAMP];
    cw_noise_handshake handshake = {0};
    cw_wg_initiation first;
    cw_wg_response second;
    configure();
    drain();
    initiation(&handshake, seed, seconds, 1, ephemeral, timestamp, &first);
    transmit(&first, sizeof first);
    receive_exactly(CW_WG_RESPONSE, &second, sizeof second, "their response");
    if (!cw_noise_consume_response(&handshake, &us, &them, &second)) fail("their response does not decrypt");
    printf("    {\n");
    print_line("preshared", them.preshared_key, CW_WG_KEY);
    print_line("ephemeral", ephemeral, sizeof ephemeral);
    print_line("timestamp", timestamp, sizeof timestamp);
    print_octets("initiation", &first, sizeof first);
    print_octets("response", &second, sizeof second);
    exchange_data(&handshake, true);
    printf("    },\n");
}

static void consume_initiation(cw_noise_handshake *handshake, const cw_wg_initiation *message) {
    cw_noise_opened opened;
    uint8_t timestamp[CW_WG_TIMESTAMP];
    if (!cw_noise_open_initiation(&opened, &us, message)) fail("their initiation does not open");
    if (!cw_noise_finish_initiation(handshake, &opened, &them, message, timestamp)) fail("their initiation is not theirs");
}

static void as_responder(uint8_t seed) {
    uint8_t ephemeral[CW_WG_KEY];
    cw_noise_handshake handshake = {0};
    cw_wg_initiation first;
    cw_wg_response second;
    configure();
    drain();
    make_them_send();
    receive_exactly(CW_WG_INITIATION, &first, sizeof first, "their initiation");
    consume_initiation(&handshake, &first);
    fixed(ephemeral, sizeof ephemeral, seed);
    if (!cw_noise_create_response(&handshake, &them, OUR_INDEX, ephemeral, &second)) fail("no response");
    cw_cookie_sign(&jar, 1, (uint8_t *)&second, sizeof second);
    transmit(&second, sizeof second);
    printf("    {\n");
    print_line("preshared", them.preshared_key, CW_WG_KEY);
    print_line("ephemeral", ephemeral, sizeof ephemeral);
    print_octets("initiation", &first, sizeof first);
    print_octets("response", &second, sizeof second);
    exchange_data(&handshake, false);
    printf("    },\n");
}

// ---- Cookies --------------------------------------------------------------------------------------------------------

// Puts them under load with initiations that nobody made, asks for a cookie, and shakes hands with it while they still are.
static void cookie_from_them(uint8_t seed, uint64_t seconds) {
    uint8_t ephemeral[CW_WG_KEY], timestamp[CW_WG_TIMESTAMP], any[2048];
    cw_noise_handshake handshake = {0};
    cw_wg_initiation asking, noise = {.type = {CW_WG_INITIATION}};
    cw_wg_cookie_reply reply;
    size_t n = 0;
    configure();
    initiation(&handshake, seed, seconds, 1, ephemeral, timestamp, &asking);
    for (int round = 0; n == 0 && round < FLOOD_ROUNDS; round++) {
        cw_cookie_jar foreign = {.keys = jar.keys};
        drain();
        for (uint32_t i = 0; i < FLOOD; i++) {
            fixed(noise.ephemeral, CW_WG_KEY, (uint8_t)i);
            cw_put_le32(noise.sender, i);
            cw_cookie_sign(&foreign, 1, (uint8_t *)&noise, sizeof noise);
            transmit(&noise, sizeof noise);
        }
        // Its place in the queue may be taken: three copies; a copy that is answered with a response spoils only this round.
        for (int i = 0; i < 3; i++) transmit(&asking, sizeof asking);
        n = receive(CW_WG_COOKIE, any, sizeof any, 100);
        if (n == 0) configure();
    }
    if (n != sizeof reply) fail("no cookie reply came");
    memcpy(&reply, any, sizeof reply);
    if (!cw_cookie_consume_reply(&jar, 1, &reply)) fail("their cookie does not decrypt");
    print_line("ephemeral", ephemeral, sizeof ephemeral);
    print_line("timestamp", timestamp, sizeof timestamp);
    print_octets("asking", &asking, sizeof asking);
    print_octets("reply", &reply, sizeof reply);
    uint8_t late_timestamp[CW_WG_TIMESTAMP];
    cw_wg_initiation signed_one;
    cw_wg_response response;
    initiation(&handshake, seed + 1, seconds + 1, 2, ephemeral, late_timestamp, &signed_one);
    transmit(&signed_one, sizeof signed_one);
    receive_exactly(CW_WG_RESPONSE, &response, sizeof response, "a response to the initiation with a cookie");
    if (!cw_noise_consume_response(&handshake, &us, &them, &response)) fail("their response does not decrypt");
    print_line("second_ephemeral", ephemeral, sizeof ephemeral);
    print_line("second_timestamp", late_timestamp, sizeof late_timestamp);
    print_octets("signed_one", &signed_one, sizeof signed_one);
    print_octets("response", &response, sizeof response);
}

// Answers their initiation with a cookie; the next one, REKEY_TIMEOUT later, has to carry a mac2 made with it.
static void cookie_from_us(uint8_t seed) {
    cw_cookie_secret secret = {0};
    cw_cookie_keys keys;
    cw_wg_initiation asking, signed_one;
    cw_wg_cookie_reply reply;
    uint8_t random[CW_WG_KEY], nonce[CW_WG_COOKIE_NONCE], source[6] = {127, 0, 0, 1, THEIR_PORT >> 8, THEIR_PORT & 0xFF};
    fixed(random, sizeof random, seed);
    fixed(nonce, sizeof nonce, seed + 1);
    cw_cookie_refresh(&secret, 1, random);
    cw_cookie_keys_set(&keys, us.public_key);
    configure();
    drain();
    make_them_send();
    receive_exactly(CW_WG_INITIATION, &asking, sizeof asking, "their initiation");
    if (!cw_cookie_create_reply(&secret, &keys, (uint8_t *)&asking, sizeof asking, source, sizeof source, nonce, &reply)) fail("no reply");
    transmit(&reply, sizeof reply);
    receive_exactly(CW_WG_INITIATION, &signed_one, sizeof signed_one, "their second initiation");
    if (!cw_cookie_check_mac2(&secret, 2, (uint8_t *)&signed_one, sizeof signed_one, source, sizeof source)) fail("it has no cookie");
    print_line("secret", random, sizeof random);
    print_line("nonce", nonce, sizeof nonce);
    print_line("source", source, sizeof source);
    print_octets("asking", &asking, sizeof asking);
    print_octets("reply", &reply, sizeof reply);
    print_octets("signed_one", &signed_one, sizeof signed_one);
}

int main(int count, char **arguments) {
    if (count != 5) fail("usage: record-wireguard UAPI-SOCKET OUR-PRIVATE THEIR-PRIVATE THEIR-PUBLIC");
    uint8_t our_private[CW_WG_KEY], their_public[CW_WG_KEY];
    uapi = arguments[1];
    their_private = arguments[3];
    hex_in(arguments[2], our_private, sizeof our_private);
    hex_in(arguments[4], their_public, sizeof their_public);
    cw_noise_identity_set(&us, our_private);
    if (!cw_noise_remote_set(&them, &us, their_public)) fail("their key is no key");
    cw_cookie_keys_set(&jar.keys, their_public);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(OUR_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_usec = 50000};
    int room = 4 << 20;
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0 || bind(udp, (struct sockaddr *)&here, sizeof here) != 0) fail("cannot bind port %d", OUR_PORT);
    setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);

    printf("static const char wg_our_private[] = \"%s\";\n", arguments[2]);
    printf("static const char wg_their_private[] = \"%s\";\n", their_private);
    printf("static const char wg_their_public[] = \"%s\";\n", arguments[4]);
    printf("static const char wg_said[] = \"%s\"; // in each of their data messages\n", said);
    printf("enum { WG_OUR_INDEX = 0x%x };\n", OUR_INDEX);

    printf("\n// We initiate, without and with a preshared key.\nstatic const wg_recording wg_as_initiator[] = {\n");
    as_initiator(1, 1700000000);
    fixed(them.preshared_key, CW_WG_KEY, 200);
    as_initiator(2, 1700000001);
    cw_crypto_wipe(them.preshared_key, CW_WG_KEY);
    printf("};\n\n// They initiate, without and with a preshared key.\nstatic const wg_recording wg_as_responder[] = {\n");
    as_responder(3);
    fixed(them.preshared_key, CW_WG_KEY, 201);
    as_responder(4);
    cw_crypto_wipe(them.preshared_key, CW_WG_KEY);
    indent = "    ";
    printf("};\n\n// We initiate while they are under load: their cookie lets the second initiation in.\n"
           "static const wg_recorded_cookie wg_cookie_from_them = {\n");
    cookie_from_them(5, 1700000010);
    jar.received = 0;
    printf("};\n\n// They initiate and get a cookie from us, which their second initiation uses.\n"
           "static const wg_recorded_cookie wg_cookie_from_us = {\n");
    cookie_from_us(7);
    printf("};\n\n#endif\n");
    return 0;
}
