#include "causeway_datapath.h"

const char *cw_status_text(cw_status status) {
    switch (status) {
    case CW_OK: return "ok";
    case CW_INVALID: return "an argument is out of range";
    case CW_NO_MEMORY: return "out of memory";
    case CW_FULL: return "no room";
    case CW_NOT_FOUND: return "no such session";
    case CW_SYSTEM: return "a system call failed";
    case CW_VERSION: return "a state of another version";
    }
    return "unknown status";
}

const char *cw_drop_name(cw_drop drop) {
    switch (drop) {
    case CW_DROP_GRE_MALFORMED: return "gre-malformed";
    case CW_DROP_GRE_UNKNOWN_CALL: return "gre-unknown-call";
    case CW_DROP_GRE_WRONG_SOURCE: return "gre-wrong-source";
    case CW_DROP_GRE_DUPLICATE: return "gre-duplicate";
    case CW_DROP_GRE_LATE: return "gre-late";
    case CW_DROP_PPP_MALFORMED: return "ppp-malformed";
    case CW_DROP_CONTROL_RATE: return "control-rate";
    case CW_DROP_CONTROL_STALE: return "control-stale";
    case CW_DROP_UNENCRYPTED: return "unencrypted";
    case CW_DROP_NOT_OPEN: return "not-open";
    case CW_DROP_MPPE_MALFORMED: return "mppe-malformed";
    case CW_DROP_MPPE_UNVERIFIED: return "mppe-unverified";
    case CW_DROP_MPPE_BUDGET: return "mppe-budget";
    case CW_DROP_MPPE_WAIT_RESET: return "mppe-wait-reset";
    case CW_DROP_PROTOCOL: return "protocol";
    case CW_DROP_IP_MALFORMED: return "ip-malformed";
    case CW_DROP_IP_SOURCE: return "ip-source";
    case CW_DROP_IP_LOCAL: return "ip-local";
    case CW_DROP_IP_OTHER_USER: return "ip-other-user";
    case CW_DROP_IP_NO_SESSION: return "ip-no-session";
    case CW_DROP_IP_TOO_BIG: return "ip-too-big";
    case CW_DROP_IP_EXPIRED: return "ip-expired";
    case CW_DROP_TUNNEL_DOWN: return "tunnel-down";
    case CW_DROP_RATE: return "rate";
    case CW_DROP_SEND_FAILED: return "send-failed";
    case CW_DROP_OVERFLOW: return "overflow";
    case CW_DROP_NO_PEER: return "no-peer";
    case CW_DROP_WRONG_UPLINK: return "wrong-uplink";
    case CW_DROP_WRONG_PEER: return "wrong-peer";
    case CW_DROP_FAIR_SHARE: return "fair-share";
    case CW_DROP_GRE_BLOCKED: return "gre-blocked";
    case CW_DROP_COUNT: break;
    }
    return "unknown";
}
