// Towards the user: packets of one batch from the TUN queue, the WireGuard engine and other workers, grouped by session, through the IP
// checks and the link into the GRE socket, or to the peer of a native session.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "worker.h"

// ---- GRE packets ------------------------------------------------------------------------------------------------------

static void settle(cw_worker *worker, uint32_t index, bool sent, uint64_t now) {
    cw_outbox *box = &worker->outbox;
    cw_session *session = box->sessions[index];
    cw_worker_touch(worker, session);
    if (!sent) {
        session->live.drops[CW_DROP_SEND_FAILED]++;
    } else if (box->inner[index] != 0) {
        session->live.packets_out++;
        session->live.bytes_out += box->inner[index];
        session->live.last_data_nanoseconds = now;
    }
    cw_pool_give(&worker->pool, box->buffers[index]);
}

static bool dead_socket(int error) { return error == EBADF || error == EBADFD || error == ENOTSOCK; }

static void count_departures(_Atomic uint64_t *counter, int packets) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + (uint64_t)packets, memory_order_relaxed);
}

// To the raw socket. The kernel writes the IP header (not IP_HDRINCL), so it also chooses the identification and fragments what is too long.
static void address_packet(cw_outbox *box, uint32_t i) {
    const cw_session *session = box->sessions[i];
    struct msghdr *header = &box->messages[i].msg_hdr;
    box->frame[i] = 0;
    box->vectors[i] = (struct iovec){cw_buffer_data(box->buffers[i]), box->buffers[i]->length};
    box->to[i].address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = session->peer4};
    *header = (struct msghdr){
        .msg_name = &box->to[i],
        .msg_namelen = sizeof box->to[i].address,
        .msg_iov = &box->vectors[i],
        .msg_iovlen = 1,
    };
    if (session->local4 == 0) return;
    // The address on which this call's control connection was accepted.
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = session->local4};
    header->msg_control = box->control[i].bytes;
    header->msg_controllen = sizeof box->control[i].bytes;
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    control->cmsg_level = IPPROTO_IP;
    control->cmsg_type = IP_PKTINFO;
    control->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(control), &info, sizeof info);
}

// To the interface, if it is known which (io_hop.h) and the packet can leave there as it is.
static bool address_frame(cw_worker *worker, uint32_t i) {
    cw_outbox *box = &worker->outbox;
    const cw_session *session = box->sessions[i];
    cw_buffer *buffer = box->buffers[i];
    cw_hop hop;
    if (worker->frame_fd < 0 || !cw_hops_find(worker->engine->hops, worker->index, session->peer4, session->local4, &hop)) return false;
    if (CW_IPV4_HEADER + (uint32_t)buffer->length > hop.longest || buffer->offset < CW_HOP_FRAME) return false;
    cw_hop_frame(&hop, session->peer4, (uint16_t)worker->identification, cw_buffer_data(buffer), buffer->length);
    worker->identification += worker->config->worker_count; // no other worker's
    box->frame[i] = hop.interface;
    box->vectors[i] = (struct iovec){cw_buffer_data(buffer) - CW_HOP_FRAME, CW_HOP_FRAME + (size_t)buffer->length};
    box->to[i].interface = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)hop.interface};
    box->messages[i].msg_hdr = (struct msghdr){
        .msg_name = &box->to[i],
        .msg_namelen = sizeof box->to[i].interface,
        .msg_iov = &box->vectors[i],
        .msg_iovlen = 1,
    };
    return true;
}

static int send_by_packet_socket(cw_worker *worker, uint32_t from, uint32_t end) {
    int done;
    do done = sendmmsg(worker->frame_fd, worker->outbox.messages + from, end - from, MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    return done;
}

// From the first one up to `end`, all at one interface; returns what is left to send. What the interface refuses is the raw socket's.
static uint32_t send_frames(cw_worker *worker, uint32_t from, uint32_t end, uint64_t now) {
    cw_outbox *box = &worker->outbox;
    int done = (int)cw_xsks_send(&worker->xsks, box->frame[from], box->vectors + from, end - from);
    if (done == 0) done = send_by_packet_socket(worker, from, end);
    if (done <= 0) {
        address_packet(box, from);
        return from;
    }
    count_departures(&worker->sent_at_interface, done);
    for (int i = 0; i < done; i++) settle(worker, from++, true, now);
    return from;
}

static uint32_t send_packets(cw_worker *worker, uint32_t from, uint32_t end, uint64_t now) {
    cw_outbox *box = &worker->outbox;
    int done;
    do done = worker->gre_fd < 0 ? -1 : sendmmsg(worker->gre_fd, box->messages + from, end - from, MSG_DONTWAIT);
    while (done < 0 && worker->gre_fd >= 0 && errno == EINTR);
    if (done > 0) {
        count_departures(&worker->sent_through_stack, done);
        for (int i = 0; i < done; i++) settle(worker, from++, true, now);
        return from;
    }
    // The first of the rest was refused. A full socket refuses all of them; any other reason may be this packet's alone.
    bool all = worker->gre_fd < 0 || errno == EAGAIN || errno == ENOBUFS || dead_socket(errno);
    if (worker->gre_fd >= 0 && dead_socket(errno)) cw_worker_fail(worker, &worker->gre_fd, errno);
    do settle(worker, from++, false, now);
    while (all && from < end);
    return from;
}

// In runs of one kind and interface, so that a session's packets keep their order.
static void send_outbox(cw_worker *worker, uint64_t now) {
    cw_outbox *box = &worker->outbox;
    for (uint32_t sent = 0; sent < box->count;) {
        uint32_t end = sent + 1;
        while (end < box->count && box->frame[end] == box->frame[sent]) end++;
        sent = box->frame[sent] != 0 ? send_frames(worker, sent, end, now) : send_packets(worker, sent, end, now);
    }
    box->count = 0;
}

void cw_worker_post(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint16_t inner) {
    cw_outbox *box = &worker->outbox;
    if (box->count == CW_MAX_BATCH) send_outbox(worker, cw_now());
    uint32_t i = box->count++;
    box->buffers[i] = buffer;
    box->sessions[i] = session;
    box->inner[i] = inner;
    if (!address_frame(worker, i)) address_packet(box, i);
}

void cw_worker_arm(cw_worker *worker, cw_session *session, uint64_t now) {
    if (session->access != 0) return;
    uint64_t deadline = cw_link_deadline(cw_session_link(worker, session));
    if (deadline == UINT64_MAX) return;
    // What could not be done just now (no buffer was free) is tried again a little later instead of at once.
    enum { retry = 1000000 };
    cw_timers_arm(&worker->timers, session->slot, deadline <= now ? now + retry : deadline);
}

void cw_worker_poll_link(cw_worker *worker, cw_session *session, uint64_t now) {
    enum { at_once = 8 };
    cw_link *link = cw_session_link(worker, session);
    cw_buffer *frames[at_once];
    size_t count;
    do {
        count = cw_link_poll(link, now, session->peer_call_id, frames, at_once, &worker->pool);
        for (size_t i = 0; i < count; i++) cw_worker_post(worker, session, frames[i], 0);
        if (count > 0) cw_worker_touch(worker, session);
    } while (count == at_once);
}

// ---- Inner packets ----------------------------------------------------------------------------------------------------

// Whether we are a router on this packet's way, and take one from its TTL. Lives in the buffer from its arrival until it is sent.
static uint8_t *hop_mark(cw_buffer *buffer) { return &buffer->reserved; }

static const cw_address no_address = {0};

bool cw_worker_icmp(cw_worker *worker, cw_session *session, const cw_address *from, const cw_ip *ip, cw_icmp_error error, uint32_t mtu,
                    uint64_t now, cw_buffer **out) {
    if (worker->config->icmp_rate == 0) return false;
    cw_buffer *buffer = cw_pool_take(&worker->pool);
    if (buffer == NULL) return false;
    buffer->offset = CW_HEADROOM;
    *hop_mark(buffer) = 0;
    size_t length = cw_icmp_build(cw_buffer_data(buffer), ip, error, mtu, from);
    if (length == 0 || !cw_bucket_take(&worker->icmp_bucket, 1, now)) {
        cw_pool_give(&worker->pool, buffer);
        return false;
    }
    buffer->length = (uint16_t)length;
    (session != NULL ? &session->live : &worker->live)->icmp_sent++;
    *out = buffer;
    return true;
}

void cw_worker_queue(cw_worker *worker, cw_session *session, cw_buffer *buffer) {
    cw_packets_append(&session->outgoing, buffer);
    if (session->sending) return;
    session->sending = true;
    session->next_sending = NULL;
    if (worker->sending == NULL) worker->sending = session;
    else worker->sending_last->next_sending = session;
    worker->sending_last = session;
}

// Everything that waits for the kernels goes through them together (mppe_batch.h), and into the outbox.
static void seal(cw_worker *worker, uint64_t now) {
    const cw_mppe_kernels *kernels = worker->shared.kernels;
    cw_mppe_work work = {.jobs = worker->jobs, .streams = worker->stateful};
    size_t chains = 0;
    cw_mppe_stocks_step(&worker->stocks);
    for (uint32_t n = 0; n < worker->group_count; n++) {
        const cw_group *group = &worker->groups[n];
        if (cw_link_send_plan(cw_session_link(worker, group->session), group->count, &worker->chains[chains])) chains++;
    }
    cw_mppe_batch_keys(kernels, worker->chains, chains);
    for (uint32_t n = 0; n < worker->group_count; n++) {
        cw_group *group = &worker->groups[n];
        cw_buffer **packets = worker->batch + group->first, **sent = worker->encrypted + group->first;
        group->run = (uint32_t)cw_link_send_planned(cw_session_link(worker, group->session), group->session->peer_call_id, packets,
                                                    group->count, sent, &work, &worker->pool);
    }
    cw_mppe_batch_work(kernels, &work);
    for (uint32_t n = 0; n < worker->group_count; n++) {
        const cw_group *group = &worker->groups[n];
        group->session->sealing = false;
        for (uint32_t i = 0, from = group->first; i < group->run; i++, from++) {
            cw_buffer *buffer = worker->encrypted[group->first + i];
            while (worker->batch[from] != buffer) from++; // the link dropped and counted those between
            cw_worker_post(worker, group->session, buffer, worker->lengths[from]);
        }
        cw_worker_arm(worker, group->session, now);
    }
    worker->group_count = worker->sealing = 0;
}

// Into the next batch; a session has one group of it.
static void seal_later(cw_worker *worker, cw_session *session, cw_buffer *buffer, uint64_t now) {
    cw_group *group = worker->group_count == 0 ? NULL : &worker->groups[worker->group_count - 1];
    bool goes_on = session->sealing && group->session == session && group->count < CW_LINK_RUN;
    if (worker->sealing == CW_MAX_BATCH || (session->sealing && !goes_on)) {
        seal(worker, now);
        goes_on = false;
    }
    if (!goes_on) {
        group = &worker->groups[worker->group_count++];
        *group = (cw_group){.session = session, .first = worker->sealing};
        session->sealing = true;
    }
    worker->lengths[worker->sealing] = buffer->length;
    worker->batch[worker->sealing++] = buffer;
    group->count++;
}

// To the link with the next batch, or to a native session's peer.
static void send_down(cw_worker *worker, cw_session *session, cw_wg_peer *peer, cw_buffer *buffer, uint64_t now) {
    if (peer == NULL) {
        seal_later(worker, session, buffer, now);
        return;
    }
    session->live.packets_out++;
    session->live.bytes_out += buffer->length;
    session->live.last_data_nanoseconds = now;
    cw_wg_queue(worker->wireguard, worker->index, peer, buffer, &worker->pool, now);
}

// Splits one packet into buffers that take its place.
static void fragment_down(cw_worker *worker, cw_session *session, cw_wg_peer *peer, cw_buffer *buffer, const cw_ip *ip, uint64_t now) {
    cw_fragmenter fragmenter;
    cw_fragment_begin(&fragmenter, ip, session->mtu);
    for (;;) {
        cw_buffer *piece = cw_pool_take(&worker->pool);
        if (piece == NULL) {
            cw_worker_drop(worker, session, buffer, CW_DROP_OVERFLOW);
            return;
        }
        piece->offset = CW_HEADROOM;
        piece->protocol = CW_PPP_IPV4;
        piece->length = (uint16_t)cw_fragment_next(&fragmenter, cw_buffer_data(piece));
        if (piece->length == 0) {
            cw_pool_give(&worker->pool, piece);
            break;
        }
        send_down(worker, session, peer, piece, now);
    }
    cw_pool_give(&worker->pool, buffer);
}

// Tells the sender of a packet, which came from the uplink or from another user, what became of it.
static void answer(cw_worker *worker, cw_session *session, const cw_ip *ip, cw_icmp_error error, uint32_t mtu, uint64_t now) {
    cw_buffer *buffer;
    // A hub that knows this peer as one user takes nothing from it but that user's addresses.
    const cw_address *from = session->identity != 0 ? &no_address : &session->gateway_address;
    if (cw_worker_icmp(worker, session, from, ip, error, mtu, now, &buffer)) cw_worker_route_inner(worker, session->identity, buffer, now);
}

// The peer of a native session, if it is still the one that its access identity has for this destination.
static cw_wg_peer *find_native(cw_worker *worker, cw_session *session, const cw_ip *ip, cw_drop *cause) {
    cw_wg_peer *peer = cw_worker_find_peer(worker, session->access, ip->family, ip->destination, cause);
    if (peer == NULL || cw_worker_is_peer(session, peer)) return peer;
    *cause = CW_DROP_NO_PEER;
    return NULL;
}

static void send_group(cw_worker *worker, cw_session *session, uint64_t now) {
    cw_packets packets = session->outgoing;
    session->outgoing = (cw_packets){0};
    session->sending = false;
    cw_worker_touch(worker, session);
    if (session->access == 0 && cw_link_deadline(cw_session_link(worker, session)) <= now) cw_worker_poll_link(worker, session, now);
    for (cw_buffer *buffer = packets.first, *next; buffer != NULL; buffer = next) {
        cw_ip ip;
        next = buffer->next;
        if (!session->bound) {
            cw_worker_drop(worker, session, buffer, CW_DROP_NOT_OPEN);
            continue;
        }
        if (!cw_ip_parse(cw_buffer_data(buffer), buffer->length, &ip)) {
            cw_worker_drop(worker, session, buffer, CW_DROP_IP_MALFORMED);
            continue;
        }
        buffer->length = (uint16_t)ip.length;
        buffer->protocol = ip.family == 4 ? CW_PPP_IPV4 : CW_PPP_IPV6;
        if (!cw_bucket_take(&session->rate_out, ip.length, now)) {
            cw_worker_drop(worker, session, buffer, CW_DROP_RATE);
            continue;
        }
        if (*hop_mark(buffer) != 0 && !cw_ip_decrement_ttl(&ip)) {
            answer(worker, session, &ip, CW_ICMP_TIME_EXCEEDED, 0, now);
            cw_worker_drop(worker, session, buffer, CW_DROP_IP_EXPIRED);
            continue;
        }
        cw_wg_peer *peer = NULL;
        cw_drop cause;
        if (session->access != 0 && (peer = find_native(worker, session, &ip, &cause)) == NULL) {
            answer(worker, session, &ip, CW_ICMP_HOST_UNREACHABLE, 0, now);
            cw_worker_drop(worker, session, buffer, cause);
            continue;
        }
        uint32_t mtu = session->mtu;
        if (worker->config->role == CW_ROLE_GATEWAY && worker->tunnels[session->tunnel].up &&
            worker->tunnels[session->tunnel].mtu < mtu)
            mtu = worker->tunnels[session->tunnel].mtu;
        cw_ip_clamp_mss(&ip, mtu);
        if (ip.length > session->mtu) {
            if (!ip.dont_fragment) {
                fragment_down(worker, session, peer, buffer, &ip, now);
                continue;
            }
            answer(worker, session, &ip, CW_ICMP_TOO_BIG, session->mtu, now);
            cw_worker_drop(worker, session, buffer, CW_DROP_IP_TOO_BIG);
            continue;
        }
        send_down(worker, session, peer, buffer, now);
    }
    if (!session->sealing) cw_worker_arm(worker, session, now);
}

static void queue_next(cw_worker *worker) {
    uint32_t left = CW_WORKER_SERVES * worker->config->batch_size, waiting = worker->down.packets;
    if (waiting > CW_TURNS_WAITING && waiting - CW_TURNS_WAITING > left) left = waiting - CW_TURNS_WAITING;
    cw_packets packets;
    for (cw_place *place; left > 0 && (place = cw_turns_take(&worker->down, left, &packets)) != NULL; left -= packets.count) {
        cw_session *session = (cw_session *)(void *)((uint8_t *)place - offsetof(cw_session, down));
        for (cw_buffer *buffer = packets.first, *next; buffer != NULL; buffer = next) {
            next = buffer->next;
            cw_worker_queue(worker, session, buffer);
        }
    }
}

void cw_worker_flush(cw_worker *worker, uint64_t now) {
    while (worker->sending != NULL) {
        cw_session *session = worker->sending;
        worker->sending = session->next_sending;
        send_group(worker, session, now);
        if (worker->sending == NULL) seal(worker, now); // which may have nothing to do
    }
    if (worker->outbox.count > 0) send_outbox(worker, now);
    if (worker->handed_to != 0) cw_worker_publish_handoffs(worker);
    cw_worker_flush_tun(worker, now);
    if (worker->wireguard != NULL) cw_wg_flush(worker->wireguard, worker->index, &worker->pool, now);
}

void cw_worker_send_waiting(cw_worker *worker, uint64_t now) {
    if (worker->down.packets > 0) queue_next(worker);
    cw_worker_flush(worker, now);
}

// ---- Where they come from ---------------------------------------------------------------------------------------------

void cw_worker_arrive(cw_worker *worker, cw_session *session, const cw_origin *origin, cw_buffer *buffer, uint64_t now) {
    *hop_mark(buffer) = 0;
    switch (origin->way) {
    case CW_FROM_INSIDE: break;
    case CW_FROM_UPLINK:
        if (session->identity != origin->identity) {
            cw_worker_drop(worker, NULL, buffer, CW_DROP_WRONG_UPLINK);
            return;
        }
        *hop_mark(buffer) = origin->identity != 0; // what came through the TUN has been routed by the kernel
        break;
    case CW_FROM_NATIVE:
        if (session->access != origin->identity || memcmp(session->peer, origin->peer, sizeof origin->peer) != 0)
            cw_worker_drop(worker, NULL, buffer, CW_DROP_WRONG_PEER);
        else if (!cw_turns_add(&worker->up, &session->up, buffer, now))
            cw_worker_drop(worker, session, buffer, CW_DROP_FAIR_SHARE);
        return;
    }
    if (!cw_turns_add(&worker->down, &session->down, buffer, now)) cw_worker_drop(worker, session, buffer, CW_DROP_FAIR_SHARE);
}
