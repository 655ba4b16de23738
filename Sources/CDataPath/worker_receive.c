// From the user: GRE packets of one batch, grouped by session, through the link; then, as what comes from native users, through the IP
// checks into the TUN or the WireGuard engine.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "worker.h"

// ---- Inner packets ----------------------------------------------------------------------------------------------------

void cw_worker_route_inner(cw_worker *worker, uint32_t uplink, cw_buffer *buffer, uint64_t now) {
    const uint8_t *packet = cw_buffer_data(buffer);
    uint8_t family = packet[0] >> 4;
    const uint8_t *destination = packet + (family == 4 ? 16 : 24);
    // Between users the error goes where the packet came from; the uplink knows only its own side.
    if (worker->config->role == CW_ROLE_GATEWAY && worker->config->allow_user_to_user) {
        cw_route route = cw_trie_find(&worker->routes, family, destination);
        if (route != 0) {
            cw_worker_hand_over(worker, route, &(cw_origin){.way = CW_FROM_INSIDE}, buffer, now);
            return;
        }
    }
    if (uplink != 0) {
        cw_drop cause;
        cw_wg_peer *peer = cw_worker_find_peer(worker, uplink, family, destination, &cause);
        if (peer == NULL) cw_worker_drop(worker, NULL, buffer, cause);
        else cw_wg_queue(worker->wireguard, worker->index, peer, buffer, &worker->pool, now);
        return;
    }
    cw_worker_write_tun(worker, NULL, buffer, 0, now);
}

static bool within_prefixes(const cw_session *session, uint8_t family, const uint8_t *address) {
    for (uint32_t i = 0; i < session->prefix_count; i++)
        if (cw_prefix_contains(&session->prefixes[i], family, address)) return true;
    return false;
}

static bool is_local_address(const cw_worker *worker, uint8_t family, const uint8_t *address) {
    cw_address key = {.family = family};
    memcpy(key.bytes, address, family == 4 ? 4 : 16);
    uint32_t low = 0, high = worker->local_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = memcmp(&worker->local_addresses[middle], &key, sizeof key);
        if (order == 0) return true;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return false;
}

static bool is_destination_allowed(cw_worker *worker, const cw_session *session, const cw_ip *ip) {
    cw_reach reach = cw_ip_reach(ip->family, ip->destination);
    if (reach == CW_REACH_NEVER) return false;
    if (worker->config->allow_local_destinations) return true;
    if (reach != CW_REACH_UNICAST || is_local_address(worker, ip->family, ip->destination)) return false;
    const cw_address *gateway = &session->gateway_address;
    return gateway->family != ip->family || memcmp(gateway->bytes, ip->destination, ip->family == 4 ? 4 : 16) != 0;
}

// Tells the client what became of its packet.
static void answer(cw_worker *worker, cw_session *session, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, uint64_t now) {
    cw_buffer *buffer;
    if (cw_worker_icmp(worker, session, &session->gateway_address, ip, error, mtu, now, &buffer)) cw_worker_queue(worker, session, buffer);
}

// To the peer, or into the TUN if there is none; `bytes` of the user's are complete with it.
static void send_up(cw_worker *worker, cw_session *session, cw_wg_peer *peer, cw_buffer *buffer, uint32_t bytes, uint64_t now) {
    if (peer == NULL) {
        cw_worker_write_tun(worker, session, buffer, bytes, now);
        return;
    }
    if (bytes != 0) cw_session_count_in(session, bytes, now);
    cw_wg_queue(worker->wireguard, worker->index, peer, buffer, &worker->pool, now);
}

static cw_buffer *next_fragment(cw_worker *worker, cw_fragmenter *fragmenter, uint64_t now) {
    if (worker->pool.available == 0) cw_worker_flush_tun(worker, now); // what waits there holds them
    cw_buffer *piece = cw_pool_take(&worker->pool);
    if (piece != NULL) piece->length = (uint16_t)cw_fragment_next(fragmenter, cw_buffer_data(piece));
    return piece;
}

static void fragment_up(cw_worker *worker, cw_session *session, cw_wg_peer *peer, cw_buffer *buffer, const cw_ip *ip, uint32_t mtu,
                        uint64_t now) {
    cw_fragmenter fragmenter;
    cw_fragment_begin(&fragmenter, ip, mtu);
    cw_buffer *piece = next_fragment(worker, &fragmenter, now), *next;
    for (; piece != NULL; piece = next) {
        next = next_fragment(worker, &fragmenter, now);
        bool last = next != NULL && next->length == 0;
        send_up(worker, session, peer, piece, last ? ip->length : 0, now);
        if (!last) continue;
        cw_pool_give(&worker->pool, next);
        cw_pool_give(&worker->pool, buffer);
        return;
    }
    cw_worker_drop(worker, session, buffer, CW_DROP_OVERFLOW);
}

static void deliver_to_user(cw_worker *worker, cw_session *session, cw_buffer *buffer, const cw_ip *ip, cw_route route, uint64_t now) {
    // Back to the sender itself would be a loop, and is no use to anybody.
    if (!worker->config->allow_user_to_user || route == cw_route_make(worker->index, session->slot, session->generation)) {
        cw_worker_drop(worker, session, buffer, CW_DROP_IP_OTHER_USER);
        return;
    }
    if (!cw_bucket_take(&session->rate_in, ip->length, now)) {
        cw_worker_drop(worker, session, buffer, CW_DROP_RATE);
        return;
    }
    if (!cw_ip_decrement_ttl(ip)) {
        answer(worker, session, ip, CW_ICMP_TIME_EXCEEDED, 0, now);
        cw_worker_drop(worker, session, buffer, CW_DROP_IP_EXPIRED);
        return;
    }
    cw_ip_clamp_mss(ip, session->mtu);
    cw_session_count_in(session, ip->length, now);
    cw_worker_hand_over(worker, route, &(cw_origin){.way = CW_FROM_INSIDE}, buffer, now);
}

static void deliver_to_tunnel(cw_worker *worker, cw_session *session, cw_buffer *buffer, const cw_ip *ip, uint64_t now) {
    uint32_t tunnel_mtu = UINT32_MAX;
    cw_wg_peer *peer = NULL;
    if (!cw_bucket_take(&session->rate_in, ip->length, now)) {
        cw_worker_drop(worker, session, buffer, CW_DROP_RATE);
        return;
    }
    if (worker->config->role == CW_ROLE_GATEWAY) {
        tunnel_mtu = worker->tunnels[session->tunnel].mtu;
        if (!worker->tunnels[session->tunnel].up) {
            // RFC 1812 section 5.2.7.1: code 0, no path to the network at all.
            answer(worker, session, ip, CW_ICMP_UNREACHABLE, 0, now);
            cw_worker_drop(worker, session, buffer, CW_DROP_TUNNEL_DOWN);
            return;
        }
        if (session->identity != 0) {
            cw_drop cause;
            peer = cw_worker_find_peer(worker, session->identity, ip->family, ip->destination, &cause);
            if (peer == NULL) {
                answer(worker, session, ip, CW_ICMP_HOST_UNREACHABLE, 0, now);
                cw_worker_drop(worker, session, buffer, cause);
                return;
            }
            if (!cw_ip_decrement_ttl(ip)) { // behind the TUN the kernel does it
                answer(worker, session, ip, CW_ICMP_TIME_EXCEEDED, 0, now);
                cw_worker_drop(worker, session, buffer, CW_DROP_IP_EXPIRED);
                return;
            }
        }
    }
    cw_ip_clamp_mss(ip, session->mtu < tunnel_mtu ? session->mtu : tunnel_mtu);
    if (ip->length > tunnel_mtu) {
        if (!ip->dont_fragment) {
            fragment_up(worker, session, peer, buffer, ip, tunnel_mtu, now);
            return;
        }
        answer(worker, session, ip, CW_ICMP_TOO_BIG, tunnel_mtu, now);
        cw_worker_drop(worker, session, buffer, CW_DROP_IP_TOO_BIG);
        return;
    }
    send_up(worker, session, peer, buffer, ip->length, now);
}

// The mark of a packet from a foreign source address lives in the buffer while the link holds it.
static uint8_t *candidate_mark(cw_buffer *buffer) { return &buffer->reserved; }

// A packet from a new outer address got as far as a verified inner source: the client has moved (a new NAT mapping).
static void follow_address(cw_worker *worker, cw_session *session, const cw_buffer *buffer) {
    if (buffer->reserved == 0 || buffer->reserved != session->candidate) return;
    session->peer4 = session->candidate4;
    memcpy(session->peer_address.bytes, &session->candidate4, sizeof session->candidate4);
    session->candidate = 0;
    cw_worker_notice(worker, session, CW_NOTICE_ADDRESS);
}

// `protocol`: what the link said it is; 0: no link.
static void deliver_data(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint16_t protocol, uint64_t now) {
    cw_ip ip;
    bool gateway = worker->config->role == CW_ROLE_GATEWAY;
    if (!session->bound) {
        cw_worker_drop(worker, session, buffer, CW_DROP_NOT_OPEN);
        return;
    }
    if (!cw_ip_parse(cw_buffer_data(buffer), buffer->length, &ip) ||
        (protocol != 0 && protocol != (ip.family == 4 ? CW_PPP_IPV4 : CW_PPP_IPV6))) {
        cw_worker_drop(worker, session, buffer, CW_DROP_IP_MALFORMED);
        return;
    }
    buffer->length = (uint16_t)ip.length;
    if (!within_prefixes(session, ip.family, gateway ? ip.source : ip.destination)) {
        cw_worker_drop(worker, session, buffer, CW_DROP_IP_SOURCE);
        return;
    }
    if (protocol != 0) follow_address(worker, session, buffer);
    if (gateway) {
        if (!is_destination_allowed(worker, session, &ip)) {
            cw_worker_drop(worker, session, buffer, CW_DROP_IP_LOCAL);
            return;
        }
        cw_route route = cw_trie_find(&worker->routes, ip.family, ip.destination);
        if (route != 0) {
            deliver_to_user(worker, session, buffer, &ip, route, now);
            return;
        }
    }
    deliver_to_tunnel(worker, session, buffer, &ip, now);
}

static void receive_natives(cw_worker *worker, cw_session *session, const cw_packets *packets, uint64_t now) {
    cw_worker_touch(worker, session);
    session->live.last_in_nanoseconds = now;
    for (cw_buffer *buffer = packets->first, *next; buffer != NULL; buffer = next) {
        next = buffer->next;
        deliver_data(worker, session, buffer, 0, now);
    }
}

static void deliver(cw_worker *worker, cw_session *session, const cw_delivered *delivered, size_t count, uint64_t now) {
    for (size_t i = 0; i < count; i++) {
        cw_buffer *buffer = delivered[i].buffer;
        switch (delivered[i].kind) {
        case CW_DELIVER_DATA: deliver_data(worker, session, buffer, buffer->protocol, now); break;
        case CW_DELIVER_CONTROL:
            // A clear control frame proves nothing about a new address: it could end the session from anywhere.
            if (*candidate_mark(buffer) != 0) {
                cw_worker_drop(worker, session, buffer, CW_DROP_GRE_WRONG_SOURCE);
                break;
            }
            cw_worker_control_event(worker, session, buffer);
            cw_pool_give(&worker->pool, buffer);
            break;
        case CW_DELIVER_LOST: cw_worker_notice(worker, session, CW_NOTICE_LOST); break;
        }
    }
}

// ---- GRE packets ------------------------------------------------------------------------------------------------------

// Strips the outer IP header. False: not a packet that holds a GRE header and call ID.
static bool strip_outer(cw_buffer *buffer, uint32_t *source, uint32_t *destination, uint16_t *call_id) {
    enum { gre_header = 8, gre_protocol = 0x880B };
    const uint8_t *packet = cw_buffer_data(buffer);
    if (buffer->length < CW_IPV4_HEADER) return false;
    uint32_t header = (packet[0] & 15u) * 4, total = cw_get16(packet + 2);
    if (packet[0] >> 4 != 4 || header < CW_IPV4_HEADER || total > buffer->length || total < header + gre_header) return false;
    const uint8_t *gre = packet + header;
    if ((gre[1] & 7) != 1 || cw_get16(gre + 2) != gre_protocol) return false;
    memcpy(source, packet + 12, 4);
    memcpy(destination, packet + 16, 4);
    *call_id = cw_get16(gre + 6);
    buffer->offset += (uint16_t)header;
    buffer->length = (uint16_t)(total - header);
    return true;
}

static cw_session *find_call(cw_worker *worker, uint16_t call_id, uint32_t destination) {
    uint32_t workers = worker->config->worker_count;
    if (call_id % workers != worker->index) return NULL;
    uint32_t entry = worker->by_call[call_id / workers];
    if (entry == 0) return NULL;
    cw_session *session = cw_session_at(worker, entry - 1);
    // Another service of this host may use the same call ID on an address of its own.
    return session->local4 == 0 || session->local4 == destination ? session : NULL;
}

// The client has its call ID from us, and that went out after the command that opens the session was in the ring: whatever waits there
// goes before the packet, which may have overtaken a good many commands.
static cw_session *find_new_call(cw_worker *worker, uint16_t call_id, uint32_t destination) {
    uint32_t waiting = cw_ring_count(&worker->commands), some = worker->config->batch_size;
    if (waiting == 0) return NULL;
    uint64_t now = cw_now();
    for (uint32_t done = 0; done < waiting; done += some) {
        if (!cw_worker_commands(worker, now, some)) break;
        cw_worker_flush(worker, now);
    }
    cw_worker_flush(worker, now);
    return find_call(worker, call_id, destination);
}

static bool admit_source(cw_session *session, cw_buffer *buffer, uint32_t source) {
    *candidate_mark(buffer) = 0;
    if (source == session->peer4) return true;
    if ((session->flags & CW_ALLOW_ADDRESS_CHANGE) == 0) return false;
    if (session->candidate == 0 || session->candidate4 != source) {
        session->candidate = session->candidate == UINT8_MAX ? 1 : session->candidate + 1;
        session->candidate4 = source;
    }
    *candidate_mark(buffer) = session->candidate;
    return true;
}

static void accept_packet(cw_worker *worker, cw_buffer *buffer) {
    uint32_t source, destination;
    uint16_t call_id;
    if (!strip_outer(buffer, &source, &destination, &call_id)) {
        cw_worker_drop(worker, NULL, buffer, CW_DROP_GRE_MALFORMED);
        return;
    }
    if (worker->sources != NULL && !cw_sources_permit(worker->sources, worker->source_count, ntohl(source))) {
        cw_worker_drop(worker, NULL, buffer, CW_DROP_GRE_BLOCKED);
        return;
    }
    cw_session *session = find_call(worker, call_id, destination);
    if (session == NULL) session = find_new_call(worker, call_id, destination);
    if (session == NULL) {
        cw_worker_unknown_call(worker, source, call_id, buffer->arrived);
        cw_worker_drop(worker, NULL, buffer, CW_DROP_GRE_UNKNOWN_CALL);
        return;
    }
    if (!admit_source(session, buffer, source)) {
        cw_worker_drop(worker, session, buffer, CW_DROP_GRE_WRONG_SOURCE);
        return;
    }
    if (!cw_turns_add(&worker->up, &session->up, buffer, buffer->arrived)) cw_worker_drop(worker, session, buffer, CW_DROP_FAIR_SHARE);
}

static void receive_next(cw_worker *worker, cw_session *session, const cw_packets *packets) {
    cw_packets_join(&session->received, packets);
    if (session->receiving) return;
    session->receiving = true;
    session->next_receiving = NULL;
    if (worker->receiving == NULL) worker->receiving = session;
    else worker->receiving_last->next_receiving = session;
    worker->receiving_last = session;
}

// The next packets of a session, as many as there is room for, without their GRE headers. False: some are left for another time.
static bool take_received(cw_worker *worker, cw_session *session, cw_group *group, uint64_t now) {
    cw_packets *packets = &session->received;
    uint32_t count = 0, limit = worker->config->batch_size; // that worker->delivered has room for
    if (limit > CW_MAX_BATCH - group->first) limit = CW_MAX_BATCH - group->first;
    for (; count < limit && packets->first != NULL; count++) {
        worker->batch[group->first + count] = packets->first;
        packets->first = packets->first->next;
        packets->count--;
    }
    cw_worker_touch(worker, session);
    group->session = session;
    group->count = (uint32_t)cw_link_open(cw_session_link(worker, session), now, worker->batch + group->first, count, &worker->pool);
    return packets->first == NULL;
}

static void receive_group(cw_worker *worker, const cw_group *group, uint64_t now) {
    cw_session *session = group->session;
    cw_link *link = cw_session_link(worker, session);
    size_t delivered = cw_link_receive_opened(link, now, worker->batch + group->first, group->count, group->run, worker->delivered,
                                              worker->delivered_capacity, &worker->pool);
    // What the link answers (a Reset-Ack, say) goes out before any data that the deliveries below may send back.
    cw_worker_poll_link(worker, session, now);
    deliver(worker, session, worker->delivered, delivered, now);
    cw_worker_arm(worker, session, now);
}

// Packets of many sessions side by side: their keys and then they themselves go through the kernels together (mppe_batch.h), and after
// that each session looks at its own, one by one.
static void receive_some(cw_worker *worker, uint64_t now) {
    const cw_mppe_kernels *kernels = worker->shared.kernels;
    cw_mppe_work work = {.jobs = worker->jobs, .streams = worker->stateful};
    size_t groups = 0, chains = 0;
    cw_mppe_stocks_step(&worker->stocks);
    for (uint32_t first = 0; worker->receiving != NULL && first < CW_MAX_BATCH;) {
        cw_session *session = worker->receiving;
        cw_group *group = &worker->groups[groups++];
        group->first = first;
        bool all = take_received(worker, session, group, now), needed;
        first += group->count;
        group->run = (uint32_t)cw_link_plan(cw_session_link(worker, session), worker->batch + group->first, group->count,
                                            &worker->chains[chains], &needed);
        if (needed) chains++;
        if (!all) break; // a session is in a batch once
        worker->receiving = session->next_receiving;
        session->receiving = false;
        session->received = (cw_packets){0};
        if (groups == CW_MAX_BATCH) break;
    }
    cw_mppe_batch_keys(kernels, worker->chains, chains);
    for (size_t n = 0; n < groups; n++) {
        const cw_group *group = &worker->groups[n];
        cw_link_prepare(cw_session_link(worker, group->session), worker->batch + group->first, group->run, &work);
    }
    cw_mppe_batch_work(kernels, &work);
    for (size_t n = 0; n < groups; n++) receive_group(worker, &worker->groups[n], now);
}

static bool dead_socket(int error) {
    return error == EBADF || error == EBADFD || error == ENOTSOCK || error == ENOTCONN || error == EINVAL || error == ENETDOWN;
}

static uint32_t take_buffers(cw_worker *worker) {
    uint32_t limit = worker->config->batch_size, count = 0;
    while (count < limit && (worker->batch[count] = cw_pool_take(&worker->pool)) != NULL) count++;
    return count;
}

static void give_back(cw_worker *worker, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) cw_pool_give(&worker->pool, worker->batch[i]);
}

void cw_worker_receive_waiting(cw_worker *worker, uint64_t now) {
    cw_packets packets;
    uint32_t left = worker->config->batch_size;
    for (cw_place *place; left > 0 && (place = cw_turns_take(&worker->up, left, &packets)) != NULL; left -= packets.count) {
        cw_session *session = (cw_session *)(void *)((uint8_t *)place - offsetof(cw_session, up));
        if (session->access != 0) receive_natives(worker, session, &packets, now);
        else receive_next(worker, session, &packets);
    }
    while (worker->receiving != NULL) receive_some(worker, now);
    cw_worker_flush(worker, now);
}

// True: there is probably more.
static bool accept_tapped(cw_worker *worker, cw_tapped found, uint32_t count, uint64_t now) {
    worker->live.drops[CW_DROP_GRE_MALFORMED] += found.malformed;
    worker->live.drops[CW_DROP_OVERFLOW] += found.lost;
    give_back(worker, found.count, count);
    for (uint32_t i = 0; i < found.count; i++) {
        worker->batch[i]->arrived = now;
        accept_packet(worker, worker->batch[i]);
    }
    return found.count > 0 && found.count == count;
}

static bool read_tap(cw_worker *worker, uint64_t now) {
    uint32_t count = take_buffers(worker);
    cw_tapped found = count > 0 ? cw_tap_receive(&worker->tap, worker->batch, count) : cw_tap_discard(&worker->tap);
    return accept_tapped(worker, found, count, now);
}

static bool read_xsks(cw_worker *worker, uint64_t now) {
    uint32_t count = take_buffers(worker);
    return accept_tapped(worker, cw_xsks_receive(&worker->xsks, worker->batch, count), count, now);
}

static bool read_socket(cw_worker *worker, uint64_t now) {
    uint32_t count = take_buffers(worker);
    for (uint32_t i = 0; i < count; i++) {
        worker->vectors[i] = (struct iovec){cw_buffer_data(worker->batch[i]), CW_BUFFER_DATA};
        worker->messages[i].msg_hdr = (struct msghdr){.msg_iov = &worker->vectors[i], .msg_iovlen = 1};
    }
    if (count == 0) { // every buffer waits in a reorder queue: what arrives now is lost, but must not keep us awake
        uint8_t byte;
        if (recv(worker->gre_fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC) >= 0) worker->live.drops[CW_DROP_OVERFLOW]++;
        return false;
    }
    int got = recvmmsg(worker->gre_fd, worker->messages, count, MSG_DONTWAIT, NULL);
    if (got < 0) {
        if (dead_socket(errno)) cw_worker_fail(worker, &worker->gre_fd, errno);
        got = 0;
    }
    give_back(worker, (uint32_t)got, count);
    for (int i = 0; i < got; i++) {
        cw_buffer *buffer = worker->batch[i];
        buffer->length = (uint16_t)worker->messages[i].msg_len;
        buffer->arrived = now;
        if ((worker->messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) cw_worker_drop(worker, NULL, buffer, CW_DROP_GRE_MALFORMED);
        else accept_packet(worker, buffer);
    }
    return (uint32_t)got == count;
}

// More than is served, if the worker stays behind and sessions compete: see turns.h.
static void receive_from(cw_worker *worker, bool (*read)(cw_worker *, uint64_t), uint64_t now) {
    enum { reads = 4 };
    bool more = true;
    for (unsigned i = 0; more && i < reads && !cw_turns_full(&worker->up); i++) {
        if (i > 0) cw_worker_refill(worker, 0);
        more = read(worker, now);
        if (!cw_turns_overloaded(&worker->up, now)) break;
    }
    worker->more_to_receive = worker->more_to_receive || more;
    cw_worker_receive_waiting(worker, now);
}

void cw_worker_receive_tapped(cw_worker *worker, uint64_t now) { receive_from(worker, read_tap, now); }

void cw_worker_receive_xsks(cw_worker *worker, uint64_t now) { receive_from(worker, read_xsks, now); }

void cw_worker_receive(cw_worker *worker, uint64_t now) { receive_from(worker, read_socket, now); }

void cw_worker_expire(cw_worker *worker, uint64_t now) {
    uint32_t slot;
    for (uint32_t i = 0; i < worker->config->batch_size && cw_timers_take(&worker->timers, now, &slot); i++) {
        cw_session *session = cw_session_at(worker, slot);
        cw_link *link = cw_session_link(worker, session);
        if (cw_link_deadline(link) <= now) {
            cw_worker_touch(worker, session);
            size_t delivered = cw_link_expire(link, now, worker->delivered, worker->delivered_capacity, &worker->pool);
            cw_worker_poll_link(worker, session, now);
            deliver(worker, session, worker->delivered, delivered, now);
        }
        cw_worker_arm(worker, session, now);
    }
    cw_worker_flush(worker, now);
}
