#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/timex.h>

#include "clinux.h"

int clinux_clock_is_synchronised(void)
{
    struct timex clock = {0}; // no mode bits: it is only read
    int state = adjtimex(&clock);
    if (state < 0)
        return -errno;
    return state != TIME_ERROR;
}

int clinux_raw_gre(void)
{
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_GRE);
    return fd < 0 ? -errno : fd;
}
