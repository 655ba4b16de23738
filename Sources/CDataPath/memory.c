#define _GNU_SOURCE
#include "memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 // Linux 5.18
#endif

void *cw_map(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void cw_unmap(void *memory, size_t size) {
    if (memory != NULL) munmap(memory, size);
}

void *cw_map_secret(size_t size) {
    void *memory = cw_map(size);
    if (memory == NULL) return NULL;
    // Both are best effort: an old kernel or a small RLIMIT_MEMLOCK must not keep the gateway from running.
    (void)madvise(memory, size, MADV_DONTDUMP);
    (void)mlock2(memory, size, MLOCK_ONFAULT);
    return memory;
}

bool cw_give_back(void *memory, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)memory + size) / page * page;
    if (last <= first) return true;
    return madvise((void *)first, last - first, MADV_DONTNEED_LOCKED) == 0 || madvise((void *)first, last - first, MADV_DONTNEED) == 0;
}

void cw_discard(void *memory, size_t size) {
    explicit_bzero(memory, size);
    (void)cw_give_back(memory, size);
}
