// PPP frames: a parsed header is inside the frame and builds back; a proof looks at nothing beyond the plaintext.
#include <stdlib.h>
#include <string.h>

#include "ppp_frame.h"

static void require(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *frame = malloc(size);
    if (size > 0) memcpy(frame, data, size);
    cw_ppp_header header;
    if (cw_ppp_parse(frame, size, &header)) {
        require(header.length <= size && header.length >= 1 && header.length <= CW_PPP_HEADER_MAX);
        require((header.protocol & 1) == 1 && (header.protocol & 0x100) == 0);
        uint8_t room[CW_PPP_HEADER_MAX];
        bool address = header.length > 2;
        bool compressed = (header.length & 1) != 0;
        size_t length = cw_ppp_prepend(room + sizeof room, header.protocol, !address, compressed);
        require(length == header.length);
        require(memcmp(room + sizeof room - length, frame, length) == 0);
    }
    cw_prefix prefix = {.address = {.family = 6}, .length = 0};
    if (size > 0) { // a prefix out of the input too
        prefix.length = data[0];
        memcpy(prefix.address.bytes, data, size < 16 ? size : 16);
    }
    // Only the head is there, as in a trial.
    size_t readable = size < CW_PPP_PROOF_HEAD ? size : CW_PPP_PROOF_HEAD;
    uint8_t *head = malloc(readable);
    if (readable > 0) memcpy(head, frame, readable);
    cw_proof proof = cw_ppp_prove(head, size, &prefix, 1, &header);
    require(proof == cw_ppp_prove(frame, size, &prefix, 1, &header));
    if (proof != CW_PROOF_NONE) {
        require(header.protocol == CW_PPP_IPV4 || header.protocol == CW_PPP_IPV6);
        require(size >= header.length + 20u);
    }
    free(head);
    free(frame);
    return 0;
}
