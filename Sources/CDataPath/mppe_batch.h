// MPPE over many packets of many sessions at once. RC4 and the key change are chains of dependent steps: one packet alone leaves most of
// the processor idle. The kernels here work on several packets side by side, one packet (or one key chain) in each lane.
//
// How a worker uses it (worker_receive.c, worker_send.c). It gathers what one step brought, from all its sessions, and then:
//   1. Keys. Per direction of a session one cw_mppe_chain with as many keys as the batch needs beyond those in its stock (mppe_stock.h):
//      cw_link_plan, cw_link_send_plan. The chain does not depend on the data, so an idle worker fills the stocks beforehand.
//   2. cw_mppe_batch_keys once for all chains.
//   3. Work (cw_mppe_work): a job for each stateless packet, several packets of one session being several jobs, and a stream for each
//      stateful one, those of one session being one lane: cw_link_prepare, cw_link_send_planned.
//   4. cw_mppe_batch_crypt once for all of them, in place.
//   5. The links, packet by packet in order, commit or reject by evidence: cw_link_receive_opened. RC4 undoes itself, so a plaintext
//      that proves nothing can be turned back into what arrived. A stateful receiver works on a copy of its stream, which it takes over
//      when all have proved themselves; otherwise it turns back those from the first that did not, and looks at them one by one.
//
// Nothing here allocates, keeps state between calls, or needs a lock: the kernels are a value that every worker may hold. An engine makes
// them once: cw_cpu_probe, cw_isa_choose with what cw_isa_forced says, cw_cpu_limited, cw_mppe_kernels_measure.
#ifndef CW_MPPE_BATCH_H
#define CW_MPPE_BATCH_H

#include "isa.h"
#include "mppe_key.h"
#include "rc4.h"

// The part of a key chain that follows `key`: count keys, written to ring[first], ring[first + 1] ... modulo size. `key` may lie in the
// ring; it is read before anything is written. count <= size.
typedef struct cw_mppe_chain {
    const cw_mppe_suite *suite; // bits is 40, 56 or 128
    const uint8_t *key;         // CW_MPPE_KEY_SIZE octets
    uint8_t (*ring)[CW_MPPE_KEY_SIZE];
    uint16_t size, first, count;
} cw_mppe_chain;

// A packet of a stateful session. Streams of one batch that name the same rc4 are worked on in the order of the array.
typedef struct cw_mppe_stream {
    cw_rc4 *rc4;         // goes on, and is left for the packet after this one
    const uint8_t *in;
    uint8_t *out;        // may be `in`; no other overlap
    uint16_t length;
    uint8_t key_length;  // not 0: rc4 is keyed anew first
    uint8_t key[CW_MPPE_KEY_SIZE];
} cw_mppe_stream;

// What links have for one cw_mppe_batch_crypt: they append, the caller has made room.
typedef struct cw_mppe_work {
    cw_mppe_job *jobs;
    cw_mppe_stream *streams;
    size_t job_count, stream_count;
} cw_mppe_work;

typedef struct cw_mppe_kernels cw_mppe_kernels;

// The RC4 that an ISA level works with; AVX-512 has two, because gather and scatter are slow on some processors.
typedef enum cw_mppe_rc4 {
    CW_MPPE_RC4_INTERLEAVED, // every level
    CW_MPPE_RC4_ROWS,        // AVX2
    CW_MPPE_RC4_GATHER,      // AVX-512
} cw_mppe_rc4;

struct cw_mppe_lane;
struct cw_mppe_digest;

struct cw_mppe_kernels {
    cw_isa isa;
    cw_mppe_rc4 rc4;
    // SHA-1 of key changes, any number of the same length; and of so few that lanes would stay empty.
    void (*digest)(struct cw_mppe_digest *digests, size_t count);
    void (*digest_few)(struct cw_mppe_digest *digests, size_t count);
    unsigned few;
    // Key schedule and stream of up to `lanes` packets of falling length. NULL: interleaved for everything.
    void (*lanes_crypt)(const struct cw_mppe_lane *lanes, size_t count);
    unsigned lanes, group;
    // When a group of lanes is worth it: its cost against those of the interleaved kernel, in units of one octet of the latter.
    unsigned schedule_cost, step_cost;
};

// The kernels of a level that the processor has; `rc4` must belong to it.
cw_mppe_kernels cw_mppe_kernels_make(const cw_cpu *cpu, cw_mppe_rc4 rc4);
// The same, with the RC4 that proves fastest here: some hundred microseconds of measuring, once.
cw_mppe_kernels cw_mppe_kernels_measure(const cw_cpu *cpu);
const char *cw_mppe_kernels_name(const cw_mppe_kernels *kernels); // for example "avx512 (rows)"; static storage

void cw_mppe_batch_keys(const cw_mppe_kernels *kernels, const cw_mppe_chain *chains, size_t count);
// Jobs of any lengths, any number, stateless and stateful together. in and out of a job may be the same and overlap in no other way;
// what one job writes no other reads or writes. Wipes the keys in both arrays.
void cw_mppe_batch_crypt(const cw_mppe_kernels *kernels, cw_mppe_job *jobs, size_t count, cw_mppe_stream *streams, size_t stream_count);
static inline void cw_mppe_batch_work(const cw_mppe_kernels *kernels, cw_mppe_work *work) {
    cw_mppe_batch_crypt(kernels, work->jobs, work->job_count, work->streams, work->stream_count);
}

#endif
