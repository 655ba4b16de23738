// One end of a tunnel for Bench/wireguard: a device of the C core with one peer, until SIGTERM.
//   wireguard-device IFNAME WORKERS PRIVATE-KEY PORT PEER-KEY [ENDPOINT-IPv4 ENDPOINT-PORT]     keys in hexadecimal
// Says "ready", and in the end what it counted.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>

#include "causeway_datapath.h"

static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "wireguard-device: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void read_key(const char *hex, uint8_t key[CW_WG_KEY_SIZE]) {
    require(strlen(hex) == 2 * CW_WG_KEY_SIZE, "length of a key");
    for (int i = 0; i < CW_WG_KEY_SIZE; i++) require(sscanf(hex + 2 * i, "%2hhx", &key[i]) == 1, "digits of a key");
}

int main(int count, char **arguments) {
    require(count == 6 || count == 8, "arguments");
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int signals = signalfd(-1, &ends, 0);

    cw_device_config config;
    cw_device *device;
    cw_device_config_defaults(&config);
    config.worker_count = (uint32_t)atoi(arguments[2]);
    require(cw_open_tun_offload(arguments[1], config.worker_count, config.tun_fd) == CW_OK, "TUN");
    require(cw_device_create(&config, &device) == CW_OK, "device");
    cw_wg *wg = cw_device_wireguard(device);

    uint8_t private_key[CW_WG_KEY_SIZE];
    uint32_t port, identity;
    size_t done;
    read_key(arguments[3], private_key);
    cw_wg_port_config listen = {.port = (uint16_t)atoi(arguments[4]), .ipv4 = true, .ipv6 = true};
    require(cw_wg_port_open(wg, &listen, &port) == CW_OK, "port");
    require(cw_wg_identity_add(wg, port, private_key, &identity) == CW_OK, "identity");
    const cw_prefix everything[2] = {{.address.family = 4}, {.address.family = 6}};
    cw_wg_peer_change peer = {.allowed_ip_count = 2, .allowed_ips = everything};
    read_key(arguments[5], peer.public_key);
    if (count == 8) {
        peer.mask = CW_WG_PEER_ENDPOINT;
        peer.endpoint.address.family = 4;
        require(inet_pton(AF_INET, arguments[6], peer.endpoint.address.bytes) == 1, "endpoint");
        peer.endpoint.port = (uint16_t)atoi(arguments[7]);
    }
    require(cw_wg_set_peers(wg, identity, &peer, 1, &done) == CW_OK, "peer");
    cw_device_set_identity(device, identity);
    require(cw_device_start(device) == CW_OK, "start");
    puts("ready");
    fflush(stdout);

    struct pollfd wait[2] = {{.fd = signals, .events = POLLIN}, {.fd = cw_device_event_fd(device), .events = POLLIN}};
    poll(wait, 2, -1);
    cw_device_counters counters;
    cw_device_counters_read(device, &counters);
    printf("from the TUN: %llu packets in %llu reads; into it: %llu in %llu writes, %llu refused; no buffer for %llu\n",
           (unsigned long long)counters.read_packets, (unsigned long long)counters.reads, (unsigned long long)counters.written_packets,
           (unsigned long long)counters.writes, (unsigned long long)counters.write_failed, (unsigned long long)counters.overflow);
    cw_wg_counters of_wg;
    cw_wg_counters_read(wg, &of_wg);
    for (int i = 0; i < CW_WG_DROP_WG_COUNT; i++)
        if (of_wg.drops[i] != 0) printf("dropped, %s: %llu\n", cw_wg_drop_name((cw_wg_drop)i), (unsigned long long)of_wg.drops[i]);
    cw_device_destroy(device);
    return 0;
}
