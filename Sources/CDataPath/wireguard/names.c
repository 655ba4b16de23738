#include "causeway_datapath.h"

const char *cw_wg_drop_name(cw_wg_drop drop) {
    switch (drop) {
    case CW_WG_DROP_MALFORMED: return "malformed";
    case CW_WG_DROP_MAC1: return "mac1";
    case CW_WG_DROP_SCAN_BUDGET: return "scan-budget";
    case CW_WG_DROP_UNDER_LOAD: return "under-load";
    case CW_WG_DROP_HANDSHAKE: return "handshake";
    case CW_WG_DROP_HANDSHAKE_FLOOD: return "handshake-flood";
    case CW_WG_DROP_UNKNOWN_INDEX: return "unknown-index";
    case CW_WG_DROP_EXPIRED: return "expired";
    case CW_WG_DROP_TAG: return "tag";
    case CW_WG_DROP_REPLAY: return "replay";
    case CW_WG_DROP_INNER: return "inner";
    case CW_WG_DROP_ALLOWED_IP: return "allowed-ip";
    case CW_WG_DROP_NO_PEER: return "no-peer";
    case CW_WG_DROP_NO_ENDPOINT: return "no-endpoint";
    case CW_WG_DROP_STAGED: return "staged";
    case CW_WG_DROP_SEND: return "send";
    case CW_WG_DROP_OVERFLOW: return "overflow";
    case CW_WG_DROP_TOO_LONG: return "too-long";
    case CW_WG_DROP_WG_COUNT: break;
    }
    return "unknown";
}
