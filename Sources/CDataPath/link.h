// One PPTP link, seen from the data path: GRE sequence window, PPP framing and MPPE of one session, both directions.
// No I/O and no clock: packets and the time go in, packets and verdicts come out. Everything is a batch.
//
// The worker (worker.c) owns buffers, sockets, the session table and the IP checks; this unit owns the protocol.
#ifndef CW_LINK_H
#define CW_LINK_H

#include "causeway_datapath.h"

// ---- Buffers (buffer.h could hold this; kept here so that link tests need nothing else) ------------------------------

enum {
    CW_HEADROOM = 128, // at least this much in front of any packet that leaves a unit
    CW_TAILROOM = 64,
    CW_BUFFER_DATA = 2048, // longest GRE packet (IP header included) that we take
};

typedef struct cw_buffer {
    struct cw_buffer *next; // free list, reorder queue: owner decides
    uint32_t sequence;      // GRE sequence number while held
    uint16_t offset;        // of the first byte in storage
    uint16_t length;
    uint16_t protocol;      // PPP protocol once known
    uint8_t flags;
    uint8_t reserved;
    uint64_t arrived;       // ns
    uint8_t storage[CW_HEADROOM + CW_BUFFER_DATA + CW_TAILROOM];
} cw_buffer;

static inline uint8_t *cw_buffer_data(cw_buffer *b) { return b->storage + b->offset; }

// Free list of one worker. Taking from an empty pool returns NULL: the packet is dropped and counted, nothing is allocated.
typedef struct cw_pool {
    cw_buffer *free;
    uint32_t available;
} cw_pool;

cw_buffer *cw_pool_take(cw_pool *pool);
void cw_pool_give(cw_pool *pool, cw_buffer *buffer);

// ---- The link --------------------------------------------------------------------------------------------------------
//
// Who counts what: the link counts gre_*, control_*, reordered, lost, resets_*, key_changes, last_in_nanoseconds and its own drops
// in the counters that it was given; the worker counts packets_*, bytes_* and last_data_nanoseconds, after its IP checks.

typedef struct cw_link cw_link; // defined in link_internal.h; size by cw_link_size()
struct cw_mppe_chain;
struct cw_mppe_kernels;
struct cw_mppe_stocks;
struct cw_mppe_streams;
struct cw_mppe_work;

typedef struct cw_link_limits {
    uint32_t reorder_packets;
    uint64_t reorder_nanoseconds;
    uint64_t ack_nanoseconds;
    uint32_t control_rate, control_burst;
    uint32_t key_budget; // below 4,096 an outage of some thousand packets ends in a new CCP negotiation
} cw_link_limits;

// What all links of a worker have in common. It outlives them.
typedef struct cw_link_shared {
    cw_link_limits limits;
    const struct cw_mppe_kernels *kernels;
    struct cw_mppe_stocks *stocks; // NULL: no keys ahead; for a link that nothing is sent to
} cw_link_shared;

// Who counts what in cw_counters. The link: gre_in, gre_out, control_in (delivered), control_out, reordered, lost, resets_*,
// key_changes, last_in_nanoseconds, and the drops of GRE (malformed, duplicate, late), PPP, control, encryption and protocol.
// The worker: packets_*, bytes_*, icmp_sent, last_data_nanoseconds and all other drops. The pointer is owned by one thread; the
// worker publishes copies, so plain arithmetic is fine.
size_t cw_link_size(void);
// `streams` is memory for stateful MPPE (mppe.h), all zero, which a stateless link leaves alone.
void cw_link_init(cw_link *link, const cw_link_shared *shared, struct cw_mppe_streams *streams, uint32_t flags, cw_counters *counters);
void cw_link_wipe(cw_link *link, cw_pool *pool); // gives held buffers and stocks of keys back, wipes keys
void cw_link_set_flags(cw_link *link, uint32_t flags);
// Sets one direction's MPPE (see cw_rekey). Packets already held are decrypted with what is live when they are delivered.
void cw_link_rekey(cw_link *link, const cw_rekey *rekey);
// Data may pass (after CW_BIND) or not. Control frames always pass.
void cw_link_set_open(cw_link *link, bool open);
// Inner IPv6 sources that count as evidence (IPv4 is checked by its header checksum); the link keeps the pointer.
void cw_link_set_prefixes(cw_link *link, const cw_prefix *prefixes, uint32_t count);

// What a received packet became.
typedef enum cw_delivery {
    CW_DELIVER_DATA,    // buffer holds an inner packet; protocol 0x0021 or 0x0057
    CW_DELIVER_CONTROL, // buffer holds a control frame's payload; protocol says which
    CW_DELIVER_LOST,    // no buffer: MPPE cannot be recovered, CCP has to be negotiated again (at most once per second)
} cw_delivery;

typedef struct cw_delivered {
    cw_delivery kind;
    cw_buffer *buffer; // owned by the caller now
} cw_delivered;

// Takes `count` GRE packets of this link in order of arrival; each buffer's data starts at the GRE header (outer IP header
// already removed and source checked). Writes what can be delivered, in sequence order, to out[0..<capacity] and returns how
// many. `capacity` must be at least count + cw_link_held(link) + 1 per packet (the LOST notice). Dropped buffers go back to the
// pool and are counted; held ones stay with the link.
size_t cw_link_receive(cw_link *link, uint64_t now, cw_buffer *const *packets, size_t count, cw_delivered *out, size_t capacity,
                       cw_pool *pool);

// The same in steps, for a worker that decrypts what one call brought for all of its links at once. For each link open, then plan; then
// cw_mppe_batch_keys for all chains; prepare; cw_mppe_batch_work for all; and receive_opened, packet by packet in order. What is
// planned are packets in order with nothing held and keys that are near: everything else goes its way in receive_opened.
enum { CW_LINK_RUN = 64 }; // packets that are planned at most
// Takes off the GRE headers. What is left in packets[], compacted, has a payload; the others are given back to the pool.
size_t cw_link_open(cw_link *link, uint64_t now, cw_buffer **packets, size_t count, cw_pool *pool);
// How many of the packets, from the first on, can be decrypted ahead; *needed says whether they need *chain.
size_t cw_link_plan(cw_link *link, cw_buffer *const *packets, size_t count, struct cw_mppe_chain *chain, bool *needed);
void cw_link_prepare(cw_link *link, cw_buffer *const *packets, size_t run, struct cw_mppe_work *work); // adds `run` jobs or streams
size_t cw_link_receive_opened(cw_link *link, uint64_t now, cw_buffer *const *packets, size_t count, size_t run, cw_delivered *out,
                              size_t capacity, cw_pool *pool);

// Releases held packets whose time is over. Same output rules.
size_t cw_link_expire(cw_link *link, uint64_t now, cw_delivered *out, size_t capacity, cw_pool *pool);
uint32_t cw_link_held(const cw_link *link);

// Turns inner packets (protocol 0x0021/0x0057 in buffer->protocol, data = IP packet) into GRE packets in place, in order;
// needs CW_HEADROOM. peer_call_id goes into the key. Packets that may not be sent (encryption required and not live) are
// given back to the pool and counted; out[] gets the others, compacted. Returns how many.
size_t cw_link_send_data(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer *const *packets, size_t count, cw_buffer **out,
                         cw_pool *pool);
// The same in steps: plan for each link, at most CW_LINK_RUN packets and once before each cw_link_send_planned; cw_mppe_batch_keys;
// send_planned, which adds to *work at most one job or stream for each packet; cw_mppe_batch_work, and then they may leave.
bool cw_link_send_plan(cw_link *link, size_t count, struct cw_mppe_chain *chain); // true: *chain is needed
size_t cw_link_send_planned(cw_link *link, uint16_t peer_call_id, cw_buffer *const *packets, size_t count, cw_buffer **out,
                            struct cw_mppe_work *work, cw_pool *pool);
// One control frame (clear, FF 03 in front unless protocol != LCP and ACFC is on). Buffer data = frame payload.
void cw_link_send_control(cw_link *link, uint64_t now, uint16_t peer_call_id, uint16_t protocol, cw_buffer *buffer);
// Frames that the link itself has to send (Reset-Request/-Ack, stand-alone acks): builds up to `capacity` complete GRE packets
// in buffers from the pool. Call after receive/expire and when cw_link_deadline has passed. Order matters: a Reset-Ack built
// here goes out before anything that cw_link_send_data builds afterwards.
size_t cw_link_poll(cw_link *link, uint64_t now, uint16_t peer_call_id, cw_buffer **out, size_t capacity, cw_pool *pool);
// Earliest time at which cw_link_expire or cw_link_poll has work; UINT64_MAX: none.
uint64_t cw_link_deadline(const cw_link *link);

// Flat, versioned, little-endian image without pointers; held packets, limits and prefixes are not part of it: init the new link,
// set its prefixes, then import. *used says how many bytes of a longer image were the link's.
enum { CW_LINK_STATE_SIZE = 1200 }; // never longer
size_t cw_link_export(const cw_link *link, uint8_t *out, size_t capacity); // 0: too small
cw_status cw_link_import(cw_link *link, const uint8_t *in, size_t length, size_t *used);

#endif
