// libmnl for Swift: macros are not imported, so what we need of them stands here as inline functions.
#pragma once
#include <libmnl/libmnl.h>

static inline size_t cmnl_socket_buffer_size(void) { return (size_t)MNL_SOCKET_BUFFER_SIZE; }
static inline size_t cmnl_align(size_t length) { return (length + MNL_ALIGNTO - 1) & ~(size_t)(MNL_ALIGNTO - 1); }
