#define _GNU_SOURCE
#include "include/clinux_device.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_tun_open(const char *name, unsigned options)
{
	struct ifreq request = { .ifr_flags = IFF_TUN };
	int fd, error;

	if (strlen(name) >= sizeof(request.ifr_name))
		return -ENAMETOOLONG;
	strcpy(request.ifr_name, name);
	if (!(options & CLINUX_TUN_PACKET_INFORMATION))
		request.ifr_flags |= IFF_NO_PI;
	if (options & CLINUX_TUN_VIRTIO_HEADER)
		request.ifr_flags |= IFF_VNET_HDR;
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int unix_address(const char *path, struct sockaddr_un *address)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return 0;
}

int clinux_unix_listen(const char *path)
{
	struct sockaddr_un address;
	int error = unix_address(path, &address), fd;

	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	// bind(2) creates the file with the mode of the socket's inode: set before, nobody else can connect in between.
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

int clinux_unix_connect(const char *path, int timeout_ms)
{
	struct sockaddr_un address;
	struct timeval limit = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	int error = unix_address(path, &address), fd;

	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

int clinux_peer_pid(int socket, pid_t *pid)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return -errno;
	*pid = credentials.pid;
	return 0;
}

// In the child, between fork and exec: only async-signal-safe calls.
static void exec_device(const char *path, char *const argv[], char *const envp[], int tun, int listener, int report)
{
	sigset_t none;
	int null, error;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	// Out of the way of 0 to 4 first, so that no dup2 below overwrites one that is still needed.
	report = fcntl(report, F_DUPFD_CLOEXEC, 10);
	if (report < 0)
		_exit(127);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0)
		null = fcntl(null, F_DUPFD_CLOEXEC, 10);
	if (tun >= 0)
		tun = fcntl(tun, F_DUPFD_CLOEXEC, 10);
	if (listener >= 0)
		listener = fcntl(listener, F_DUPFD_CLOEXEC, 10);
	if (null < 0 || dup2(null, 0) < 0 || dup2(2, 1) < 0)
		goto failed;
	if (tun >= 0 && dup2(tun, 3) < 0)
		goto failed;
	if (listener >= 0 && (dup2(listener, 4) < 0 || listen(4, 16) < 0))
		goto failed;
	// Whatever the host process forgot to mark close-on-exec; kernels before 5.11 do without.
#ifdef SYS_close_range
	syscall(SYS_close_range, 5u, ~0u, 1u << 2);
#endif
	if (tun < 0)
		close(3);
	if (listener < 0)
		close(4);
	execve(path, argv, envp);
failed:
	error = errno;
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

pid_t clinux_spawn_device(const char *path, char *const argv[], char *const envp[], int tun, int listener)
{
	int report[2], error = 0;
	ssize_t got;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		error = errno;
		close(report[0]);
		close(report[1]);
		return -error;
	}
	if (pid == 0)
		exec_device(path, argv, envp, tun, listener, report[1]);
	close(report[1]);
	do
		got = read(report[0], &error, sizeof(error));
	while (got < 0 && errno == EINTR);
	close(report[0]);
	if (got == 0)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return got == sizeof(error) && error ? -error : -EIO;
}

int clinux_pidfd_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0u);

	return fd < 0 ? -errno : (int)fd;
}

int clinux_pidfd_signal(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, (void *)0, 0u) < 0 ? -errno : 0;
}
