#include "gre_window.h"

cw_gre_place cw_gre_window_place(const cw_gre_window *window, uint32_t sequence) {
    if (!window->learned) return CW_GRE_NEXT;
    int32_t ahead = (int32_t)(sequence - window->expected);
    if (ahead == 0) return CW_GRE_NEXT;
    if (ahead > 0) return ahead <= CW_GRE_WINDOW_REACH ? CW_GRE_AHEAD : CW_GRE_FAR;
    uint32_t back = (uint32_t)-(int64_t)ahead - 1;
    if (back < CW_GRE_WINDOW_MEMORY && (window->accepted >> back & 1) != 0) return CW_GRE_DUPLICATE;
    if (!window->proven) return back < CW_GRE_WINDOW_MEMORY ? CW_GRE_OPEN : CW_GRE_FAR;
    return (int32_t)(sequence - window->verified) > 0 ? CW_GRE_OPEN : CW_GRE_LATE;
}

uint32_t cw_gre_window_gap(const cw_gre_window *window, uint32_t sequence) {
    return window->learned ? sequence - window->verified : 1;
}

void cw_gre_window_begin(cw_gre_window *window, uint32_t sequence) {
    *window = (cw_gre_window){.expected = sequence, .verified = sequence - 1, .learned = true};
}

// Puts `expected` behind `sequence`, in either direction, and keeps the marks of what was accepted.
static void move(cw_gre_window *window, uint32_t sequence) {
    int32_t by = (int32_t)(sequence + 1 - window->expected);
    if (by > 0) window->accepted = by < CW_GRE_WINDOW_MEMORY ? window->accepted << by : 0;
    if (by < 0) window->accepted = by > -CW_GRE_WINDOW_MEMORY ? window->accepted >> -by : 0;
    window->expected = sequence + 1;
}

static void mark(cw_gre_window *window, uint32_t sequence) {
    uint32_t back = window->expected - 1 - sequence;
    if (back < CW_GRE_WINDOW_MEMORY) window->accepted |= (uint64_t)1 << back;
}

void cw_gre_window_pass(cw_gre_window *window, uint32_t sequence) {
    if (!window->learned || (int32_t)(sequence - window->expected) < 0) return;
    move(window, sequence);
    window->between++;
}

void cw_gre_window_accept(cw_gre_window *window, uint32_t sequence) {
    if (!window->learned) cw_gre_window_begin(window, sequence);
    cw_gre_window_pass(window, sequence);
    mark(window, sequence);
}

uint32_t cw_gre_window_verify(cw_gre_window *window, uint32_t sequence) {
    if (!window->learned) cw_gre_window_begin(window, sequence);
    uint32_t missing = sequence - window->verified - 1;
    uint32_t lost = missing > window->between ? missing - window->between : 0;
    move(window, sequence);
    mark(window, sequence);
    window->verified = sequence;
    window->proven = true;
    window->between = 0;
    return lost;
}
