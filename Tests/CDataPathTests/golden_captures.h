// Reads the recorded sessions (Tests/Captures): classic pcap over Ethernet, IPv4, whole packets. And what can be worked out from them
// with the password alone: MS-CHAPv2 exchange, CCP choices, MPPE start keys.
#ifndef CW_GOLDEN_CAPTURES_H
#define CW_GOLDEN_CAPTURES_H

#include <nettle/md4.h>
#include <nettle/sha1.h>

#include "gre.h"
#include "harness.h"
#include "link_bytes.h"
#include "mppe_key.h"
#include "ppp_frame.h"

enum { GOLDEN_PACKETS = 1024, GOLDEN_LENGTH = 2048 };
enum golden_side { GOLDEN_CLIENT, GOLDEN_SERVER };

typedef struct golden_packet {
    uint64_t time;               // ns
    enum golden_side from;
    uint16_t length;             // of the GRE packet, its IP header removed
    uint8_t data[GOLDEN_LENGTH];
} golden_packet;

typedef struct golden_session {
    golden_packet packets[GOLDEN_PACKETS];
    size_t count;
    uint8_t challenge[16], peer_challenge[16], nt_response[24];
    bool has_challenge, has_response;
    bool encrypted[2];           // by the side that receives: its Configure-Request was acknowledged
    bool stateless[2];
    uint8_t bits[2];
    uint8_t requested[2][4];     // the MPPE option of the last Configure-Request
} golden_session;

static inline uint32_t golden_le32(const uint8_t *p) { return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]; }

static inline bool golden_read(golden_session *session, const char *path) {
    memset(session, 0, sizeof *session);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    uint8_t header[24], record[16], frame[4096];
    bool good = fread(header, 1, 24, file) == 24 && golden_le32(header) == 0xa1b2c3d4 && golden_le32(header + 20) == 1;
    while (good && fread(record, 1, 16, file) == 16) {
        uint32_t captured = golden_le32(record + 8);
        if (captured > sizeof frame || captured != golden_le32(record + 12) || fread(frame, 1, captured, file) != captured) {
            good = false;
            break;
        }
        if (captured < 34 || cw_get16(frame + 12) != 0x0800 || frame[23] != 47) continue;
        const uint8_t *ip = frame + 14;
        size_t ip_header = (size_t)(ip[0] & 15) * 4, total = cw_get16(ip + 2);
        if (total > captured - 14 || total < ip_header || total - ip_header > GOLDEN_LENGTH || session->count == GOLDEN_PACKETS) {
            good = false;
            break;
        }
        golden_packet *packet = &session->packets[session->count++];
        packet->time = (uint64_t)golden_le32(record) * 1000000000 + (uint64_t)golden_le32(record + 4) * 1000;
        packet->from = cw_get32(ip + 12) == 0x0a000102 ? GOLDEN_CLIENT : GOLDEN_SERVER;
        packet->length = (uint16_t)(total - ip_header);
        memcpy(packet->data, ip + ip_header, packet->length);
    }
    fclose(file);
    return good && session->count > 0;
}

// The MPPE option's value in a CCP packet; NULL: none.
static inline const uint8_t *golden_mppe_option(const uint8_t *ccp, size_t length) {
    for (size_t at = 4; at + 2 <= length && ccp[at + 1] >= 2; at += ccp[at + 1])
        if (ccp[at] == 18 && ccp[at + 1] == 6 && at + 6 <= length) return ccp + at + 2;
    return NULL;
}

static inline void golden_learn(golden_session *session, enum golden_side from, uint16_t protocol, const uint8_t *p, size_t length) {
    if (protocol == 0xc223 && length >= 5 + 16 && p[0] == 1) { // CHAP Challenge
        memcpy(session->challenge, p + 5, 16);
        session->has_challenge = true;
    } else if (protocol == 0xc223 && length >= 5 + 49 && p[0] == 2) { // CHAP Response
        memcpy(session->peer_challenge, p + 5, 16);
        memcpy(session->nt_response, p + 5 + 24, 24);
        session->has_response = true;
    } else if (protocol == CW_PPP_CCP && length >= 4 && (p[0] == 1 || p[0] == 2)) {
        const uint8_t *option = golden_mppe_option(p, length);
        if (option == NULL) return;
        if (p[0] == 1) memcpy(session->requested[from], option, 4);
        if (p[0] == 2) { // what the other side asked for, it will receive (RFC 3078 section 2)
            enum golden_side receiver = from == GOLDEN_CLIENT ? GOLDEN_SERVER : GOLDEN_CLIENT;
            session->encrypted[receiver] = true;
            session->stateless[receiver] = (option[0] & 1) != 0;
            session->bits[receiver] = (option[3] & 0x40) != 0 ? 128 : (option[3] & 0x80) != 0 ? 56 : 40;
        }
    }
}

// RFC 3079 section 3: the start key of the packets that go to `receiver`.
static inline void golden_start_key(const golden_session *session, const char *password, enum golden_side receiver, uint8_t key[16]) {
    static const char master_magic[] = "This is the MPPE Master Key";
    static const char to_server[] = "On the client side, this is the send key; on the server side, it is the receive key.";
    static const char to_client[] = "On the client side, this is the receive key; on the server side, it is the send key.";
    uint8_t unicode[128] = {0}, hash[16], master[20], digest[20], pad1[40] = {0}, pad2[40];
    memset(pad2, 0xf2, sizeof pad2);
    size_t n = strlen(password);
    for (size_t i = 0; i < n; i++) unicode[2 * i] = (uint8_t)password[i];
    struct md4_ctx md4;
    md4_init(&md4);
    md4_update(&md4, 2 * n, unicode);
    md4_digest(&md4, 16, hash);
    md4_init(&md4);
    md4_update(&md4, 16, hash);
    md4_digest(&md4, 16, hash);
    struct sha1_ctx sha1;
    sha1_init(&sha1);
    sha1_update(&sha1, 16, hash);
    sha1_update(&sha1, 24, session->nt_response);
    sha1_update(&sha1, strlen(master_magic), (const uint8_t *)master_magic);
    sha1_digest(&sha1, 20, master);
    const char *magic = receiver == GOLDEN_SERVER ? to_server : to_client;
    sha1_init(&sha1);
    sha1_update(&sha1, 16, master);
    sha1_update(&sha1, 40, pad1);
    sha1_update(&sha1, strlen(magic), (const uint8_t *)magic);
    sha1_update(&sha1, 40, pad2);
    sha1_digest(&sha1, 20, digest);
    memcpy(key, digest, 16);
}

#endif
