// Packets that wait for a handshake: copies in memory of the engine's own, so that a worker's pool is not drained by peers that do not
// answer. The number for one peer is configured, the number for all is bounded.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "data.h"
#include "memory.h"

enum { keep_resident = 256 }; // buffers whose memory stays when nothing waits

struct cw_wg_stage {
    pthread_mutex_t lock;
    cw_buffer *memory; // [CW_WG_STAGE_TOTAL], touched when used
    cw_buffer *free;
    uint32_t used, taken;
};

bool cw_wg_stage_create(cw_wg *wg) {
    struct cw_wg_stage *stage = calloc(1, sizeof *stage);
    if (stage == NULL) return false;
    stage->memory = cw_map(CW_WG_STAGE_TOTAL * sizeof(cw_buffer));
    if (stage->memory == NULL) {
        free(stage);
        return false;
    }
    pthread_mutex_init(&stage->lock, NULL);
    wg->stage = stage;
    return true;
}

void cw_wg_stage_destroy(cw_wg *wg) {
    if (wg->stage == NULL) return;
    cw_unmap(wg->stage->memory, CW_WG_STAGE_TOTAL * sizeof(cw_buffer));
    pthread_mutex_destroy(&wg->stage->lock);
    free(wg->stage);
    wg->stage = NULL;
}

static cw_buffer *take(struct cw_wg_stage *stage) {
    pthread_mutex_lock(&stage->lock);
    cw_buffer *buffer = stage->free;
    if (buffer != NULL) stage->free = buffer->next;
    else if (stage->used < CW_WG_STAGE_TOTAL) buffer = &stage->memory[stage->used++];
    if (buffer != NULL) stage->taken++;
    pthread_mutex_unlock(&stage->lock);
    return buffer;
}

void cw_wg_stage_give(cw_wg *wg, cw_wg_staged *staged) {
    if (staged->first == NULL) return;
    struct cw_wg_stage *stage = wg->stage;
    pthread_mutex_lock(&stage->lock);
    staged->last->next = stage->free;
    stage->free = staged->first;
    stage->taken -= staged->count;
    if (stage->taken == 0) {
        // All are back: what a burst has touched goes back to the system.
        if (stage->used > keep_resident)
            (void)madvise(stage->memory + keep_resident, (stage->used - keep_resident) * sizeof(cw_buffer), MADV_DONTNEED);
        stage->free = NULL;
        stage->used = 0;
    }
    pthread_mutex_unlock(&stage->lock);
    *staged = (cw_wg_staged){0};
}

static cw_buffer *pop(cw_wg_staged *staged) {
    cw_buffer *oldest = staged->first;
    if (oldest == NULL) return NULL;
    staged->first = oldest->next;
    if (staged->first == NULL) staged->last = NULL;
    staged->count--;
    return oldest;
}

uint32_t cw_wg_stage_add(cw_wg *wg, cw_wg_peer *peer, const cw_buffer *packet) {
    if (wg->config.staged_packets == 0) return 1;
    uint32_t lost = 0;
    pthread_mutex_lock(&peer->leaf);
    cw_wg_staged *staged = &peer->staged;
    cw_buffer *copy = staged->count < wg->config.staged_packets ? take(wg->stage) : NULL;
    if (copy == NULL) {
        copy = pop(staged);
        lost = 1;
    }
    if (copy != NULL) {
        copy->next = NULL;
        copy->offset = CW_HEADROOM;
        copy->length = packet->length;
        memcpy(copy->storage + CW_HEADROOM, packet->storage + packet->offset, packet->length);
        if (staged->last != NULL) staged->last->next = copy;
        else staged->first = copy;
        staged->last = copy;
        staged->count++;
    }
    pthread_mutex_unlock(&peer->leaf);
    return lost;
}

cw_wg_staged cw_wg_stage_take(cw_wg_peer *peer) {
    pthread_mutex_lock(&peer->leaf);
    cw_wg_staged all = peer->staged;
    peer->staged = (cw_wg_staged){0};
    pthread_mutex_unlock(&peer->leaf);
    return all;
}

uint32_t cw_wg_stage_drop(cw_wg *wg, cw_wg_peer *peer) {
    cw_wg_staged all = cw_wg_stage_take(peer);
    uint32_t count = all.count;
    cw_wg_stage_give(wg, &all);
    return count;
}

bool cw_wg_stage_is_empty(cw_wg_peer *peer) {
    pthread_mutex_lock(&peer->leaf);
    bool empty = peer->staged.count == 0;
    pthread_mutex_unlock(&peer->leaf);
    return empty;
}
