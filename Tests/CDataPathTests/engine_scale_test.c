// 50,000 sessions with keys and routes in one gateway: time, resident memory, packets that find theirs, and nothing left when they close.
#define _GNU_SOURCE
#include "engine_rig.h"

enum { MANY = 50000, AT_ONCE = 64 };

static long resident(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &ignored, &pages) != 2) pages = 0;
    if (file != NULL) fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static cw_address inner_of(unsigned n) {
    return (cw_address){.bytes = {10, (uint8_t)(16 + (n >> 16)), (uint8_t)(n >> 8), (uint8_t)n}, .family = 4};
}

// Call IDs spread over the whole range, as a gateway's do.
static uint16_t call_of(unsigned n) { return (uint16_t)(n * 40503u); }

static void submit_all(rig_side *side, const cw_command *commands, size_t count) {
    uint64_t until = rig_now() + 60000;
    while (count > 0 && rig_now() < until) {
        size_t taken = 0;
        cw_status status = cw_engine_submit(side->engine, commands, count, &taken);
        CHECK(status == CW_OK || status == CW_FULL);
        commands += taken;
        count -= taken;
        if (status == CW_FULL) rig_sleep(1);
    }
    CHECK_EQUAL(count, 0);
}

static void open_all(rig_side *gateway) {
    static cw_command commands[AT_ONCE];
    size_t count = 0;
    for (unsigned n = 0; n < MANY; n++) {
        uint64_t handle = n + 1;
        commands[count++] = (cw_command){
            .type = CW_OPEN,
            .session = handle,
            .open = {.local_call_id = call_of(n), .peer_call_id = (uint16_t)n, .flags = CW_REQUIRE_ENCRYPTION,
                     .local_address = rig_address("127.0.0.1"), .peer_address = rig_address("127.0.0.2")},
        };
        for (int direction = CW_RECEIVE; direction <= CW_TRANSMIT; direction++) {
            commands[count] = (cw_command){
                .type = CW_REKEY,
                .session = handle,
                .rekey = {.direction = (cw_direction)direction, .key_bits = 128, .flags = CW_MPPE_STATELESS},
            };
            memset(commands[count++].rekey.start_key, (int)(n * 2 + (unsigned)direction), CW_MPPE_KEY_SIZE);
        }
        commands[count] = (cw_command){
            .type = CW_BIND,
            .session = handle,
            .bind = {.gateway_address = rig_address("10.255.255.1"), .tunnel = 3, .mtu = 1400, .prefix_count = 1},
        };
        commands[count++].bind.prefixes[0] = (cw_prefix){.address = inner_of(n), .length = 32};
        if (count < AT_ONCE && n + 1 < MANY) continue;
        submit_all(gateway, commands, count);
        count = 0;
    }
    rig_settle(gateway);
}

// Returns whether there were events. What was sent to clients that are not there comes back over the loopback interface, as GRE of no call.
static bool count_closed(rig_side *gateway, unsigned *closed) {
    static cw_event events[256];
    size_t got = cw_engine_poll(gateway->engine, events, 256);
    for (size_t i = 0; i < got; i++) {
        CHECK(events[i].type == CW_EVENT_CLOSED || events[i].type == CW_EVENT_UNKNOWN_CALL);
        *closed += events[i].type == CW_EVENT_CLOSED;
    }
    return got > 0;
}

static void close_all(rig_side *gateway) {
    static cw_command commands[AT_ONCE];
    uint64_t until = rig_now() + 60000;
    unsigned closed = 0;
    for (unsigned n = 0; n < MANY;) {
        size_t count = 0;
        for (; count < AT_ONCE && n < MANY; n++) commands[count++] = (cw_command){.type = CW_CLOSE, .session = n + 1};
        submit_all(gateway, commands, count);
        while (count_closed(gateway, &closed)) {}
    }
    while (closed < MANY && rig_now() < until)
        if (!count_closed(gateway, &closed)) rig_sleep(1);
    CHECK_EQUAL(closed, MANY);
}

// From behind the gateway to every 97th session: each is found, encrypted and sent once.
static void check_routes(rig_side *gateway) {
    unsigned asked = 0, answered = 0;
    for (unsigned n = 0; n < MANY; n += 97, asked++) {
        rig_packet packet = rig_udp(rig_address("192.0.2.1"), inner_of(n), 100, (uint16_t)n, false);
        rig_send(gateway, &packet);
    }
    for (unsigned n = 0; n < MANY; n += 97) {
        CHECK(rig_await(gateway, n + 1, COUNTER(packets_out), 1));
        answered += rig_counters(gateway, n + 1).bytes_out == 100;
    }
    CHECK_EQUAL(answered, asked);
    CHECK_EQUAL(rig_counters(gateway, 2).packets_out, 0); // none went astray
}

static void test_fifty_thousand(void) {
    rig_side gateway;
    cw_engine_config config = rig_config(CW_ROLE_GATEWAY, 2);
    config.session_capacity = 65535;
    config.command_capacity = config.event_capacity = 256; // their slots stay resident once used
    rig_start(&gateway, "cwg0", &config);
    rig_tunnel(&gateway, true, 1420);
    rig_settle(&gateway);
    long start = resident();
    uint64_t began = rig_now();
    open_all(&gateway);
    uint64_t opened = rig_now();
    rig_sleep(20);
    long each = (resident() - start) / MANY;
    check_routes(&gateway);
    uint64_t closing = rig_now();
    close_all(&gateway);
    printf("%u sessions: open after %llu ms, %ld bytes each, closed after %llu ms\n", MANY, (unsigned long long)(opened - began), each,
           (unsigned long long)(rig_now() - closing));
    CHECK(SANITIZED || each < 4096); // a sanitizer's own memory would be measured as well
    // Some seconds later the workers have given back what is not in use.
    uint64_t until = rig_now() + 15000;
    do {
        rig_sleep(100);
        cw_engine_trim(gateway.engine);
    } while (!SANITIZED && resident() - start >= MANY * 512L && rig_now() < until);
    printf("%ld bytes each are left\n", (resident() - start) / MANY);
    CHECK(SANITIZED || resident() - start < MANY * 512L);
    rig_stop(&gateway);
}

int main(void) {
    rig_enter_namespace();
    RUN(fifty_thousand);
    FINISH();
}
