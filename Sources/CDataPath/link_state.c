// The link's state as octets, for handing a session to another engine. Little-endian, no padding; CW_LINK_STATE_VERSION changes with any
// change of the order below. Reading and writing are the same walk, so they cannot drift apart.

#include <string.h>

#include "link_internal.h"

enum { CW_LINK_STATE_MAGIC = 0x4b4c, CW_LINK_STATE_VERSION = 2 };

typedef struct walk {
    uint8_t *out;      // writing
    const uint8_t *in; // reading
    size_t at, limit;
    bool failed;
} walk;

static void octets(walk *w, void *value, size_t length) {
    if (w->failed || w->limit - w->at < length) {
        w->failed = true;
        return;
    }
    if (w->out != NULL) memcpy(w->out + w->at, value, length);
    if (w->in != NULL) memcpy(value, w->in + w->at, length);
    w->at += length;
}

static uint64_t number(walk *w, uint64_t value, unsigned length) {
    uint8_t image[8] = {0};
    for (unsigned n = 0; n < length; n++) image[n] = (uint8_t)(value >> (8 * n));
    octets(w, image, length);
    uint64_t result = 0;
    for (unsigned n = 0; n < length; n++) result |= (uint64_t)image[n] << (8 * n);
    return result;
}

static void u8(walk *w, uint8_t *value) { *value = (uint8_t)number(w, *value, 1); }
static void u16(walk *w, uint16_t *value) { *value = (uint16_t)number(w, *value, 2); }
static void u32(walk *w, uint32_t *value) { *value = (uint32_t)number(w, *value, 4); }
static void u64(walk *w, uint64_t *value) { *value = number(w, *value, 8); }

static void boolean(walk *w, bool *value) {
    uint64_t read = number(w, *value, 1);
    if (read > 1) w->failed = true;
    *value = read == 1;
}

// An enum's value, which must be at most `last`.
static unsigned choice(walk *w, unsigned value, unsigned last) {
    unsigned read = (unsigned)number(w, value, 1);
    if (read > last) {
        w->failed = true;
        return 0;
    }
    return read;
}

static void suite(walk *w, cw_mppe_suite *suite) {
    octets(w, suite->start, sizeof suite->start);
    u8(w, &suite->bits);
    u8(w, &suite->length);
    bool known = suite->bits == 0 ? suite->length == 0
                 : suite->bits == 128 ? suite->length == 16
                                      : (suite->bits == 40 || suite->bits == 56) && suite->length == 8;
    if (!known) w->failed = true;
}

static void stream(walk *w, cw_rc4 *rc4) {
    octets(w, rc4->s, sizeof rc4->s);
    u8(w, &rc4->i);
    u8(w, &rc4->j);
}

static void count12(walk *w, uint16_t *count) {
    u16(w, count);
    if (*count > CW_MPPE_COUNT_MASK) w->failed = true;
}

static void receiver(walk *w, cw_mppe_receiver *receiver) {
    explicit_bzero(receiver->trail, sizeof receiver->trail); // left out, as the keys ahead: they are derived again
    suite(w, &receiver->keys.suite);
    boolean(w, &receiver->stateless);
    count12(w, &receiver->next);
    octets(w, receiver->keys.key, sizeof receiver->keys.key);
    if (receiver->stateless || receiver->keys.suite.bits == 0) return;
    stream(w, &receiver->streams->receive);
    boolean(w, &receiver->has_tentative);
    if (receiver->has_tentative) {
        stream(w, &receiver->streams->tentative);
        count12(w, &receiver->tentative_next);
    }
    u8(w, &receiver->outstanding);
    if (receiver->outstanding > CW_MPPE_OUTSTANDING) w->failed = true;
}

static void transmitter(walk *w, cw_mppe_transmitter *transmitter) {
    suite(w, &transmitter->keys.suite);
    boolean(w, &transmitter->stateless);
    count12(w, &transmitter->next);
    octets(w, transmitter->keys.key, sizeof transmitter->keys.key);
    if (transmitter->stateless || transmitter->keys.suite.bits == 0) return;
    stream(w, &transmitter->streams->transmit);
    boolean(w, &transmitter->flush);
}

static void window(walk *w, cw_gre_window *window) {
    u32(w, &window->expected);
    u32(w, &window->verified);
    u32(w, &window->between);
    u64(w, &window->accepted);
    boolean(w, &window->learned);
    boolean(w, &window->proven);
}

static void state(walk *w, cw_link *link) {
    uint16_t magic = CW_LINK_STATE_MAGIC, version = CW_LINK_STATE_VERSION;
    u16(w, &magic);
    u16(w, &version);
    if (magic != CW_LINK_STATE_MAGIC || version != CW_LINK_STATE_VERSION) w->failed = true;
    u32(w, &link->flags);
    boolean(w, &link->open);
    window(w, &link->window);
    boolean(w, &link->ack_due);
    u32(w, &link->acknowledged);
    link->ack_at = 0; // times are of one clock only: what was due is due at once
    receiver(w, &link->receiver);
    link->requests.state = (enum cw_request_state)choice(w, link->requests.state, CW_REQUEST_ANSWERED);
    boolean(w, &link->requests.due);
    u8(w, &link->requests.identifier);
    link->requests.sent_at = link->requests.not_before = 0;
    u32(w, &link->next_sequence);
    transmitter(w, &link->transmitter);
    octets(w, link->answers.identifiers, sizeof link->answers.identifiers);
    u8(w, &link->answers.count);
    if (link->answers.count > CW_RESET_ANSWERS) w->failed = true;
}

// A copy to walk over, since the walk is the same for writing and for reading, with streams of its own and without stocks.
static void copy_link(const cw_link *link, cw_link *copy, cw_mppe_streams *streams) {
    *copy = *link;
    copy->receiver.keys.stock = copy->transmitter.keys.stock = NULL;
    copy->receiver.streams = copy->transmitter.streams = streams;
}

static bool is_stateful(const cw_mppe_keys *keys, bool stateless) { return keys->suite.bits != 0 && !stateless; }

static bool has_streams(const cw_link *link) {
    return is_stateful(&link->receiver.keys, link->receiver.stateless) || is_stateful(&link->transmitter.keys, link->transmitter.stateless);
}

size_t cw_link_export(const cw_link *link, uint8_t *out, size_t capacity) {
    cw_link copy;
    cw_mppe_streams streams;
    copy_link(link, &copy, &streams);
    if (has_streams(link)) streams = *link->streams;
    walk w = {.out = out, .limit = capacity};
    state(&w, &copy);
    explicit_bzero(&copy, sizeof copy);
    explicit_bzero(&streams, sizeof streams);
    return w.failed ? 0 : w.at;
}

cw_status cw_link_import(cw_link *link, const uint8_t *in, size_t length, size_t *used) {
    if (length < 4) return CW_INVALID;
    if (in[0] != (CW_LINK_STATE_MAGIC & 0xff) || in[1] != CW_LINK_STATE_MAGIC >> 8) return CW_INVALID;
    if (in[2] != CW_LINK_STATE_VERSION || in[3] != 0) return CW_VERSION;
    cw_link copy;
    cw_mppe_streams streams = {0};
    copy_link(link, &copy, &streams);
    walk w = {.in = in, .limit = length};
    state(&w, &copy);
    if (!w.failed) {
        cw_mppe_receiver_clear(&link->receiver);
        cw_mppe_transmitter_clear(&link->transmitter);
        *link = copy;
        link->receiver.streams = link->transmitter.streams = link->streams;
        if (has_streams(link)) *link->streams = streams;
        *used = w.at;
    }
    explicit_bzero(&copy, sizeof copy);
    explicit_bzero(&streams, sizeof streams);
    return w.failed ? CW_INVALID : CW_OK;
}
