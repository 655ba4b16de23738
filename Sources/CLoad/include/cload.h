// A load generator with a low cost of its own, and the room that a measurement is made in. Functions return 0 (or a descriptor) or a
// negated errno value unless they say otherwise. Addresses and ports are in host byte order; times are nanoseconds of CLOCK_MONOTONIC.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// ---- Where it runs --------------------------------------------------------------------------------------------------

// Starts /proc/self/exe with these arguments and this environment as the first process of new PID, mount and network namespaces, with
// a /run and a /proc of its own, and waits for it: its exit status, or 128 and the signal. The kernel ends everything in there
// together with its first process; that one has to end when `lifeline` (of whose name `environment` has a line NAME=3) has an end of file,
// which it has when this process is gone, however it went.
int cload_run_isolated(char *const arguments[], char *const environment[]);

// The thread that waits for that end of file and then ends this process.
int cload_watch_lifeline(int descriptor);

// Whether this thread may run on this processor.
enum { CLOAD_MAX_PROCESSORS = 1024 };
bool cload_has_processor(int number);

// MTU of an interface of this namespace.
int cload_interface_mtu(const char *name);

// One request to a Unix socket, and the first octets of the answer (terminated; its length is returned).
int cload_unix_request(const char *path, const char *request, char *answer, int capacity);

// ---- Histogram ------------------------------------------------------------------------------------------------------

// Log-linear: exact below 64, then 32 buckets for each power of two, so that a bucket is at most 1/32 of its value wide.
enum { CLOAD_BUCKETS = 36 * 32 };

static inline uint32_t cload_bucket(uint64_t value) {
    if (value < 64) return (uint32_t)value;
    uint32_t exponent = 63 - (uint32_t)__builtin_clzll(value);
    uint32_t bucket = (exponent - 5) * 32 + (uint32_t)(value >> (exponent - 5));
    return bucket < CLOAD_BUCKETS ? bucket : CLOAD_BUCKETS - 1;
}

// The least value of a bucket.
static inline uint64_t cload_bucket_start(uint32_t bucket) {
    if (bucket < 64) return bucket;
    uint32_t shift = bucket / 32 - 1;
    return (uint64_t)(bucket % 32 + 32) << shift;
}

// ---- UDP ------------------------------------------------------------------------------------------------------------

// A socket of namespace `space` (a path; NULL: this one) bound to `address` (0: any) and `port`.
int cload_udp_open(const char *space, uint32_t address, uint16_t port);

enum { CLOAD_LEAST_PACKET = 28 + 24, CLOAD_MAX_PACKET = 2048, CLOAD_MAX_SIZES = 32 };

// Packets for sessions in turn at a constant rate, whether or not they arrive: each tick's share is sent on schedule, and its
// latency counts from when it was due.
typedef struct cload_flow {
    int32_t send_fd, receive_fd;
    uint32_t session_count;
    const uint32_t *sources;      // of each session's packets; NULL: the socket's
    const uint32_t *destinations; // of each session's packets
    uint16_t port;                // theirs
    uint16_t size_count;
    uint16_t sizes[CLOAD_MAX_SIZES]; // of IP packets, in turn; CLOAD_LEAST_PACKET...CLOAD_MAX_PACKET
    double rate;                  // packets per second
} cload_flow;

typedef struct cload_udp_result {
    uint64_t offered, sent, sent_bytes; // offered: by the schedule; bytes of IP packets
    uint64_t received, received_bytes, duplicates, reordered, strangers;
    uint64_t worst_lag;             // how late the sender was at most
    uint64_t latencies[CLOAD_BUCKETS]; // nanoseconds
} cload_udp_result;

// Runs one or two flows for `seconds`, then waits `drain` for what is on its way. Blocks.
int cload_udp_run(const cload_flow *flows, uint32_t count, double seconds, double drain, cload_udp_result *results);

// ---- A bad wire -----------------------------------------------------------------------------------------------------

// A thread that carries frames between two interfaces of namespace `space` (NULL: this one), both ways.
typedef struct cload_wire cload_wire;
// Each way is a link of so many Mbit/s (0: as fast as it goes), with a queue before it, and this propagation.
typedef struct cload_wire_link {
    double megabits, milliseconds;
} cload_wire_link;
enum { CLOAD_MOST_PLACES = 64 };
// Shares (0...1) of each way's GRE packets: `loss` vanish; of the others, `reorder` are held until 1 to `places` (evenly) others of
// their way have passed. All other frames go through, in their order.
typedef struct cload_wire_faults {
    double loss, reorder;
    uint32_t places; // 1...CLOAD_MOST_PLACES
} cload_wire_faults;
typedef struct cload_wire_counts {
    uint64_t gre, lost, lost_data; // lost_data: with a sequence number, so with a payload
    uint64_t held, alone; // alone: of the held ones, those that too few followed
    uint64_t full, refused; // frames that found the queue full, that the interface did not take
} cload_wire_counts;
// Without faults at first.
int cload_wire_open(const char *space, const char *one, const char *other, cload_wire_link link, uint64_t seed, cload_wire **wire);
int cload_wire_set(cload_wire *wire, cload_wire_faults faults);
void cload_wire_read(const cload_wire *wire, cload_wire_counts counts[2]); // from the one to the other; back
void cload_wire_close(cload_wire *wire); // ends its thread first

// ---- TCP ------------------------------------------------------------------------------------------------------------

typedef struct cload_tcp cload_tcp;

// One connection from each source in this namespace to a listener at address:port in namespace `space`. Blocks until they are there.
int cload_tcp_open(const char *space, uint32_t address, uint16_t port, const uint32_t *sources, uint32_t count, cload_tcp **tcp);
// From now on the sending side writes as fast as it is taken. Either direction, or both.
int cload_tcp_start(cload_tcp *tcp, bool to_hub, bool from_hub);
void cload_tcp_received(const cload_tcp *tcp, uint64_t *at_hub, uint64_t *at_clients);
void cload_tcp_close(cload_tcp *tcp); // ends its threads first
