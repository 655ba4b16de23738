// Which inner addresses belong to which peer of one identity: longest prefix over both families. Made for thousands of identities with
// one prefix each as well as for one with tens of thousands. Changes follow the rules in state.h; a look-up takes no lock.
#ifndef CW_WG_ALLOWED_IPS_H
#define CW_WG_ALLOWED_IPS_H

#include "state.h"

// The peer with the longest prefix that contains the address (4 or 16 bytes in network order); NULL: none.
cw_wg_peer *cw_allowed_ips_find(const cw_allowed_ips *table, uint8_t family, const uint8_t *address);

size_t cw_allowed_ips_bytes(const cw_allowed_ips *table); // memory that it holds

#endif
