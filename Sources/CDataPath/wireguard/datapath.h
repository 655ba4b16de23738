// What a worker thread does with WireGuard: queue inner packets and flush them as one batch; take what a ready socket has.
// Each worker number belongs to one thread. Between `enter` and `leave` no peer, key or allowed IP changes (gate.h), so the calls
// in between read them without locks; a worker is outside while it sleeps, and stays inside for one bounded step.
#ifndef CW_WG_DATAPATH_H
#define CW_WG_DATAPATH_H

#include "causeway_datapath.h"
#include "link.h"

typedef struct cw_wg_identity cw_wg_identity;
typedef struct cw_wg_peer cw_wg_peer;

// Sockets of this worker are added to `epoll_fd`, now and as ports open, with data.u64 = CW_WG_EPOLL | something of ours.
// At most one owner; must happen before packets flow. The thread for handshakes and timers starts with cw_wg_start.
#define CW_WG_EPOLL (UINT64_C(1) << 63)
cw_status cw_wg_create(const cw_wg_config *config, cw_wg **wg);
cw_status cw_wg_attach(cw_wg *wg, uint32_t worker, int epoll_fd);
cw_status cw_wg_start(cw_wg *wg);
void cw_wg_stop(cw_wg *wg);
void cw_wg_destroy(cw_wg *wg); // stops, wipes, closes

void cw_wg_enter(cw_wg *wg, uint32_t worker);
void cw_wg_leave(cw_wg *wg, uint32_t worker);

// ---- Out ------------------------------------------------------------------------------------------------------------
// Pointers are valid until `leave`. NULL: no such identity, or it is down.
cw_wg_identity *cw_wg_find(cw_wg *wg, uint32_t identity);
// The peer whose allowed IPs contain the inner destination; NULL: none.
cw_wg_peer *cw_wg_route(const cw_wg_identity *identity, uint8_t family, const uint8_t *destination);
bool cw_wg_has_endpoint(const cw_wg_peer *peer);
// Counts a packet that goes nowhere, for want of a peer (NULL) or of its endpoint. The caller answers with ICMP.
void cw_wg_count_unroutable(cw_wg *wg, uint32_t worker, cw_wg_peer *peer);

// Takes the buffer (an inner IP packet, at least CW_HEADROOM - 64 bytes free in front and CW_TAILROOM behind). It leaves with the next
// flush; at CW_MAX_BATCH queued packets that happens at once. A packet whose peer has no session is copied to the peer's stage and a
// handshake begins. The buffer goes back to `pool` in the end.
void cw_wg_queue(cw_wg *wg, uint32_t worker, cw_wg_peer *peer, cw_buffer *buffer, cw_pool *pool, uint64_t now);
// Seals everything queued as one batch (packets of many peers) and sends it, runs of one endpoint with UDP_SEGMENT.
void cw_wg_flush(cw_wg *wg, uint32_t worker, cw_pool *pool, uint64_t now);

// ---- In -------------------------------------------------------------------------------------------------------------
typedef struct cw_wg_incoming {
    uint32_t identity;  // that it arrived for
    const cw_wg_peer *peer;
    cw_buffer *buffer;  // inner IP packet, trimmed to its length, data at CW_HEADROOM; the sink takes it
} cw_wg_incoming;
typedef void cw_wg_sink(void *context, const cw_wg_incoming *packets, size_t count); // count <= CW_MAX_BATCH

// One bounded step on the socket that epoll named. Handshake messages go to the other thread. A packet that finds no buffer in
// `pool` is dropped and counted. The sink may call cw_wg_queue.
void cw_wg_receive(cw_wg *wg, uint32_t worker, uint64_t epoll_data, cw_pool *pool, uint64_t now, cw_wg_sink *sink, void *context);
// The same with at most `reads` of the socket, each of which may bring several datagrams. True: there is probably more.
bool cw_wg_receive_some(cw_wg *wg, uint32_t worker, uint64_t epoll_data, uint32_t reads, cw_pool *pool, uint64_t now, cw_wg_sink *sink,
                        void *context);

#endif
