// Enhanced GRE: whatever parses stays inside what arrived and builds back to the same octets. The second half of the input drives the
// sequence window: a number that was accepted or verified is never offered again.
#include <stdlib.h>
#include <string.h>

#include "gre.h"
#include "gre_window.h"
#include "link_bytes.h"

static void require(bool condition) {
    if (!condition) abort();
}

static void parse(const uint8_t *data, size_t size) {
    cw_gre_header header;
    if (!cw_gre_parse(data, size, &header)) return;
    require(header.header_length == cw_gre_header_length(&header));
    require((size_t)header.header_length + header.payload_length <= size);
    uint8_t built[CW_GRE_HEADER_MAX];
    cw_gre_build(&header, built);
    require(memcmp(built, data, header.header_length) == 0);
}

static void window(const uint8_t *data, size_t size) {
    enum { remembered = 64 };
    cw_gre_window w = {0};
    uint32_t taken[remembered];
    size_t count = 0;
    for (; size >= 3; data += 3, size -= 3) {
        int32_t step = (int8_t)data[1];
        if ((data[0] & 0x10) != 0) step *= 1 << (data[2] % 24);
        uint32_t sequence = w.expected + (uint32_t)step;
        cw_gre_place place = cw_gre_window_place(&w, sequence);
        bool open = place == CW_GRE_NEXT || place == CW_GRE_AHEAD || place == CW_GRE_FAR || place == CW_GRE_OPEN;
        if (!open) continue;
        switch (data[0] & 3) {
        case 0: cw_gre_window_pass(&w, sequence); break;
        case 1:
            if (place == CW_GRE_FAR) break;
            cw_gre_window_accept(&w, sequence);
            require(cw_gre_window_place(&w, sequence) == CW_GRE_DUPLICATE ||
                    w.expected - sequence > CW_GRE_WINDOW_MEMORY);
            break;
        default:
            for (size_t n = 0; w.proven && n < count && n < remembered; n++)
                require(taken[n] != sequence || (int32_t)(sequence - w.verified) > 0);
            cw_gre_window_verify(&w, sequence);
            require(w.verified == sequence && w.expected == sequence + 1);
            require(cw_gre_window_place(&w, sequence) == CW_GRE_DUPLICATE);
            taken[count++ % remembered] = sequence;
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // The parser gets memory that ends where the packet ends.
    uint8_t *exact = malloc(size);
    if (size > 0) memcpy(exact, data, size);
    parse(exact, size);
    free(exact);
    window(data + size / 2, size - size / 2);
    return 0;
}
