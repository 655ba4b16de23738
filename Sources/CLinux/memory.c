#include "clinux.h"

#include <malloc.h>

void clinux_one_arena(void) { (void)mallopt(M_ARENA_MAX, 1); }

void clinux_give_back_memory(void) { (void)malloc_trim(0); }
