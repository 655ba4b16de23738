#define _GNU_SOURCE
#include "include/clinux_program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int end_descriptor = -1; // a signal handler is given nothing else

static void ask_for_end(int signal) {
    int error = errno;
    uint64_t one = 1;
    (void)signal;
    if (write(end_descriptor, &one, sizeof one) < 0) errno = error; // full: it has been asked for already
    errno = error;
}

int clinux_end_descriptor(void) {
    if (end_descriptor >= 0) return end_descriptor;
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) return -errno;
    end_descriptor = descriptor;
    struct sigaction action = {.sa_handler = ask_for_end, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0) return -errno;
    return descriptor;
}

int clinux_in_namespace_of(int tun, void (*body)(void *context), void *context) {
    int ours = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (ours < 0) return -errno;
    int theirs = ioctl(tun, TUNGETDEVNETNS);
    int error = 0;
    if (theirs < 0) {
        error = -errno;
    } else if (setns(theirs, CLONE_NEWNET) != 0) {
        error = -errno;
    } else {
        body(context);
        // A thread that cannot come back would open its sockets in the wrong place.
        if (setns(ours, CLONE_NEWNET) != 0) error = -errno;
    }
    if (theirs >= 0) close(theirs);
    close(ours);
    return error;
}

int clinux_tun_name(int tun, char *name) {
    struct ifreq request = {0};
    if (ioctl(tun, TUNGETIFF, &request) != 0) return -errno;
    memcpy(name, request.ifr_name, IFNAMSIZ);
    name[IFNAMSIZ - 1] = 0;
    return 0;
}
