// Memory that is mapped once, zeroed, and touched only when used: tables for 65,535 sessions cost nothing while a few are open.
#ifndef CW_MEMORY_H
#define CW_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

void *cw_map(size_t size); // NULL: no memory
void cw_unmap(void *memory, size_t size);
// Memory with keys: kept out of core dumps, and out of swap as far as the process's limit for locked memory allows.
void *cw_map_secret(size_t size);
// Gives whole pages back to the system, also where the process locks its memory; the range reads as zero afterwards.
// False: the system refused, and the range is as it was.
bool cw_give_back(void *memory, size_t size);
// Wipes whole pages and gives them back to the system; the range reads as zero afterwards.
void cw_discard(void *memory, size_t size);

#endif
