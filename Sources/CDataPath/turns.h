// Packets of many sessions that wait for a worker, in one direction: a queue for each session, served in turns. A session that sends more
// than its turns carry away fills its own queue, not the others'. No I/O; the queues are the worker's alone.
//
// As long as a worker keeps up, or is behind for a moment only, everything is served in the step that brought it, or waits in the socket.
// When it stays behind, and several sessions send, more is read than served, so that what little others send is found among a flood and served with the next turns; the flood's rest is dropped at
// its queue's end. A session that is alone keeps what it has too much of in the socket.
#ifndef CW_TURNS_H
#define CW_TURNS_H

#include "link.h"

enum {
    CW_TURN = 8,            // packets of one session before the next has its turn
    CW_TURNS_WAITING = 512, // packets of all: from here on nothing more is read
    CW_TURNS_LEAST = 32,    // packets that one session may always have waiting
    CW_TURNS_MEMORY = 1000000000, // ns: so long a session counts as one that sends
    CW_TURNS_PATIENCE = 50000000, // ns behind, before packets are dropped for others' sake
};

typedef struct cw_packets { // in order, linked through cw_buffer.next
    cw_buffer *first, *last;
    uint32_t count;
} cw_packets;

static inline void cw_packets_append(cw_packets *list, cw_buffer *buffer) {
    buffer->next = NULL;
    if (list->first == NULL) list->first = buffer;
    else list->last->next = buffer;
    list->last = buffer;
    list->count++;
}

static inline void cw_packets_join(cw_packets *list, const cw_packets *more) {
    if (list->first == NULL) list->first = more->first;
    else list->last->next = more->first;
    list->last = more->last;
    list->count += more->count;
}

// One session's place; all zero: nothing waits.
typedef struct cw_place {
    struct cw_place *next;
    cw_packets packets;
    bool listed;
} cw_place;

typedef struct cw_turns {
    cw_place *first, *last; // whose turn it is
    uint32_t places, packets;
    const cw_place *latest; // that something came for
    uint64_t contested_until;
    bool behind; // something came since the worker had caught up
    uint64_t behind_since;
} cw_turns;

// False: the worker stays behind, others send too, and the queue has its share already.
bool cw_turns_add(cw_turns *turns, cw_place *place, cw_buffer *buffer, uint64_t now);
static inline bool cw_turns_overloaded(const cw_turns *turns, uint64_t now) {
    return turns->behind && now - turns->behind_since >= CW_TURNS_PATIENCE && now < turns->contested_until;
}
static inline void cw_turns_caught_up(cw_turns *turns) { turns->behind = false; } // nothing waits, here or in the socket
// Moves up to `limit` packets of the first in line to `out` and sends it to the end of the line. NULL: nobody waits.
cw_place *cw_turns_take(cw_turns *turns, uint32_t limit, cw_packets *out);
void cw_turns_leave(cw_turns *turns, cw_place *place, cw_pool *pool); // what waits goes back to the pool
static inline bool cw_turns_full(const cw_turns *turns) { return turns->packets >= CW_TURNS_WAITING; }

#endif
