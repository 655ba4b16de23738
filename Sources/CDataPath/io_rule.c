// The ingress rule of the backend "packet": an nftables table of the netdev family, with one chain for each interface and one rule for each
// address, in one transaction. The table has the flag "owner": the kernel removes it with the netlink socket, so neither a crash nor
// kill -9 leaves a rule behind that would cut off whoever takes over.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "io.h"
#include "ip.h"

enum {
    message_space = 64 * 1024, // 32 addresses on 32 interfaces need half of it
    chain_priority = -500,     // before chains of others, which see nothing of what is dropped here
    answer_seconds = 5,
    no_vlan_offset = 12, // of the EtherType: what a tag stands in front of
};

// ---- Netlink messages ---------------------------------------------------------------------------------------------------

typedef struct batch {
    _Alignas(4) uint8_t bytes[message_space];
    uint32_t length, message; // where the open message begins
    uint32_t sequence;
} batch;

static void append(batch *batch, const void *data, uint32_t length) {
    memcpy(batch->bytes + batch->length, data, length);
    uint32_t padded = NLMSG_ALIGN(length);
    memset(batch->bytes + batch->length + length, 0, padded - length);
    batch->length += padded;
}

static void begin(batch *batch, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource) {
    struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++batch->sequence};
    struct nfgenmsg generic = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
    batch->message = batch->length;
    append(batch, &header, sizeof header);
    append(batch, &generic, sizeof generic);
}

static void set16(batch *batch, uint32_t at, uint32_t length) {
    uint16_t value = (uint16_t)length;
    memcpy(batch->bytes + at, &value, sizeof value);
}

static void end(batch *batch) {
    uint32_t length = batch->length - batch->message;
    memcpy(batch->bytes + batch->message, &length, sizeof length);
}

static void attribute(batch *batch, uint16_t type, const void *data, uint32_t length) {
    struct nlattr header = {(uint16_t)(NLA_HDRLEN + length), type};
    append(batch, &header, sizeof header);
    append(batch, data, length);
}
static void text(batch *batch, uint16_t type, const char *value) { attribute(batch, type, value, (uint32_t)strlen(value) + 1); }
static void number(batch *batch, uint16_t type, uint32_t value) {
    uint32_t wire = htonl(value);
    attribute(batch, type, &wire, sizeof wire);
}
static uint32_t nest(batch *batch, uint16_t type) {
    uint32_t at = batch->length;
    struct nlattr header = {NLA_HDRLEN, type | NLA_F_NESTED};
    append(batch, &header, sizeof header);
    return at;
}
static void close_nest(batch *batch, uint32_t at) { set16(batch, at, batch->length - at); }

// ---- What a rule looks at -------------------------------------------------------------------------------------------------

typedef struct expression {
    uint32_t element, data;
} expression;

static expression begin_expression(batch *batch, const char *name) {
    expression open = {.element = nest(batch, NFTA_LIST_ELEM)};
    text(batch, NFTA_EXPR_NAME, name);
    open.data = nest(batch, NFTA_EXPR_DATA);
    return open;
}

static void end_expression(batch *batch, expression open) {
    close_nest(batch, open.data);
    close_nest(batch, open.element);
}

static void value(batch *batch, uint16_t type, const void *data, uint32_t length) {
    uint32_t at = nest(batch, type);
    attribute(batch, NFTA_DATA_VALUE, data, length);
    close_nest(batch, at);
}

static void compare(batch *batch, uint32_t operator, const void *data, uint32_t length) {
    expression open = begin_expression(batch, "cmp");
    number(batch, NFTA_CMP_SREG, NFT_REG_1);
    number(batch, NFTA_CMP_OP, operator);
    value(batch, NFTA_CMP_DATA, data, length);
    end_expression(batch, open);
}

static void load_meta(batch *batch, uint32_t key) {
    expression open = begin_expression(batch, "meta");
    number(batch, NFTA_META_KEY, key);
    number(batch, NFTA_META_DREG, NFT_REG_1);
    end_expression(batch, open);
}

static void load_payload(batch *batch, uint32_t base, uint32_t offset, uint32_t length) {
    expression open = begin_expression(batch, "payload");
    number(batch, NFTA_PAYLOAD_DREG, NFT_REG_1);
    number(batch, NFTA_PAYLOAD_BASE, base);
    number(batch, NFTA_PAYLOAD_OFFSET, offset);
    number(batch, NFTA_PAYLOAD_LEN, length);
    end_expression(batch, open);
}

static void mask(batch *batch, const void *bits, uint32_t length) {
    static const uint8_t zero[4];
    expression open = begin_expression(batch, "bitwise");
    number(batch, NFTA_BITWISE_SREG, NFT_REG_1);
    number(batch, NFTA_BITWISE_DREG, NFT_REG_1);
    number(batch, NFTA_BITWISE_LEN, length);
    value(batch, NFTA_BITWISE_MASK, bits, length);
    value(batch, NFTA_BITWISE_XOR, zero, length);
    end_expression(batch, open);
}

static void count_and_drop(batch *batch) {
    end_expression(batch, begin_expression(batch, "counter"));
    expression open = begin_expression(batch, "immediate");
    number(batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    uint32_t data = nest(batch, NFTA_IMMEDIATE_DATA), verdict = nest(batch, NFTA_DATA_VERDICT);
    number(batch, NFTA_VERDICT_CODE, NF_DROP);
    close_nest(batch, verdict);
    close_nest(batch, data);
    end_expression(batch, open);
}

static void compare16(batch *batch, uint32_t operator, uint16_t wanted) {
    uint16_t wire = htons(wanted);
    compare(batch, operator, &wire, sizeof wire);
}

static void compare8(batch *batch, uint8_t wanted) { compare(batch, NFT_CMP_EQ, &wanted, sizeof wanted); }

// The same as make_filter in io_tap.c asks for, one to one. The rule is bound to the interface's index too: newer kernels attach a chain
// again to a new interface of the same name, which the rings do not know.
static void add_expressions(batch *batch, const cw_tap_address *address) {
    load_meta(batch, NFT_META_IIF);
    compare(batch, NFT_CMP_EQ, &address->interface, sizeof address->interface);
    load_meta(batch, NFT_META_PKTTYPE);
    compare8(batch, 0); // to this host
    load_payload(batch, NFT_PAYLOAD_LL_HEADER, no_vlan_offset, 2);
    compare16(batch, NFT_CMP_EQ, ETH_P_IP);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 0, 1);
    compare8(batch, 0x45);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 2, 2);
    compare16(batch, NFT_CMP_LTE, CW_TAP_LONGEST);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 6, 2);
    uint16_t fragment = htons(0x3FFF);
    mask(batch, &fragment, sizeof fragment);
    compare16(batch, NFT_CMP_EQ, 0);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 9, 1);
    compare8(batch, IPPROTO_GRE);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 16, 4);
    compare(batch, NFT_CMP_EQ, address->address.bytes, 4);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, CW_IPV4_HEADER, 4);
    uint32_t word_mask = htonl(CW_GRE_WORD_MASK), word = htonl(CW_GRE_WORD);
    mask(batch, &word_mask, sizeof word_mask);
    compare(batch, NFT_CMP_EQ, &word, sizeof word);
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, CW_GRE_KEY_OFFSET, 2); // it is there
    count_and_drop(batch);
}

// ---- The transaction --------------------------------------------------------------------------------------------------------

static void begin_nft(batch *batch, uint16_t type, uint16_t flags) {
    begin(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_NETDEV, 0);
}

static void add_chain(batch *batch, const char *table, const char *name, const char *interface) {
    begin_nft(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    text(batch, NFTA_CHAIN_TABLE, table);
    text(batch, NFTA_CHAIN_NAME, name);
    uint32_t hook = nest(batch, NFTA_CHAIN_HOOK);
    number(batch, NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS);
    number(batch, NFTA_HOOK_PRIORITY, (uint32_t)chain_priority);
    text(batch, NFTA_HOOK_DEV, interface);
    close_nest(batch, hook);
    number(batch, NFTA_CHAIN_POLICY, NF_ACCEPT);
    text(batch, NFTA_CHAIN_TYPE, "filter");
    end(batch);
}

static bool is_first_of_interface(const cw_tap_config *config, uint32_t index) {
    for (uint32_t i = 0; i < index; i++)
        if (config->addresses[i].interface == config->addresses[index].interface) return false;
    return true;
}

static bool make_batch(batch *batch, const cw_tap_config *config) {
    *batch = (struct batch){0};
    begin(batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end(batch);
    begin_nft(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
    text(batch, NFTA_TABLE_NAME, config->table);
    number(batch, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
    end(batch);
    for (uint32_t i = 0; i < config->address_count; i++) {
        const cw_tap_address *address = &config->addresses[i];
        char interface[IF_NAMESIZE], chain[16];
        if (if_indextoname(address->interface, interface) == NULL) return false;
        snprintf(chain, sizeof chain, "if%u", address->interface);
        if (is_first_of_interface(config, i)) add_chain(batch, config->table, chain, interface);
        begin_nft(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
        text(batch, NFTA_RULE_TABLE, config->table);
        text(batch, NFTA_RULE_CHAIN, chain);
        uint32_t expressions = nest(batch, NFTA_RULE_EXPRESSIONS);
        add_expressions(batch, address);
        close_nest(batch, expressions);
        end(batch);
    }
    begin(batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end(batch);
    return true;
}

// Only the table asks to be acknowledged; errors come for every message. All of it is in the socket once the first answer is.
static int carry_out(int fd, const batch *batch) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(fd, batch->bytes, batch->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) return errno;
    int result = 0;
    for (int flags = 0;; flags = MSG_DONTWAIT) {
        _Alignas(struct nlmsghdr) uint8_t answer[8192];
        ssize_t got;
        do got = recv(fd, answer, sizeof answer, flags);
        while (got < 0 && errno == EINTR);
        if (got < 0) return flags == 0 ? errno : result;
        uint32_t left = (uint32_t)got;
        for (struct nlmsghdr *header = (struct nlmsghdr *)(void *)answer; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
            if (header->nlmsg_type == NLMSG_ERROR && result == 0) result = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
    }
}

cw_status cw_open_gre_rule(const cw_tap_config *config, int32_t *fd) {
    if (!cw_tap_config_valid(config)) return CW_INVALID;
    static _Thread_local batch work;
    if (!make_batch(&work, config)) return CW_SYSTEM;
    int rule = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (rule < 0) return CW_SYSTEM;
    struct sockaddr_nl self = {.nl_family = AF_NETLINK};
    struct timeval limit = {.tv_sec = answer_seconds};
    int error = bind(rule, (struct sockaddr *)&self, sizeof self) != 0 ||
                        setsockopt(rule, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0
                    ? errno
                    : carry_out(rule, &work);
    if (error == 0) {
        *fd = rule;
        return CW_OK;
    }
    close(rule);
    errno = error;
    return CW_SYSTEM;
}
