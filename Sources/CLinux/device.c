#define _GNU_SOURCE
#include "include/clinux_device.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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

int clinux_memory_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
