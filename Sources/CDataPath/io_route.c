#define _GNU_SOURCE
#include "io_route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { message_space = 256, answer_space = 16 * 1024, answer_seconds = 1, notices_space = 4 * 1024 * 1024 };

// ---- Attributes -----------------------------------------------------------------------------------------------------------

// Of type `wanted` with at least `least` octets, the last one; NULL: none.
static const void *find_attribute(const struct nlmsghdr *message, size_t fixed, uint16_t wanted, size_t least) {
    const void *found = NULL;
    if (message->nlmsg_len < NLMSG_SPACE(fixed)) return NULL;
    int left = (int)(message->nlmsg_len - NLMSG_SPACE(fixed));
    const uint8_t *at = (const uint8_t *)message + NLMSG_SPACE(fixed);
    for (const struct rtattr *attribute = (const void *)at; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if ((attribute->rta_type & NLA_TYPE_MASK) == wanted && RTA_PAYLOAD(attribute) >= least) found = RTA_DATA(attribute);
    return found;
}

static uint32_t number(const struct nlmsghdr *message, size_t fixed, uint16_t type) {
    uint32_t value = 0;
    const void *data = find_attribute(message, fixed, type, sizeof value);
    if (data != NULL) memcpy(&value, data, sizeof value);
    return value;
}

static uint32_t metric(const struct nlmsghdr *message, uint16_t wanted) {
    uint32_t value = 0;
    const uint8_t *data = find_attribute(message, sizeof(struct rtmsg), RTA_METRICS, 0);
    if (data == NULL) return 0;
    const struct rtattr *nest = (const void *)(data - RTA_LENGTH(0));
    int left = (int)RTA_PAYLOAD(nest);
    for (const struct rtattr *attribute = (const void *)data; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == wanted && RTA_PAYLOAD(attribute) >= sizeof value) memcpy(&value, RTA_DATA(attribute), sizeof value);
    return value;
}

// ---- Questions ------------------------------------------------------------------------------------------------------------

typedef struct question {
    _Alignas(struct nlmsghdr) uint8_t bytes[message_space];
    uint32_t length;
} question;

static void begin(question *question, uint16_t type, uint16_t flags, const void *fixed, size_t length) {
    memset(question, 0, sizeof *question);
    struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
    memcpy(question->bytes, &header, sizeof header);
    memcpy(question->bytes + NLMSG_HDRLEN, fixed, length);
    question->length = (uint32_t)NLMSG_SPACE(length);
}

static void add(question *question, uint16_t type, uint32_t value) {
    struct rtattr header = {(unsigned short)RTA_LENGTH(sizeof value), type};
    memcpy(question->bytes + question->length, &header, sizeof header);
    memcpy(question->bytes + question->length + RTA_LENGTH(0), &value, sizeof value);
    question->length += (uint32_t)RTA_SPACE(sizeof value);
}

static bool send_question(cw_rtnl *rtnl, question *question) {
    struct nlmsghdr *header = (struct nlmsghdr *)(void *)question->bytes;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    header->nlmsg_len = question->length;
    header->nlmsg_seq = ++rtnl->sequence;
    return sendto(rtnl->fd, question->bytes, question->length, 0, (struct sockaddr *)&kernel, sizeof kernel) >= 0;
}

typedef struct answer {
    _Alignas(struct nlmsghdr) uint8_t bytes[answer_space];
} answer;

static ssize_t receive(cw_rtnl *rtnl, answer *answer) {
    ssize_t got;
    do got = recv(rtnl->fd, answer->bytes, sizeof answer->bytes, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

// The one message of this type that answers; NULL: none.
static const struct nlmsghdr *ask(cw_rtnl *rtnl, question *question, uint16_t type, size_t fixed, answer *answer) {
    if (!send_question(rtnl, question)) return NULL;
    for (ssize_t got; (got = receive(rtnl, answer)) > 0;) {
        const struct nlmsghdr *message = (const void *)answer->bytes;
        if (!NLMSG_OK(message, (size_t)got) || message->nlmsg_seq != rtnl->sequence) continue; // the answer to one that was given up
        return message->nlmsg_type == type && message->nlmsg_len >= NLMSG_LENGTH(fixed) ? message : NULL;
    }
    return NULL;
}

bool cw_rtnl_route(cw_rtnl *rtnl, uint32_t destination, uint32_t source, cw_route *out) {
    const size_t fixed = sizeof(struct rtmsg);
    struct rtmsg about = {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_src_len = source != 0 ? 32 : 0};
    question question;
    answer answer;
    begin(&question, RTM_GETROUTE, 0, &about, sizeof about);
    add(&question, RTA_DST, destination);
    if (source != 0) add(&question, RTA_SRC, source);
    const struct nlmsghdr *message = ask(rtnl, &question, RTM_NEWROUTE, fixed, &answer);
    if (message == NULL) return false;
    const struct rtmsg *route = NLMSG_DATA(message);
    if (route->rtm_family != AF_INET || route->rtm_type != RTN_UNICAST || (route->rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0) return false;
    if (find_attribute(message, fixed, RTA_VIA, 0) != NULL || find_attribute(message, fixed, RTA_ENCAP_TYPE, 0) != NULL) return false;
    uint32_t gateway = number(message, fixed, RTA_GATEWAY), preferred = number(message, fixed, RTA_PREFSRC);
    *out = (cw_route){
        .interface = number(message, fixed, RTA_OIF),
        .gateway = gateway != 0 ? gateway : destination,
        .source = source != 0 ? source : preferred,
        .mtu = metric(message, RTAX_MTU),
        .hop_limit = metric(message, RTAX_HOPLIMIT),
    };
    return out->interface != 0 && out->source != 0;
}

bool cw_rtnl_link(cw_rtnl *rtnl, uint32_t interface, cw_ether_link *out) {
    const size_t fixed = sizeof(struct ifinfomsg);
    struct ifinfomsg about = {.ifi_index = (int)interface};
    question question;
    answer answer;
    *out = (cw_ether_link){0};
    begin(&question, RTM_GETLINK, 0, &about, sizeof about);
    const struct nlmsghdr *message = ask(rtnl, &question, RTM_NEWLINK, fixed, &answer);
    if (message == NULL) return false;
    const struct ifinfomsg *link = NLMSG_DATA(message);
    const void *address = find_attribute(message, fixed, IFLA_ADDRESS, sizeof out->address);
    bool frames = link->ifi_type == ARPHRD_ETHER && address != NULL && (link->ifi_flags & (IFF_LOOPBACK | IFF_NOARP)) == 0 &&
                  (link->ifi_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
    if (!frames) return false;
    memcpy(out->address, address, sizeof out->address);
    out->mtu = number(message, fixed, IFLA_MTU);
    return out->mtu != 0;
}

static bool parse_neighbour(const struct nlmsghdr *message, cw_neighbour *out) {
    const size_t fixed = sizeof(struct ndmsg);
    if (message->nlmsg_len < NLMSG_LENGTH(fixed)) return false;
    const struct ndmsg *entry = NLMSG_DATA(message);
    if (entry->ndm_family != AF_INET || (entry->ndm_flags & NTF_PROXY) != 0) return false;
    const void *station = find_attribute(message, fixed, NDA_LLADDR, sizeof out->station);
    *out = (cw_neighbour){
        .interface = (uint32_t)entry->ndm_ifindex,
        .address = number(message, fixed, NDA_DST),
        .state = message->nlmsg_type == RTM_DELNEIGH ? 0 : entry->ndm_state,
        .has_station = station != NULL,
    };
    if (station != NULL) memcpy(out->station, station, sizeof out->station);
    return true;
}

bool cw_rtnl_neighbour(cw_rtnl *rtnl, uint32_t interface, uint32_t address, cw_neighbour *out) {
    struct ndmsg about = {.ndm_family = AF_INET, .ndm_ifindex = (int)interface};
    question question;
    answer answer;
    begin(&question, RTM_GETNEIGH, 0, &about, sizeof about);
    add(&question, NDA_DST, address);
    const struct nlmsghdr *message = ask(rtnl, &question, RTM_NEWNEIGH, sizeof about, &answer);
    return message != NULL && parse_neighbour(message, out) && out->address == address;
}

void cw_rtnl_probe(cw_rtnl *rtnl, uint32_t interface, uint32_t address) {
    // Without NLM_F_CREATE, so that nothing comes into being, and without a station, so that it keeps the one it has.
    struct ndmsg about = {.ndm_family = AF_INET, .ndm_ifindex = (int)interface, .ndm_state = NUD_PROBE};
    question question;
    begin(&question, RTM_NEWNEIGH, NLM_F_REPLACE, &about, sizeof about);
    add(&question, NDA_DST, address);
    (void)send_question(rtnl, &question); // an error, which nobody waits for, is skipped by the next question
}

bool cw_rtnl_rules_are_plain(cw_rtnl *rtnl) {
    const size_t fixed = sizeof(struct fib_rule_hdr);
    static const uint16_t telling[] = {FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_TUN_ID};
    struct fib_rule_hdr about = {.family = AF_INET};
    question question;
    answer answer;
    begin(&question, RTM_GETRULE, NLM_F_DUMP, &about, sizeof about);
    if (!send_question(rtnl, &question)) return false;
    bool plain = true;
    for (ssize_t got; (got = receive(rtnl, &answer)) > 0;) {
        size_t left = (size_t)got;
        for (const struct nlmsghdr *message = (const void *)answer.bytes; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            if (message->nlmsg_seq != rtnl->sequence) continue;
            if (message->nlmsg_type == NLMSG_DONE) return plain;
            if (message->nlmsg_type == NLMSG_ERROR) return false;
            for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
                if (find_attribute(message, fixed, telling[i], 0) != NULL) plain = false;
        }
    }
    return false;
}

// ---- Notifications --------------------------------------------------------------------------------------------------------

bool cw_rtnl_next(const uint8_t **datagram, size_t *length, cw_notice *out) {
    const struct nlmsghdr *message = (const void *)*datagram;
    if (!NLMSG_OK(message, *length)) return false;
    *out = (cw_notice){.type = CW_NOTICE_OTHER};
    const void *fixed = NLMSG_DATA(message);
    switch (message->nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        if (parse_neighbour(message, &out->neighbour)) out->type = CW_NOTICE_NEIGHBOUR;
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
        const struct rtmsg *route = fixed;
        if (message->nlmsg_len < NLMSG_LENGTH(sizeof *route) || route->rtm_family != AF_INET || (route->rtm_flags & RTM_F_CLONED) != 0) break;
        out->type = CW_NOTICE_ROUTE;
        out->network = number(message, sizeof *route, RTA_DST);
        out->mask = route->rtm_dst_len == 0 ? 0 : htonl(UINT32_MAX << (32 - (route->rtm_dst_len > 32 ? 32 : route->rtm_dst_len)));
        break;
    }
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg))) break;
        out->type = CW_NOTICE_LINK;
        out->interface = (uint32_t)((const struct ifinfomsg *)fixed)->ifi_index;
        break;
    case RTM_NEWRULE:
    case RTM_DELRULE: out->type = CW_NOTICE_RULE; break;
    case RTM_NEWADDR:
    case RTM_DELADDR: out->type = CW_NOTICE_ADDRESS; break;
    default: break;
    }
    size_t step = NLMSG_ALIGN(message->nlmsg_len);
    if (step > *length) step = *length;
    *datagram += step;
    *length -= step;
    return true;
}

// ---- Sockets --------------------------------------------------------------------------------------------------------------

static int open_socket(int flags, uint32_t groups) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
    struct sockaddr_nl self = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof self) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

bool cw_rtnl_open(cw_rtnl *rtnl) {
    struct timeval limit = {.tv_sec = answer_seconds};
    *rtnl = (cw_rtnl){.fd = open_socket(0, 0)};
    return rtnl->fd >= 0 && setsockopt(rtnl->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
}

void cw_rtnl_close(cw_rtnl *rtnl) {
    if (rtnl->fd >= 0) close(rtnl->fd);
    rtnl->fd = -1;
}

int cw_rtnl_subscribe(void) {
    int fd = open_socket(SOCK_NONBLOCK, RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE);
    int size = notices_space; // what does not fit makes everything void, which is only slow
    if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    return fd;
}
