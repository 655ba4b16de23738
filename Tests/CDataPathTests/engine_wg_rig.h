// What stands at the other end of the gateway's WireGuard: a `cw_wg` with one worker, which is a thread of its own. It keeps the inner
// packets that arrive until the test takes them, or sends them back where they came from; and it sends what the test gives it.
#ifndef CW_ENGINE_WG_RIG_H
#define CW_ENGINE_WG_RIG_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "engine_rig.h"
#include "wireguard/datapath.h"

enum { END_BUFFERS = 4096, END_QUEUE = 8192, END_PACKET = 2048 };

typedef struct end_packet {
    uint16_t length;
    uint8_t data[END_PACKET];
} end_packet;

typedef struct end_queue {
    end_packet *packets; // END_QUEUE
    size_t first, count;
} end_queue;

typedef struct wg_end {
    cw_wg *wg;
    pthread_t thread;
    int epoll, wake;
    _Atomic bool stopping, echo;
    cw_buffer *buffers;
    cw_pool pool;
    uint32_t port, identity;
    uint16_t number;
    uint8_t public_key[CW_WG_KEY_SIZE];
    pthread_mutex_t lock; // of the queues
    end_queue in, out;
    _Atomic size_t overflows, unroutable;
} wg_end;

static inline bool end_put(wg_end *end, end_queue *queue, const uint8_t *data, size_t length) {
    pthread_mutex_lock(&end->lock);
    bool room = queue->count < END_QUEUE && length <= END_PACKET;
    if (room) {
        end_packet *slot = &queue->packets[(queue->first + queue->count++) % END_QUEUE];
        slot->length = (uint16_t)length;
        memcpy(slot->data, data, length);
    }
    pthread_mutex_unlock(&end->lock);
    return room;
}

static inline bool end_take(wg_end *end, end_queue *queue, uint8_t *data, size_t *length) {
    pthread_mutex_lock(&end->lock);
    bool some = queue->count > 0;
    if (some) {
        const end_packet *slot = &queue->packets[queue->first];
        *length = slot->length;
        memcpy(data, slot->data, slot->length);
        queue->first = (queue->first + 1) % END_QUEUE;
        queue->count--;
    }
    pthread_mutex_unlock(&end->lock);
    return some;
}

static inline void end_queue_buffer(wg_end *end, cw_buffer *buffer, uint64_t now) {
    const uint8_t *packet = cw_buffer_data(buffer);
    uint8_t family = packet[0] >> 4;
    cw_wg_identity *identity = cw_wg_find(end->wg, end->identity);
    cw_wg_peer *peer = identity == NULL ? NULL : cw_wg_route(identity, family, packet + (family == 4 ? 16 : 24));
    if (peer != NULL) {
        cw_wg_queue(end->wg, 0, peer, buffer, &end->pool, now);
        return;
    }
    end->unroutable++;
    cw_pool_give(&end->pool, buffer);
}

static inline void end_sink(void *context, const cw_wg_incoming *packets, size_t count) {
    wg_end *end = context;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    uint64_t now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    for (size_t i = 0; i < count; i++) {
        uint8_t *packet = cw_buffer_data(packets[i].buffer);
        CHECK_EQUAL(packets[i].identity, end->identity);
        if (end->echo) {
            uint8_t source[4];
            memcpy(source, packet + 12, 4);
            memcpy(packet + 12, packet + 16, 4);
            memcpy(packet + 16, source, 4);
            end_queue_buffer(end, packets[i].buffer, now);
            continue;
        }
        if (!end_put(end, &end->in, packet, packets[i].buffer->length)) end->overflows++;
        cw_pool_give(&end->pool, packets[i].buffer);
    }
}

static inline void *end_main(void *argument) {
    wg_end *end = argument;
    while (!end->stopping) {
        struct epoll_event ready[8];
        int count = epoll_wait(end->epoll, ready, 8, -1);
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        uint64_t now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
        cw_wg_enter(end->wg, 0);
        for (int i = 0; i < count; i++) {
            uint64_t ignored;
            if ((ready[i].data.u64 & CW_WG_EPOLL) != 0) cw_wg_receive(end->wg, 0, ready[i].data.u64, &end->pool, now, end_sink, end);
            else (void)!read(end->wake, &ignored, sizeof ignored);
        }
        cw_buffer *buffer;
        while ((buffer = cw_pool_take(&end->pool)) != NULL) {
            size_t length;
            if (!end_take(end, &end->out, cw_buffer_data(buffer), &length)) {
                cw_pool_give(&end->pool, buffer);
                break;
            }
            buffer->length = (uint16_t)length;
            end_queue_buffer(end, buffer, now);
        }
        cw_wg_flush(end->wg, 0, &end->pool, now);
        cw_wg_leave(end->wg, 0);
    }
    return NULL;
}

static inline void end_key(uint8_t private_key[CW_WG_KEY_SIZE], uint8_t public_key[CW_WG_KEY_SIZE], unsigned number) {
    for (unsigned i = 0; i < CW_WG_KEY_SIZE; i++) private_key[i] = (uint8_t)(i % 2 == 1 ? number >> 8 * (i / 2 % 4) : i * 29 + 7);
    cw_wg_public_key(private_key, public_key);
}

// Its key is key number `key`.
static inline void end_start(wg_end *end, unsigned key) {
    memset(end, 0, sizeof *end);
    pthread_mutex_init(&end->lock, NULL);
    end->in.packets = calloc(END_QUEUE, sizeof(end_packet));
    end->out.packets = calloc(END_QUEUE, sizeof(end_packet));
    end->buffers = calloc(END_BUFFERS, sizeof(cw_buffer));
    for (size_t i = 0; i < END_BUFFERS; i++) cw_pool_give(&end->pool, &end->buffers[i]);
    end->epoll = epoll_create1(EPOLL_CLOEXEC);
    end->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = 0};
    CHECK_EQUAL(epoll_ctl(end->epoll, EPOLL_CTL_ADD, end->wake, &interest), 0);
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    CHECK_EQUAL(cw_wg_create(&config, &end->wg), CW_OK);
    CHECK_EQUAL(cw_wg_attach(end->wg, 0, end->epoll), CW_OK);
    CHECK_EQUAL(cw_wg_start(end->wg), CW_OK);
    cw_wg_port_config port = {.ipv4 = true};
    CHECK_EQUAL(cw_wg_port_open(end->wg, &port, &end->port), CW_OK);
    end->number = cw_wg_port_number(end->wg, end->port);
    uint8_t private_key[CW_WG_KEY_SIZE];
    end_key(private_key, end->public_key, key);
    CHECK_EQUAL(cw_wg_identity_add(end->wg, end->port, private_key, &end->identity), CW_OK);
    CHECK_EQUAL(pthread_create(&end->thread, NULL, end_main, end), 0);
}

static inline void end_wake(wg_end *end) {
    uint64_t one = 1;
    (void)!write(end->wake, &one, sizeof one);
}

static inline void end_stop(wg_end *end) {
    end->stopping = true;
    end_wake(end);
    pthread_join(end->thread, NULL);
    CHECK_EQUAL(end->overflows, 0);
    cw_wg_destroy(end->wg);
    close(end->epoll);
    close(end->wake);
    free(end->in.packets);
    free(end->out.packets);
    free(end->buffers);
    pthread_mutex_destroy(&end->lock);
}

static inline void end_send(wg_end *end, const rig_packet *packet) {
    uint64_t until = rig_now() + RIG_PATIENCE;
    while (!end_put(end, &end->out, packet->data, packet->length) && rig_now() < until) rig_sleep(1);
    end_wake(end);
}

static inline bool end_receive(wg_end *end, rig_packet *packet, int milliseconds) {
    uint64_t until = rig_now() + (uint64_t)milliseconds;
    for (;;) {
        if (end_take(end, &end->in, packet->data, &packet->length)) return true;
        if (rig_now() >= until) return false;
        rig_sleep(1);
    }
}

static inline void end_expect(wg_end *end, const rig_packet *expected) {
    rig_packet got = {0};
    CHECK(end_receive(end, &got, RIG_PATIENCE));
    CHECK(rig_same(&got, expected));
}

static inline void end_expect_nothing(wg_end *end) {
    rig_packet got;
    CHECK(!end_receive(end, &got, 30));
}

// A peer of one identity: its key number, where it is (0: not known), and what it may use.
static inline cw_status wg_peer(cw_wg *wg, uint32_t identity, const uint8_t *public_key, uint16_t port, const cw_prefix *allowed,
                                uint32_t count) {
    cw_wg_peer_change change = {.allowed_ip_count = count, .allowed_ips = allowed};
    memcpy(change.public_key, public_key, CW_WG_KEY_SIZE);
    if (port != 0) {
        change.mask = CW_WG_PEER_ENDPOINT;
        change.endpoint = (cw_wg_endpoint){.address = rig_address("127.0.0.1"), .port = port};
    }
    size_t done;
    return cw_wg_set_peers(wg, identity, &change, 1, &done);
}

// The packet as it leaves after one hop.
static inline rig_packet rig_hop(rig_packet packet) {
    if (packet.data[0] >> 4 == 6) {
        packet.data[7]--;
        return packet;
    }
    packet.data[8]--;
    cw_put16(packet.data + 10, 0);
    cw_put16(packet.data + 10, cw_checksum(cw_sum(0, packet.data, 20)));
    return packet;
}

#endif
