// The bad wire of Sources/CLoad between two interfaces of this namespace, until SIGTERM:
//
//   reorder ONE OTHER PERCENT PLACES MBITS MILLISECONDS SEED
//
// So many percent of each direction's GRE packets are held until 1 to PLACES others have passed. In the end it prints what it did: GRE
// packets, how many of them were held, how many of those nothing followed, frames that found the queue full, frames that could not be sent.
#include "cload.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments) {
    if (count != 8) return 64;
    cload_wire_link link = {.megabits = atof(arguments[5]), .milliseconds = atof(arguments[6])};
    cload_wire_faults faults = {.reorder = atof(arguments[3]) / 100, .places = (uint32_t)atoi(arguments[4])};
    if (faults.reorder < 0 || faults.reorder > 1) return 64;
    // Before the wire's thread is there, so that it does not take them either.
    sigset_t ends;
    sigemptyset(&ends), sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    cload_wire *wire;
    int status = cload_wire_open(NULL, arguments[1], arguments[2], link, strtoull(arguments[7], NULL, 10), &wire);
    if (status != 0) {
        fprintf(stderr, "%s, %s: %s\n", arguments[1], arguments[2], strerror(-status));
        return 1;
    }
    if (cload_wire_set(wire, faults) != 0) return 64;
    puts("ready");
    fflush(stdout);
    int ended;
    sigwait(&ends, &ended);
    cload_wire_counts ways[2];
    cload_wire_read(wire, ways);
    cload_wire_close(wire);
    unsigned long long sums[] = {ways[0].gre + ways[1].gre, ways[0].held + ways[1].held, ways[0].alone + ways[1].alone, ways[0].full + ways[1].full,
                                 ways[0].refused + ways[1].refused};
    printf("%llu %llu %llu %llu %llu\n", sums[0], sums[1], sums[2], sums[3], sums[4]);
    return 0;
}
