// Two workers on one session at the same time, with keys and endpoints changing under them and control sending as well: no nonce is used
// twice under one key, nothing is lost, and the thread sanitizer has nothing to say (Tests/c-tests tsan).
#include <time.h>

#include "wg_sessions.h"

enum { WORKERS = 2, PEERS = 2, BURSTS = 400, BURST = 24, CHANGES = 40, KEEPALIVES = 3 };
enum { MOST_KEYS = PEERS * (CHANGES + 1), MOST_COUNTERS = 2 * WORKERS * BURSTS * BURST };

// ---- Every (receiver index, counter) that was put on the wire, once -------------------------------------------------

typedef struct used {
    uint32_t indices[MOST_KEYS];
    uint32_t index_count;
    uint8_t counters[MOST_KEYS][MOST_COUNTERS / 8 + 1];
    uint64_t messages, twice, out_of_range;

} used;

static used seen;

static bool note(void *context, memory_datagram *datagram) { // under the wire's lock
    used *all = context;
    if (datagram->bytes[0] != CW_WG_DATA) return false;
    uint32_t index = cw_le32(datagram->bytes + 4), at = 0;
    uint64_t counter = cw_le64(datagram->bytes + 8);
    while (at < all->index_count && all->indices[at] != index) at++;
    if (at == MOST_KEYS || counter >= MOST_COUNTERS) {
        all->out_of_range++;
        return false;
    }
    if (at == all->index_count) all->indices[all->index_count++] = index;
    if ((all->counters[at][counter / 8] >> counter % 8 & 1) != 0) all->twice++;
    all->counters[at][counter / 8] |= (uint8_t)(1 << counter % 8);
    all->messages++;
    return true;
}

// ---- Threads --------------------------------------------------------------------------------------------------------

typedef struct worker {
    sessions *s;
    uint32_t number;
    cw_pool pool; // of its own
    cw_buffer buffers[2 * CW_MAX_BATCH + 600];
    uint64_t sent, arrived;
} worker;

static _Atomic uint32_t running;

static void count_sink(void *context, const cw_wg_incoming *packets, size_t count) {
    worker *one = context;
    for (size_t i = 0; i < count; i++) {
        one->arrived++;
        cw_pool_give(&one->pool, packets[i].buffer);
    }
}

static void worker_init(worker *one, sessions *s, uint32_t number) {
    memset(one, 0, sizeof *one);
    one->s = s;
    one->number = number;
    for (size_t i = 0; i < sizeof one->buffers / sizeof *one->buffers; i++) cw_pool_give(&one->pool, &one->buffers[i]);
}

static void *send_bursts(void *argument) {
    worker *one = argument;
    sessions *s = one->s;
    cw_wg *wg = s->sides[0].wg;
    uint8_t packet[80];
    for (uint32_t burst = 0; burst < BURSTS; burst++) {
        cw_wg_enter(wg, one->number);
        cw_wg_identity *identity = cw_wg_find(wg, s->sides[0].identity);
        for (uint32_t i = 0; i < BURST; i++) {
            make_inner(packet, 4, 0, i / 4 % PEERS, sizeof packet, 0, (uint8_t)i);
            cw_buffer *buffer = cw_pool_take(&one->pool);
            memcpy(cw_buffer_data(buffer), packet, sizeof packet);
            buffer->length = sizeof packet;
            cw_wg_queue(wg, one->number, cw_wg_route(identity, 4, packet + 16), buffer, &one->pool, s->now);
            one->sent++;
        }
        cw_wg_flush(wg, one->number, &one->pool, s->now);
        cw_wg_leave(wg, one->number);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void *take_everything(void *argument) {
    worker *one = argument;
    side *far = &one->s->sides[1];
    while (atomic_load(&running) > 0 || memory_pending(&far->host) > 0)
        memory_step(far->wg, one->number, &one->pool, one->s->now, count_sink, one);
    return NULL;
}

// As control does it, under its lock.
static void *change(void *argument) {
    sessions *s = argument;
    side *near = &s->sides[0];
    for (uint32_t i = 0; i < CHANGES; i++) {
        uint32_t number = i % PEERS;
        pthread_mutex_lock(&near->wg->lock);
        install(s, number, s->now);
        cw_gate_close(&near->wg->gate);
        near->peers[number]->endpoint.from_interface ^= 2; // something that workers read
        cw_gate_open(&near->wg->gate);
        for (uint32_t k = 0; k < KEEPALIVES; k++) cw_wg_send_staged(near->wg, near->peers[number], s->now, true);
        pthread_mutex_unlock(&near->wg->lock);
        cw_wg_counters counters;
        cw_wg_counters_read(near->wg, &counters);
        struct timespec pause = {.tv_nsec = 500000};
        nanosleep(&pause, NULL);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void test_nonces_are_unique(void) {
    static sessions s;
    static worker senders[WORKERS], takers[WORKERS];
    pthread_t threads[2 * WORKERS + 1];
    sessions_open(&s, PEERS, WORKERS, 8, 4);
    for (uint32_t n = 0; n < PEERS; n++) install(&s, n, s.now);
    s.wire.watch = note;
    s.wire.context = &seen;
    atomic_store(&running, WORKERS + 1);
    for (uint32_t i = 0; i < WORKERS; i++) {
        worker_init(&senders[i], &s, i);
        worker_init(&takers[i], &s, i);
        CHECK_EQUAL(pthread_create(&threads[i], NULL, send_bursts, &senders[i]), 0);
        CHECK_EQUAL(pthread_create(&threads[WORKERS + i], NULL, take_everything, &takers[i]), 0);
    }
    CHECK_EQUAL(pthread_create(&threads[2 * WORKERS], NULL, change, &s), 0);
    for (uint32_t i = 0; i < 2 * WORKERS + 1; i++) pthread_join(threads[i], NULL);

    uint64_t sent = 0, arrived = 0, keepalives = CHANGES * KEEPALIVES;
    for (uint32_t i = 0; i < WORKERS; i++) sent += senders[i].sent, arrived += takers[i].arrived;
    CHECK_EQUAL(sent, WORKERS * BURSTS * BURST);
    CHECK_EQUAL(seen.out_of_range, 0);
    CHECK_EQUAL(seen.twice, 0);
    CHECK_EQUAL(seen.messages, sent + keepalives);
    CHECK(seen.index_count > PEERS);
    cw_wg_counters near = counters_of(&s.sides[0]), far = counters_of(&s.sides[1]);
    CHECK_EQUAL(near.packets_out, sent);
    CHECK_EQUAL(near.keepalives_out, keepalives);
    CHECK_EQUAL(all_drops(&s.sides[0]), 0);
    // Keys that were changed twice while their packets were on the way are unknown on arrival; everything else comes through once.
    CHECK_EQUAL(all_drops(&s.sides[1]), far.drops[CW_WG_DROP_UNKNOWN_INDEX]);
    CHECK_EQUAL(far.packets_in, arrived);
    CHECK_EQUAL(far.packets_in + far.keepalives_in + far.drops[CW_WG_DROP_UNKNOWN_INDEX], sent + keepalives);
    CHECK(far.packets_in > sent / 2);
    sessions_close(&s);
}

// ---- The counter alone ----------------------------------------------------------------------------------------------

// Nothing between the two workers but the counter: they send packet by packet into nowhere, so that they meet at it all the time.
// So many that a counter read and written in two steps is caught every time, also on a busy machine; the thread sanitizer needs fewer.
#ifdef __SANITIZE_THREAD__
enum { SINGLES = 200000 };
#else
enum { SINGLES = 1000000 };
#endif
static _Atomic uint64_t taken[WORKERS * SINGLES / 64 + 1];
static _Atomic uint32_t taken_twice;

static void take_counters(cw_wg_udp *udp, cw_wg_udp_space *space, cw_wg_datagram *datagrams, size_t count) {
    (void)udp, (void)space;
    for (size_t i = 0; i < count; i++) {
        uint64_t counter = cw_le64(datagrams[i].data + 8), bit = UINT64_C(1) << counter % 64;
        if (counter >= WORKERS * SINGLES || (atomic_fetch_or(&taken[counter / 64], bit) & bit) != 0) atomic_fetch_add(&taken_twice, 1);
        datagrams[i].sent = true;
        datagrams[i].forget_source = false;
    }
}

static void *send_singles(void *argument) {
    worker *one = argument;
    side *near = &one->s->sides[0];
    atomic_fetch_sub(&running, 1);
    while (atomic_load(&running) > 0) {} // begin together
    for (uint32_t i = 0; i < SINGLES; i++) {
        cw_buffer *buffer = cw_pool_take(&one->pool);
        make_inner(cw_buffer_data(buffer), 4, 0, 0, 20, 0, 0);
        buffer->length = 20;
        cw_wg_enter(near->wg, one->number);
        cw_wg_queue(near->wg, one->number, near->peers[0], buffer, &one->pool, one->s->now);
        cw_wg_flush(near->wg, one->number, &one->pool, one->s->now);
        cw_wg_leave(near->wg, one->number);
    }
    return NULL;
}

static void test_counters_under_contention(void) {
    static sessions s;
    static worker senders[WORKERS];
    pthread_t threads[WORKERS];
    sessions_open(&s, 1, WORKERS, 8, 4);
    install(&s, 0, s.now);
    cw_wg_udp *udp = s.sides[0].wg->ports[s.sides[0].port].udp;
    const cw_wg_udp_operations *usual = udp->operations;
    cw_wg_udp_operations nowhere = *usual;
    nowhere.send = take_counters;
    udp->operations = &nowhere;
    atomic_store(&running, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        worker_init(&senders[i], &s, i);
        CHECK_EQUAL(pthread_create(&threads[i], NULL, send_singles, &senders[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    udp->operations = usual;
    CHECK_EQUAL(taken_twice, 0);
    CHECK_EQUAL(atomic_load(&s.sides[0].peers[0]->current->sent), WORKERS * SINGLES);
    CHECK_EQUAL(counters_of(&s.sides[0]).packets_out, WORKERS * SINGLES);
    sessions_close(&s);
}

// ---- Indices and keypairs -------------------------------------------------------------------------------------------

static void test_indices(void) {
    enum { CAPACITY = 512 * 4 };
    static uint32_t indices[CAPACITY];
    for (uint32_t workers = 1; workers <= 7; workers += 2) {
        static sessions s;
        sessions_open(&s, 1, workers, 8, 4);
        cw_wg *wg = s.sides[0].wg;
        cw_wg_peer *peer = s.sides[0].peers[0];
        uint32_t of_worker[8] = {0}, high = 0;
        cw_gate_close(&wg->gate);
        for (uint32_t i = 0; i < CAPACITY; i++) {
            indices[i] = cw_wg_index_add(wg, peer);
            CHECK(indices[i] != 0);
            const cw_wg_index_entry *entry = cw_wg_index_find(wg, indices[i]);
            CHECK(entry != NULL && entry->peer == peer && entry->pair == NULL);
            of_worker[indices[i] % workers]++;
            high += indices[i] >> 31;
        }
        CHECK_EQUAL(cw_wg_index_add(wg, peer), 0); // full
        for (uint32_t i = 0; i < workers; i++) CHECK(of_worker[i] >= CAPACITY / workers); // shared out evenly
        CHECK(high > CAPACITY * 4 / 10 && high < CAPACITY * 6 / 10);                       // and they look random
        uint32_t known = 0; // a guess finds an entry as seldom as it should
        for (uint32_t i = 1; i <= 1000000; i++) known += cw_wg_index_find(wg, i * 2654435761u) != NULL;
        CHECK(known < 20);
        for (uint32_t i = 0; i < CAPACITY; i++) {
            cw_wg_index_remove(wg, indices[i]);
            CHECK(cw_wg_index_find(wg, indices[i]) == NULL);
            cw_wg_index_remove(wg, indices[i]); // nothing there: nothing happens
        }
        cw_wg_index_remove(wg, 0);
        uint32_t again = cw_wg_index_add(wg, peer);
        CHECK(again != 0 && cw_wg_index_find(wg, again) != NULL);
        cw_gate_open(&wg->gate);
        sessions_close(&s);
    }
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

// One slot, again and again, as a single peer uses it: no index comes back before its time.
static void test_indices_do_not_come_back(void) {
    enum { uses = 30000 };
    static uint32_t indices[uses];
    static sessions s;
    sessions_open(&s, 1, 2, 8, 4);
    cw_wg *wg = s.sides[0].wg;
    for (uint32_t i = 0; i < uses; i++) {
        indices[i] = cw_wg_index_add(wg, s.sides[0].peers[0]);
        CHECK(indices[i] != 0);
        cw_wg_index_remove(wg, indices[i]);
    }
    qsort(indices, uses, sizeof *indices, by_value);
    for (uint32_t i = 1; i < uses; i++) CHECK(indices[i - 1] != indices[i]);
    sessions_close(&s);
}

static void test_keypairs(void) {
    enum { COUNT = 700 };
    static cw_wg_keypair *pairs[COUNT];
    static sessions s;
    sessions_open(&s, 1, 1, 8, 4);
    cw_wg *wg = s.sides[0].wg;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            cw_wg_keypair *pair = pairs[i] = cw_wg_keypair_take(wg);
            CHECK(pair != NULL);
            CHECK_EQUAL((uintptr_t)pair % _Alignof(cw_wg_keypair), 0);
            CHECK(pair->peer == NULL && pair->local_index == 0 && pair->born == 0 && atomic_load(&pair->sent) == 0);
            CHECK(sodium_is_zero(pair->send_key, CW_WG_KEY) && sodium_is_zero((uint8_t *)&pair->replay, sizeof pair->replay));
            random_key(pair->send_key);
            random_key(pair->receive_key);
            CHECK(cw_replay_accept(&pair->replay, i * 100, UINT64_MAX));
        }
        for (uint32_t i = 0; i < COUNT; i++) { // in another order
            uint32_t at = i * 37 % COUNT;
            cw_wg_keypair_give(wg, pairs[at]);
        }
    }
    sessions_close(&s);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    RUN(nonces_are_unique);
    RUN(counters_under_contention);
    RUN(indices);
    RUN(indices_do_not_come_back);
    RUN(keypairs);
    FINISH();
}
