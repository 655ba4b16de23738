#include "link.h"

cw_buffer *cw_pool_take(cw_pool *pool) {
    cw_buffer *buffer = pool->free;
    if (buffer == NULL) return NULL;
    pool->free = buffer->next;
    pool->available--;
    buffer->next = NULL;
    buffer->offset = CW_HEADROOM;
    buffer->length = 0;
    buffer->flags = 0;
    return buffer;
}

void cw_pool_give(cw_pool *pool, cw_buffer *buffer) {
    buffer->next = pool->free;
    pool->free = buffer;
    pool->available++;
}
