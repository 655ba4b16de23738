// Handshakes and public calls, two or three engines back to back.
#include "wg_pair.h"

static void test_first_packet_brings_up_a_session(void) {
    static rig r;
    rig_open(&r, 2, NULL);
    rig_peer(&r, 0, 1, 4, 0, NULL);
    rig_peer(&r, 1, 0, 0, 0, NULL);
    CHECK(rig_ping(&r, 0, 1)); // staged, then sent once the handshake is complete
    CHECK(rig_ping(&r, 1, 0)); // the responder has learnt where we are
    CHECK_EQUAL(r.seen[1], 1);
    CHECK_EQUAL(r.seen[2], 1);
    CHECK_EQUAL(r.seen[4], 2); // no keepalive was needed as confirmation
    rig_close(&r);
}

int main(void) {
    RUN(first_packet_brings_up_a_session);
    FINISH();
}
