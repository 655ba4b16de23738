#include "clinux.h"

#include <malloc.h>

void clinux_tame_malloc(void) {
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

void clinux_give_back_memory(void) { (void)malloc_trim(0); }
