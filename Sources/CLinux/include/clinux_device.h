// Devices and files that Swift cannot open itself. Functions return a descriptor or a negative errno.
#pragma once

enum {
	CLINUX_TUN_PACKET_INFORMATION = 1, // without IFF_NO_PI
	CLINUX_TUN_VIRTIO_HEADER = 2,      // IFF_VNET_HDR
};

// Opens /dev/net/tun and attaches to the interface called name, which is created unless it exists. Non-blocking, close-on-exec.
int clinux_tun_open(const char *name, unsigned options);

// A file that is in memory only (memfd_create(2)). Close-on-exec.
int clinux_memory_file(const char *name);
