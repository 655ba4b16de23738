#include "clinux.h"

#include <malloc.h>

void clinux_give_back_memory(void) { (void)malloc_trim(0); }
