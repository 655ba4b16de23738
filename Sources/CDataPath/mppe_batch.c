#include "mppe_batch.h"

#include <string.h>

#include "mppe_batch_internal.h"

enum {
    WINDOW = 64,         // jobs, streams, chains that are planned together
    SCHEDULE_COST = 250, // of one key in the interleaved kernel, in octets of stream
};

// ---- Interleaved ----

typedef struct item {
    cw_mppe_way way;
    const uint8_t *key; // not NULL: a stream that is keyed when its turn comes
    uint8_t key_length;
} item;

// Which of the streams after each one is the next of the same session, 0: none; and which have one before them.
typedef struct order {
    uint8_t follower[2 * WINDOW];
    bool waits[2 * WINDOW];
} order;

static void find_followers(order *order, const item *items, size_t first_stream, size_t count) {
    memset(order, 0, sizeof *order);
    for (size_t n = first_stream + 1; n < count; n++) {
        for (size_t m = n; m-- > first_stream;) {
            if (items[m].way.rc4 != items[n].way.rc4) continue;
            order->follower[m] = (uint8_t)n;
            order->waits[n] = true;
            break;
        }
    }
}

// Item n, or the first after it in its session that has anything to do, takes *way. 0: there is none, else its number plus 1.
static size_t begin_item(cw_mppe_way *way, const item *items, const order *order, size_t n) {
    for (;; n = order->follower[n]) {
        const item *item = &items[n];
        if (item->key != NULL) cw_rc4_key(item->way.rc4, item->key, item->key_length);
        if (item->way.length > 0) {
            *way = item->way;
            return n + 1;
        }
        if (order->follower[n] == 0) return 0;
    }
}

// Never two ways at one RC4: the streams of a session follow each other in one way.
static void crypt_items(const item *items, size_t first_stream, size_t count) {
    cw_mppe_way active[CW_MPPE_WAYS];
    size_t numbers[CW_MPPE_WAYS], running = 0, next = 0; // numbers: of the items in the ways, plus 1
    order order;
    find_followers(&order, items, first_stream, count);
    do {
        for (; running < CW_MPPE_WAYS && next < count; next++) {
            if (order.waits[next]) continue;
            numbers[running] = begin_item(&active[running], items, &order, next);
            if (numbers[running] != 0) running++;
        }
        if (running > 0) cw_mppe_ways_crypt(active, running);
        size_t left = 0;
        for (size_t n = 0; n < running; n++) {
            size_t number = numbers[n];
            if (active[n].length == 0) {
                size_t follower = order.follower[number - 1];
                number = follower == 0 ? 0 : begin_item(&active[n], items, &order, follower);
            }
            if (number == 0) continue;
            active[left] = active[n];
            numbers[left++] = number;
        }
        running = left;
    } while (running > 0 || next < count);
}

static void key_items(item *items, cw_rc4 *states, const cw_mppe_lane *const lanes[], size_t count) {
    for (size_t at = 0; at < count; at += CW_MPPE_WAYS) {
        cw_rc4 *rc4[CW_MPPE_WAYS];
        const uint8_t *keys[CW_MPPE_WAYS];
        size_t n = 0;
        for (; n < CW_MPPE_WAYS && at + n < count; n++) {
            const cw_mppe_lane *lane = lanes[at + n];
            rc4[n] = &states[at + n];
            keys[n] = lane->key;
            items[at + n] = (item){.way = {.rc4 = rc4[n], .in = lane->in, .out = lane->out, .length = lane->length}};
        }
        cw_mppe_ways_key(rc4, keys, n);
    }
}

// ---- Lanes ----

// Whether the group that begins with this lane is cheaper in lanes than one by one. Its lanes all take as long as the longest; beside
// another group it costs less than alone.
static bool group_pays(const cw_mppe_kernels *kernels, const cw_mppe_lane *lanes, size_t count, bool beside) {
    size_t apart = 0;
    for (size_t n = 0; n < count && n < kernels->group; n++) apart += SCHEDULE_COST + lanes[n].length;
    size_t together = kernels->schedule_cost + kernels->step_cost * lanes[0].length;
    if (beside) together -= together / 4;
    return together <= apart;
}

// Lanes of falling length. What does not pay, too few or far longer than the others, is returned in rest.
static size_t crypt_groups(const cw_mppe_kernels *kernels, const cw_mppe_lane *lanes, size_t count, const cw_mppe_lane *rest[]) {
    size_t left = 0;
    for (size_t at = 0; at < count;) {
        if (kernels->lanes_crypt == NULL || !group_pays(kernels, lanes + at, count - at, false)) {
            rest[left++] = &lanes[at++];
            continue;
        }
        size_t n = kernels->group;
        while (n < kernels->lanes && at + n < count && group_pays(kernels, lanes + at + n, count - at - n, true)) n += kernels->group;
        if (n > count - at) n = count - at;
        kernels->lanes_crypt(lanes + at, n);
        at += n;
    }
    return left;
}

// At most WINDOW lanes of falling length, and at most WINDOW streams.
static void crypt_window(const cw_mppe_kernels *kernels, const cw_mppe_lane *lanes, size_t count, const cw_mppe_stream *streams,
                         size_t stream_count) {
    const cw_mppe_lane *rest[WINDOW];
    size_t left = crypt_groups(kernels, lanes, count, rest);
    if (left + stream_count == 0) return;
    cw_rc4 states[WINDOW];
    item items[2 * WINDOW];
    key_items(items, states, rest, left);
    for (size_t n = 0; n < stream_count; n++) {
        const cw_mppe_stream *stream = &streams[n];
        items[left + n] = (item){
            .way = {.rc4 = stream->rc4, .in = stream->in, .out = stream->out, .length = stream->length},
            .key = stream->key_length > 0 ? stream->key : NULL,
            .key_length = stream->key_length,
        };
    }
    crypt_items(items, left, left + stream_count);
    explicit_bzero(states, left * sizeof *states);
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void set_key(cw_mppe_lane *lane, const uint8_t *key, size_t length) {
    memcpy(lane->key, key, length);
    if (length < CW_MPPE_KEY_SIZE) memcpy(lane->key + length, key, CW_MPPE_KEY_SIZE - length);
}

// Falling length. Batches are mostly sorted already, or nearly: packets of one size, or of two.
static void sort(const cw_mppe_job *jobs, uint8_t order[], size_t count) {
    for (size_t n = 1; n < count; n++) {
        uint8_t moving = order[n];
        size_t at = n;
        for (; at > 0 && jobs[order[at - 1]].length < jobs[moving].length; at--) order[at] = order[at - 1];
        order[at] = moving;
    }
}

void cw_mppe_batch_crypt(const cw_mppe_kernels *kernels, cw_mppe_job *jobs, size_t count, cw_mppe_stream *streams, size_t stream_count) {
    cw_mppe_lane lanes[WINDOW];
    size_t most = 0;
    while (count + stream_count > 0) {
        size_t n = smaller(count, WINDOW), m = smaller(stream_count, WINDOW);
        uint8_t order[WINDOW];
        size_t used = 0;
        for (size_t i = 0; i < n; i++)
            if (jobs[i].length > 0) order[used++] = (uint8_t)i;
        sort(jobs, order, used);
        for (size_t i = 0; i < used; i++) {
            const cw_mppe_job *job = &jobs[order[i]];
            lanes[i].in = job->in;
            lanes[i].out = job->out;
            lanes[i].length = job->length;
            set_key(&lanes[i], job->key, job->key_length);
        }
        crypt_window(kernels, lanes, used, streams, m);
        for (size_t i = 0; i < n; i++) explicit_bzero(jobs[i].key, sizeof jobs[i].key);
        for (size_t i = 0; i < m; i++) explicit_bzero(streams[i].key, sizeof streams[i].key);
        if (used > most) most = used;
        jobs += n;
        count -= n;
        streams += m;
        stream_count -= m;
    }
    explicit_bzero(lanes, most * sizeof *lanes);
}

// ---- Key chains ----

static uint8_t *next_place(const cw_mppe_chain *chain, size_t done) { return chain->ring[(chain->first + done) % chain->size]; }

// One key further in each of at most WINDOW chains, all with keys of `length` octets; `done` were made before.
static void advance(const cw_mppe_kernels *kernels, const cw_mppe_chain *const chains[], size_t count, size_t length, size_t done) {
    cw_mppe_digest digests[WINDOW];
    cw_mppe_lane lanes[WINDOW];
    uint8_t interim[WINDOW][CW_MPPE_KEY_SIZE];
    for (size_t n = 0; n < count; n++) {
        const uint8_t *key = done == 0 ? chains[n]->key : next_place(chains[n], done - 1);
        digests[n] = (cw_mppe_digest){.suite = chains[n]->suite, .key = key, .interim = interim[n]};
    }
    (count <= kernels->few ? kernels->digest_few : kernels->digest)(digests, count);
    // RFC 3078 section 7.3: the interim key, encrypted with itself, is the next one.
    for (size_t n = 0; n < count; n++) {
        uint8_t *next = next_place(chains[n], done);
        memset(next, 0, CW_MPPE_KEY_SIZE);
        set_key(&lanes[n], interim[n], length);
        lanes[n].in = interim[n];
        lanes[n].out = next;
        lanes[n].length = length;
    }
    const cw_mppe_lane *rest[WINDOW];
    size_t left = crypt_groups(kernels, lanes, count, rest);
    for (size_t at = 0; at < left; at += CW_MPPE_WAYS) cw_mppe_ways_self(rest + at, smaller(left - at, CW_MPPE_WAYS));
    for (size_t n = 0; n < count; n++) cw_mppe_fix_salt(chains[n]->suite, next_place(chains[n], done));
    explicit_bzero(lanes, count * sizeof *lanes);
    explicit_bzero(interim, count * sizeof *interim);
}

// The chains of a window with keys of `length` octets, longest first leaving last.
static void run_chains(const cw_mppe_kernels *kernels, const cw_mppe_chain *chains, size_t count, size_t length) {
    const cw_mppe_chain *active[WINDOW];
    size_t running = 0;
    for (size_t n = 0; n < count; n++)
        if (chains[n].count > 0 && chains[n].suite->length == length) active[running++] = &chains[n];
    for (size_t done = 0; running > 0; done++) {
        advance(kernels, active, running, length, done);
        size_t left = 0;
        for (size_t n = 0; n < running; n++)
            if (active[n]->count > done + 1) active[left++] = active[n];
        running = left;
    }
}

void cw_mppe_batch_keys(const cw_mppe_kernels *kernels, const cw_mppe_chain *chains, size_t count) {
    for (size_t at = 0; at < count; at += WINDOW) {
        size_t n = smaller(count - at, WINDOW);
        run_chains(kernels, chains + at, n, 16);
        run_chains(kernels, chains + at, n, 8);
    }
}
