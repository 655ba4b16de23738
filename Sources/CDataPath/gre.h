// Enhanced GRE, the carrier of PPTP's data (RFC 2637 section 4.1). Values only.
//
//   0                   1                   2                   3
//   |C|R|K|S|s|Recur|A| Flags | Ver |         Protocol Type         |
//   |    Key (HW) Payload Length    |       Key (LW) Call ID        |
//   |                  Sequence Number (if S)                       |
//   |               Acknowledgment Number (if A)                    |
#ifndef CW_GRE_H
#define CW_GRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CW_GRE_PROTOCOL_PPP = 0x880b,
    CW_GRE_HEADER_MIN = 8,
    CW_GRE_HEADER_MAX = 16,
};

typedef struct cw_gre_header {
    uint16_t call_id;
    uint16_t payload_length;
    uint32_t sequence;
    uint32_t acknowledgment;
    bool has_sequence;
    bool has_acknowledgment;
    uint8_t header_length;
} cw_gre_header;

// False: not an enhanced GRE packet, or its payload does not fit what arrived. Octets after the payload are not an error: links pad.
bool cw_gre_parse(const uint8_t *packet, size_t length, cw_gre_header *header);
size_t cw_gre_header_length(const cw_gre_header *header);
// Writes cw_gre_header_length(header) octets. header_length is not read.
void cw_gre_build(const cw_gre_header *header, uint8_t *out);

#endif
