// What a program that serves one TUN interface needs from Linux. Each returns 0 (or a descriptor) or a negated errno value.
#pragma once

// Readable once SIGTERM or SIGINT has arrived, whichever thread it was for. One for the whole process; never closed.
int clinux_end_descriptor(void);

// Calls body in the network namespace that the TUN behind `tun` is in now; it may have been moved after it was made. Only the
// calling thread goes there, and comes back. -EBADFD: the interface is gone.
int clinux_in_namespace_of(int tun, void (*body)(void *context), void *context);

// The present name of the interface behind `tun`; `name` has 16 bytes (IFNAMSIZ).
int clinux_tun_name(int tun, char *name);

// Calls body in a network namespace that nobody else is in, by a thread of its own; with body's end the namespace is gone.
int clinux_in_new_namespace(void (*body)(void *context), void *context);
