#define _GNU_SOURCE
#include "include/clinux_program.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

struct visit {
    void (*body)(void *context);
    void *context;
    int error;
};

static void *visit(void *argument) {
    struct visit *visit = argument;
    if (unshare(CLONE_NEWNET) != 0) visit->error = -errno;
    else visit->body(visit->context);
    return NULL;
}

// A thread of its own has nowhere to come back to, so nothing can go wrong on the way.
int clinux_in_new_namespace(void (*body)(void *context), void *context) {
    struct visit it = {body, context, 0};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, visit, &it);
    if (error != 0) return -error;
    pthread_join(thread, NULL);
    return it.error;
}
