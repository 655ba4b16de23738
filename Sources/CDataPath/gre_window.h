// The receiver's window over GRE sequence numbers (RFC 2637 section 4.2), modulo 2^32.
//
// GRE has no integrity and the source address is not proof, so the window keeps two marks. `expected` follows whatever arrives
// nearby: it only decides what waits for what. `verified` is the highest number whose packet proved itself by its content; only a
// verified packet moves the window far, and it may move `expected` back to where the genuine stream is. What is behind `verified` is
// never accepted again.
#ifndef CW_GRE_WINDOW_H
#define CW_GRE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CW_GRE_WINDOW_REACH = 256,  // packets ahead of `expected` that count as near: the longest reorder queue
    CW_GRE_WINDOW_MEMORY = 64,  // packets behind `expected` that are known to have been accepted or not
};

typedef struct cw_gre_window {
    uint32_t expected;
    uint32_t verified;
    uint32_t between;  // packets that arrived since `verified` without proof
    uint64_t accepted; // bit n: expected - 1 - n was accepted
    bool learned;      // a packet was taken: peers start at 0 or 1, or anywhere
    bool proven;       // one has proved itself; before, `verified` is only where we began, and nothing is too late for good
} cw_gre_window;

typedef enum cw_gre_place {
    CW_GRE_NEXT,      // the one that was expected
    CW_GRE_AHEAD,     // near, but something is missing before it
    CW_GRE_FAR,       // ahead by more than the window reaches, or (before the first proof) behind: needs proof
    CW_GRE_OPEN,      // behind `expected` but not behind `verified`, and not accepted yet: needs proof
    CW_GRE_DUPLICATE, // accepted before
    CW_GRE_LATE,      // behind `verified`
} cw_gre_place;

cw_gre_place cw_gre_window_place(const cw_gre_window *window, uint32_t sequence);
// Distance from the last verified packet; 1 is the very next one.
uint32_t cw_gre_window_gap(const cw_gre_window *window, uint32_t sequence);
// The packet arrived near but proved nothing: what follows need not wait for it. It stays acceptable. Nothing is learned from it.
void cw_gre_window_pass(cw_gre_window *window, uint32_t sequence);
// The packet was taken without proof (a control frame in the clear, near enough).
void cw_gre_window_accept(cw_gre_window *window, uint32_t sequence);
// Before the first proof: begins again at `sequence`, which is not taken yet.
void cw_gre_window_begin(cw_gre_window *window, uint32_t sequence);
// The packet proved itself. Returns how many before it never arrived.
uint32_t cw_gre_window_verify(cw_gre_window *window, uint32_t sequence);

#endif
