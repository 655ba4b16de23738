#include "clinux.h"

#include <malloc.h>

void clinux_tame_malloc(void) {
    (void)mallopt(M_ARENA_MAX, 1);
    // SQLite asks for 68 and 88 KiB in each statement that changes and returns rows: not worth two system calls and fresh pages each time.
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

void clinux_give_back_memory(void) { (void)malloc_trim(0); }
