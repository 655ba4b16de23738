// Questions about routes, links and neighbours to the kernel (rtnetlink(7)), and what its notifications say.
#ifndef CW_IO_ROUTE_H
#define CW_IO_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cw_rtnl {
    int fd; // for questions; -1: closed
    uint32_t sequence;
} cw_rtnl;

bool cw_rtnl_open(cw_rtnl *rtnl); // false: errno
void cw_rtnl_close(cw_rtnl *rtnl);
int cw_rtnl_subscribe(void); // a socket with notifications, non-blocking; -1: errno

// All addresses in network byte order.
typedef struct cw_route {
    uint32_t interface;
    uint32_t gateway; // the destination itself, if it is on the link
    uint32_t source;
    uint32_t mtu;       // 0: the link's
    uint32_t hop_limit; // 0: the host's
} cw_route;

typedef struct cw_ether_link {
    uint32_t mtu; // 0: not a link that frames can be put on
    uint8_t address[6];
} cw_ether_link;

typedef struct cw_neighbour {
    uint32_t interface, address;
    uint16_t state; // NUD_...; 0: it is gone
    bool has_station;
    uint8_t station[6];
} cw_neighbour;

// false: no answer, or one that a frame of ours could not follow (not unicast, another family's gateway, an encapsulation).
bool cw_rtnl_route(cw_rtnl *rtnl, uint32_t destination, uint32_t source, cw_route *out);
bool cw_rtnl_link(cw_rtnl *rtnl, uint32_t interface, cw_ether_link *out);
bool cw_rtnl_neighbour(cw_rtnl *rtnl, uint32_t interface, uint32_t address, cw_neighbour *out);
// Has the kernel make sure that a neighbour whose station it knows is still there; it asks that station, and notifies.
void cw_rtnl_probe(cw_rtnl *rtnl, uint32_t interface, uint32_t address);
// Whether every rule chooses by what a question can contain. (Those by protocol or port cannot be asked about for GRE.)
bool cw_rtnl_rules_are_plain(cw_rtnl *rtnl);

typedef enum cw_notice_type {
    CW_NOTICE_OTHER,
    CW_NOTICE_NEIGHBOUR,
    CW_NOTICE_ROUTE, // `network`, `mask`
    CW_NOTICE_LINK,  // `interface`
    CW_NOTICE_RULE,
    CW_NOTICE_ADDRESS,
} cw_notice_type;

typedef struct cw_notice {
    cw_notice_type type;
    cw_neighbour neighbour;
    uint32_t network, mask, interface;
} cw_notice;

// Takes the next notification off a datagram of `*length` octets, or returns false.
bool cw_rtnl_next(const uint8_t **datagram, size_t *length, cw_notice *out);

#endif
