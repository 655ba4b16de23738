// Workers, the control thread and the public calls at once. No nonce is used twice: every data message that was put on the wire has a
// (receiver index, counter) of its own. Made for ThreadSanitizer; the checks hold without it as well.
#include <time.h>

#include "wg_pair.h"

enum { WORKERS = 2, SENT_CAPACITY = 2000000, THREAD_BUFFERS = 512, QUEUE_LIMIT = 512 };

typedef struct nonce {
    uint32_t sender, receiver;
    uint64_t counter;
} nonce;

static nonce *nonces;
static size_t nonce_count;
static _Atomic bool stopping;
static rig r;

static uint64_t monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CW_WG_SECOND + (uint64_t)now.tv_nsec;
}

static void pause_for(uint64_t nanoseconds) {
    struct timespec wait = {0, (long)nanoseconds};
    nanosleep(&wait, NULL);
}

static bool collect(rig *rig, uint32_t sender, memory_datagram *datagram) { // under the wire's lock
    (void)rig;
    if (datagram->bytes[0] == CW_WG_DATA && nonce_count < SENT_CAPACITY)
        nonces[nonce_count++] = (nonce){sender, cw_le32(datagram->bytes + 4), cw_le64(datagram->bytes + 8)};
    return true;
}

static int by_nonce(const void *left, const void *right) {
    const nonce *a = left, *b = right;
    if (a->sender != b->sender) return a->sender < b->sender ? -1 : 1;
    if (a->receiver != b->receiver) return a->receiver < b->receiver ? -1 : 1;
    return a->counter < b->counter ? -1 : a->counter > b->counter;
}

// ---- Threads ---------------------------------------------------------------------------------------------------------

typedef struct worker {
    pthread_t thread;
    uint32_t engine, number;
    cw_pool pool;
    cw_buffer *buffers;
    uint64_t received;
} worker;

static void take(void *context, const cw_wg_incoming *packets, size_t count) {
    worker *w = context;
    for (size_t i = 0; i < count; i++) {
        w->received++;
        cw_pool_give(&w->pool, packets[i].buffer);
    }
}

static _Atomic uint32_t removed[2]; // identities that came and went, of each engine

static void queue_some(worker *w, uint64_t now) {
    rig_engine *engine = &r.engines[w->engine];
    uint32_t other = 1 - w->engine;
    cw_prefix source = rig_prefix(w->engine), destination = rig_prefix(other);
    if (memory_pending(&r.engines[other].host) > QUEUE_LIMIT) return;
    cw_wg_enter(engine->wg, w->number);
    cw_wg_identity *identity = cw_wg_find(engine->wg, engine->identity);
    // A session may name an identity that is gone, and whose place is being cleared or used again.
    (void)cw_wg_find(engine->wg, atomic_load(&removed[w->engine]));
    for (int i = 0; i < 16; i++) {
        cw_wg_peer *peer = identity == NULL ? NULL : cw_wg_route(identity, 4, destination.address.bytes);
        cw_buffer *buffer = peer == NULL ? NULL : cw_pool_take(&w->pool);
        if (buffer == NULL) break;
        uint8_t *data = cw_buffer_data(buffer);
        memset(data, 0, 64);
        data[0] = 0x45, data[3] = 64;
        memcpy(data + 12, source.address.bytes, 4);
        memcpy(data + 16, destination.address.bytes, 4);
        buffer->length = 64;
        cw_wg_queue(engine->wg, w->number, peer, buffer, &w->pool, now);
    }
    cw_wg_flush(engine->wg, w->number, &w->pool, now);
    cw_wg_leave(engine->wg, w->number);
}

static void *work(void *argument) {
    worker *w = argument;
    rig_engine *engine = &r.engines[w->engine];
    while (!atomic_load(&stopping)) {
        uint64_t now = monotonic();
        memory_step(engine->wg, w->number, &w->pool, now, take, w);
        queue_some(w, now);
        pause_for(20000);
    }
    return NULL;
}

// New sessions all the time: as if 120 seconds had passed.
static void renew(uint32_t number) {
    cw_wg *wg = r.engines[number].wg;
    pthread_mutex_lock(&wg->lock);
    cw_wg_peer *peer = rig_peer_of(&r, number, 1 - number);
    if (peer != NULL) {
        peer->last_handshake_sent = 0;
        cw_wg_handshake_want(wg, peer, false);
    }
    pthread_mutex_unlock(&wg->lock);
    cw_wg_nudge(wg);
}

static void *administer(void *argument) {
    uint32_t number = *(uint32_t *)argument;
    rig_engine *engine = &r.engines[number];
    uint8_t stranger[32] = {1, 2, 3, (uint8_t)number};
    cw_prefix prefix = {.address = {.family = 4, .bytes = {10, 9, 0, 0}}, .length = 16};
    for (uint32_t round = 0; !atomic_load(&stopping); round++) {
        size_t done;
        cw_wg_peer_change change = {.mask = CW_WG_PEER_REPLACE_ALLOWED_IPS, .allowed_ip_count = 1, .allowed_ips = &prefix};
        memcpy(change.public_key, stranger, 32);
        (void)cw_wg_set_peers(engine->wg, engine->identity, &change, 1, &done);
        cw_wg_activity activities[4];
        (void)cw_wg_activity_read(engine->wg, CW_WG_ALL_IDENTITIES, &(cw_wg_cursor){0}, activities, 4);
        cw_wg_peer_info infos[4];
        (void)cw_wg_peers_read(engine->wg, engine->identity, &(cw_wg_cursor){0}, infos, 4);
        cw_wg_counters counters;
        cw_wg_counters_read(engine->wg, &counters);
        cw_prefix out[4];
        (void)cw_wg_allowed_ips_read(engine->wg, engine->identity, stranger, out, 4);
        (void)cw_wg_identity_set_mtu(engine->wg, engine->identity, round % 2 ? 1420 : 1280);
        rig_peer(&r, number, 1 - number, round % 2 ? 6 : 4, (uint16_t)(round % 3), NULL); // roams, too
        change.mask = CW_WG_PEER_REMOVE;
        (void)cw_wg_set_peers(engine->wg, engine->identity, &change, 1, &done);
        if (round % 3 == number) renew(number);
        if (round % 40 == 39 && number == 0) { // the whole peer, with its sessions and what waits
            (void)cw_wg_remove_all_peers(engine->wg, engine->identity);
            rig_peer(&r, number, 1 - number, 4, 0, NULL);
        }
        if (round % 60 == 59 && number == 1) {
            (void)cw_wg_identity_set_up(engine->wg, engine->identity, false);
            (void)cw_wg_identity_set_up(engine->wg, engine->identity, true);
        }
        uint32_t port, identity;
        if (cw_wg_port_open(engine->wg, &(cw_wg_port_config){.ipv4 = true}, &port) == CW_OK) {
            if (cw_wg_identity_add(engine->wg, port, stranger, &identity) == CW_OK) {
                atomic_store(&removed[number], identity);
                (void)cw_wg_identity_remove(engine->wg, identity);
            }
            (void)cw_wg_port_close(engine->wg, port);
        }
        pause_for(7000000);
    }
    return NULL;
}

// ---- The test --------------------------------------------------------------------------------------------------------

static void test_no_nonce_twice(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.worker_count = WORKERS;
    nonces = malloc(SENT_CAPACITY * sizeof *nonces);
    rig_open(&r, 2, &config);
    r.filter = collect;
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 4, 0, NULL);
    worker workers[2 * WORKERS];
    pthread_t administrators[2];
    uint32_t numbers[2] = {0, 1};
    for (int i = 0; i < 2; i++) CHECK_EQUAL(cw_wg_start(r.engines[i].wg), CW_OK);
    for (uint32_t i = 0; i < 2 * WORKERS; i++) {
        workers[i] = (worker){.engine = i / WORKERS, .number = i % WORKERS};
        workers[i].buffers = calloc(THREAD_BUFFERS, sizeof(cw_buffer));
        for (int b = 0; b < THREAD_BUFFERS; b++) cw_pool_give(&workers[i].pool, &workers[i].buffers[b]);
        CHECK_EQUAL(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++) CHECK_EQUAL(pthread_create(&administrators[i], NULL, administer, &numbers[i]), 0);
    for (int i = 0; i < 30; i++) pause_for(100000000);
    atomic_store(&stopping, true);
    for (int i = 0; i < 2; i++) pthread_join(administrators[i], NULL);
    for (int i = 0; i < 2 * WORKERS; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < 2; i++) cw_wg_stop(r.engines[i].wg);

    uint64_t received[2] = {0};
    for (int i = 0; i < 2 * WORKERS; i++) {
        received[i / WORKERS] += workers[i].received;
        CHECK_EQUAL(workers[i].pool.available, THREAD_BUFFERS);
        free(workers[i].buffers);
    }
    uint64_t handshakes = rig_counters(&r, 0).handshakes;
    CHECK(received[0] > 1000);
    CHECK(received[1] > 1000);
    CHECK(handshakes > 20);
    CHECK(nonce_count > 2000);
    qsort(nonces, nonce_count, sizeof *nonces, by_nonce);
    uint32_t sessions = 1;
    for (size_t i = 1; i < nonce_count; i++) {
        CHECK(by_nonce(&nonces[i - 1], &nonces[i]) < 0);
        if (nonces[i - 1].receiver != nonces[i].receiver) sessions++;
    }
    CHECK(sessions > 20);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(rig_counters(&r, i).drops[CW_WG_DROP_TAG], 0);
    fprintf(stderr, "%zu messages in %u sessions, %llu handshakes, %llu and %llu received\n", nonce_count, sessions,
            (unsigned long long)handshakes, (unsigned long long)received[0], (unsigned long long)received[1]);
    free(nonces);
    rig_close(&r);
}

// A worker may look at any place at any time, also while it is cleared or used again.
static _Atomic uint32_t looked_for;
static _Atomic bool looked_enough;

static void *look(void *argument) {
    cw_wg *wg = argument;
    uint64_t alive = 0;
    while (!atomic_load_explicit(&looked_enough, memory_order_relaxed)) {
        cw_wg_enter(wg, 0);
        alive += cw_wg_find(wg, atomic_load_explicit(&looked_for, memory_order_relaxed)) != NULL;
        cw_wg_leave(wg, 0);
    }
    return (void *)(uintptr_t)alive;
}

static void test_identities_come_and_go_under_the_eyes_of_workers(void) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    cw_wg *wg = NULL;
    CHECK_EQUAL(cw_wg_create(&config, &wg), CW_OK);
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, look, wg), 0);
    for (int i = 0; i < 1000; i++) {
        uint32_t identity;
        CHECK_EQUAL(cw_wg_identity_add(wg, 0, (uint8_t[32]){1}, &identity), CW_OK);
        atomic_store_explicit(&looked_for, identity, memory_order_relaxed);
        CHECK_EQUAL(cw_wg_identity_remove(wg, identity), CW_OK);
        pause_for(20000); // time to look before the next change
    }
    atomic_store(&looked_enough, true);
    pthread_join(thread, NULL);
    cw_wg_enter(wg, 0);
    CHECK(cw_wg_find(wg, atomic_load(&looked_for)) == NULL);
    cw_wg_leave(wg, 0);
    cw_wg_destroy(wg);
}

int main(void) {
    RUN(identities_come_and_go_under_the_eyes_of_workers);
    RUN(no_nonce_twice);
    FINISH();
}
