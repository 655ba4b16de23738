// The data path: everything that each packet touches.
//
// GRE (RFC 2637 section 4) -> sequence window -> PPP framing -> MPPE (RFC 3078) -> IP checks -> TUN, and back.
//
// This is the only header that code outside this folder includes. It has an opaque engine, fixed-width structs and closed
// enums; there are no callbacks and no globals. A session belongs to one worker thread, which owns its keys, windows and
// counters without locks. Everything that changes a session goes through `cw_engine_submit`, one ordered ring for each
// worker: commands and injected control frames take effect in the order in which they were submitted, so receive keys are
// live before our CCP Configure-Ack leaves.
//
// Thread rules: submit, poll and counters may each be called by one thread at a time (one producer, one consumer); they
// never block. Times are nanoseconds of CLOCK_MONOTONIC. Addresses are in network byte order, everything else in the host's.
#ifndef CAUSEWAY_DATAPATH_H
#define CAUSEWAY_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__clang__)
#define CW_CLOSED_ENUM __attribute__((enum_extensibility(closed)))
#else
#define CW_CLOSED_ENUM
#endif

// Limits of ours.
enum {
    CW_MAX_WORKERS = 64,
    CW_MAX_BATCH = 256,
    CW_MAX_PREFIXES = 32,       // inner prefixes of one session, its own address included
    CW_MAX_CONTROL_FRAME = 1600, // bytes of one punted or injected control frame, PPP protocol field excluded
    CW_MAX_LOCAL_ADDRESSES = 1024,
    CW_SESSION_STATE_SIZE = 4096, // an exported session fits; flat, versioned, no pointers
    CW_MPPE_KEY_SIZE = 16,
};

// An address of either family; family 0 means "none". Bytes past the family's length are zero.
typedef struct cw_address {
    uint8_t bytes[16];
    uint8_t family; // 0, 4 or 6
    uint8_t reserved[3];
} cw_address;

typedef struct cw_prefix {
    cw_address address;
    uint8_t length; // bits
    uint8_t reserved[3];
} cw_prefix;

// Errors of calls. Packets never cause one: what is wrong with a packet is counted.
typedef enum CW_CLOSED_ENUM cw_status {
    CW_OK = 0,
    CW_INVALID = 1,   // an argument is outside its documented range
    CW_NO_MEMORY = 2,
    CW_FULL = 3,      // the ring has no room; poll events and submit again
    CW_NOT_FOUND = 4, // no such session
    CW_SYSTEM = 5,    // a system call failed: errno is set
    CW_VERSION = 6,   // an exported state of another version
} cw_status;

const char *cw_status_text(cw_status status);

// ---- Engine ---------------------------------------------------------------------------------------------------------

typedef struct cw_engine cw_engine;

typedef enum CW_CLOSED_ENUM cw_role {
    CW_ROLE_GATEWAY = 0, // PAC: inner destination selects the session on the way back, inner source is checked
    CW_ROLE_CLIENT = 1,  // PNS (test client, load generator): inner source selects the session, inner destination is checked
} cw_role;

typedef struct cw_engine_config {
    cw_role role;
    uint32_t worker_count;         // 1...CW_MAX_WORKERS
    uint32_t session_capacity;     // 1...65535, of all workers
    uint32_t batch_size;           // 1...CW_MAX_BATCH packets for each receive, crypt and send step
    uint32_t command_capacity;     // slots of each worker's command ring, a power of two from 8 up
    uint32_t event_capacity;       // slots of each worker's event ring, a power of two from 8 up
    uint32_t reorder_packets;      // GRE packets of one session held back to restore their order, 0...256 (0: none)
    uint32_t reorder_microseconds; // longest time that one is held, 0...1,000,000
    uint32_t ack_microseconds;     // a GRE acknowledgment with no data to ride on leaves after this time
    uint32_t control_rate;         // punted control frames per second and session
    uint32_t control_burst;
    uint32_t key_budget;           // MPPE key changes per second and session that may be spent on packets that then fail
    uint32_t icmp_rate;            // ICMP errors per second and worker that we make
    bool allow_user_to_user;       // inner destination may be another session's address
    bool allow_local_destinations; // inner destination may be an address of this host, 127/8, 169.254/16 or multicast
    uint8_t reserved[6];
    // Non-blocking; the engine owns them from create on. -1: none, and what should leave that way is dropped and counted.
    int32_t gre_fd[CW_MAX_WORKERS]; // raw GRE socket of each worker
    int32_t tun_fd[CW_MAX_WORKERS]; // TUN queue of each worker (IFF_VNET_HDR, IFF_NO_PI)
} cw_engine_config;

// Fills in the defaults: 1 worker, 4,096 sessions, batch 32, reorder 64 packets/50 ms, ack 100 ms, ...; descriptors -1.
void cw_engine_config_defaults(cw_engine_config *config);

// Opens the raw GRE socket for one worker: non-blocking, with a socket filter that lets in only enhanced GRE
// (version 1, protocol 0x880B) whose call ID modulo worker_count is `worker`. Needs CAP_NET_RAW. family is 4 or 6.
cw_status cw_open_gre(uint8_t family, uint32_t worker, uint32_t worker_count, int32_t *fd);
// Opens (creates) one queue of the multi-queue TUN `name`. Needs CAP_NET_ADMIN. `name` is read, not written.
cw_status cw_open_tun(const char *name, int32_t *fd);

// config is copied. On failure no descriptor of config has been closed.
cw_status cw_engine_create(const cw_engine_config *config, cw_engine **engine);
cw_status cw_engine_start(cw_engine *engine);
void cw_engine_stop(cw_engine *engine);    // ends the worker threads; sessions and counters stay readable
void cw_engine_destroy(cw_engine *engine); // stops if needed, wipes keys, closes descriptors

// Readable when events wait. Owned by the engine; `cw_engine_poll` clears it.
int32_t cw_engine_event_fd(const cw_engine *engine);
// Which kernels are in use, for example "scalar". Static storage.
const char *cw_engine_isa(const cw_engine *engine);

// ---- Commands -------------------------------------------------------------------------------------------------------

typedef enum CW_CLOSED_ENUM cw_command_type {
    CW_OPEN = 1,             // a session that passes control frames
    CW_UPDATE = 2,           // change what `update.mask` names
    CW_REKEY = 3,            // set or clear one direction's MPPE
    CW_BIND = 4,             // inner prefixes and tunnel: data flows from here on
    CW_UNBIND = 5,           // data stops, control frames still pass
    CW_CLOSE = 6,            // wipes keys; CW_EVENT_CLOSED follows with the last counters
    CW_INJECT = 7,           // send one control frame to the client
    CW_EXPORT = 8,           // CW_EVENT_EXPORTED follows; the session is closed without CW_EVENT_CLOSED
    CW_IMPORT = 9,           // re-create an exported session
    CW_TUNNEL = 10,          // state of a tunnel; goes to all workers
    CW_LOCAL_ADDRESSES = 11, // replaces the set of the host's own addresses; goes to all workers
} cw_command_type;

enum { // cw_session_config.flags, cw_update.flags
    CW_ALLOW_ADDRESS_CHANGE = 1u << 0, // follow a client whose outer address changes (otherwise counted and dropped)
    CW_REQUIRE_ENCRYPTION = 1u << 1,   // unencrypted data packets are dropped both ways
    CW_SEND_ACFC = 1u << 2,            // leave out FF 03 when sending (RFC 1661 section 6.6)
    CW_SEND_PFC = 1u << 3,             // one-byte protocol field when sending (RFC 1661 section 6.5)
    CW_SEND_SEQUENCE_ZERO = 1u << 4,   // our first GRE sequence number is 0 (as pptpd) instead of 1 (as Linux)
};

typedef struct cw_session_config {
    uint16_t local_call_id; // key of the GRE packets that arrive; unique in the engine
    uint16_t peer_call_id;  // key of the GRE packets that we send; exactly as the client gave it
    uint32_t flags;
    cw_address local_address; // outer: GRE leaves from here
    cw_address peer_address;  // outer: the control connection's peer
} cw_session_config;

enum { // cw_update.mask
    CW_UPDATE_FLAGS = 1u << 0,
    CW_UPDATE_MTU = 1u << 1,
    CW_UPDATE_PEER_ADDRESS = 1u << 2,
    CW_UPDATE_RATE = 1u << 3,
};

typedef struct cw_update {
    uint32_t mask;
    uint32_t flags;
    uint16_t mtu;                 // inner packets towards the client are at most this long; 68...65535
    uint8_t reserved[6];
    cw_address peer_address;
    uint64_t rate_bits_per_second; // of inner packets, each way, 0.1 s (at least 64 KiB) in one burst; 0: unlimited
} cw_update;

typedef enum CW_CLOSED_ENUM cw_direction { CW_RECEIVE = 0, CW_TRANSMIT = 1 } cw_direction;

enum { // cw_rekey.flags
    CW_MPPE_STATELESS = 1u << 0,
};

typedef struct cw_rekey {
    cw_direction direction;
    uint8_t key_bits; // 40, 56 or 128; 0 ends encryption in this direction
    uint8_t reserved[3];
    uint32_t flags;
    // RFC 3079 section 3.4: the asymmetric start key of this direction. 8 bytes count for 40 and 56 bits, 16 for 128.
    // The core derives the initial session key from it. Wiped from the ring once taken.
    uint8_t start_key[CW_MPPE_KEY_SIZE];
} cw_rekey;

typedef struct cw_bind {
    cw_address gateway_address; // our end of the link; the source of ICMP errors that we make
    uint32_t tunnel;            // index, 0...255
    uint16_t mtu;               // inner packets towards the client are at most this long
    uint16_t prefix_count;      // 1...CW_MAX_PREFIXES; the first is the session's own address
    cw_prefix prefixes[CW_MAX_PREFIXES];
} cw_bind;

typedef struct cw_inject {
    uint16_t protocol; // PPP protocol, for example 0xC021
    uint16_t length;   // 0...CW_MAX_CONTROL_FRAME
    const uint8_t *payload; // copied by submit
} cw_inject;

typedef struct cw_tunnel {
    uint32_t index; // 0...255
    uint16_t mtu;   // inner packets towards the hub are at most this long
    bool up;        // down: packets are dropped, counted and answered with ICMP unreachable
    uint8_t reserved[1];
} cw_tunnel;

typedef struct cw_local_addresses {
    uint32_t count; // 0...CW_MAX_LOCAL_ADDRESSES
    const cw_address *addresses; // copied by submit
} cw_local_addresses;

typedef struct cw_import {
    uint32_t length;
    const uint8_t *state; // copied by submit
} cw_import;

typedef struct cw_command {
    cw_command_type type;
    uint32_t reserved;
    uint64_t session; // the caller's handle, non-zero, unique among open sessions; unused by TUNNEL and LOCAL_ADDRESSES
    union {
        cw_session_config open;
        cw_update update;
        cw_rekey rekey;
        cw_bind bind;
        cw_inject inject;
        cw_tunnel tunnel;
        cw_local_addresses local_addresses;
        cw_import import_state;
    };
} cw_command;

// Takes commands in order until one is invalid or its ring is full; *taken says how many were. Never blocks.
// OPEN and IMPORT choose the session's worker; later commands for that handle go to the same worker.
cw_status cw_engine_submit(cw_engine *engine, const cw_command *commands, size_t count, size_t *taken);

// ---- Events ---------------------------------------------------------------------------------------------------------

typedef enum CW_CLOSED_ENUM cw_event_type {
    CW_EVENT_CONTROL = 1,        // a control frame arrived: `protocol`, `payload`
    CW_EVENT_DECRYPT_LOST = 2,   // MPPE receive state cannot be recovered: CCP has to be negotiated again
    CW_EVENT_ADDRESS_CHANGED = 3,// the client's outer address changed and was followed: `address`
    CW_EVENT_CLOSED = 4,         // after CW_CLOSE: the session's memory is free again, its counters are in `counters`
    CW_EVENT_EXPORTED = 5,       // `payload` is the state
    CW_EVENT_REFUSED = 6,        // a command could not be carried out: `reason` (cw_status), `refused` (cw_command_type)
    CW_EVENT_WORKER_FAILED = 7,  // a worker's socket failed for good: `reason` is an errno value
} cw_event_type;

// What became of packets, by cause. One array index each; names are in cw_drop_name.
typedef enum CW_CLOSED_ENUM cw_drop {
    CW_DROP_GRE_MALFORMED = 0,   // too short, wrong version, flags or protocol, or payload length past the end
    CW_DROP_GRE_UNKNOWN_CALL,    // no session has this call ID
    CW_DROP_GRE_WRONG_SOURCE,    // the source is not the control connection's peer
    CW_DROP_GRE_DUPLICATE,       // sequence number seen already
    CW_DROP_GRE_LATE,            // older than the window
    CW_DROP_PPP_MALFORMED,       // no or bad protocol field
    CW_DROP_CONTROL_RATE,        // more control frames than allowed
    CW_DROP_CONTROL_STALE,       // clear control frame too far from the last verified sequence number
    CW_DROP_UNENCRYPTED,         // data in the clear although encryption is required
    CW_DROP_NOT_OPEN,            // data before CW_BIND, or encrypted before CW_REKEY
    CW_DROP_MPPE_MALFORMED,      // too short, C set or D clear
    CW_DROP_MPPE_UNVERIFIED,     // the plaintext is not what the sequence requires; state was not moved
    CW_DROP_MPPE_BUDGET,         // the key-change budget of this second is spent
    CW_DROP_MPPE_WAIT_RESET,     // stateful: waiting for a flushed packet
    CW_DROP_PROTOCOL,            // a PPP network protocol that we do not carry
    CW_DROP_IP_MALFORMED,        // version, header length, total length or checksum
    CW_DROP_IP_SOURCE,           // inner source is not the session's (gateway), or destination not (client)
    CW_DROP_IP_LOCAL,            // inner destination is this host, loopback, link-local or multicast
    CW_DROP_IP_OTHER_USER,       // inner destination is another user's
    CW_DROP_IP_NO_SESSION,       // from the tunnel: no session has this inner destination
    CW_DROP_IP_TOO_BIG,          // over the MTU with DF set (ICMP was sent if the rate allowed)
    CW_DROP_TUNNEL_DOWN,
    CW_DROP_RATE,                // over the session's rate limit
    CW_DROP_SEND_FAILED,         // the socket or TUN refused it
    CW_DROP_OVERFLOW,            // no buffer, or a ring between workers was full
    CW_DROP_COUNT,
} cw_drop;

const char *cw_drop_name(cw_drop drop); // for example "gre-unknown-call"

// Of one session, or of one engine where no session is known. Bytes are inner IP packet bytes; "in" is from the client.
typedef struct cw_counters {
    uint64_t packets_in, bytes_in;
    uint64_t packets_out, bytes_out;
    uint64_t control_in, control_out;
    uint64_t gre_in, gre_out;            // GRE packets, acks included
    uint64_t reordered;                  // put back in order
    uint64_t lost;                       // sequence numbers that never arrived
    uint64_t resets_sent, resets_received; // CCP Reset-Requests
    uint64_t key_changes;
    uint64_t icmp_sent;
    uint64_t last_in_nanoseconds;        // CLOCK_MONOTONIC of the last valid GRE packet; 0: none
    uint64_t last_data_nanoseconds;      // of the last data packet, either way; 0: none
    uint64_t drops[CW_DROP_COUNT];
} cw_counters;

typedef struct cw_event {
    cw_event_type type;
    uint32_t worker;
    uint64_t session;
    int32_t reason;
    uint32_t refused;
    uint16_t protocol;
    uint16_t reserved;
    uint32_t length; // of payload
    cw_address address;
    union {
        uint8_t payload[CW_SESSION_STATE_SIZE];
        cw_counters counters;
    };
} cw_event;

// For Swift, whose compiler takes minutes over an array of this length when it is read as a member.
static inline const uint8_t *cw_event_payload(const cw_event *event) { return event->payload; }

// Takes up to `capacity` events, oldest first for each worker. Returns how many.
size_t cw_engine_poll(cw_engine *engine, cw_event *events, size_t capacity);

// Reads the counters of `count` sessions into out[]; found[i] says whether sessions[i] exists. Safe while workers run.
void cw_engine_session_counters(cw_engine *engine, const uint64_t *sessions, size_t count, cw_counters *out, bool *found);
// Packets that belong to no session.
void cw_engine_counters(cw_engine *engine, cw_counters *out);

#ifdef __cplusplus
}
#endif
#endif
