// Linux calls that Swift cannot make itself. Each returns 0 (or a descriptor) or a negated errno value.
#ifndef CAUSEWAY_CLINUX_H
#define CAUSEWAY_CLINUX_H

#include <stdint.h>
#include <sys/types.h>

// A close-on-exec eventfd with counter 0.
int clinux_eventfd(void);

// Raises the soft limit of open descriptors to the hard one: each control connection is one descriptor, and 1,024 is the usual soft limit.
int clinux_raise_descriptor_limit(void);

// One malloc arena for all threads (mallopt(3)): the control plane allocates little at a time, the data path nothing, and what a thousand
// sessions leave behind in an arena of each thread never goes back. And a fixed size from which on an allocation is a mapping of its own:
// left alone, malloc raises it to that of the biggest table that was ever freed. Call it before other threads start.
void clinux_tame_malloc(void);

// Gives memory that was freed back to the system (malloc_trim(3)); the allocator keeps it otherwise.
void clinux_give_back_memory(void);

// 1: the system clock is kept by somebody (adjtimex(2)); 0: by nobody.
int clinux_clock_is_synchronised(void);

// A raw socket for IP protocol 47, close-on-exec.
int clinux_raw_gre(void);

// ---- Privileges (privileges.c) --------------------------------------------------------------------------------------

// Replaces this process by `path` running as `user` (from the password database, its groups included) with CAP_NET_ADMIN and
// CAP_NET_RAW as its only capabilities: permitted, effective, inheritable and ambient; bounding set cut down to them; no new privileges.
// `for_xdp` keeps CAP_BPF and CAP_IPC_LOCK as well, as far as this process has them.
// `descriptors` become 3, 4, … of the new program in that order; every other descriptor above 2 must be close-on-exec.
// LISTEN_PID and LISTEN_FDS (sd_listen_fds(3)) are set by the caller in `environment`.
// Returns only on failure. Works with other threads running: exec ends them.
int clinux_become(const char *path, char *const arguments[], char *const environment[], const char *user, const int *descriptors,
                  int count, int for_xdp);

// 1 if this process has CAP_NET_ADMIN and CAP_NET_RAW in effect, 0 if not.
int clinux_has_capabilities(void);

// User and group id of a user in the password database; -ENOENT if there is none.
int clinux_user(const char *name, uid_t *user, gid_t *group);

// No core dumps, no ptrace by others, and memory locked (keys never reach the disk). Returns the first error; all three are tried.
int clinux_protect_memory(void);

#endif
