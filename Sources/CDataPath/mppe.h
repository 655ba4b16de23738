// MPPE, one direction each (RFC 3078). The header of an encrypted packet, and this is all of it:
//
//   |A|B|C|D|  Coherency Count (12)  |   A flushed, B and C belong to MPPC, D encrypted
//
// There is no integrity: whoever gets a packet past the source check decides what is decrypted. So the receiver moves its state only on
// proof (ppp_frame.h), and everything that has not proved itself is worked on in copies. How a key is found:
//
// - Stateless: the key changes for every packet, so the key chain alone decides. Keys for the next CW_MPPE_AHEAD counts are derived
//   once and kept in a stock (mppe_stock.h) until the state moves past them, so trying them again costs next to nothing; farther ones
//   are paid from the budget.
//   The 12-bit count wraps, so a difference d may mean d + 4096 m for every m that the gap in GRE numbers leaves possible.
// - Stateful: the key changes at every count xxFF and the RC4 stream runs on from packet to packet; after a loss only a FLUSHED packet
//   helps. RFC 3078 and FreeBSD restart the stream with the same key there, Linux changes the key on every FLUSHED packet, and
//   FLUSHED packets get lost too: so the receiver tries the changes that the count requires, and up to one more for every
//   Reset-Request that may have been answered. The sender spares its peer that: it answers a Reset-Request by skipping to the next
//   flag packet, where all agree about the key.
#ifndef CW_MPPE_H
#define CW_MPPE_H

#include "mppe_key.h"
#include "mppe_stock.h"
#include "ppp_frame.h"
#include "rc4.h"
#include "token_bucket.h"

enum { // protocol
    CW_MPPE_HEADER = 2,
    CW_MPPE_FLUSHED = 0x8000,
    CW_MPPE_COMPRESSED = 0x2000,
    CW_MPPE_ENCRYPTED = 0x1000,
    CW_MPPE_COUNT_MASK = 0x0fff,
    CW_MPPE_COUNT_SPACE = 0x1000,
};

enum { // ours
    CW_MPPE_WRAPS = 64,       // how often a count may have wrapped unseen
    CW_MPPE_TRAIL = 4,        // farther keys that are remembered: the next packet's are one step on
    CW_MPPE_SKIP = 256,       // counts that a sender like ours skips at most for a Reset-Request
    CW_MPPE_OUTSTANDING = 15, // Reset-Requests whose answers may all have been lost
};

// What only stateful directions need, and large: kept apart, so that the memory of a stateless session does not have it.
typedef struct cw_mppe_streams {
    cw_rc4 receive;   // for the packet `next`
    cw_rc4 tentative; // where the stream is if the last packets in order, which proved nothing, were genuine; or those of a batch
    cw_rc4 transmit;
} cw_mppe_streams;

typedef struct cw_mppe_receiver {
    cw_mppe_keys keys; // stateless: keys.stock has those of the counts from `next` on
    bool stateless;
    uint16_t next; // count of the packet after the last proven one

    // Stateless: keys beyond the stock that were tried in vain, by their distance from `next`. An outage longer than the budget of one
    // second is worked off this way, packet by packet, instead of from the beginning each time.
    struct {
        uint32_t position; // 0: none
        uint8_t key[CW_MPPE_KEY_SIZE];
    } trail[CW_MPPE_TRAIL];

    // Stateful.
    cw_mppe_streams *streams;
    uint16_t tentative_next;
    bool has_tentative;
    uint8_t outstanding; // Reset-Requests sent for which the peer may have changed the key
} cw_mppe_receiver;

typedef struct cw_mppe_transmitter {
    cw_mppe_keys keys;
    bool stateless;
    bool flush; // a Reset-Ack is on its way: the next packet restarts the stream
    uint16_t next;
    cw_mppe_streams *streams;
} cw_mppe_transmitter;

// What surrounds one received packet.
typedef struct cw_mppe_context {
    uint64_t now;
    uint32_t gap;   // GRE numbers since the last proven packet; 1: nothing between
    bool in_order;  // it is the GRE packet that was expected
    cw_bucket *budget;
    const cw_prefix *prefixes;
    uint32_t prefix_count;
    uint64_t *key_changes;
    cw_mppe_stocks *stocks; // NULL: no keys are kept, and those near are derived each time
} cw_mppe_context;

typedef enum cw_mppe_verdict {
    CW_MPPE_PROVEN,
    CW_MPPE_MALFORMED,
    CW_MPPE_UNVERIFIED,
    CW_MPPE_BUDGET,
    CW_MPPE_WAIT_RESET, // stateful: cannot be decrypted after a loss
} cw_mppe_verdict;

typedef struct cw_mppe_result {
    cw_mppe_verdict verdict;
    cw_ppp_header inner; // of the plaintext, if proven
} cw_mppe_result;

// Off, its stock returned and its streams wiped. It must have been all zero or initialised before.
void cw_mppe_receiver_clear(cw_mppe_receiver *receiver);
// False, and the receiver is off: key_bits is not 40, 56 or 128. Must have been all zero or initialised before. Only a stateful one
// touches the streams.
bool cw_mppe_receiver_init(cw_mppe_receiver *receiver, const cw_rekey *rekey, cw_mppe_streams *streams);
// packet[0..<length] is MPPE header and ciphertext. If proven, the ciphertext has been decrypted in place and the state has moved;
// otherwise the packet is unchanged. With `probe`, neither packet nor state change in any case.
cw_mppe_result cw_mppe_receive(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint8_t *packet, size_t length, bool probe);

// The batch way for packets that come in order. Stateless: ahead says how many keys have to be in the stock for this packet, 0: it goes
// the other way. prepare adds the job that decrypts the packet in place, once they are there; after cw_mppe_batch_crypt, receive_prepared
// proves and commits. Not proven means: the plaintext is lost, drop it.
unsigned cw_mppe_ahead(const cw_mppe_receiver *receiver, const uint8_t *packet, size_t length);
void cw_mppe_prepare(const cw_mppe_receiver *receiver, uint8_t *packet, size_t length, cw_mppe_job *job);
// Stateful: follows says whether a packet may be the n-th of a run, fewer than 256; prepare_run adds the streams; settle, after
// cw_mppe_batch_crypt, says how many, from the first on, have proved themselves: those are for receive_prepared. The others are as they
// arrived.
typedef struct cw_mppe_span {
    uint8_t *packet;
    size_t length;
} cw_mppe_span;
bool cw_mppe_follows(const cw_mppe_receiver *receiver, const uint8_t *packet, size_t length, uint32_t n);
void cw_mppe_prepare_run(cw_mppe_receiver *receiver, const cw_mppe_span *spans, size_t count, cw_mppe_work *work);
size_t cw_mppe_settle(cw_mppe_receiver *receiver, const cw_prefix *prefixes, uint32_t prefix_count, const cw_mppe_span *spans,
                      size_t count);
cw_mppe_result cw_mppe_receive_prepared(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint8_t *packet, size_t length);

// As for the receiver.
void cw_mppe_transmitter_clear(cw_mppe_transmitter *transmitter);
bool cw_mppe_transmitter_init(cw_mppe_transmitter *transmitter, const cw_rekey *rekey, cw_mppe_streams *streams);
// packet[0..<length] is room for the MPPE header, then the plaintext. Writes the header and adds to *work what encrypts it, a job or a
// stream; the transmitter is not valid before that is done. A new key is the next one of keys.stock, or derived here if there is none.
void cw_mppe_transmit(cw_mppe_transmitter *transmitter, uint64_t *key_changes, uint8_t *packet, size_t length, cw_mppe_work *work);

static inline bool cw_mppe_is_flag(uint16_t count) { return (count & 0xff) == 0xff; }

// ---- Shared by the two receivers ----

// Proof that a plaintext has to give: following a jump takes more.
static inline cw_proof cw_mppe_needed(const cw_mppe_context *context, uint32_t difference) {
    return context->in_order && difference == 0 ? CW_PROOF_WELL_FORMED : CW_PROOF_EVIDENCE;
}
bool cw_mppe_malformed(uint16_t header, size_t length);
cw_proof cw_mppe_try_key(const cw_mppe_receiver *receiver, const cw_mppe_context *context, const uint8_t *key, const uint8_t *cipher,
                         size_t length, cw_ppp_header *inner);
cw_mppe_result cw_mppe_receive_stateful(cw_mppe_receiver *receiver, const cw_mppe_context *context, uint16_t header, uint8_t *cipher,
                                        size_t length, bool probe);
cw_mppe_result cw_mppe_receive_settled(cw_mppe_receiver *receiver, const cw_mppe_context *context, const uint8_t *packet, size_t length);

#endif
