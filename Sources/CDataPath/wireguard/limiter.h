// Handshakes per second of one source while we are under load: 20 a second, 5 at once, per IPv4 address or IPv6 /64 (as the
// kernel module does). A bounded table, in which a source is forgotten one second after its tokens are all back; full: a source that
// is not in it is refused.
#ifndef CW_WG_LIMITER_H
#define CW_WG_LIMITER_H

#include "causeway_datapath.h"

enum { CW_LIMITER_RATE = 20, CW_LIMITER_BURST = 5 }; // per second; at once

typedef struct cw_limiter cw_limiter;

cw_limiter *cw_limiter_create(uint32_t capacity); // sources remembered at one time, at least 1; NULL: no memory
void cw_limiter_destroy(cw_limiter *limiter);
bool cw_limiter_allow(cw_limiter *limiter, const cw_address *source, uint64_t now); // `now` never goes back

#endif
