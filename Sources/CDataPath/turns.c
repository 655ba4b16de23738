#include "turns.h"

static void line_up(cw_turns *turns, cw_place *place) {
    place->next = NULL;
    if (turns->first == NULL) turns->first = place;
    else turns->last->next = place;
    turns->last = place;
}

static uint32_t share(const cw_turns *turns) {
    uint32_t each = CW_TURNS_WAITING / (turns->places < 2 ? 2 : turns->places);
    return each < CW_TURNS_LEAST ? CW_TURNS_LEAST : each;
}

bool cw_turns_add(cw_turns *turns, cw_place *place, cw_buffer *buffer, uint64_t now) {
    if (turns->latest != place && turns->latest != NULL) turns->contested_until = now + CW_TURNS_MEMORY;
    turns->latest = place;
    if (!turns->behind) {
        turns->behind = true;
        turns->behind_since = now;
    }
    if (place->packets.count >= share(turns) && cw_turns_overloaded(turns, now)) return false;
    cw_packets_append(&place->packets, buffer);
    turns->packets++;
    if (place->listed) return true;
    place->listed = true;
    turns->places++;
    line_up(turns, place);
    return true;
}

static void cut(cw_packets *from, uint32_t count, cw_packets *out) {
    *out = *from;
    if (count == from->count) {
        *from = (cw_packets){0};
        return;
    }
    cw_buffer *last = from->first;
    for (uint32_t i = 1; i < count; i++) last = last->next;
    *from = (cw_packets){last->next, from->last, from->count - count};
    *out = (cw_packets){out->first, last, count};
    last->next = NULL;
}

cw_place *cw_turns_take(cw_turns *turns, uint32_t limit, cw_packets *out) {
    cw_place *place = turns->first;
    if (place == NULL) return NULL;
    uint32_t count = place->packets.count;
    if (turns->places > 1 && count > CW_TURN) count = CW_TURN;
    if (count > limit) count = limit;
    cut(&place->packets, count, out);
    turns->packets -= count;
    turns->first = place->next;
    if (place->packets.count > 0) {
        line_up(turns, place);
    } else {
        place->listed = false;
        turns->places--;
    }
    return place;
}

void cw_turns_leave(cw_turns *turns, cw_place *place, cw_pool *pool) {
    if (turns->latest == place) turns->latest = NULL;
    if (!place->listed) return;
    cw_place *before = NULL;
    for (cw_place *at = turns->first; at != place; at = at->next) before = at;
    if (before == NULL) turns->first = place->next;
    else before->next = place->next;
    if (turns->last == place) turns->last = before;
    turns->places--;
    turns->packets -= place->packets.count;
    for (cw_buffer *buffer = place->packets.first, *next; buffer != NULL; buffer = next) {
        next = buffer->next;
        cw_pool_give(pool, buffer);
    }
    *place = (cw_place){0};
}
