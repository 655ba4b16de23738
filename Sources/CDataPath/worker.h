// One worker: a thread that owns some sessions, one GRE socket, one TUN queue and its sockets of the WireGuard engine, and takes every
// packet of its sessions from one end to the other. Private to engine.c and worker*.c.
//
//   worker.c          creation, waking, memory
//   worker_loop.c     the loop: what is ready, in bounded steps, fair between directions; polling, sleep, processors
//   worker_command.c  commands from the ring
//   worker_event.c    events to the ring; counters that others may read
//   worker_receive.c  GRE -> link; link or native user -> checks -> TUN or WireGuard
//   worker_send.c     TUN, WireGuard and other workers -> checks -> link -> GRE, or -> native user
//   worker_handover.c from worker to worker
//   worker_tun.c      the queue of the TUN: super-packets into packets of sessions and back
//   worker_session.c  memory of the sessions
//   worker_idle.c     what there is to do when there is nothing to do
//   worker_wireguard.c what comes from the WireGuard engine, and which of its peers takes a packet
//   worker_state.c    export and import
//
// With a WireGuard engine every step runs inside its gate (wireguard/gate.h): peers found in a step are valid until its end, and all
// that the step queued for the engine is sealed in one flush before it ends. A worker is outside while it sleeps.
#ifndef CW_WORKER_H
#define CW_WORKER_H

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "icmp.h"
#include "ip.h"
#include "io.h"
#include "io_hop.h"
#include "io_xdp.h"
#include "link.h"
#include "mppe.h"
#include "prefix_trie.h"
#include "ring.h"
#include "sources.h"
#include "table.h"
#include "timer_heap.h"
#include "token_bucket.h"
#include "tun.h"
#include "turns.h"
#include "wireguard/datapath.h"

enum { // limits of ours
    CW_TUNNELS = 256,
    CW_OWN_PREFIXES = 2, // that a session keeps itself
    CW_MINIMUM_MTU = 68, // RFC 791: every internet module must forward that much
    CW_WORKER_SERVES = 2, // batches that leave towards users in a step
};

// ---- What travels in a command ring ---------------------------------------------------------------------------------

enum { // cw_work.type beyond cw_command_type
    CW_WORK_ROUTES = 100, // change the inner prefixes of one session; goes to all workers
    CW_WORK_REFUSE = 101, // report that a command was refused when it was submitted
    CW_WORK_ACCESS = 102, // a WireGuard identity has native sessions from now on, or no more; goes to all workers
};

// Where an inner prefix leads: worker in 8 bits, slot in 24, generation in 32. Never 0, since generations are not.
typedef uint64_t cw_route;
static inline cw_route cw_route_make(uint32_t worker, uint32_t slot, uint32_t generation) {
    return (uint64_t)worker << 56 | (uint64_t)slot << 32 | generation;
}
static inline uint32_t cw_route_worker(cw_route route) { return (uint32_t)(route >> 56); }
static inline uint32_t cw_route_slot(cw_route route) { return (uint32_t)(route >> 32) & 0xFFFFFF; }
static inline uint32_t cw_route_generation(cw_route route) { return (uint32_t)route; }

typedef struct cw_work {
    uint32_t type;
    uint32_t slot;
    uint32_t generation;
    uint32_t length; // of `block`, or of the injected frame
    uint32_t identity; // IMPORT
    uint64_t session;
    union {
        cw_session_config open;
        cw_native_config open_native;
        cw_update update;
        cw_rekey rekey;
        cw_bind bind;
        cw_tunnel tunnel;
        struct {
            cw_route route;
            uint16_t remove_count, add_count; // first the ones to remove
            cw_prefix prefixes[2 * CW_MAX_PREFIXES];
        } routes;
        struct {
            uint32_t command;
            cw_status reason;
        } refuse;
        struct {
            uint32_t identity;
            bool opened;
        } access;
        struct {
            uint16_t protocol;
            uint8_t payload[CW_MAX_CONTROL_FRAME];
        } inject;
        void *block; // LOCAL_ADDRESSES (sorted), SOURCES (ranges), IMPORT: from malloc, the worker frees it
    };
} cw_work;

// Where an inner packet comes from, which decides what its session does with it.
typedef enum cw_way {
    CW_FROM_INSIDE, // another user, or an ICMP error of ours: to the user
    CW_FROM_UPLINK, // the identity, or the TUN (0): to the user, if the session is bound to it
    CW_FROM_NATIVE, // a peer of an access identity: from the user, if the session is that peer's
} cw_way;

typedef struct cw_origin {
    cw_way way;
    uint32_t identity;
    uint8_t peer[CW_WG_KEY_SIZE]; // FROM_NATIVE: who sent it
} cw_origin;

// A packet on its way to a session of another worker.
typedef struct cw_handoff {
    cw_route route;
    cw_origin origin;
    uint32_t length;
    uint8_t data[CW_BUFFER_DATA];
} cw_handoff;

// ---- Sessions -------------------------------------------------------------------------------------------------------
//
// Resident memory of one, measured with 2,000 of each on x86-64 (Tests/CDataPathTests/engine_memory_test.c): an idle session with
// MPPE keys 2.9 kB, routes on two workers and counters included; a WireGuard identity with one peer 1.5 kB, and 2.3 kB more once it has
// keys. A session that carries packets has 1.1 kB more for each direction until it has been quiet for some seconds, a stateful one 0.8 kB,
// and one with more than CW_OWN_PREFIXES prefixes 0.8 kB. A native session has no link, but its room all the same.

enum { // cw_session.notices: events that wait for room in the ring
    CW_NOTICE_LOST = 1u << 0,
    CW_NOTICE_ADDRESS = 1u << 1,
};

// What other threads may read of a slot. Kept apart from the session, whose memory is wiped and given back when it closes.
typedef struct cw_public {
    _Atomic uint64_t handle; // 0: free; readers check it before and after
    _Atomic uint64_t counters[sizeof(cw_counters) / sizeof(uint64_t)];
} cw_public;

typedef struct cw_session {
    uint64_t handle; // 0: free
    uint32_t generation;
    uint32_t slot;
    uint32_t access; // identity of a native session, which has no link, no call IDs and no outer addresses; 0: legacy
    uint16_t local_call_id, peer_call_id;
    uint32_t flags;
    cw_address local_address, peer_address;
    uint32_t local4, peer4; // the same, as in a sockaddr_in
    bool bound;
    bool dirty;          // on the list of counters to publish
    bool receiving;      // on the receive step's list
    bool sending;        // on the send step's list
    bool sealing;        // some of its packets wait for the kernels
    uint8_t candidate;   // number of the newest foreign source address, 1...255; 0: none yet
    uint8_t notices;
    uint16_t mtu;
    uint32_t candidate4; // that address
    uint32_t tunnel;
    uint32_t identity; // of the uplink; 0: the TUN
    uint32_t prefix_count;
    uint8_t peer[CW_WG_KEY_SIZE]; // of a native session
    uint64_t rate; // bits per second
    cw_bucket rate_in, rate_out; // bytes
    cw_address gateway_address;
    cw_place up, down;             // what waits for a turn
    cw_packets received, outgoing; // what has had it in this step
    struct cw_session *next_receiving, *next_sending, *next_dirty, *next_notice;
    cw_counters live;            // the worker's (and the link's) own
    const cw_prefix *prefixes;
    cw_prefix own_prefixes[CW_OWN_PREFIXES];
} cw_session;

// ---- The worker -----------------------------------------------------------------------------------------------------

// GRE packets that wait for one sendmmsg, with what to count when they are gone.
typedef struct cw_outbox {
    uint32_t count;
    struct mmsghdr messages[CW_MAX_BATCH];
    struct iovec vectors[CW_MAX_BATCH];
    union {
        struct sockaddr_in address;
        struct sockaddr_ll interface;
    } to[CW_MAX_BATCH];
    uint32_t frame[CW_MAX_BATCH]; // with its headers, to leave at this interface; 0: by the raw socket
    struct {
        _Alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control[CW_MAX_BATCH];
    cw_buffer *buffers[CW_MAX_BATCH];
    cw_session *sessions[CW_MAX_BATCH];
    uint16_t inner[CW_MAX_BATCH]; // inner packet length; 0: not a data packet
} cw_outbox;

// Packets of one session in a batch of many sessions' packets.
typedef struct cw_group {
    cw_session *session;
    uint32_t first, count;
    uint32_t run; // of them, from the first on: decrypted ahead
} cw_group;

typedef struct cw_worker {
    struct cw_engine *engine;
    const cw_engine_config *config;
    uint32_t index;
    pthread_t thread;
    cw_wg *wireguard; // NULL: none
    int epoll_fd, wake_fd, gre_fd; // -1: none, or failed for good
    cw_tap tap;                            // of GRE; its descriptor as above
    cw_xsks xsks;                          // of GRE as well
    int frame_fd;                          // not waited for
    uint32_t identification; // of the next packet that leaves as a frame
    _Atomic uint64_t sent_at_interface, sent_through_stack; // GRE packets; written by the worker alone
    int failed_errno;                      // to be reported; 0: nothing
    uint64_t poll_nanoseconds; // how long it looks for more before it sleeps
    bool polling;              // there has been more so soon, lately
    _Atomic uint32_t sleeping;             // producers of its rings write wake_fd only then
    _Atomic uint32_t event_blocked;        // it waits for room in `events`; the consumer wakes it
    _Atomic uint32_t held_back;            // it reads nothing for other workers until one of them has made room

    cw_ring commands, events;
    bool events_pushed;
    // CW_EVENT_UNKNOWN_CALL: the second that runs, and how many were told in it.
    uint64_t unknown_since;
    uint32_t unknown_told;
    bool commands_blocked; // the oldest command waits for room in `events`

    uint8_t *memory; // of all sessions, each followed by its link
    size_t stride, link_offset;
    cw_mppe_streams *streams;               // by slot
    cw_prefix (*prefixes)[CW_MAX_PREFIXES]; // by slot, of sessions with more than CW_OWN_PREFIXES
    cw_mppe_stocks stocks;
    cw_link_shared shared;
    cw_public *shown_sessions; // by slot
    uint32_t slots, open_sessions;
    uint32_t *by_call; // slot + 1 of call ID / worker_count; 0: none

    cw_trie routes;
    cw_timer_heap timers;
    cw_pool pool;
    cw_buffer *buffers;
    uint32_t buffer_count, buffers_used;
    uint64_t trim_at; // when memory that is not in use goes back to the system; UINT64_MAX: nothing has happened since

    struct {
        uint16_t mtu;
        bool up;
    } tunnels[CW_TUNNELS];
    cw_address *local_addresses; // sorted
    uint32_t local_count;
    cw_source_range *sources; // of GRE; NULL: every one
    uint32_t source_count;
    cw_bucket icmp_bucket;
    uint32_t access[CW_MAX_ACCESS_IDENTITIES], access_count; // identities with native sessions

    cw_turns up, down;
    bool more_to_receive, more_from_uplink; // a read of this step left something, as far as we know
    cw_session *receiving, *receiving_last, *sending, *sending_last, *dirty, *notices;
    cw_counters live; // of packets without a session
    _Atomic uint64_t shown[sizeof(cw_counters) / sizeof(uint64_t)];
    uint64_t handed_to; // bit for each worker whose ring got packets in this step
    uint32_t handoff_first; // whose ring is looked at first

    // Work space of the steps.
    cw_outbox outbox;
    struct mmsghdr messages[CW_MAX_BATCH];
    struct iovec vectors[CW_MAX_BATCH];
    cw_buffer *batch[2 * CW_MAX_BATCH];
    cw_group groups[CW_MAX_BATCH];
    uint32_t group_count, sealing; // in the send step
    cw_mppe_chain chains[CW_MAX_BATCH];
    cw_mppe_job jobs[CW_MAX_BATCH];
    cw_mppe_stream stateful[CW_MAX_BATCH];
    cw_buffer *encrypted[CW_MAX_BATCH];
    uint16_t lengths[CW_MAX_BATCH];
    cw_delivered *delivered;
    uint32_t delivered_capacity;
    cw_tun tun;
    uint8_t *segment; // one of a super-packet that does not fit a buffer
} cw_worker;

typedef struct cw_access {
    uint32_t identity; // 0: free
    uint32_t sessions;
} cw_access;

struct cw_engine {
    cw_engine_config config;
    cw_link_limits limits;
    cw_mppe_kernels kernels;
    int event_fd;
    _Atomic bool stopping;
    bool running;
    cw_worker *workers;
    cw_ring *handoffs; // [from * worker_count + to]
    pthread_mutex_t lock; // of `table`; never taken by a worker
    cw_table table;
    cw_access access[CW_MAX_ACCESS_IDENTITIES]; // under the lock as well
    cw_wg *wireguard; // NULL: none
    cw_tun_offloads offloads;
    cw_hops *hops; // NULL: GRE leaves by the raw sockets alone
    uint8_t *probe; // a link that import states are tried on
    uint32_t poll_first;
};

static inline cw_session *cw_session_at(const cw_worker *worker, uint32_t slot) {
    return (cw_session *)(void *)(worker->memory + slot * worker->stride);
}
static inline cw_link *cw_session_link(const cw_worker *worker, cw_session *session) {
    return (cw_link *)(void *)((uint8_t *)session + worker->link_offset);
}

uint64_t cw_now(void);

static inline void cw_worker_enter(cw_worker *worker) {
    if (worker->wireguard != NULL) cw_wg_enter(worker->wireguard, worker->index);
}
static inline void cw_worker_leave(cw_worker *worker) {
    if (worker->wireguard != NULL) cw_wg_leave(worker->wireguard, worker->index);
}

// worker.c
bool cw_worker_create(cw_worker *worker, struct cw_engine *engine, uint32_t index);
void cw_worker_destroy(cw_worker *worker);
void cw_worker_wake(cw_worker *worker);   // if it sleeps; after publishing to one of its rings
void cw_worker_nudge(cw_worker *worker);  // always
void cw_worker_refill(cw_worker *worker, uint32_t more); // brings fresh buffers into the pool: for a step, and so many besides
bool cw_worker_trim(cw_worker *worker);   // gives back what a burst left behind; true: some of it is too fresh
void cw_worker_fail(cw_worker *worker, int *fd, int reason);

// worker_loop.c
void *cw_worker_main(void *worker);
// Does what there is to do, bounded; `ready` is what epoll says. True: there is more.
bool cw_worker_step(cw_worker *worker, const struct epoll_event *ready, int count, uint64_t now);

// worker_command.c
// Applies up to `limit` commands. True: there may be more; false: none, or commands_blocked.
bool cw_worker_commands(cw_worker *worker, uint64_t now, uint32_t limit);
void cw_worker_discard_command(cw_work *work); // wipes it and frees its block

// worker_event.c
bool cw_worker_event_room(cw_worker *worker); // for one event that must not be lost; false: the consumer will wake us
cw_event *cw_worker_event(cw_worker *worker, cw_event_type type, uint64_t session); // after event_room
void cw_worker_control_event(cw_worker *worker, cw_session *session, const cw_buffer *buffer);
void cw_worker_notice(cw_worker *worker, cw_session *session, uint8_t notice);
void cw_worker_unknown_call(cw_worker *worker, uint32_t source, uint16_t call_id, uint64_t now);
void cw_worker_forget_notices(cw_worker *worker, cw_session *session);
void cw_worker_flush_notices(cw_worker *worker);
void cw_worker_flush_events(cw_worker *worker);
void cw_worker_touch(cw_worker *worker, cw_session *session); // its counters changed
void cw_worker_drop(cw_worker *worker, cw_session *session, cw_buffer *buffer, cw_drop cause); // session may be NULL; takes the buffer
void cw_worker_publish(cw_worker *worker);
void cw_counters_publish(_Atomic uint64_t *shown, const cw_counters *live);
void cw_counters_load(const _Atomic uint64_t *shown, cw_counters *out);

// worker_receive.c
void cw_worker_receive(cw_worker *worker, uint64_t now); // one batch from the socket, or a few if sessions compete
void cw_worker_receive_tapped(cw_worker *worker, uint64_t now); // the same from the ring
void cw_worker_receive_xsks(cw_worker *worker, uint64_t now);   // and from the sockets of XDP
void cw_worker_receive_waiting(cw_worker *worker, uint64_t now); // the next turns
void cw_worker_expire(cw_worker *worker, uint64_t now);  // sessions whose deadline has come
// An inner packet of ours, about one that came from another user or from the uplink (0: the TUN), back to where that came from.
void cw_worker_route_inner(cw_worker *worker, uint32_t uplink, cw_buffer *buffer, uint64_t now);

// worker_handover.c
// To the session wherever it lives; takes the buffer.
void cw_worker_hand_over(cw_worker *worker, cw_route route, const cw_origin *origin, cw_buffer *buffer, uint64_t now);
void cw_worker_publish_handoffs(cw_worker *worker); // part of cw_worker_flush
// How many of `most` reads of a socket or a TUN bring no more than the other workers have room for. 0: held_back until they have.
uint32_t cw_worker_may_read(cw_worker *worker, uint32_t most);
void cw_worker_take_handoffs(cw_worker *worker, uint64_t now); // as many as the turns have room for
bool cw_worker_is_full(const cw_worker *worker); // no room in the turns for what comes from hubs and native users
bool cw_worker_has_handoffs(cw_worker *worker);

// worker_send.c
// At the session's own worker: whether the packet may be what its origin makes of it. Takes the buffer.
void cw_worker_arrive(cw_worker *worker, cw_session *session, const cw_origin *origin, cw_buffer *buffer, uint64_t now);
void cw_worker_queue(cw_worker *worker, cw_session *session, cw_buffer *buffer); // an inner packet towards the client
void cw_worker_poll_link(cw_worker *worker, cw_session *session, uint64_t now);  // what the link itself wants to send
void cw_worker_post(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint16_t inner); // a GRE packet
void cw_worker_flush(cw_worker *worker, uint64_t now); // all that is queued leaves
void cw_worker_send_waiting(cw_worker *worker, uint64_t now); // and the next turns of what came for sessions
void cw_worker_arm(cw_worker *worker, cw_session *session, uint64_t now);
// Counted for the session, which may be NULL. Without an address of ours (`from`) the packet's destination speaks for us.
bool cw_worker_icmp(cw_worker *worker, cw_session *session, const cw_address *from, const cw_ip *ip, cw_icmp_error error, uint32_t mtu,
                    uint64_t now, cw_buffer **out);

// worker_tun.c
void cw_worker_read_tun(cw_worker *worker, uint64_t now); // one batch from the TUN queue
// Takes the buffer. `bytes` count as the session's data once it is written; 0: nothing counts, and session may be NULL.
void cw_worker_write_tun(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint32_t bytes, uint64_t now);
void cw_worker_flush_tun(cw_worker *worker, uint64_t now); // part of cw_worker_flush

// worker_session.c
bool cw_sessions_create(cw_worker *worker);
void cw_sessions_destroy(cw_worker *worker); // of whatever was created
void cw_sessions_trim(cw_worker *worker);
void cw_session_discard(cw_worker *worker, cw_session *session); // wiped; its link must have been
void cw_session_set_prefixes(cw_worker *worker, cw_session *session, const cw_prefix *prefixes, uint32_t count);

// worker_idle.c
bool cw_worker_can_idle(const cw_worker *worker); // there is work for the time in which nothing arrives
void cw_worker_idle(cw_worker *worker);           // some microseconds of it

// worker_wireguard.c
void cw_worker_read_wireguard(cw_worker *worker, uint64_t epoll_data, uint64_t now); // one step on a socket of the WireGuard engine
// The peer of `identity` that takes packets for this inner destination and can be reached. NULL: counted in the WireGuard engine, and
// *cause says why.
cw_wg_peer *cw_worker_find_peer(cw_worker *worker, uint32_t identity, uint8_t family, const uint8_t *destination, cw_drop *cause);
bool cw_worker_is_peer(const cw_session *session, const cw_wg_peer *peer); // of a native session
void cw_worker_set_access(cw_worker *worker, uint32_t identity, bool opened);

static inline void cw_session_count_in(cw_session *session, uint32_t bytes, uint64_t now) {
    session->live.packets_in++;
    session->live.bytes_in += bytes;
    session->live.last_data_nanoseconds = now;
}

// worker_state.c
typedef struct cw_saved {
    cw_session_config open;
    uint64_t rate;
    bool bound;
    uint16_t mtu;
    cw_bind bind; // identity: 1 or 0, whether it had one
    cw_counters counters;
    const uint8_t *link;
    size_t link_length;
} cw_saved;
uint32_t cw_state_save(cw_worker *worker, cw_session *session, uint8_t *out, uint32_t capacity); // 0: does not fit
cw_status cw_state_parse(const uint8_t *state, size_t length, cw_saved *saved);

// engine_check.c: ranges of what comes from outside
bool cw_config_valid(const cw_engine_config *config);
bool cw_command_valid(const cw_command *command);
bool cw_bind_valid(const cw_bind *bind);
bool cw_session_config_valid(const cw_session_config *config);

_Static_assert(sizeof(cw_counters) % sizeof(uint64_t) == 0, "counters are published as words");

#endif
