// What a worker does before it goes to sleep: keys for packets that are still to come, so that they wait for nothing but their own
// encryption. Bounded: a stock for each direction that has carried packets in the last seconds, and some keys in it.
#define _GNU_SOURCE
#include "worker.h"

bool cw_worker_can_idle(const cw_worker *worker) { return worker->stocks.low != NULL; }

void cw_worker_idle(cw_worker *worker) { cw_mppe_stocks_fill(&worker->stocks); }
