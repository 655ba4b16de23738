// Two WireGuard engines on a wire in memory that an attacker shares. The input is what happens: traffic, time, roaming, losses, and
// messages of the attacker's: invented, replayed, reflected, damaged, cut short, with macs made again. Each of those is counted as
// dropped, once, and changes nothing: no keys, no endpoint, no counter of the peer, no answer. In the end the tunnel works.
//
// The wire, the keys and the randomness are the same in each run, so a crash happens again.
#include <sodium.h>

#define RIG_BUFFERS 64 // fewer pages to touch in each run
#include "../CDataPathTests/wg_pair.h"

enum { STORED = 48, FLOOD = CW_WG_HANDSHAKE_QUEUE / 8 + 8, MAX_EVENTS = 64 };

typedef struct stored {
    memory_datagram datagram;
    uint32_t receiver; // which engine it was for
    // It has not been taken for sure (lost, or something was dropped meanwhile): playing it may be its first arrival.
    bool fresh;
} stored;

typedef struct scene {
    rig r; // first
    stored stored[STORED];
    uint32_t stored_count;
    uint32_t withheld; // bits 1 << type
    uint64_t drops;    // of both, when last looked
    bool flooded;
} scene;

static scene s;
static const uint8_t *data;
static size_t size;

static void require_at(bool condition, int line) {
    if (condition) return;
    fprintf(stderr, "wg-receive_fuzz.c:%d\n", line);
    abort();
}
#define require(condition) require_at(condition, __LINE__)

static uint8_t take(void) {
    if (size == 0) return 0;
    size--;
    return *data++;
}

// ---- Repeatable randomness ------------------------------------------------------------------------------------------

static test_random random_state;

static const char *random_name(void) { return "repeatable"; }
static uint32_t random_word(void) { return (uint32_t)(next_random(&random_state) >> 32); }
static void random_fill(void *const out, const size_t length) {
    for (size_t i = 0; i < length; i++) ((uint8_t *)out)[i] = (uint8_t)random_word();
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    static randombytes_implementation repeatable = {.implementation_name = random_name, .random = random_word, .buf = random_fill};
    (void)count, (void)arguments;
    require(randombytes_set_implementation(&repeatable) == 0);
    require(sodium_init() >= 0);
    return 0;
}

// ---- What must not change -------------------------------------------------------------------------------------------

typedef struct view {
    cw_wg_peer_info info;
    cw_wg_keypair *pairs[3];
    cw_replay replays[3];
    cw_noise_handshake handshake;
    cw_cookie_jar jar;
    cw_wg_route_to endpoint;
    uint8_t latest_timestamp[CW_WG_TIMESTAMP];
    uint64_t unanswered_since, unreplied_since, last_traversal, packets;
} view;

static void look(uint32_t engine, view *v) {
    const cw_wg_peer *peer = rig_peer_of(&s.r, engine, 1 - engine);
    memset(v, 0, sizeof *v);
    require(cw_wg_peers_read(s.r.engines[engine].wg, s.r.engines[engine].identity, &(cw_wg_cursor){0}, &v->info, 1) == 1);
    cw_wg_keypair *const pairs[3] = {peer->previous, peer->current, peer->next_pair};
    memcpy(v->pairs, pairs, sizeof pairs);
    for (int i = 0; i < 3; i++)
        if (pairs[i] != NULL) v->replays[i] = pairs[i]->replay;
    v->handshake = peer->handshake;
    v->jar = peer->jar;
    memcpy(&v->endpoint, &peer->endpoint, sizeof v->endpoint);
    memcpy(v->latest_timestamp, peer->latest_timestamp, sizeof v->latest_timestamp);
    v->unanswered_since = peer->unanswered_since;
    v->unreplied_since = peer->unreplied_since;
    v->last_traversal = peer->last_traversal;
    v->packets = s.r.engines[engine].packets;
}

static uint64_t drops_of(uint32_t engine) {
    cw_wg_counters counters = rig_counters(&s.r, engine);
    uint64_t sum = 0;
    for (int i = 0; i < CW_WG_DROP_WG_COUNT; i++) sum += counters.drops[i];
    return sum;
}

// ---- The wire -------------------------------------------------------------------------------------------------------

static bool overhear(rig *r, uint32_t sender, memory_datagram *datagram) {
    require((void *)r == (void *)&s && sender < 2);
    uint8_t type = datagram->bytes[0];
    bool lost = (s.withheld >> (type & 7) & 1) != 0;
    stored *one = &s.stored[s.stored_count++ % STORED];
    one->datagram = *datagram;
    one->receiver = 1 - sender;
    one->fresh = lost || !(memory_is_local(&r->engines[0].host, &datagram->to, false) || memory_is_local(&r->engines[1].host, &datagram->to, false));
    return !lost;
}

// What the engines did by themselves is over. If they dropped something, nobody knows here which messages they have taken.
static void settle(void) {
    rig_settle(&s.r);
    uint64_t drops = drops_of(0) + drops_of(1);
    if (drops != s.drops)
        for (uint32_t i = 0; i < STORED; i++) s.stored[i].fresh = true;
    s.drops = drops;
}

static void deliver(const memory_datagram *datagram) {
    memory_datagram *copy = malloc(sizeof *copy);
    require(copy != NULL);
    *copy = *datagram;
    pthread_mutex_lock(&s.r.wire.lock);
    s.r.wire.watch = NULL; // neither lost nor overheard
    memory_deliver(&s.r.wire, copy);
    s.r.wire.watch = rig_watch;
    pthread_mutex_unlock(&s.r.wire.lock);
}

static void attack(const memory_datagram *datagram, uint32_t victim, bool has_macs) {
    view before[2], after[2];
    uint64_t drops = drops_of(victim), others = drops_of(1 - victim), sent = s.r.wire.sent;
    bool loaded = s.r.clock.now < s.r.engines[victim].wg->loaded_until;
    for (uint32_t i = 0; i < 2; i++) look(i, &before[i]);
    deliver(datagram);
    rig_settle(&s.r);
    for (uint32_t i = 0; i < 2; i++) {
        look(i, &after[i]);
        require(memcmp(&before[i], &after[i], sizeof before[i]) == 0);
    }
    // Whoever can make mac1 may get a cookie from an engine under load; nobody gets anything else.
    uint64_t answers = s.r.wire.sent - sent - 1;
    require(answers == 0 || (answers == 1 && loaded && has_macs));
    // The cookie may have gone to an engine, which has not asked for it.
    uint64_t dropped = drops_of(victim) - drops, dropped_elsewhere = drops_of(1 - victim) - others;
    require(dropped >= 1 && dropped + dropped_elsewhere <= 1 + answers);
    s.drops = drops_of(0) + drops_of(1);
}

static void address(cw_wg_route_to *to, uint32_t engine, bool ipv6) {
    *to = (cw_wg_route_to){.to.any.sa_family = AF_UNSPEC};
    const memory_host *host = &s.r.engines[engine].host;
    if (ipv6) to->to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(RIG_PORT), .sin6_addr = host->v6};
    else to->to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(RIG_PORT), .sin_addr = host->v4};
}

static void attackers_address(cw_wg_route_to *from, bool ipv6) {
    address(from, 0, ipv6);
    if (ipv6) from->to.v6.sin6_addr.s6_addr[15] = 99;
    else from->to.v4.sin_addr.s_addr = htonl(0xC6336401);
}

static bool sign(memory_datagram *datagram, uint32_t for_engine) {
    cw_cookie_jar jar = {0};
    cw_cookie_keys_set(&jar.keys, s.r.engines[for_engine].public_key);
    return cw_cookie_sign(&jar, s.r.clock.now, datagram->bytes, datagram->length);
}

// ---- Events ---------------------------------------------------------------------------------------------------------

static void invent(void) {
    uint8_t how = take(), length = take();
    memory_datagram datagram = {0};
    uint32_t victim = how & 1;
    address(&datagram.to, victim, (how & 2) != 0);
    attackers_address(&datagram.from, (how & 2) != 0);
    static const uint16_t lengths[] = {sizeof(cw_wg_initiation), sizeof(cw_wg_response), sizeof(cw_wg_cookie_reply), CW_WG_DATA_OVERHEAD};
    datagram.length = (how & 4) != 0 ? lengths[length & 3] : length * 9u;
    if (datagram.length > sizeof datagram.bytes) datagram.length = sizeof datagram.bytes;
    for (uint32_t i = 0; i < datagram.length && size > 0 && i < 64; i++) datagram.bytes[i] = take();
    datagram.tos = how >> 6;
    attack(&datagram, victim, (how & 8) != 0 && sign(&datagram, victim));
}

// Which of a message's octets nobody can change without the keys, or unless they make mac1 again.
static bool is_protected(uint8_t type, uint32_t at, bool signed_again) {
    if (!signed_again && type == CW_WG_INITIATION && at < offsetof(cw_wg_initiation, mac2)) return true;
    if (!signed_again && type == CW_WG_RESPONSE && at < offsetof(cw_wg_response, mac2)) return true;
    switch (type) {
    case CW_WG_INITIATION: return at < 4 || (at >= offsetof(cw_wg_initiation, ephemeral) && at < offsetof(cw_wg_initiation, mac1));
    case CW_WG_RESPONSE: return at < 4 || (at >= offsetof(cw_wg_response, receiver) && at < offsetof(cw_wg_response, mac1));
    case CW_WG_COOKIE: return at < 4 || at >= offsetof(cw_wg_cookie_reply, nonce);
    default: return true;
    }
}

static void play_again(void) {
    uint8_t which = take(), how = take();
    uint32_t known = s.stored_count < STORED ? s.stored_count : STORED;
    if (known == 0) return;
    stored *one = &s.stored[(s.stored_count - 1 - which % known) % STORED];
    memory_datagram datagram = one->datagram;
    uint8_t type = datagram.bytes[0];
    bool ipv6 = datagram.to.to.any.sa_family == AF_INET6, reflected = (how & 1) != 0;
    uint32_t receiver = reflected ? 1 - one->receiver : one->receiver;
    // To where the engine is now, from where it came from or from elsewhere.
    address(&datagram.to, receiver, ipv6);
    if ((how & 2) != 0) attackers_address(&datagram.from, ipv6);
    if ((how & 8) != 0) {
        uint8_t length = take();
        datagram.length = (how & 4) != 0 && datagram.length > length ? datagram.length - length : datagram.length + length;
    }
    for (int i = how >> 6; i > 0; i--) {
        uint8_t at = take(), change = take();
        if (at < datagram.length) datagram.bytes[at] ^= change;
    }
    bool has_macs = (how & 16) != 0 && sign(&datagram, receiver), changed = datagram.length != one->datagram.length;
    for (uint32_t at = 0; at < datagram.length && !changed; at++)
        changed = datagram.bytes[at] != one->datagram.bytes[at] && is_protected(type, at, has_macs);
    if (changed || reflected || !one->fresh) {
        attack(&datagram, receiver, has_macs || type == CW_WG_INITIATION || type == CW_WG_RESPONSE);
        return;
    }
    one->fresh = false; // from here on it is a replay, if nothing was dropped
    deliver(&datagram);
    settle();
}

static void flood(void) {
    if (s.flooded) return;
    s.flooded = true;
    cw_wg_letter letter = {.port = s.r.engines[0].port, .length = sizeof(cw_wg_initiation), .bytes = {CW_WG_INITIATION}};
    cw_wg_route_to from;
    attackers_address(&from, false);
    letter.from = from;
    for (int i = 0; i < FLOOD; i++) (void)cw_wg_post(s.r.engines[0].wg, &letter);
    settle();
}

static void event(void) {
    static const uint64_t waits[] = {CW_WG_SECOND / 50, CW_WG_SECOND, 11 * CW_WG_SECOND / 2, 11 * CW_WG_SECOND,
                                     30 * CW_WG_SECOND, 125 * CW_WG_SECOND, 185 * CW_WG_SECOND, 600 * CW_WG_SECOND};
    switch (take() % 8) {
    case 0:
    case 1: {
        uint8_t how = take();
        rig_send(&s.r, how & 1, 1 - (how & 1), (uint16_t)(20 + (how >> 1) * 10));
        settle();
        break;
    }
    case 2: invent(); break;
    case 3:
    case 4: play_again(); break;
    case 5: rig_pass(&s.r, waits[take() % 8]); settle(); break;
    case 6: {
        uint8_t what = take();
        if (what & 1) s.withheld = what & 0x1E;
        else memory_move(&s.r.engines[what >> 1 & 1].host, what & 4 ? "192.0.2.77" : what & 2 ? "192.0.2.2" : "192.0.2.1", NULL);
        // Two engines at one address would be one host that cannot tell them apart.
        if (s.r.engines[0].host.v4.s_addr == s.r.engines[1].host.v4.s_addr) memory_move(&s.r.engines[0].host, "192.0.2.1", NULL);
        break;
    }
    default: flood(); break;
    }
}

static uint64_t stale_keys(void) {
    cw_wg_counters counters = rig_counters(&s.r, 1);
    return counters.drops[CW_WG_DROP_UNKNOWN_INDEX] + counters.drops[CW_WG_DROP_EXPIRED];
}

static bool works(void) {
    // Where data was lost but no handshakes, or a response was long under way, one side may hold keys that the other has given up for newer
    // ones or counts as too old: the first packet under them is lost, as between any two peers, and that no answer comes is noticed after
    // 15 s. That the other side says so, and nothing else, excuses one packet.
    uint64_t before = s.r.engines[1].packets, stale = stale_keys();
    rig_send(&s.r, 0, 1, 100);
    rig_pass(&s.r, 10 * CW_WG_SECOND); // room for one more attempt
    if (s.r.engines[1].packets == before && stale_keys() > stale) {
        rig_pass(&s.r, 10 * CW_WG_SECOND);
        rig_send(&s.r, 0, 1, 100);
        rig_pass(&s.r, 10 * CW_WG_SECOND);
    }
    return s.r.engines[1].packets > before;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length) {
    cw_wg_config config;
    cw_wg_config_defaults(&config);
    config.identity_capacity = config.peer_capacity = 4;
    memset(&s, 0, sizeof s);
    random_state = (test_random){12345};
    data = input;
    size = length;
    uint8_t how = take();
    static const uint8_t preshared[CW_WG_KEY] = {1, 2, 3};
    rig_open(&s.r, 2, &config);
    s.r.filter = overhear;
    // The initiator knows where the other is; the responder learns it.
    rig_peer(&s.r, 0, 1, how & 1 ? 6 : 4, how & 2 ? 25 : 0, how & 4 ? preshared : NULL);
    rig_peer(&s.r, 1, 0, how & 8 ? (how & 1 ? 6 : 4) : 0, 0, how & 4 ? preshared : NULL);
    settle();
    for (int i = 0; size > 0 && i < MAX_EVENTS; i++) event();

    s.withheld = 0;
    memory_move(&s.r.engines[0].host, "192.0.2.1", NULL);
    memory_move(&s.r.engines[1].host, "192.0.2.2", NULL);
    // Both may have learnt an address that nobody has any more.
    rig_peer(&s.r, 0, 1, how & 1 ? 6 : 4, 0, NULL);
    rig_pass(&s.r, 10 * CW_WG_SECOND);
    require(works());
    rig_close(&s.r);
    require(test_failed_checks == 0);
    return 0;
}
