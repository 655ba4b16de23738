#include "clinux.h"

#include <errno.h>
#include <sys/eventfd.h>

int clinux_eventfd(void) {
    int descriptor = eventfd(0, EFD_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}
