#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int kept[] = {CAP_NET_ADMIN, CAP_NET_RAW};
enum { KEPT = sizeof kept / sizeof kept[0] };

static int lookup(const char *name, uid_t *user, gid_t *group) {
    char text[4096];
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, text, sizeof text, &found);
    if (error != 0) return -error;
    if (found == NULL) return -ENOENT;
    *user = found->pw_uid;
    *group = found->pw_gid;
    return 0;
}

int clinux_user(const char *name, uid_t *user, gid_t *group) { return lookup(name, user, group); }

int clinux_has_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0) return -errno;
    for (int i = 0; i < KEPT; i++)
        if (!(data[kept[i] / 32].effective & 1u << (kept[i] % 32))) return 0;
    return 1;
}

// What loads XDP programs and locks their packets' memory without a limit, of which a container may have neither.
static const int kept_for_xdp[] = {CAP_BPF, CAP_IPC_LOCK};
enum { KEPT_FOR_XDP = sizeof kept_for_xdp / sizeof kept_for_xdp[0] };

typedef struct keeping {
    int all[KEPT + KEPT_FOR_XDP];
    int count;
} keeping;

static int choose_kept(int for_xdp, keeping *out) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0) return -errno;
    out->count = 0;
    for (int i = 0; i < KEPT; i++) out->all[out->count++] = kept[i];
    for (int i = 0; for_xdp && i < KEPT_FOR_XDP; i++)
        if (data[kept_for_xdp[i] / 32].permitted & 1u << (kept_for_xdp[i] % 32)) out->all[out->count++] = kept_for_xdp[i];
    return 0;
}

static int keep_capabilities(const keeping *keeping) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    for (int i = 0; i < keeping->count; i++) {
        struct __user_cap_data_struct *half = &data[keeping->all[i] / 32];
        uint32_t bit = 1u << (keeping->all[i] % 32);
        half->permitted |= bit;
        half->effective |= bit;
        half->inheritable |= bit;
    }
    if (syscall(SYS_capset, &header, data) != 0) return -errno;
    for (int i = 0; i < keeping->count; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, keeping->all[i], 0, 0) != 0) return -errno;
    return 0;
}

// Needs CAP_SETPCAP, so it comes before the change of user.
static int cut_bounding_set(const keeping *keeping) {
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++) {
        int keep = 0;
        for (int i = 0; i < keeping->count; i++) keep |= keeping->all[i] == capability;
        if (!keep && prctl(PR_CAPBSET_DROP, capability) != 0) return -errno;
    }
    return 0;
}

// Moves descriptors[i] to 3 + i. They are duplicated above the target range first, so that no move overwrites another.
static int place(const int *descriptors, int count) {
    enum { MOST = 64 };
    int copies[MOST];
    if (count > MOST) return -E2BIG;
    for (int i = 0; i < count; i++)
        if ((copies[i] = fcntl(descriptors[i], F_DUPFD_CLOEXEC, 3 + count)) < 0) return -errno;
    for (int i = 0; i < count; i++)
        if (dup2(copies[i], 3 + i) < 0) return -errno;
    return 0;
}

int clinux_become(const char *path, char *const arguments[], char *const environment[], const char *user, const int *descriptors,
                  int count, int for_xdp) {
    uid_t uid;
    gid_t gid;
    keeping keeping;
    int error = lookup(user, &uid, &gid);
    if (error != 0 || (error = choose_kept(for_xdp, &keeping)) != 0) return error;
    // Locked memory is the process's own keys; an ordinary user's limit is too low for them.
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if ((error = cut_bounding_set(&keeping)) != 0) return error;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return -errno;
    if (initgroups(user, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return -errno;
    if ((error = keep_capabilities(&keeping)) != 0) return error;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
    if ((error = place(descriptors, count)) != 0) return error;
    execve(path, arguments, environment);
    return -errno;
}

int clinux_protect_memory(void) {
    int first = 0;
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) first = -errno;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 && first == 0) first = -errno;
    // On fault: what is never touched (session slots nobody uses) is not brought in.
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 && first == 0) first = -errno;
    return first;
}
