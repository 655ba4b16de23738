#define _GNU_SOURCE
#include "cload.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFELINE = 3 };

// After a fork without CLONE_VM in a program with threads: only what a signal handler may call.
static int enter_room(void) {
    // Nothing that is mounted here is seen outside.
    if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return errno;
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL) != 0) return errno;
    if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) return errno;
    return 0;
}

int cload_run_isolated(char *const arguments[], char *const environment[]) {
    int lifeline[2], report[2];
    if (pipe2(lifeline, O_CLOEXEC) != 0) return -errno;
    if (pipe2(report, O_CLOEXEC) != 0) {
        int error = errno;
        close(lifeline[0]), close(lifeline[1]);
        return -error;
    }
    struct clone_args how = {.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET, .exit_signal = SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (child == 0) {
        int error = enter_room();
        if (error == 0) {
            if (lifeline[0] == LIFELINE) fcntl(LIFELINE, F_SETFD, 0);
            else if (report[1] == LIFELINE) {
                report[1] = fcntl(LIFELINE, F_DUPFD_CLOEXEC, LIFELINE + 1);
                dup2(lifeline[0], LIFELINE);
            } else dup2(lifeline[0], LIFELINE);
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            execve("/proc/self/exe", arguments, environment);
            error = errno;
        }
        if (write(report[1], &error, sizeof error) < 0) _exit(126);
        _exit(127);
    }
    int failure = child < 0 ? errno : 0;
    close(lifeline[0]), close(report[1]);
    if (child > 0) {
        int told = 0;
        ssize_t got;
        do got = read(report[0], &told, sizeof told);
        while (got < 0 && errno == EINTR);
        if (got == sizeof told) failure = told;
    }
    close(report[0]);
    int status = 0;
    if (child > 0)
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    close(lifeline[1]);
    if (failure != 0) return -failure;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void *wait_for_end(void *context) {
    int descriptor = (int)(intptr_t)context;
    char byte;
    for (;;) {
        ssize_t got = read(descriptor, &byte, 1);
        if (got == 0 || (got < 0 && errno != EINTR)) _exit(143);
    }
}

int cload_watch_lifeline(int descriptor) {
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) return -errno;
    pthread_t thread;
    int error = pthread_create(&thread, NULL, wait_for_end, (void *)(intptr_t)descriptor);
    if (error == 0) pthread_detach(thread);
    return -error;
}

bool cload_has_processor(int number) {
    cpu_set_t set;
    _Static_assert(sizeof set * 8 >= CLOAD_MAX_PROCESSORS, "as many as the set has");
    return number >= 0 && number < CLOAD_MAX_PROCESSORS && sched_getaffinity(0, sizeof set, &set) == 0 && CPU_ISSET(number, &set);
}

int cload_interface_mtu(const char *name) {
    struct ifreq request = {0};
    if (strlen(name) >= sizeof request.ifr_name) return -EINVAL;
    strcpy(request.ifr_name, name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int result = ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : -errno;
    close(fd);
    return result;
}

int cload_unix_request(const char *path, const char *request, char *answer, int capacity) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path || capacity < 1) return -EINVAL;
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    size_t length = strlen(request);
    ssize_t got = -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length)
        got = recv(fd, answer, (size_t)capacity - 1, 0);
    int error = errno;
    close(fd);
    if (got < 0) return -error;
    answer[got] = 0;
    return (int)got;
}

int load_socket(const char *space, int domain, int type) {
    if (space == NULL) {
        int fd = socket(domain, type | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0) return -errno;
    int there = open(space, O_RDONLY | O_CLOEXEC);
    int fd = there < 0 || setns(there, CLONE_NEWNET) != 0 ? -errno : 0;
    if (fd == 0) {
        fd = socket(domain, type | SOCK_CLOEXEC, 0);
        if (fd < 0) fd = -errno;
        // A thread that cannot come back must not go on.
        if (setns(home, CLONE_NEWNET) != 0) _exit(126);
    }
    if (there >= 0) close(there);
    close(home);
    return fd;
}

int load_bind(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    return bind(fd, (struct sockaddr *)&name, sizeof name) == 0 ? 0 : -errno;
}
