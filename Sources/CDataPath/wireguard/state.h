// What control (handshakes, timers, changes) and data (seal, open, sockets) share. Two kinds of threads:
//
//   control   holds `wg->lock`: every call of the public header, and the engine's own thread for handshakes and timers. It owns
//             everything that is not marked "workers" below. To change what workers read it closes the gate as well.
//   workers   inside the gate; read keys, endpoints, allowed IPs; write only what is atomic or under a leaf lock; what needs
//             control they leave in `peer->attention` and wake its thread.
//
//   leaf units    noise.c cookie.c limiter.c crypto.c aead.c replay.c allowed_ips.c
//   between       gate.c keeps the two apart; table.c: indices, memory of keypairs; stage.c: packets that wait
//   data          data_send.c data_receive.c: seal and open, counters; udp*.c: ports, that is sockets, GSO, GRO, steering
//   control       control.c: the thread; handshake.c: messages in and out; session.c: key slots; timers.c: all timers of a peer, listed
//                 at its top; pacing.c: who may initiate; scan.c: whom a foreign initiation is for; peer.c
//   public calls  create.c identity.c peers.c peers_read.c
#ifndef CW_WG_STATE_H
#define CW_WG_STATE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include "aead.h"
#include "cookie.h"
#include "datapath.h"
#include "gate.h"
#include "limiter.h"
#include "noise.h"
#include "replay.h"
#include "timer_heap.h"
#include "token_bucket.h"

enum { // limits of ours
    CW_WG_HANDSHAKE_QUEUE = 4096, // messages that wait for control; under load from an eighth of it (as the kernel module)
    CW_WG_DEFAULT_MTU = 1420,
};
#define CW_WG_INITIATION_SPACING (20 * (CW_WG_SECOND / 1000)) // between two initiations of one peer that are answered
#define CW_WG_LOAD_MEMORY CW_WG_SECOND                        // under load for that long after the queue was long

// Where messages go, and from which local address (sticky: that on which the last authenticated message came).
typedef struct cw_wg_route_to {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } to; // any.sa_family AF_UNSPEC: unknown
    union {
        struct in_addr v4;
        struct in6_addr v6;
    } from; // zero: the kernel chooses
    uint32_t from_interface;
} cw_wg_route_to;

// ---- Keypairs -------------------------------------------------------------------------------------------------------

typedef struct cw_wg_keypair {
    struct cw_wg_peer *peer;
    uint32_t local_index, remote_index;
    bool initiator; // our initiation made it
    uint64_t born;  // ns
    uint8_t send_key[CW_WG_KEY], receive_key[CW_WG_KEY];
    // workers
    _Alignas(64) _Atomic uint64_t sent; // next counter to use; reserved in batches with one atomic add
    _Alignas(64) pthread_spinlock_t replay_lock;
    cw_replay replay;
} cw_wg_keypair;

// ---- Peers ----------------------------------------------------------------------------------------------------------

enum { // peer->attention: what a worker asks of control. Set with fetch_or; whoever sets the first bit puts the peer on the list.
    CW_WG_WANT_HANDSHAKE = 1u << 0, // no keys, or keys that should be renewed
    CW_WG_WANT_CONFIRM = 1u << 1,   // data arrived under `next`: it becomes current
    CW_WG_WANT_ENDPOINT = 1u << 2,  // `moved` holds a new endpoint
    CW_WG_WANT_TIMERS = 1u << 3,    // a stamp below was set while `watched` was false
    CW_WG_WANT_KEEPALIVE = 1u << 4, // of the public calls: send one, or begin a handshake
    CW_WG_WANT_ANEW = 1u << 5,      // of the public calls: a handshake was under way to another endpoint
};

typedef struct cw_wg_staged {
    cw_buffer *first, *last;
    uint32_t count;
} cw_wg_staged;

struct cw_wg_peer {
    struct cw_wg_identity *identity;
    cw_wg_peer *next, *before; // of the identity, in order of making
    uint64_t number;  // in that order, of all identities; never used again
    uint32_t slot;    // in wg->peers; timers are by slot
    cw_noise_remote remote;
    uint16_t keepalive_seconds;
    uint32_t allowed_ip_count;
    uint32_t allowed_first, allowed_last; // of allowed_ips.c: the peer's prefixes, in order of their adding

    // Keys. Workers read the pointers.
    cw_wg_keypair *previous, *current, *next_pair;
    cw_wg_route_to endpoint; // workers read it

    // Handshake and timers (control).
    cw_noise_handshake handshake;
    cw_cookie_jar jar;
    uint8_t latest_timestamp[CW_WG_TIMESTAMP]; // greatest that we accepted
    uint8_t sent_timestamp[CW_WG_TIMESTAMP];   // greatest that we sent: the next is greater whatever the clock does
    uint64_t last_initiation_consumed, last_handshake_sent; // ns; 0: never; the latter an initiation or a response
    uint32_t attempts;                      // initiations in a row; new data begins the count again
    uint64_t trying_since;                  // ns; when the count began
    bool has_waited;                        // since then: other initiations had to go first
    uint64_t initiations_sent;
    uint32_t given_up;                      // handshakes in a row
    uint64_t handshake_unix_nanoseconds;
    uint64_t retransmit_at, zero_keys_at;   // ns; 0: not armed
    uint32_t jitter;                        // ns, of the timer that is armed
    uint8_t pacing;                         // where it stands with pacing.c
    struct cw_wg_window *window;            // of pacing.c, while it waits for its turn or for a response
    cw_wg_peer *pacing_next, *pacing_previous;
    cw_wg_peer *same_endpoint_next, *same_endpoint_previous; // scan.c: peers with equal endpoints
    bool has_endpoint_entry;                                 // on that list


    // workers, all relaxed unless said otherwise. 0 means "not set". ns of CLOCK_MONOTONIC.
    _Alignas(64) _Atomic uint32_t attention;
    _Atomic(cw_wg_peer *) attention_next;
    _Atomic bool watched;               // control has a timer that will look at the stamps within CW_WG_KEEPALIVE_TIMEOUT
    _Atomic uint64_t unanswered_since;  // first data sent since anything authenticated arrived: new handshake after 10 s + 5 s + jitter
    _Atomic uint64_t unreplied_since;   // first data received since we sent anything: keepalive after 10 s
    _Atomic uint64_t last_traversal;    // anything authenticated, either way: persistent keepalive counts from here
    _Atomic bool more_unreplied;        // data arrived after unreplied_since: another keepalive follows the first
    _Atomic bool sent_last_minute;      // a handshake was asked for because received keys near their end
    _Atomic bool handshaking;           // control: a handshake is under way, wishes for one only set `asked_again` (cw_wg_ask)
    _Atomic bool asked_again;
    _Atomic uint64_t received_bytes, sent_bytes;
    _Atomic uint64_t received_at, data_received_at; // last authenticated message, and last that was not a keepalive
    _Atomic uint64_t unanswered;        // inner packets that were sent since `received_at` (cw_wg_answered)
    _Atomic bool silent;                // control: taken for dead; what is unanswered is lost
    _Atomic uint64_t lost_unanswered, lost_staged, lost_no_endpoint, lost_refused;
    pthread_mutex_t leaf;               // of the two below
    cw_wg_staged staged;
    cw_wg_route_to moved;
};

// ---- Identities and ports -------------------------------------------------------------------------------------------

typedef struct cw_allowed_ips cw_allowed_ips; // allowed_ips.h

struct cw_wg_identity {
    uint32_t handle; // 0: free. The low 16 bits are its number in wg->identities, from 1 on
    uint32_t port;
    bool up;         // workers read it
    uint16_t mtu;    // workers read it; never 0
    cw_noise_identity keys;
    cw_cookie_keys cookie_keys;
    cw_allowed_ips *allowed; // workers read it
    cw_wg_peer *first, *last;
    uint32_t peer_count;
    cw_wg_identity *port_next, *port_previous; // identities of one port
};

typedef struct cw_wg_udp cw_wg_udp; // udp.h: the sockets of one port, or a test's memory transport

// A handshake message on its way from a worker to control.
typedef struct cw_wg_letter {
    uint32_t port;
    uint32_t length;
    cw_wg_route_to from; // `to` is the sender
    uint8_t bytes[sizeof(cw_wg_initiation)];
} cw_wg_letter;

// ---- Leaf lists that cross the border -------------------------------------------------------------------------------
// A worker asks for control's attention. Wakes the thread when it sleeps.
void cw_wg_ask(cw_wg *wg, cw_wg_peer *peer, uint32_t what);
// A worker hands a handshake message over; false: the queue is full (count CW_WG_DROP_UNDER_LOAD).
bool cw_wg_post(cw_wg *wg, const cw_wg_letter *letter);
// Control sends one handshake message at once. DSCP AF41 for initiations and responses, as the kernel module. Counts a refusal.
bool cw_wg_send_message(cw_wg *wg, uint32_t port, const cw_wg_route_to *to, const uint8_t *message, size_t length);
// Control, gate open: seals and sends what is staged for the peer under its current keys, or one keepalive if nothing is.
void cw_wg_send_staged(cw_wg *wg, cw_wg_peer *peer, uint64_t now, bool keepalive_if_none);

// Receiver indices: they look random, belong to the worker index % worker_count, and are unique in the engine (table.c).
// An index stands for a handshake (pair NULL) or a keypair.
typedef struct cw_wg_index_entry {
    uint32_t index; // 0: free
    cw_wg_peer *peer;
    cw_wg_keypair *pair;
} cw_wg_index_entry;

// ---- What data gives to control (table.c, allowed_ips.c, udp.c, data_send.c) ------------------------------------------
// "Closed": the caller has closed the gate. Without a word: control, gate open.

uint32_t cw_wg_index_add(cw_wg *wg, cw_wg_peer *peer);                                  // closed; of a handshake; 0: the table is full
void cw_wg_index_set_pair(cw_wg *wg, uint32_t index, cw_wg_keypair *pair);              // closed; it becomes a keypair's
void cw_wg_index_remove(cw_wg *wg, uint32_t index);                                     // closed; 0 is passed over
const cw_wg_index_entry *cw_wg_index_find(const cw_wg *wg, uint32_t index);             // control at any time, workers inside the gate
cw_wg_keypair *cw_wg_keypair_take(cw_wg *wg);                                           // zeroed but for its lock; NULL: no memory
void cw_wg_keypair_give(cw_wg *wg, cw_wg_keypair *pair);                                // no worker can reach it any more; wipes it

cw_allowed_ips *cw_allowed_ips_create(void); // NULL: no memory
void cw_allowed_ips_destroy(cw_allowed_ips *table);
// Makes sure that the next `prefixes` calls of set cannot fail. May allocate; workers may be looking things up meanwhile: what they
// read is only changed (a pointer to greater memory, taken into use) by the next set, under the closed gate.
bool cw_allowed_ips_reserve(cw_allowed_ips *table, size_t prefixes);
void cw_allowed_ips_set(cw_allowed_ips *table, const cw_prefix *prefix, cw_wg_peer *peer); // closed; keeps allowed_ip_count of both peers
void cw_allowed_ips_remove_peer(cw_allowed_ips *table, cw_wg_peer *peer);                  // closed
size_t cw_allowed_ips_list(const cw_allowed_ips *table, const cw_wg_peer *peer, cw_prefix *out, size_t capacity);

cw_status cw_wg_udp_open(cw_wg *wg, uint32_t port, const cw_wg_port_config *config, cw_wg_udp **udp); // before wg->ports[port].udp is set
void cw_wg_udp_close(cw_wg *wg, cw_wg_udp *udp);        // closed, or no worker can reach it any more
uint16_t cw_wg_udp_number(const cw_wg_udp *udp);
cw_status cw_wg_udp_set_fwmark(cw_wg_udp *udp, uint32_t fwmark);

bool cw_wg_data_create(cw_wg *wg); // the section of data below; called last by cw_wg_create
void cw_wg_data_destroy(cw_wg *wg);
uint32_t cw_wg_stage_drop(cw_wg *wg, cw_wg_peer *peer); // empties the peer's stage; how many there were (not counted as drops yet)
bool cw_wg_stage_is_empty(cw_wg_peer *peer);            // takes the leaf lock

// ---- The engine -----------------------------------------------------------------------------------------------------

// Control's time. Workers are given `now` by their callers; both are CLOCK_MONOTONIC, or a test's own.
typedef struct cw_wg_clock {
    uint64_t now; // ns
    uint64_t unix_seconds;
    uint32_t unix_nanoseconds;
} cw_wg_clock;

// Counters of one thread: only that thread writes (control: whoever holds wg->lock). Fields by CW_WG_TALLY(name).
typedef struct cw_wg_tally {
    _Alignas(64) _Atomic uint64_t values[sizeof(cw_wg_counters) / sizeof(uint64_t)];
} cw_wg_tally;
#define CW_WG_TALLY(field) (offsetof(cw_wg_counters, field) / sizeof(uint64_t))
#define CW_WG_TALLY_DROP(drop) (CW_WG_TALLY(drops) + (size_t)(drop))

typedef struct cw_wg_port {
    cw_wg_udp *udp; // NULL: not open. Workers read it
    cw_wg_port_config config;
    uint16_t number;
    uint32_t identity_count;
    cw_wg_identity *identities;
} cw_wg_port;

typedef struct cw_wg_letters { // a ring under a leaf lock: handshakes are rare beside data
    pthread_mutex_t leaf;
    cw_wg_letter *ring; // CW_WG_HANDSHAKE_QUEUE
    uint32_t first;
    _Atomic uint32_t count;
} cw_wg_letters;

struct cw_wg {
    cw_wg_config config;
    pthread_mutex_t lock; // control
    cw_gate gate;
    cw_wg_port ports[CW_WG_MAX_PORTS + 1]; // 0 is not used
    cw_wg_identity *identities;            // [identity_capacity + 1]; 0 is not used
    cw_wg_peer *peers;                     // [peer_capacity], memory for keys
    cw_wg_tally *tallies;                  // [worker_count + 1]; the last is control's

    // Where workers leave things for control.
    cw_wg_letters letters;
    _Atomic(cw_wg_peer *) attention; // a stack, taken as a whole
    cw_wg_peer *attending;           // control: what was taken and is yet to be done
    _Atomic bool sleeping;           // control writes it before it looks a last time; who leaves something wakes it then
    _Atomic bool nudged;             // another step is needed although nothing was left
    int wake_fd;

    // ---- control ----
    pthread_t thread;
    bool thread_runs;
    _Atomic bool stopping;
    cw_wg_clock clock; // of the step that runs, or ran last
    cw_timer_heap timers; // slot: the peer's; peer_capacity: pacing's
    uint32_t identity_count, identities_used, peer_count, peers_used;
    uint64_t peers_made;
    uint8_t gone_timestamp[CW_WG_TIMESTAMP]; // greatest that peers had sent who are gone: whoever is made anew goes on from there
    uint32_t *free_identities, *free_peers;
    uint16_t *generations;     // of identity handles
    uint32_t free_identity_count, free_peer_count;
    uint32_t *by_key;          // peers by (identity, public key): open addressing, slot + 1
    uint32_t by_key_mask;
    uint64_t hash_seed;
    cw_wg_peer **by_endpoint;  // scan.c: lists of peers, by hash of endpoint and port
    uint32_t by_endpoint_mask;
    cw_bucket scan_bucket;
    cw_cookie_secret cookie_secret;
    cw_limiter *limiter;
    uint64_t loaded_until;      // ns: we are under load until then
    struct cw_wg_window **windows, *attended; // pacing.c: lists by hash of endpoint; those that the next tick looks at
    uint64_t waiting, outstanding;

    // ---- data ----
    const struct cw_wg_network *network; // udp.h: where ports come from. cw_wg_data_create sets the system's sockets; a test its own
    struct cw_wg_lane *lanes;            // data.h: work space, [worker_count + 1]; the last is control's
    struct cw_wg_indices *indices;       // table.c
    struct cw_wg_keypairs *keypairs;
    struct cw_wg_stage *stage;           // stage.c
};

static inline void cw_wg_tally_add(cw_wg *wg, uint32_t thread, size_t field, uint64_t count) {
    _Atomic uint64_t *value = &wg->tallies[thread].values[field];
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + count, memory_order_relaxed);
}
static inline uint32_t cw_wg_control_tally(const cw_wg *wg) { return wg->config.worker_count; }

static inline void cw_wg_lose(_Atomic uint64_t *counter, uint64_t count) {
    if (count > 0) atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

// What was sent since the peer was last heard is lost, and counting begins again.
static inline void cw_wg_lose_unanswered(cw_wg_peer *peer) {
    atomic_store_explicit(&peer->silent, false, memory_order_relaxed);
    cw_wg_lose(&peer->lost_unanswered, atomic_exchange_explicit(&peer->unanswered, 0, memory_order_relaxed));
}

// Something authentic came from the peer. A packet that leaves at this moment may count with either side.
static inline void cw_wg_answered(cw_wg_peer *peer, uint64_t now) {
    if (atomic_load_explicit(&peer->received_at, memory_order_relaxed) != now)
        atomic_store_explicit(&peer->received_at, now, memory_order_relaxed);
    if (atomic_load_explicit(&peer->silent, memory_order_relaxed)) cw_wg_lose_unanswered(peer);
    else if (atomic_load_explicit(&peer->unanswered, memory_order_relaxed) != 0)
        atomic_store_explicit(&peer->unanswered, 0, memory_order_relaxed);
}

// One bounded step of control without its thread: letters, wishes, timers that are due. Returns when it has to be called again at the
// latest (ns; UINT64_MAX: when somebody leaves something). `more` work may be left: then the time returned is `clock->now`.
uint64_t cw_wg_step(cw_wg *wg, const cw_wg_clock *clock);

#endif
