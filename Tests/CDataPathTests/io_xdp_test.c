// XDP programs and their sockets, with the driver's XDP (of veth) and with the kernel's own: which packets they take, what they send, and
// that nothing stays behind.
#define _GNU_SOURCE
#include "io_xdp.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/wait.h>

#include "io_frames.h"

static cw_xdp_mode mode;

static cw_xdp_config of_interface(const char *name) {
    return (cw_xdp_config){
        .interface = if_nametoindex(name), .address_count = 1, .addresses = {rig_address("10.77.0.1")}, .mode = mode};
}

typedef struct ends {
    cw_xdp *xdp;
    cw_xsks workers[WORKERS];
    int32_t raw[WORKERS];
} ends;

static void open_interface(ends *ends, const char *name) {
    cw_xdp_report report;
    cw_xdp_config one = of_interface(name);
    CHECK_EQUAL(cw_xdp_create(WORKERS, &ends->xdp), CW_OK);
    if (cw_xdp_add(ends->xdp, &one, &report) != CW_OK) rig_die(report.failed);
    CHECK_EQUAL(report.native, mode == CW_XDP_NATIVE);
    for (uint32_t i = 0; i < WORKERS; i++) {
        CHECK(cw_xsks_create(&ends->workers[i], ends->xdp, i));
        CHECK_EQUAL(cw_open_gre(4, i, WORKERS, &ends->raw[i]), CW_OK);
    }
}

static void open_ends(ends *ends) { open_interface(ends, "near0"); }

static void close_ends(ends *ends) {
    for (uint32_t i = 0; i < WORKERS; i++) {
        cw_xsks_destroy(&ends->workers[i]);
        close(ends->raw[i]);
    }
    cw_xdp_destroy(ends->xdp);
}

static cw_buffer storage[8];

static cw_tapped read_worker(ends *ends, uint32_t worker) {
    cw_buffer *buffers[8];
    for (int i = 0; i < 8; i++) {
        storage[i].offset = CW_HEADROOM;
        buffers[i] = &storage[i];
    }
    return cw_xsks_receive(&ends->workers[worker], buffers, 8);
}

static bool is_ready(const ends *ends, uint32_t worker, int milliseconds) {
    struct pollfd one = {ends->workers[worker].fd, POLLIN, 0};
    return poll(&one, 1, milliseconds) == 1;
}

static arrived look(void *opened) {
    ends *ends = opened;
    arrived all = {0};
    for (int patience = 0; patience < 5; patience++) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            cw_tapped found = read_worker(ends, i);
            all.ring += found.count;
            all.malformed += found.malformed;
            uint8_t packet[FRAME];
            while (recv(ends->raw[i], packet, sizeof packet, MSG_DONTWAIT) > 0) all.raw++;
        }
        rig_sleep(all.ring + all.raw + all.malformed > 0 ? 2 : 10);
    }
    return all;
}

// ---- In ---------------------------------------------------------------------------------------------------------------

static void test_each_packet_at_one_end(void) {
    ends ends;
    open_ends(&ends);
    check_each_packet(&ends, look, CW_XSK_LONGEST);
    cw_xdp_detach(ends.xdp);
    frame made = plain();
    put(&made, "far0");
    expect(&ends, look, "detached", in_raw);
    close_ends(&ends);
}

static void test_calls_to_their_workers(void) {
    ends ends;
    open_ends(&ends);
    for (uint16_t call = 0; call < 10; call++) {
        frame made = gre_frame(call, call, NULL, 50);
        put(&made, "far0");
    }
    rig_sleep(200);
    for (uint16_t worker = 0; worker < WORKERS; worker++) {
        CHECK(is_ready(&ends, worker, 0));
        cw_tapped found = read_worker(&ends, worker);
        CHECK(!is_ready(&ends, worker, 0));
        CHECK_EQUAL(found.count, 5);
        for (uint16_t i = 0; i < found.count; i++) {
            frame made = gre_frame((uint16_t)(2 * i + worker), 2u * i + worker, NULL, 50);
            CHECK_EQUAL(storage[i].length, made.length - 14);
            CHECK(memcmp(cw_buffer_data(&storage[i]), made.bytes + 14, storage[i].length) == 0);
        }
    }
    close_ends(&ends);
}

static void take_all(ends *ends, uint32_t worker, uint32_t *taken, uint32_t *lost) {
    for (int empty = 0; empty < 3;) {
        cw_tapped found = read_worker(ends, worker);
        *taken += found.count;
        *lost += found.lost;
        empty = found.count == 0 ? empty + 1 : 0;
    }
}

// One worker's ring is full: its packets are lost and counted, the other's are not. Afterwards all is as before: no frame has got lost.
static void test_a_full_ring_counts(void) {
    enum { sent = 3000, rounds = 3 };
    ends ends;
    open_ends(&ends);
    for (int round = 0; round < rounds; round++) {
        frame made = plain();
        for (int i = 0; i < sent; i++) put(&made, "far0");
        made = gre_frame(11, 1, NULL, 100);
        put(&made, "far0");
        rig_sleep(200);
        uint32_t taken = 0, lost = 0, others = 0, others_lost = 0;
        take_all(&ends, 1, &others, &others_lost);
        CHECK_EQUAL(others, 1);
        CHECK_EQUAL(others_lost, 0);
        take_all(&ends, 0, &taken, &lost);
        CHECK_EQUAL(taken, ends.workers[0].all[0]->receive.size);
        CHECK_EQUAL(taken + lost, sent);
    }
    frame made = plain();
    put(&made, "far0");
    rig_sleep(200);
    CHECK_EQUAL(cw_xsks_receive(&ends.workers[0], NULL, 0).lost, 1);
    CHECK_EQUAL(cw_xsks_receive(&ends.workers[0], NULL, 0).lost, 0);
    CHECK_EQUAL(look(&ends).raw, 0);
    close_ends(&ends);
}

static void set_channels(const char *name, uint32_t receiving, uint32_t sending) {
    struct ethtool_channels channels = {.cmd = ETHTOOL_SCHANNELS, .rx_count = receiving, .tx_count = sending};
    struct ifreq request = {.ifr_data = (void *)&channels};
    strcpy(request.ifr_name, name);
    if (ioctl(wire, SIOCETHTOOL, &request) != 0) rig_die("ETHTOOL_SCHANNELS");
}

// Frames of many sources are spread over the queues of the link; each queue has the sockets of both workers.
static void test_several_queues(void) {
    enum { sources = 64 };
    run("ip link add near2 address 02:00:00:00:02:01 numrxqueues 2 numtxqueues 2 type veth peer name far2 numrxqueues 2 numtxqueues 2 && "
        "ip link set near2 up && ip link set far2 up");
    set_channels("near2", 2, 2);
    set_channels("far2", 2, 2);
    ends ends;
    open_interface(&ends, "near2");
    CHECK_EQUAL(ends.workers[0].count, 2);
    for (uint8_t i = 0; i < sources; i++) {
        frame made = gre_frame(i, i, NULL, 60);
        memcpy(made.bytes, (const uint8_t[]){2, 0, 0, 0, 2, 1}, 6);
        made.bytes[14 + 15] = i;
        finish(&made);
        put(&made, "far2");
    }
    rig_sleep(200);
    bool both = true;
    for (uint32_t i = 0; i < WORKERS; i++) {
        CHECK(is_ready(&ends, i, 0));
        for (uint32_t q = 0; q < 2; q++) both = both && *ends.workers[i].all[q]->receive.producer > 0;
    }
    CHECK(both || mode == CW_XDP_GENERIC); // which sees all that comes through a veth as its first queue's
    CHECK_EQUAL(look(&ends).ring, sources);
    CHECK(!is_ready(&ends, 0, 0));
    close_ends(&ends);
    run("ip link delete near2");
}

// ---- Out --------------------------------------------------------------------------------------------------------------

// Frames with numbers in them; returns how many were taken.
static uint32_t send_numbered(cw_xsks *xsks, uint32_t first, uint32_t count) {
    static uint8_t bytes[CW_MAX_BATCH][600];
    struct iovec frames[CW_MAX_BATCH];
    for (uint32_t i = 0; i < count; i++) {
        memcpy(bytes[i], (const uint8_t[]){2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 9, 0x88, 0xB5}, 14); // IEEE's for experiments
        cw_put32(bytes[i] + 14, first + i);
        memset(bytes[i] + 18, (int)(first + i), sizeof bytes[i] - 18);
        frames[i] = (struct iovec){bytes[i], 60 + (first + i) % 500};
    }
    return cw_xsks_send(xsks, if_nametoindex("near0"), frames, count);
}

static int open_far_end(void) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(0x88B5)), size = 32 << 20;
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88B5), .sll_ifindex = (int)if_nametoindex("far0")};
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0) rig_die("packet socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return fd;
}

// Many times as many as there are frames, by both workers, arrive unchanged and in order.
static void test_frames_leave(void) {
    enum { batch = 50, batches = 60 };
    ends ends;
    open_ends(&ends);
    int far = open_far_end();
    uint32_t expected[WORKERS] = {0, 1u << 20};
    for (uint32_t i = 0; i < batches; i++) {
        for (uint32_t worker = 0; worker < WORKERS; worker++) {
            uint32_t first = expected[worker], last = first + batch;
            CHECK_EQUAL(send_numbered(&ends.workers[worker], first, batch), batch);
            for (uint64_t until = rig_now() + RIG_PATIENCE; expected[worker] < last && rig_now() < until;) {
                uint8_t got[FRAME];
                ssize_t length = recv(far, got, sizeof got, MSG_DONTWAIT);
                (void)cw_xsks_kick(&ends.workers[worker]);
                if (length < 0) continue;
                uint32_t number = cw_get32(got + 14);
                CHECK_EQUAL(number, expected[worker]);
                CHECK_EQUAL(length, 60 + number % 500);
                CHECK_EQUAL(got[length - 1], number & 255);
                expected[worker]++;
            }
            CHECK_EQUAL(expected[worker], last);
        }
    }
    struct iovec far_too_long = {.iov_base = &ends, .iov_len = CW_XSK_FRAME + 1};
    CHECK_EQUAL(cw_xsks_send(&ends.workers[0], if_nametoindex("near0"), &far_too_long, 1), 0);
    CHECK_EQUAL(cw_xsks_send(&ends.workers[0], if_nametoindex("near1"), &far_too_long, 1), 0); // not one of ours
    close(far);
    close_ends(&ends);
}

// A link that is down takes what there is room for and no more, and does not keep the worker busy; when it is up again, frames leave.
static void test_a_link_goes_down_and_comes_back(void) {
    ends ends;
    open_ends(&ends);
    run("ip link set near0 down");
    uint32_t taken = 0;
    for (int i = 0; i < 40; i++) {
        taken += send_numbered(&ends.workers[0], 0, 32);
        CHECK(!cw_xsks_kick(&ends.workers[0]));
    }
    CHECK(taken <= ends.workers[0].all[0]->send.size);
    CHECK(!is_ready(&ends, 0, 0));
    run("ip link set near0 up && ip route replace 10.88.0.0/16 dev near0 && "
        "ip neighbour replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev near0");
    rig_sleep(200);
    int far = open_far_end();
    uint32_t seen = 0;
    for (uint64_t until = rig_now() + RIG_PATIENCE; seen < taken + 32 && rig_now() < until;) {
        uint8_t got[FRAME];
        if (seen == 0) taken += send_numbered(&ends.workers[0], 0, 1);
        while (recv(far, got, sizeof got, MSG_DONTWAIT) > 0) seen++;
        if (seen == taken) break;
        (void)cw_xsks_kick(&ends.workers[0]);
        rig_sleep(2);
    }
    CHECK_EQUAL(seen, taken);
    frame made = plain();
    put(&made, "far0");
    expect(&ends, look, "up again", in_ring);
    close(far);
    close_ends(&ends);
}

static void test_a_link_goes_away(void) {
    run("ip link add near2 type veth peer name far2 && ip link set near2 up && ip link set far2 up");
    uint32_t index = if_nametoindex("near2");
    ends ends;
    open_interface(&ends, "near2");
    run("ip link delete near2");
    uint8_t bytes[100] = {0};
    struct iovec one = {bytes, sizeof bytes};
    uint32_t taken = 0;
    for (int i = 0; i < 20; i++) taken += cw_xsks_send(&ends.workers[0], index, &one, 1);
    CHECK(taken <= 1); // the first finds out
    CHECK(!cw_xsks_kick(&ends.workers[0]));
    CHECK(!is_ready(&ends, 0, 20));
    CHECK_EQUAL(look(&ends).ring, 0);
    close_ends(&ends);
}

// ---- Life -------------------------------------------------------------------------------------------------------------

static void test_all_of_it_dies_with_its_process(void) {
    int told[2];
    if (pipe2(told, O_CLOEXEC) != 0) rig_die("pipe2");
    pid_t child = fork();
    if (child == 0) {
        ends ends;
        open_ends(&ends);
        (void)!write(told[1], "", 1);
        for (;;) pause();
    }
    uint8_t status;
    CHECK_EQUAL(read(told[0], &status, 1), 1);
    ends mine;
    cw_xdp_report report;
    cw_xdp_config one = of_interface("near0");
    CHECK_EQUAL(cw_xdp_create(WORKERS, &mine.xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(mine.xdp, &one, &report), CW_SYSTEM); // it is the other process's
    CHECK_EQUAL(errno, EBUSY);
    cw_xdp_destroy(mine.xdp);
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
    run("! ip -details link show near0 | grep -q xdp");
    open_ends(&mine);
    frame made = plain();
    put(&made, "far0");
    expect(&mine, look, "taken over", in_ring);
    close_ends(&mine);
    run("! ip -details link show near0 | grep -q xdp");
    close(told[0]);
    close(told[1]);
}

static void test_another_program_stays(void) {
    cw_address address = rig_address("10.77.0.1");
    cw_xdp_program nobody = {.worker_count = 1, .address_count = 1, .addresses = &address, .sockets = cw_xdp_map_open(1)};
    int program = cw_xdp_program_load(&nobody);
    int link = cw_xdp_program_attach(program, if_nametoindex("near0"), mode == CW_XDP_NATIVE);
    CHECK(nobody.sockets >= 0 && program >= 0 && link >= 0);
    cw_xdp *xdp;
    cw_xdp_report report;
    cw_xdp_config one = of_interface("near0");
    one.mode = CW_XDP_BEST;
    CHECK_EQUAL(cw_xdp_create(WORKERS, &xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(xdp, &one, &report), CW_SYSTEM);
    CHECK(errno == EBUSY || errno == EEXIST);
    CHECK(report.failed != NULL && strstr(report.failed, "has another one") != NULL);
    run("ip -details link show near0 | grep -q xdp");
    close(link);
    close(program);
    close(nobody.sockets);
    CHECK_EQUAL(cw_xdp_add(xdp, &one, &report), CW_OK); // the same object is usable after a refusal
    CHECK(report.failed == NULL && !report.native && !report.zero_copy); // it is a veth
    CHECK_EQUAL(report.queues, 1);
    CHECK_EQUAL(report.memory, 2560 * CW_XSK_FRAME);
    CHECK_EQUAL(cw_xdp_add(xdp, &one, &report), CW_INVALID); // twice
    cw_xdp_destroy(xdp);
}

static void refuse(const cw_xdp_config *wrong, cw_status status, const char *why) {
    cw_xdp *xdp;
    cw_xdp_report report;
    CHECK_EQUAL(cw_xdp_create(WORKERS, &xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(xdp, wrong, &report), status);
    if (why != NULL && (report.failed == NULL || strstr(report.failed, why) == NULL)) {
        fprintf(stderr, "%s: not about %s\n", report.failed == NULL ? "nothing" : report.failed, why);
        CHECK(false);
    }
    cw_xdp_destroy(xdp);
}

static void test_the_kernels_list_of_vlans(void) {
    static char text[] = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
                         "near0.5        | 5  | near0\noffice         | 4000  | uplink-of-15-ch\n";
    static const struct {
        const char *name;
        bool listed;
    } cases[] = {{"near0", true}, {"uplink-of-15-ch", true}, {"near0.5", false}, {"near", false}, {"office", false}, {"ID", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *list = fmemopen(text, sizeof text - 1, "r");
        CHECK_EQUAL(cw_xdp_lists_vlan(list, cases[i].name), cases[i].listed);
        fclose(list);
    }
}

static void test_what_is_refused(void) {
    cw_xdp_config wrong = of_interface("lo");
    refuse(&wrong, CW_SYSTEM, "Ethernet");
    wrong = of_interface("near0");
    wrong.interface = 9999;
    refuse(&wrong, CW_SYSTEM, "Ethernet");
    wrong.interface = 0;
    refuse(&wrong, CW_INVALID, NULL);
    wrong = of_interface("near0");
    wrong.address_count = 0;
    refuse(&wrong, CW_INVALID, NULL);
    wrong.address_count = CW_MAX_TAP_ADDRESSES + 1;
    refuse(&wrong, CW_INVALID, NULL);
    wrong = of_interface("near0");
    wrong.addresses[0].family = 6;
    refuse(&wrong, CW_INVALID, NULL);
    // veth takes tags off: a packet of the VLAN would look like one of near0's own. Not every kernel has VLANs.
    if (system("ip link add link near0 name near0.5 type vlan id 5 2>/dev/null") == 0) {
        wrong = of_interface("near0");
        refuse(&wrong, CW_SYSTEM, "VLAN");
        run("ip link delete near0.5");
    }
    cw_xdp *xdp = NULL;
    CHECK_EQUAL(cw_xdp_create(0, &xdp), CW_INVALID);
    CHECK_EQUAL(cw_xdp_create(CW_MAX_WORKERS + 1, &xdp), CW_INVALID);
    cw_xdp_destroy(NULL);
    // An engine with another number of workers.
    CHECK_EQUAL(cw_xdp_create(WORKERS + 1, &xdp), CW_OK);
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, WORKERS);
    engine.xdp = xdp;
    cw_engine *created;
    CHECK_EQUAL(cw_engine_create(&engine, &created), CW_INVALID);
    cw_xdp_destroy(xdp);
}

static void test_many_addresses(void) {
    cw_xdp_config many = of_interface("near0");
    many.address_count = CW_MAX_TAP_ADDRESSES;
    for (uint32_t i = 0; i + 1 < CW_MAX_TAP_ADDRESSES; i++) {
        many.addresses[i] = rig_address("10.77.0.1");
        many.addresses[i].bytes[3] = (uint8_t)(i + 200);
    }
    many.addresses[CW_MAX_TAP_ADDRESSES - 1] = rig_address("10.77.0.1");
    ends ends;
    cw_xdp_report report;
    CHECK_EQUAL(cw_xdp_create(WORKERS, &ends.xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(ends.xdp, &many, &report), CW_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        CHECK(cw_xsks_create(&ends.workers[i], ends.xdp, i));
        CHECK_EQUAL(cw_open_gre(4, i, WORKERS, &ends.raw[i]), CW_OK);
    }
    frame made = plain();
    put(&made, "far0");
    expect(&ends, look, "the last address", in_ring);
    made.bytes[14 + 19] = 200;
    finish(&made);
    put(&made, "far0");
    expect(&ends, look, "the first address", in_ring);
    made.bytes[14 + 19] = 199;
    finish(&made);
    put(&made, "far0");
    expect(&ends, look, "no address", nowhere);
    close_ends(&ends);
}

// ---- In an engine -----------------------------------------------------------------------------------------------------

static void nothing_is_attached(void) { run("! ip -details link show near0 | grep -q xdp"); }

static void test_engine_with_xdp(void) {
    int descriptors = rig_descriptors();
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, WORKERS);
    cw_xdp_config one = of_interface("near0");
    cw_xdp_report report;
    CHECK_EQUAL(cw_xdp_create(WORKERS, &engine.xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(engine.xdp, &one, &report), CW_OK);
    for (uint32_t i = 0; i < WORKERS; i++) CHECK_EQUAL(cw_open_gre_frames(&engine.frame_fd[i]), CW_OK);
    check_engine(&engine, nothing_is_attached);
    CHECK_EQUAL(rig_descriptors(), descriptors);
}

// By the sockets of XDP, not by the packet socket: that is one that cannot send.
static void test_engine_sends(void) {
    enum { packets = 200 };
    rig_side gateway;
    cw_engine_config engine = rig_config(CW_ROLE_GATEWAY, WORKERS);
    cw_xdp_config one = of_interface("near0");
    cw_xdp_report report;
    CHECK_EQUAL(cw_xdp_create(WORKERS, &engine.xdp), CW_OK);
    CHECK_EQUAL(cw_xdp_add(engine.xdp, &one, &report), CW_OK);
    for (uint32_t i = 0; i < WORKERS; i++) engine.frame_fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int far = rig_packet_socket("far0");
    rig_start(&gateway, "cwt0", &engine);
    rig_tunnel(&gateway, true, 1420);
    rig_session session = rig_session_number(0);
    cw_command open = {
        .type = CW_OPEN,
        .session = session.handle,
        .open = {.local_call_id = session.gateway_call, .peer_call_id = session.client_call,
                 .local_address = rig_address("10.77.0.1"), .peer_address = rig_address("10.77.0.2")},
    };
    cw_command bind = rig_bind_command(&session);
    rig_submit(&gateway, &open);
    rig_submit(&gateway, &bind);
    rig_settle(&gateway);
    cw_departures left = {0};
    uint32_t seen = 0;
    for (uint32_t i = 0; i < packets; i++) {
        rig_packet inner = rig_udp(rig_address("10.200.0.1"), session.inner, 200, (uint16_t)i, true);
        rig_send(&gateway, &inner);
        uint64_t until = rig_now() + RIG_PATIENCE;
        uint8_t got[FRAME];
        ssize_t length;
        while ((length = recv(far, got, sizeof got, MSG_DONTWAIT)) < 0 && rig_now() < until) rig_sleep(1);
        if (length > 20 && got[9] == IPPROTO_GRE && memcmp(got + 16, rig_address("10.77.0.2").bytes, 4) == 0) seen++;
    }
    cw_engine_departures(gateway.engine, &left);
    CHECK(seen >= packets); // the gateway acknowledges nothing: none of them is anything else
    CHECK(left.at_interface > packets / 2); // the first ones leave before the next hop is known
    rig_stop(&gateway);
    close(far);
}

int main(void) {
    set_up();
    for (mode = CW_XDP_NATIVE; mode <= CW_XDP_GENERIC; mode++) {
        RUN(each_packet_at_one_end);
        RUN(calls_to_their_workers);
        RUN(a_full_ring_counts);
        RUN(several_queues);
        RUN(frames_leave);
        RUN(a_link_goes_down_and_comes_back);
        RUN(a_link_goes_away);
        RUN(all_of_it_dies_with_its_process);
        RUN(another_program_stays);
        RUN(many_addresses);
        RUN(engine_with_xdp);
        RUN(engine_sends);
    }
    RUN(the_kernels_list_of_vlans);
    RUN(what_is_refused);
    FINISH();
}
