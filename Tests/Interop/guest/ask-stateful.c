// A plugin for pppd 2.4: asks for stateful MPPE in our Configure-Request. pppd's own option only allows it when the peer asks.
#include <pppd/pppd.h>
#include <pppd/fsm.h>
#include <pppd/ccp.h>
#include <pppd/mppe.h>

char pppd_version[] = VERSION;

static int ask(int phase) {
    // Options are final by now, and CCP has not been opened yet.
    if (phase == PHASE_AUTHENTICATE || phase == PHASE_NETWORK) ccp_wantoptions[0].mppe |= MPPE_OPT_STATEFUL;
    return 0;
}

void plugin_init(void) { new_phase_hook = ask; }
