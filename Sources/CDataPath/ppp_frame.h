// PPP framing inside GRE: no flags, no escapes, no FCS (RFC 2637 section 4); address, control and protocol fields as RFC 1661 section 2
// and 6.5/6.6 let peers shorten them. And what a decrypted packet has to look like to count as proof that it was decrypted rightly.
#ifndef CW_PPP_FRAME_H
#define CW_PPP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "causeway_datapath.h"

enum {
    CW_PPP_IPV4 = 0x0021,
    CW_PPP_IPV6 = 0x0057,
    CW_PPP_COMPRESSED = 0x00fd, // MPPE
    CW_PPP_CCP = 0x80fd,
    CW_PPP_LCP = 0xc021,
    CW_PPP_HEADER_MAX = 4,
};

typedef struct cw_ppp_header {
    uint16_t protocol;
    uint8_t length; // octets before the payload
} cw_ppp_header;

// Takes frames with and without FF 03, and protocols of one or two octets, whatever was negotiated. False: no valid protocol field.
bool cw_ppp_parse(const uint8_t *frame, size_t length, cw_ppp_header *header);
// Everything from 0x8000 up: network control, link control, authentication.
static inline bool cw_ppp_is_control(uint16_t protocol) { return protocol >= 0x8000; }

// Writes at most CW_PPP_HEADER_MAX octets that end at `end`; returns how many.
size_t cw_ppp_prepend(uint8_t *end, uint16_t protocol, bool omit_address, bool compress_protocol);

// How much a plaintext proves. A wrong key or a forged packet gives random octets.
typedef enum cw_proof {
    CW_PROOF_NONE,        // not a packet at all
    CW_PROOF_WELL_FORMED, // chance below 2^-27: enough where the sequence is as expected
    CW_PROOF_EVIDENCE,    // IPv4 with a good header checksum, or IPv6 with exact length and known source: enough to follow a jump
} cw_proof;

enum { CW_PPP_PROOF_HEAD = CW_PPP_HEADER_MAX + 60 }; // octets of a plaintext that are looked at, at most

// `head` is the beginning of a plaintext of `length` octets, min(length, CW_PPP_PROOF_HEAD) of it readable. Fills in *header unless the
// result is CW_PROOF_NONE.
cw_proof cw_ppp_prove(const uint8_t *head, size_t length, const cw_prefix *prefixes, uint32_t prefix_count, cw_ppp_header *header);
// The same for an IP packet without PPP header in front.
cw_proof cw_ip_prove(uint16_t protocol, const uint8_t *head, size_t length, const cw_prefix *prefixes, uint32_t prefix_count);

#endif
