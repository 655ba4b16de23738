// The program that looks at each frame of an interface before the kernel makes a packet of it. It is short and made of constants that are
// known here, so it is put together instruction by instruction: no compiler for another machine at build time, no loader at run time, and
// nothing that could differ between the two. It reads the packet, calls nothing but the redirection, and keeps nothing; CAP_BPF and
// CAP_NET_ADMIN are enough to load it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io_xdp.h"
#include "ip.h"

enum {
    most_instructions = 64 + CW_MAX_TAP_ADDRESSES,
    no_place = -1,
    ip_at = CW_XSK_ETHERNET,
    gre_at = CW_XSK_ETHERNET + CW_IPV4_HEADER,
    needed = CW_XSK_ETHERNET + CW_GRE_KEY_OFFSET + 2, // what it reads
};

// Registers. Those that a call keeps are from 6 on.
enum { result = BPF_REG_0, context = BPF_REG_1, packet = BPF_REG_2, packet_end = BPF_REG_3, value = BPF_REG_4, kept_context = BPF_REG_6 };

typedef struct assembly {
    struct bpf_insn code[most_instructions];
    uint32_t count;
    uint32_t leaving[most_instructions], leaving_count; // jumps to where a packet is the kernel's
} assembly;

static uint32_t put(assembly *to, uint8_t code, uint8_t destination, uint8_t source, int16_t offset, uint32_t immediate) {
    struct bpf_insn *at = &to->code[to->count];
    *at = (struct bpf_insn){.code = code, .off = offset, .imm = (int32_t)immediate};
    at->dst_reg = destination & 15;
    at->src_reg = source & 15;
    return to->count++;
}

static void load(assembly *to, uint8_t size, uint8_t destination, uint8_t source, int offset) {
    put(to, (uint8_t)(BPF_LDX | BPF_MEM | size), destination, source, (int16_t)offset, 0);
}

static void copy(assembly *to, uint8_t destination, uint8_t source) { put(to, BPF_ALU64 | BPF_MOV | BPF_X, destination, source, 0, 0); }

// ... unless; 32 bits are compared, so that constants are not sign-extended.
static void leave_unless_equal(assembly *to, uint32_t constant) {
    to->leaving[to->leaving_count++] = put(to, BPF_JMP32 | BPF_JNE | BPF_K, value, 0, no_place, constant);
}
static void leave_if(assembly *to, uint8_t operator) { // value operator packet_end
    to->leaving[to->leaving_count++] = put(to, (uint8_t)(BPF_JMP | operator | BPF_X), value, packet_end, no_place, 0);
}
static void leave(assembly *to) { to->leaving[to->leaving_count++] = put(to, BPF_JMP | BPF_JA, 0, 0, no_place, 0); }

// Value: the address so many octets into the packet.
static void point(assembly *to, uint32_t octets) {
    copy(to, value, packet);
    put(to, BPF_ALU64 | BPF_ADD | BPF_K, value, 0, 0, octets);
}

// Of octets as they are on the wire, for comparison with a load of this machine's.
static uint32_t word(const void *octets, size_t length) {
    uint32_t four = 0;
    uint16_t two = 0;
    memcpy(length == 2 ? (void *)&two : (void *)&four, octets, length);
    return length == 2 ? two : four;
}

static void assemble(assembly *to, const cw_xdp_program *program) {
    copy(to, kept_context, context);
    load(to, BPF_W, packet, context, offsetof(struct xdp_md, data));
    load(to, BPF_W, packet_end, context, offsetof(struct xdp_md, data_end));
    point(to, needed);
    leave_if(to, BPF_JGT);
    point(to, CW_XSK_ETHERNET + CW_XSK_LONGEST + 1);
    leave_if(to, BPF_JLE);

    load(to, BPF_W, value, packet, 0);
    leave_unless_equal(to, word(program->station, 4));
    load(to, BPF_H, value, packet, 4);
    leave_unless_equal(to, word(program->station + 4, 2));
    load(to, BPF_H, value, packet, 12);
    leave_unless_equal(to, htons(ETH_P_IP));
    load(to, BPF_B, value, packet, ip_at);
    leave_unless_equal(to, 0x45);
    load(to, BPF_H, value, packet, ip_at + 6);
    put(to, BPF_ALU | BPF_AND | BPF_K, value, 0, 0, htons(0x3FFF));
    leave_unless_equal(to, 0);
    load(to, BPF_B, value, packet, ip_at + 9);
    leave_unless_equal(to, IPPROTO_GRE);
    load(to, BPF_W, value, packet, gre_at);
    put(to, BPF_ALU | BPF_AND | BPF_K, value, 0, 0, htonl(CW_GRE_WORD_MASK));
    leave_unless_equal(to, htonl(CW_GRE_WORD));
    load(to, BPF_W, value, packet, ip_at + 16);
    for (uint32_t i = 0; i < program->address_count; i++) // over those that are left, and the jump behind them
        put(to, BPF_JMP32 | BPF_JEQ | BPF_K, value, 0, (int16_t)(program->address_count - i), word(program->addresses[i].bytes, 4));
    leave(to);

    // bpf_redirect_map(sockets, queue * worker_count + call ID % worker_count, XDP_PASS): what has no socket is the kernel's.
    load(to, BPF_H, packet, packet, ip_at + CW_GRE_KEY_OFFSET);
    put(to, BPF_ALU | BPF_END | BPF_TO_BE, packet, 0, 0, 16);
    put(to, BPF_ALU | BPF_MOD | BPF_K, packet, 0, 0, program->worker_count);
    load(to, BPF_W, value, kept_context, offsetof(struct xdp_md, rx_queue_index));
    put(to, BPF_ALU | BPF_MUL | BPF_K, value, 0, 0, program->worker_count);
    put(to, BPF_ALU | BPF_ADD | BPF_X, packet, value, 0, 0);
    put(to, BPF_LD | BPF_IMM | BPF_DW, context, BPF_PSEUDO_MAP_FD, 0, (uint32_t)program->sockets);
    put(to, 0, 0, 0, 0, 0); // the upper half
    put(to, BPF_ALU64 | BPF_MOV | BPF_K, packet_end, 0, 0, XDP_PASS);
    put(to, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map);
    put(to, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

    uint32_t here = put(to, BPF_ALU64 | BPF_MOV | BPF_K, result, 0, 0, XDP_PASS);
    put(to, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    for (uint32_t i = 0; i < to->leaving_count; i++) to->code[to->leaving[i]].off = (int16_t)(here - to->leaving[i] - 1);
}

// ---- bpf(2) -----------------------------------------------------------------------------------------------------------

static int bpf(enum bpf_cmd command, union bpf_attr *attributes) { return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes); }

static uint64_t address_of(const void *pointer) { return (uint64_t)(uintptr_t)pointer; }

static void set_name(char name[BPF_OBJ_NAME_LEN]) { memcpy(name, "causeway_gre", sizeof "causeway_gre"); }

int cw_xdp_map_open(uint32_t sockets) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = BPF_MAP_TYPE_XSKMAP;
    attributes.key_size = attributes.value_size = sizeof(uint32_t);
    attributes.max_entries = sockets;
    set_name(attributes.map_name);
    return bpf(BPF_MAP_CREATE, &attributes);
}

bool cw_xdp_map_put(int map, uint32_t index, int socket) {
    union bpf_attr attributes;
    uint32_t fd = (uint32_t)socket;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)map;
    attributes.key = address_of(&index);
    attributes.value = address_of(&fd);
    return bpf(BPF_MAP_UPDATE_ELEM, &attributes) == 0;
}

int cw_xdp_program_load(const cw_xdp_program *program) {
    assembly assembly = {0};
    union bpf_attr attributes;
    assemble(&assembly, program);
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_XDP;
    attributes.expected_attach_type = BPF_XDP;
    attributes.insns = address_of(assembly.code);
    attributes.insn_cnt = assembly.count;
    attributes.license = address_of("");
    set_name(attributes.prog_name);
    return bpf(BPF_PROG_LOAD, &attributes);
}

int cw_xdp_program_attach(int program, uint32_t interface, bool native) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.link_create.prog_fd = (uint32_t)program;
    attributes.link_create.target_ifindex = interface;
    attributes.link_create.attach_type = BPF_XDP;
    attributes.link_create.flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    return bpf(BPF_LINK_CREATE, &attributes);
}
