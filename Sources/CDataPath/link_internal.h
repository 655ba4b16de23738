// The link's parts, shared by link*.c.
//
// Times of a link, all ns of the caller's clock:
// - a packet that arrived too early is held for reorder_nanoseconds at most;
// - an acknowledgment that found nothing to ride on leaves ack_nanoseconds after the first packet that it acknowledges;
// - stateful MPPE: a Reset-Request is sent at once, and again every CW_RESET_INTERVAL while packets arrive that cannot be decrypted;
//   one for a new loss CW_RESET_SPACING after the last at the earliest;
// - packets that nobody can decrypt for CW_LOST_AFTER make the link ask for a new CCP negotiation, then every second, 2 s ... 64 s.
#ifndef CW_LINK_INTERNAL_H
#define CW_LINK_INTERNAL_H

#include "gre.h"
#include "gre_window.h"
#include "link.h"
#include "mppe.h"
#include "token_bucket.h"

enum {
    CW_CCP_RESET_REQUEST = 14, // RFC 1962 section 4
    CW_CCP_RESET_ACK = 15,
    CW_CCP_HEADER = 4,
};

enum { // ours
    CW_RESET_ANSWERS = 4,      // Reset-Acks waiting for cw_link_poll
    CW_RESET_SUSPICION = 4,    // packets in order without proof before a stateful receiver believes that it has lost the stream
    CW_LOST_PACKETS = 8,       // packets without proof before the state can be called lost
    CW_LOST_BACKOFF_MAX = 6,
};
#define CW_RESET_INTERVAL UINT64_C(300000000)
#define CW_RESET_SPACING UINT64_C(50000000)
#define CW_LOST_AFTER UINT64_C(1000000000)
#define CW_LOST_AFTER_STATEFUL UINT64_C(3000000000)

enum { // cw_buffer.flags while the link works on it
    CW_BUFFER_PREPARED = 1u << 0, // decrypted by the batch, proof outstanding
};

// What became of the packets since the last proven one.
typedef struct cw_link_doubt {
    uint32_t packets;       // without proof
    uint64_t since;         // the first of them
    uint64_t next_notice;   // CW_DELIVER_LOST not before
    uint8_t notices;        // in a row
    bool lost;              // told the caller; until the next proof or rekey
} cw_link_doubt;

// Our Reset-Requests (RFC 3078 section 5.2, RFC 1962 section 4).
typedef struct cw_link_requests {
    enum cw_request_state {
        CW_REQUEST_IDLE,
        CW_REQUEST_SENT,     // no answer yet: repeat with the same identifier
        CW_REQUEST_ANSWERED, // Reset-Ack seen, FLUSHED packet not: the next one is a new request
    } state;
    bool due;          // send at `not_before`
    uint8_t identifier;
    uint64_t sent_at;
    uint64_t not_before;
} cw_link_requests;

// The peer's Reset-Requests.
typedef struct cw_link_answers {
    uint8_t identifiers[CW_RESET_ANSWERS];
    uint8_t count;
} cw_link_answers;

struct cw_link {
    const cw_link_shared *shared;
    cw_mppe_streams *streams;
    cw_counters *counters;
    const cw_prefix *prefixes;
    uint32_t prefix_count;
    uint32_t flags;
    bool open;

    // Receiving.
    bool has_candidate; // of a far jump without keys to prove it: believed if a second packet agrees
    bool ack_due;       // `acknowledged` has not been sent yet
    uint32_t candidate;
    uint32_t acknowledged; // the last one that was taken
    uint64_t ack_at;
    cw_gre_window window;
    cw_buffer *held; // by sequence; equal ones in order of arrival
    uint32_t held_count;
    cw_bucket control;
    cw_bucket budget;
    cw_mppe_receiver receiver;
    cw_link_doubt doubt;
    cw_link_requests requests;

    // Sending.
    uint32_t next_sequence;
    cw_mppe_transmitter transmitter;
    cw_link_answers answers;
};

static inline bool cw_link_receives_encrypted(const cw_link *link) { return link->receiver.keys.suite.bits != 0; }
static inline bool cw_link_sends_encrypted(const cw_link *link) { return link->transmitter.keys.suite.bits != 0; }

static inline void cw_link_drop(cw_link *link, cw_drop cause, cw_buffer *buffer, cw_pool *pool) {
    link->counters->drops[cause]++;
    cw_pool_give(pool, buffer);
}

// ---- Output of one receive or expire call ----

typedef struct cw_link_output {
    cw_delivered *out;
    size_t count, capacity;
    cw_pool *pool;
    uint64_t now;
} cw_link_output;

// link_process.c: what a packet is, once its turn has come. buffer is at the PPP frame, buffer->sequence set.
void cw_link_process(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_gre_place place);
// Only looks: would a packet far ahead prove itself? If not, *cause says why.
bool cw_link_probe(cw_link *link, cw_link_output *output, cw_buffer *buffer, cw_drop *cause);

// link_reset.c: CCP 14 and 15.
// True: the frame was one of them and has been dealt with.
bool cw_link_take_reset(cw_link *link, const uint8_t *frame, size_t length);
void cw_link_request_reset(cw_link *link);
void cw_link_recovered(cw_link *link);

#endif
