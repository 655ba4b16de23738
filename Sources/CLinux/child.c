#define _GNU_SOURCE
#include "include/clinux_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return -1;
    // Else the program of a gateway that runs as root would get all of them back.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_capset, &header, none);
}

static int place_descriptors(int input, int output) {
    // Above the three first, so that none of them is overwritten before it has been used.
    if ((input = fcntl(input, F_DUPFD, 3)) < 0 || (output = fcntl(output, F_DUPFD, 3)) < 0) return -1;
    if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) return -1;
    return (int)syscall(SYS_close_range, 3u, ~0u, 0u);
}

// Runs in the memory of the parent, which waits until execve: nothing but system calls.
static int become(const char *path, char *const arguments[], char *const environment[], int input, int output) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int signal = 1; signal < NSIG; signal++) (void)sigaction(signal, &action, NULL); // not SIGKILL, and not the C library's own
    sigemptyset(&none);
    if (setpgid(0, 0) == 0 && place_descriptors(input, output) == 0 && chdir("/") == 0 && drop_capabilities() == 0 &&
        sigprocmask(SIG_SETMASK, &none, NULL) == 0)
        execve(path, arguments, environment);
    return errno;
}

pid_t clinux_start_program(const char *path, char *const arguments[], char *const environment[], int input, int output) {
    volatile int error = 0;
    sigset_t all, before;
    sigfillset(&all); // no handler of the parent's may run in the child
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork();
    if (child == 0) {
        error = become(path, arguments, environment, input, output);
        _exit(127);
    }
    int refused = child < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child < 0) return -refused;
    if (error == 0) return child;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    return -error;
}

int clinux_process_descriptor(pid_t process) {
    int descriptor = (int)syscall(SYS_pidfd_open, process, 0u); // close-on-exec by nature
    return descriptor < 0 ? -errno : descriptor;
}

int clinux_output_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
}

int clinux_memory_file(const char *name) {
    int descriptor = memfd_create(name, MFD_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}
