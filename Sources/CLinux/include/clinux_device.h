// What the userspace WireGuard backend needs from Linux and Swift cannot say: TUN ioctls, fork with descriptors in place,
// pidfds, socket credentials. Functions return a negative errno on failure.
#pragma once
#include <stdint.h>
#include <sys/types.h>

enum {
	CLINUX_TUN_PACKET_INFORMATION = 1, // without IFF_NO_PI
	CLINUX_TUN_VIRTIO_HEADER = 2,      // IFF_VNET_HDR
};

// Opens /dev/net/tun and attaches to the interface called name, which is created unless it exists. Non-blocking, close-on-exec.
int clinux_tun_open(const char *name, unsigned options);

// A listening Unix stream socket of mode 0600 at path, which must not exist. Close-on-exec.
int clinux_unix_listen(const char *path);

// Connects to the Unix stream socket at path; both directions time out after timeout_ms. Close-on-exec.
int clinux_unix_connect(const char *path, int timeout_ms);

// Process id of whoever called listen(2) last on the other end's listening socket.
int clinux_peer_pid(int socket, pid_t *pid);

// Starts path with tun as descriptor 3 and listener as descriptor 4; standard input is empty, standard output goes to standard error,
// nothing else is inherited. The child itself calls listen(2) on the listener, so that clinux_peer_pid finds the child.
// tun or listener may be -1. Returns the process id; a failed exec is reported here and leaves no process.
pid_t clinux_spawn_device(const char *path, char *const argv[], char *const envp[], int tun, int listener);

int clinux_pidfd_open(pid_t pid);
int clinux_pidfd_signal(int pidfd, int signal);
