// What an idle session, a WireGuard identity with its peer, and that peer's keys cost in resident memory of a gateway: 2,000 of each, whose
// handshakes a hub in another process answers. The figures stand in worker.h.
#define _GNU_SOURCE
#include <sys/wait.h>

#include "engine_wg_rig.h"

enum { MANY = 2000, HUB_KEY = 60000 };

static long resident(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &ignored, &pages) != 2) pages = 0;
    if (file != NULL) fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static cw_prefix own_prefix(unsigned n) { return (cw_prefix){.address = rig_session_number(n).inner, .length = 32}; }

// Tells its UDP port, and answers until the other end of `stop` closes.
static void run_hub(int port, int stop) {
    wg_end hub;
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE], byte;
    end_start(&hub, HUB_KEY);
    for (unsigned n = 0; n < MANY; n++) {
        cw_prefix own = own_prefix(n);
        end_key(private_key, public_key, n + 1);
        if (wg_peer(hub.wg, hub.identity, public_key, 0, &own, 1) != CW_OK) exit(1);
    }
    if (write(port, &hub.number, sizeof hub.number) != sizeof hub.number) exit(1);
    while (read(stop, &byte, 1) > 0) {}
    end_stop(&hub);
    exit(0);
}

static void open_sessions(rig_side *gateway) {
    for (unsigned n = 0; n < MANY; n++) {
        rig_session session = rig_session_number(n);
        cw_command bind = rig_bind_command(&session);
        bind.bind.identity = n + 1; // none that exists: the session is what is measured
        rig_open(gateway, &session, true);
        rig_rekey(gateway, &session, true);
        rig_submit(gateway, &bind);
    }
    rig_settle(gateway);
    rig_sleep(20);
}

static void test_cost_of_two_thousand(void) {
    int port[2], stop[2];
    if (pipe(port) != 0 || pipe(stop) != 0) rig_die("pipe");
    pid_t child = fork();
    if (child == 0) {
        close(stop[1]);
        run_hub(port[1], stop[0]);
    }
    close(stop[0]);
    uint16_t number = 0;
    CHECK_EQUAL(read(port[0], &number, sizeof number), sizeof number);

    rig_side gateway;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    config.wireguard = true;
    config.command_capacity = config.event_capacity = 64; // their slots stay resident once used
    rig_start(&gateway, "cwg0", &config);
    cw_wg *wireguard = cw_engine_wireguard(gateway.engine);
    cw_wg_port_config open = {.ipv4 = true};
    uint32_t handle, *identities = calloc(MANY, sizeof *identities);
    uint8_t private_key[CW_WG_KEY_SIZE], public_key[CW_WG_KEY_SIZE], hub_public[CW_WG_KEY_SIZE];
    CHECK_EQUAL(cw_wg_port_open(wireguard, &open, &handle), CW_OK);
    end_key(private_key, hub_public, HUB_KEY);
    rig_settle(&gateway);
    long start = resident();
    open_sessions(&gateway);
    long with_sessions = resident();
    cw_prefix all = rig_prefix("0.0.0.0", 0);
    for (unsigned n = 0; n < MANY; n++) {
        end_key(private_key, public_key, n + 1);
        CHECK_EQUAL(cw_wg_identity_add(wireguard, handle, private_key, &identities[n]), CW_OK);
        CHECK_EQUAL(wg_peer(wireguard, identities[n], hub_public, number, &all, 1), CW_OK);
    }
    long with_identities = resident();
    // A keepalive brings up each of them.
    uint64_t began = rig_now(), until = began + 60000;
    for (unsigned n = 0; n < MANY; n++) {
        cw_wg_peer_change change = {.mask = CW_WG_PEER_UPDATE_ONLY | CW_WG_PEER_KEEPALIVE, .keepalive_seconds = 25};
        memcpy(change.public_key, hub_public, sizeof hub_public);
        size_t done;
        CHECK_EQUAL(cw_wg_set_peers(wireguard, identities[n], &change, 1, &done), CW_OK);
    }
    cw_wg_counters engine;
    do {
        rig_sleep(5);
        cw_wg_counters_read(wireguard, &engine);
    } while (engine.handshakes < MANY && rig_now() < until);
    CHECK_EQUAL(engine.handshakes, MANY);
    long with_keys = resident();
    printf("bytes: %ld for each session, %ld for each identity with one peer, %ld more with keys; all up after %llu ms\n",
           (with_sessions - start) / MANY, (with_identities - with_sessions) / MANY, (with_keys - with_identities) / MANY,
           (unsigned long long)(rig_now() - began));
    // A sanitizer's own memory would be measured as well.
    CHECK(SANITIZED || with_sessions - start <= MANY * 4096L);
    CHECK(SANITIZED || with_identities - with_sessions < MANY * 3072L);
    CHECK(SANITIZED || with_keys - with_identities < MANY * 3072L);
    rig_stop(&gateway);
    free(identities);
    close(stop[1]);
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    rig_enter_namespace();
    RUN(cost_of_two_thousand);
    FINISH();
}
