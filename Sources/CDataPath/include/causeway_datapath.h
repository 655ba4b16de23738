// The data path: everything that each packet touches.
//
// GRE (RFC 2637 section 4) -> sequence window -> PPP framing -> MPPE (RFC 3078) -> IP checks -> TUN or WireGuard, and back.
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
    CW_WG_KEY_SIZE = 32,
    CW_MAX_SOURCE_PREFIXES = 1024, // allowed and blocked outer sources together
    CW_MAX_ACCESS_IDENTITIES = 16, // WireGuard identities with native sessions
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

// A WireGuard engine (see the section WireGuard).
typedef struct cw_wg cw_wg;

typedef struct cw_wg_config {
    uint32_t worker_count;     // 1...CW_MAX_WORKERS
    uint32_t identity_capacity; // 1...65535
    uint32_t peer_capacity;    // 1...262144, of all identities
    uint32_t staged_packets;   // held for one peer while its handshake runs, the oldest goes first; 0...128
    uint32_t outstanding;      // our initiations to one endpoint that may wait for a response at one time; 1...4096
    uint32_t scan_budget;      // MAC1 checks per second spent on finding whom a foreign initiation is for
    uint8_t reserved[8];
} cw_wg_config;

void cw_wg_config_defaults(cw_wg_config *config); // 1 worker, 4,096 identities, 8,192 peers, 128 staged, 64 outstanding, 200,000 checks

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
    bool wireguard;                // gateway only: with a WireGuard engine, set up as wireguard_config says (its worker_count is ours)
    bool pin_workers;              // each worker keeps to one processor of those that the process may use
    uint32_t poll_microseconds;    // under load a worker looks for so long whether there is more before it sleeps, 0...1000; 0: it sleeps
    cw_wg_config wireguard_config;
    // Non-blocking; the engine owns them from create on. -1: none, and what should leave that way is dropped and counted.
    int32_t gre_fd[CW_MAX_WORKERS]; // raw GRE socket of each worker
    int32_t tap_fd[CW_MAX_WORKERS]; // ring of each worker
    int32_t tap_rule_fd;            // and their ingress rule, which ends with cw_engine_stop
    struct cw_xdp *xdp; // NULL: none. The engine's from create on, as the descriptors; ends with cw_engine_stop
    int32_t frame_fd[CW_MAX_WORKERS]; // packet socket of each worker, by which GRE leaves at the interface where the next hop is known
    int32_t tun_fd[CW_MAX_WORKERS]; // TUN queue of each worker (IFF_VNET_HDR, IFF_NO_PI)
} cw_engine_config;

// The environment variable CAUSEWAY_ISA keeps every engine and device to one level of instructions and those below; without it they use the
// best of this processor. false: it names no level, or one that this processor lacks, and no engine and no device can be created.
bool cw_isa_setting_valid(void);
const char *cw_isa_level(uint32_t number); // from the lowest, 0, on; NULL beyond the highest. Static storage, as of the two below
const char *cw_isa_highest(void);          // that this processor has
const char *cw_wg_cipher_kernels(void);    // what ChaCha20-Poly1305 is done with, for example "avx512" or "libraries"; "none": see above

// Fills in the defaults: 1 worker, 4,096 sessions, batch 32, reorder 64 packets/50 ms, ack 100 ms, no WireGuard (but its defaults), ...;
// descriptors -1.
void cw_engine_config_defaults(cw_engine_config *config);

// Opens the raw GRE socket for one worker: non-blocking, with a socket filter that lets in only enhanced GRE
// (version 1, protocol 0x880B) whose call ID modulo worker_count is `worker`. Needs CAP_NET_RAW. family is 4 or 6.
cw_status cw_open_gre(uint8_t family, uint32_t worker, uint32_t worker_count, int32_t *fd);

// GRE past the kernel's stack: rings that take what the rule then drops at the interface (Sources/CDataPath/io.h). The raw sockets have to
// be open as well, for everything that is not taken.
enum { CW_MAX_TAP_ADDRESSES = 32, CW_TAP_TABLE_SIZE = 64 };

typedef struct cw_tap_address {
    uint32_t interface; // index
    cw_address address; // IPv4, of that interface
} cw_tap_address;

typedef struct cw_tap_config {
    uint32_t address_count; // 1...CW_MAX_TAP_ADDRESSES
    cw_tap_address addresses[CW_MAX_TAP_ADDRESSES];
    char table[CW_TAP_TABLE_SIZE]; // name of our nftables table, unique on this host
} cw_tap_config;

bool cw_tap_possible(uint32_t interface); // whether it is an Ethernet interface of this host
// One ring for each worker, or CW_SYSTEM and none. Needs CAP_NET_RAW.
cw_status cw_open_gre_taps(const cw_tap_config *config, uint32_t worker_count, int32_t *fds);
// The ingress rule, which lives as long as the descriptor: the kernel removes it when the process ends, whatever ends it. To be opened after
// the rings and closed before them. Needs CAP_NET_ADMIN and a kernel from 5.12 on; CW_SYSTEM with EPERM also when another process
// has the table.
cw_status cw_open_gre_rule(const cw_tap_config *config, int32_t *fd);

// GRE taken by an XDP program of ours at the interface, and sent by the same sockets (Sources/CDataPath/io_xdp.h). The raw sockets have to be
// open as well. An interface belongs either here or among the addresses of the rings.
typedef struct cw_xdp cw_xdp;

typedef enum CW_CLOSED_ENUM cw_xdp_mode {
    CW_XDP_BEST = 0, // the driver's own XDP if it has one, zero-copy if it can
    CW_XDP_NATIVE,
    CW_XDP_GENERIC, // that of the kernel, for any driver
} cw_xdp_mode;

typedef struct cw_xdp_config {
    uint32_t interface;     // index
    uint32_t address_count; // 1...CW_MAX_TAP_ADDRESSES
    cw_address addresses[CW_MAX_TAP_ADDRESSES]; // IPv4, of that interface
    cw_xdp_mode mode;
} cw_xdp_config;

typedef struct cw_xdp_report {
    const char *failed; // CW_SYSTEM: what could not be done; errno says why. Static storage
    uint32_t queues;    // of the interface, with a socket for each worker
    bool native, zero_copy;
    uint64_t memory; // octets that are locked for it
} cw_xdp_report;

cw_status cw_xdp_create(uint32_t worker_count, cw_xdp **out);
// One more interface, whose GRE does not reach the stack from here on; on failure it is as before. Needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW.
cw_status cw_xdp_add(cw_xdp *xdp, const cw_xdp_config *config, cw_xdp_report *report);
void cw_xdp_destroy(cw_xdp *xdp); // NULL: nothing happens

// A packet socket that sends frames past the queueing discipline and receives none. Needs CAP_NET_RAW.
cw_status cw_open_gre_frames(int32_t *fd);

// Opens (creates) one queue of the multi-queue TUN `name`. Needs CAP_NET_ADMIN. `name` is read, not written.
cw_status cw_open_tun(const char *name, int32_t *fd);

// config is copied. On failure no descriptor of config has been closed.
cw_status cw_engine_create(const cw_engine_config *config, cw_engine **engine);
cw_status cw_engine_start(cw_engine *engine);
void cw_engine_stop(cw_engine *engine);    // ends the worker threads; sessions and counters stay readable
void cw_engine_destroy(cw_engine *engine); // stops if needed, wipes keys, closes descriptors

// GRE packets that have left, of all sessions.
typedef struct cw_departures {
    uint64_t at_interface;  // as frames
    uint64_t through_stack; // by the raw sockets
} cw_departures;
void cw_engine_departures(const cw_engine *engine, cw_departures *out);

// Readable when events wait. Owned by the engine; `cw_engine_poll` clears it.
int32_t cw_engine_event_fd(const cw_engine *engine);
// Which MPPE kernels are in use, for example "scalar" or "avx512 (rows)". Static storage.
const char *cw_engine_isa(const cw_engine *engine);
// The engine's WireGuard engine, whose ports, identities and peers the caller sets up at any time; NULL: none. It is created, started,
// stopped and destroyed with the engine.
cw_wg *cw_engine_wireguard(const cw_engine *engine);

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
    CW_SOURCES = 13,         // replaces what outer addresses GRE is taken from; goes to all workers
    CW_OPEN_NATIVE = 12,     // a session whose user comes over WireGuard: no GRE, no PPP
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

// A peer of ours instead of a legacy client: CW_BIND, CW_UNBIND, CW_CLOSE, counters and CW_UPDATE of rate and MTU work as for any session;
// everything about GRE, PPP and MPPE, and CW_EXPORT, is refused with CW_INVALID (its state is in the WireGuard engine). What arrives for
// the access identity must come from the peer that the session of its inner source names; that identity carries nothing else.
typedef struct cw_native_config {
    uint32_t identity; // that the user's device connects to; of at most CW_MAX_ACCESS_IDENTITIES, otherwise refused with CW_FULL
    uint8_t peer[CW_WG_KEY_SIZE]; // the device's public key
} cw_native_config;

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
    // 1...CW_MAX_PREFIXES; the first is the session's own address. A prefix that another session has leads here from now on: nothing for it
    // reaches the other any more, which loses its claim for good and should be unbound first.
    uint16_t prefix_count;
    // Where the session's packets leave, and the only place from which packets for its prefixes are taken: a WireGuard identity, or 0
    // for the TUN. An identity that does not exist (any more) carries nothing.
    uint32_t identity;
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

// From the prefixes in `allowed` (none: from everywhere) except those in `blocked`. IPv4, in any order, CW_MAX_SOURCE_PREFIXES in all.
typedef struct cw_sources {
    uint32_t allowed_count, blocked_count;
    const cw_prefix *allowed, *blocked; // copied by submit
} cw_sources;

typedef struct cw_import {
    // What takes the place of the exported session's cw_bind.identity: handles mean something in one engine only. CW_INVALID when one is
    // 0 and the other is not, so that a session never changes from WireGuard to the TUN unnoticed.
    uint32_t identity;
    uint32_t length;
    const uint8_t *state; // copied by submit
} cw_import;

typedef struct cw_command {
    cw_command_type type;
    uint32_t reserved;
    uint64_t session; // the caller's handle, non-zero, unique among open sessions; unused by TUNNEL, LOCAL_ADDRESSES and SOURCES
    union {
        cw_session_config open;
        cw_native_config open_native;
        cw_update update;
        cw_rekey rekey;
        cw_bind bind;
        cw_inject inject;
        cw_tunnel tunnel;
        cw_local_addresses local_addresses;
        cw_sources sources;
        cw_import import_state;
    };
} cw_command;

// Takes commands in order until one is invalid or its ring is full; *taken says how many were. Never blocks.
// OPEN, OPEN_NATIVE and IMPORT choose the session's worker; later commands for that handle go to the same worker.
cw_status cw_engine_submit(cw_engine *engine, const cw_command *commands, size_t count, size_t *taken);
// The same in two steps, where the commands do not lie in one array: takes one, which the workers do not see before `cw_engine_publish`.
cw_status cw_engine_put(cw_engine *engine, const cw_command *command);
void cw_engine_publish(cw_engine *engine);

// Gives memory of the command rings back to the system that a burst of commands has left behind, if they are empty now. To be called
// now and then by the thread that submits; the workers look after what is theirs.
void cw_engine_trim(cw_engine *engine);

// ---- Events ---------------------------------------------------------------------------------------------------------

typedef enum CW_CLOSED_ENUM cw_event_type {
    CW_EVENT_CONTROL = 1,        // a control frame arrived: `protocol`, `payload`
    CW_EVENT_DECRYPT_LOST = 2,   // MPPE receive state cannot be recovered: CCP has to be negotiated again
    CW_EVENT_ADDRESS_CHANGED = 3,// the client's outer address changed and was followed: `address`
    CW_EVENT_CLOSED = 4,         // after CW_CLOSE: the session's memory is free again, its counters are in `counters`
    CW_EVENT_EXPORTED = 5,       // `payload` is the state
    CW_EVENT_REFUSED = 6,        // a command could not be carried out: `reason` (cw_status), `refused` (cw_command_type)
    CW_EVENT_WORKER_FAILED = 7,  // a worker's socket failed for good: `reason` is an errno value
    CW_EVENT_UNKNOWN_CALL = 8,   // GRE for no session: its outer source in `address`, its call ID in `call_id`. Only a few a second are told
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
    CW_DROP_IP_EXPIRED,          // TTL or hop limit at its end (ICMP as above)
    CW_DROP_TUNNEL_DOWN,         // or no such identity, or the identity is down
    CW_DROP_RATE,                // over the session's rate limit
    CW_DROP_SEND_FAILED,         // the socket or TUN refused it
    CW_DROP_OVERFLOW,            // no buffer, or a ring between workers was full
    CW_DROP_NO_PEER,             // no WireGuard peer has this inner destination, or its endpoint is not known
    CW_DROP_WRONG_UPLINK,        // for a session, but not from the identity or TUN that it is bound to
    CW_DROP_WRONG_PEER,          // for an access identity: its inner source is not a native session of the peer that sent it
    CW_DROP_GRE_BLOCKED,         // from an outer address that GRE is not taken from
    CW_DROP_FAIR_SHARE,          // the worker could not keep up, and others had sent less
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
    uint16_t call_id;
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

// ---- WireGuard ------------------------------------------------------------------------------------------------------
//
// One `cw_wg` is many WireGuard interfaces at once: each identity has a private key, peers and allowed IPs of its own; identities
// share UDP ports. Handshakes and timers run on one thread of its own, data on the workers of the engine or device that owns it.
// The calls below may be made by any thread at any time; they wait for each other, never for packets.

enum {
    CW_WG_MAX_PORTS = 256,
    CW_WG_LONGEST_PACKET = 2032, // inner packets, either way: a greater MTU is of use to nobody
};

// A UDP port, IPv4 and IPv6, with one socket of each family for every worker.
typedef struct cw_wg_port_config {
    uint16_t port;   // 0: the kernel chooses
    bool ipv4, ipv6; // at least one
    uint32_t fwmark; // 0: none
} cw_wg_port_config;

// Ports are numbered from 1. Port 0 stands for "none".
cw_status cw_wg_port_open(cw_wg *wg, const cw_wg_port_config *config, uint32_t *port); // CW_SYSTEM: errno, for example EADDRINUSE
cw_status cw_wg_port_close(cw_wg *wg, uint32_t port);                                  // CW_INVALID while identities use it
cw_status cw_wg_port_set_fwmark(cw_wg *wg, uint32_t port, uint32_t fwmark);
uint16_t cw_wg_port_number(cw_wg *wg, uint32_t port); // the UDP port; 0: not open

// Identities are non-zero handles; a handle is not used again for long after its identity was removed.
cw_status cw_wg_identity_add(cw_wg *wg, uint32_t port, const uint8_t private_key[CW_WG_KEY_SIZE], uint32_t *identity);
cw_status cw_wg_identity_remove(cw_wg *wg, uint32_t identity); // with its peers; keys are wiped
// As `wg set private-key`: sessions end, peers stay (one whose public key is now our own goes). All zero: no key.
cw_status cw_wg_identity_set_key(cw_wg *wg, uint32_t identity, const uint8_t private_key[CW_WG_KEY_SIZE]);
cw_status cw_wg_identity_set_port(cw_wg *wg, uint32_t identity, uint32_t port);
// Down (as `ip link set down`): no keys, nothing sent or received. New identities are up.
cw_status cw_wg_identity_set_up(cw_wg *wg, uint32_t identity, bool up);
cw_status cw_wg_identity_set_mtu(cw_wg *wg, uint32_t identity, uint16_t mtu); // bounds the padding; 0: 1420

typedef struct cw_wg_endpoint {
    cw_address address; // family 0: none
    uint16_t port;      // host order
    uint16_t reserved;
    uint32_t scope;     // IPv6 link-local only
} cw_wg_endpoint;

enum { // cw_wg_peer_change.mask
    CW_WG_PEER_REMOVE = 1u << 0,
    CW_WG_PEER_UPDATE_ONLY = 1u << 1, // do not create
    CW_WG_PEER_PRESHARED_KEY = 1u << 2,
    CW_WG_PEER_ENDPOINT = 1u << 3,
    CW_WG_PEER_KEEPALIVE = 1u << 4,
    CW_WG_PEER_REPLACE_ALLOWED_IPS = 1u << 5,
};

typedef struct cw_wg_peer_change { // one peer, by public key, as one section of the userspace API's `set`
    uint8_t public_key[CW_WG_KEY_SIZE];
    uint8_t preshared_key[CW_WG_KEY_SIZE];
    uint32_t mask;
    uint16_t keepalive_seconds; // 0: off
    uint16_t reserved;
    cw_wg_endpoint endpoint;
    uint32_t allowed_ip_count;
    const cw_prefix *allowed_ips; // added; one that another peer of the identity had moves here
} cw_wg_peer_change;

// Applies changes in order until one is refused; *done says how many were. A peer with our own public key is passed over.
cw_status cw_wg_set_peers(cw_wg *wg, uint32_t identity, const cw_wg_peer_change *changes, size_t count, size_t *done);
cw_status cw_wg_remove_all_peers(cw_wg *wg, uint32_t identity);

typedef struct cw_wg_peer_info {
    uint8_t public_key[CW_WG_KEY_SIZE];
    uint8_t preshared_key[CW_WG_KEY_SIZE]; // zero: none
    cw_wg_endpoint endpoint;
    uint16_t keepalive_seconds;
    uint16_t reserved;
    uint32_t allowed_ip_count;
    uint64_t handshake_unix_nanoseconds; // wall clock of the last completed handshake; 0: none
    uint64_t received_bytes, sent_bytes; // as `wg show`: WireGuard messages without UDP and IP headers
    uint64_t initiations_sent;           // in vain so far; 0 once a handshake was completed, or given up because nobody answers. Who waits
                                         // for its turn while nobody else is answered counts what it would have sent
} cw_wg_peer_info;

typedef struct cw_wg_identity_info {
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE];
    uint32_t port; // handle
    uint16_t listen_port;
    bool up, has_key;
    uint32_t fwmark;
    uint32_t peer_count;
} cw_wg_identity_info;

cw_status cw_wg_identity_read(cw_wg *wg, uint32_t identity, cw_wg_identity_info *info);

// Where a reading of many peers stands; all zero: at the beginning. A peer that is there from beginning to end is read once.
typedef struct cw_wg_cursor {
    uint64_t peer;
    uint32_t slot, identity;
} cw_wg_cursor;

// The next peers, in the order of their making. Returns how many were written: fewer than `capacity` only at the end.
size_t cw_wg_peers_read(cw_wg *wg, uint32_t identity, cw_wg_cursor *cursor, cw_wg_peer_info *out, size_t capacity);
cw_status cw_wg_peer_read(cw_wg *wg, uint32_t identity, const uint8_t public_key[CW_WG_KEY_SIZE], cw_wg_peer_info *info);
size_t cw_wg_allowed_ips_read(cw_wg *wg, uint32_t identity, const uint8_t public_key[CW_WG_KEY_SIZE], cw_prefix *out, size_t capacity);

// What is to be watched of a peer, without keys and prefixes. Times are nanoseconds of CLOCK_MONOTONIC; 0: never.
typedef struct cw_wg_activity {
    uint32_t identity;
    uint32_t given_up; // handshakes that nobody answered, in a row; 0 once one was completed
    uint8_t public_key[CW_WG_KEY_SIZE];
    cw_wg_endpoint endpoint;
    uint16_t keepalive_seconds;
    uint16_t reserved[3];
    uint64_t handshake_unix_nanoseconds; // this and the next three as in cw_wg_peer_info
    uint64_t initiations_sent;
    uint64_t received_bytes, sent_bytes;
    uint64_t received_at;        // last message of any kind that was proven to come from the peer: handshake, keepalive, data
    uint64_t data_received_at;   // last that was data
    uint64_t unanswered_packets; // inner packets that were sent since `received_at`, or since cw_wg_set_peers changed the endpoint
    // Inner packets that did not get through, all ever. The first is an upper bound: sent, but nothing came back before the peer was taken
    // for dead (15 s after the first of them; counting goes on until it is heard again) or before its endpoint was changed.
    uint64_t lost_unanswered;
    uint64_t lost_staged;      // too many waited for a handshake, or it failed
    uint64_t lost_no_endpoint; // the peer's address was not known
    uint64_t lost_refused;     // by the socket
} cw_wg_activity;

// As cw_wg_peers_read. All identities are read in an order of ours, each one's peers in the order of their making.
enum { CW_WG_ALL_IDENTITIES = 0 };
size_t cw_wg_activity_read(cw_wg *wg, uint32_t identity, cw_wg_cursor *cursor, cw_wg_activity *out, size_t capacity);

typedef enum CW_CLOSED_ENUM cw_wg_drop {
    CW_WG_DROP_MALFORMED = 0,   // type or length
    CW_WG_DROP_MAC1,            // handshake for nobody here
    CW_WG_DROP_SCAN_BUDGET,     // too many foreign initiations on a port with many identities
    CW_WG_DROP_UNDER_LOAD,      // no valid cookie (a cookie reply was sent), or over the source's rate
    CW_WG_DROP_HANDSHAKE,       // does not decrypt, unknown peer, or replayed timestamp
    CW_WG_DROP_HANDSHAKE_FLOOD, // initiations of one peer closer than 20 ms
    CW_WG_DROP_UNKNOWN_INDEX,   // no session has this receiver index
    CW_WG_DROP_EXPIRED,         // keys too old or used up
    CW_WG_DROP_TAG,             // data that does not decrypt
    CW_WG_DROP_REPLAY,
    CW_WG_DROP_INNER,           // the plaintext is not an IP packet
    CW_WG_DROP_ALLOWED_IP,      // inner source is not the peer's
    CW_WG_DROP_NO_PEER,         // to send: no peer has the inner destination
    CW_WG_DROP_NO_ENDPOINT,     // to send: the peer's address is not known
    CW_WG_DROP_STAGED,          // to send: too many wait for the handshake, or it failed
    CW_WG_DROP_SEND,            // the socket refused it
    CW_WG_DROP_OVERFLOW,        // no buffer
    CW_WG_DROP_TOO_LONG,        // received: longer than we take, which the sender does not learn (CW_WG_LONGEST_PACKET)
    CW_WG_DROP_WG_COUNT,
} cw_wg_drop;

const char *cw_wg_drop_name(cw_wg_drop drop); // for example "allowed-ip"

typedef struct cw_wg_counters {
    uint64_t packets_in, bytes_in, packets_out, bytes_out; // data, inner IP bytes
    uint64_t keepalives_in, keepalives_out;
    uint64_t initiations_in, initiations_out, responses_in, responses_out, cookies_in, cookies_out;
    uint64_t handshakes;       // completed, either side
    uint64_t waiting, outstanding; // now: our initiations that wait for their turn, and for a response
    uint64_t drops[CW_WG_DROP_WG_COUNT];
} cw_wg_counters;

void cw_wg_counters_read(cw_wg *wg, cw_wg_counters *out);

// Curve25519: clamps `private_key` and derives its public key.
void cw_wg_public_key(uint8_t private_key[CW_WG_KEY_SIZE], uint8_t public_key[CW_WG_KEY_SIZE]);

// ---- Device ---------------------------------------------------------------------------------------------------------
//
// WireGuard alone over a TUN: what the TUN's queues bring leaves through the peers of one identity, and what arrives for that
// identity goes into the TUN. A queue for each worker. Inner packets are at most CW_WG_LONGEST_PACKET bytes long: on a TUN with a greater
// MTU TCP is made to keep to that in both directions, and senders on this side are told by ICMP; datagrams of the other side that are
// longer are lost (CW_WG_DROP_TOO_LONG), so its MTU should not be greater.

typedef struct cw_device cw_device;

typedef struct cw_device_config {
    uint32_t worker_count; // 1...CW_MAX_WORKERS; also that of `wireguard`, whose own is not looked at
    uint32_t batch_size;   // 1...CW_MAX_BATCH reads of a queue in one step
    uint32_t icmp_rate;    // ICMP errors per second and worker that we make; 0: none
    uint32_t reserved;
    int32_t tun_fd[CW_MAX_WORKERS]; // non-blocking; the device owns them from create on
    cw_wg_config wireguard;
} cw_device_config;

void cw_device_config_defaults(cw_device_config *config); // 1 worker, batch 64, 100 ICMP errors; 8 identities; descriptors -1

// Opens (creates) `count` queues of the TUN `name`, with a virtio header in front of each packet. Needs CAP_NET_ADMIN. On failure
// none stays open.
cw_status cw_open_tun_offload(const char *name, uint32_t count, int32_t *fds);
// The name of the interface behind a queue, also of one that another program opened. CW_INVALID: not a TUN, or one with IFF_NO_PI off.
enum { CW_TUN_NAME_SIZE = 16 };
cw_status cw_tun_name(int32_t fd, char name[CW_TUN_NAME_SIZE]);

// config is copied. Turns on the offloads of the TUN that the kernel has; a queue without virtio headers (adopted, say) is served packet by
// packet. On failure no descriptor of config has been closed.
cw_status cw_device_create(const cw_device_config *config, cw_device **device);
cw_status cw_device_start(cw_device *device);
void cw_device_stop(cw_device *device);    // ends the threads; state stays readable
void cw_device_destroy(cw_device *device); // stops if needed, wipes keys, closes descriptors

// For ports, identities, peers. Owned by the device.
cw_wg *cw_device_wireguard(cw_device *device);
// The identity whose packets the TUN carries; 0: none, and every packet is answered with ICMP unreachable. Any thread, any time.
void cw_device_set_identity(cw_device *device, uint32_t identity);

// Readable once a queue of the TUN has failed for good, for example because the interface was deleted. Owned by the device.
int32_t cw_device_event_fd(const cw_device *device);
int32_t cw_device_failure(const cw_device *device); // an errno value; 0: none

typedef struct cw_device_counters {
    uint64_t reads, read_packets;     // of the TUN, and the packets that became of them
    uint64_t writes, written_packets; // and the packets that went into them
    uint64_t icmp_sent;
    uint64_t malformed;     // not an IP packet, or a virtio header that does not fit it
    uint64_t too_long;      // longer than a buffer and not to be fragmented (ICMP was sent if the rate allowed)
    uint64_t write_failed;  // packets that the TUN refused, for example while it is down
    uint64_t wrong_identity; // arrived for another identity
    uint64_t overflow;      // no buffer
} cw_device_counters;

void cw_device_counters_read(const cw_device *device, cw_device_counters *out); // safe while workers run

#ifdef __cplusplus
}
#endif
#endif
