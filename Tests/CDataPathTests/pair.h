// Two connected sockets, UDP on the loopback interface: a TUN or a raw socket as far as a worker can see.
#pragma once
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

static void pair(int ends[2]) {
    struct sockaddr_in address[2];
    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof address[i];
        address[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        ends[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (ends[i] < 0 || bind(ends[i], (struct sockaddr *)&address[i], length) != 0) exit(1);
        if (getsockname(ends[i], (struct sockaddr *)&address[i], &length) != 0) exit(1);
    }
    for (int i = 0; i < 2; i++)
        if (connect(ends[i], (struct sockaddr *)&address[1 - i], sizeof address[i]) != 0) exit(1);
}
