// The public calls for ports and identities.
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "control.h"

cw_wg_identity *cw_wg_identity_find(cw_wg *wg, uint32_t handle) {
    uint32_t number = handle & 0xFFFF;
    if (handle == 0 || number == 0 || number > wg->config.identity_capacity) return NULL;
    cw_wg_identity *identity = &wg->identities[number];
    return identity->handle == handle ? identity : NULL;
}

// ---- Ports -----------------------------------------------------------------------------------------------------------

static cw_wg_port *port_find(cw_wg *wg, uint32_t port) {
    return port >= 1 && port <= CW_WG_MAX_PORTS && wg->ports[port].udp != NULL ? &wg->ports[port] : NULL;
}

cw_status cw_wg_port_open(cw_wg *wg, const cw_wg_port_config *config, uint32_t *out) {
    if (!config->ipv4 && !config->ipv6) return CW_INVALID;
    pthread_mutex_lock(&wg->lock);
    uint32_t port = 1;
    while (port <= CW_WG_MAX_PORTS && wg->ports[port].udp != NULL) port++;
    cw_wg_udp *udp = NULL;
    cw_status status = port > CW_WG_MAX_PORTS ? CW_FULL : cw_wg_udp_open(wg, port, config, &udp);
    if (status == CW_OK) {
        cw_gate_close(&wg->gate);
        wg->ports[port] = (cw_wg_port){.udp = udp, .config = *config, .number = cw_wg_udp_number(udp)};
        cw_gate_open(&wg->gate);
        *out = port;
    }
    int error = errno;
    pthread_mutex_unlock(&wg->lock);
    errno = error;
    return status;
}

cw_status cw_wg_port_close(cw_wg *wg, uint32_t number) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_port *port = port_find(wg, number);
    cw_status status = port == NULL ? CW_NOT_FOUND : port->identity_count != 0 ? CW_INVALID : CW_OK;
    if (status == CW_OK) {
        cw_wg_udp *udp = port->udp;
        cw_gate_close(&wg->gate);
        memset(port, 0, sizeof *port);
        cw_gate_open(&wg->gate);
        cw_wg_udp_close(wg, udp);
    }
    pthread_mutex_unlock(&wg->lock);
    return status;
}

cw_status cw_wg_port_set_fwmark(cw_wg *wg, uint32_t number, uint32_t fwmark) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_port *port = port_find(wg, number);
    cw_status status = port == NULL ? CW_NOT_FOUND : cw_wg_udp_set_fwmark(port->udp, fwmark);
    int error = errno;
    if (status == CW_OK) port->config.fwmark = fwmark;
    pthread_mutex_unlock(&wg->lock);
    errno = error;
    return status;
}

uint16_t cw_wg_port_number(cw_wg *wg, uint32_t number) {
    pthread_mutex_lock(&wg->lock);
    const cw_wg_port *port = port_find(wg, number);
    uint16_t result = port == NULL ? 0 : port->number;
    pthread_mutex_unlock(&wg->lock);
    return result;
}

static void enter_port(cw_wg *wg, cw_wg_identity *identity, uint32_t number) {
    identity->port = number;
    if (number == 0) return;
    cw_wg_port *port = &wg->ports[number];
    identity->port_previous = NULL;
    identity->port_next = port->identities;
    if (port->identities != NULL) port->identities->port_previous = identity;
    port->identities = identity;
    port->identity_count++;
}

static void leave_port(cw_wg *wg, cw_wg_identity *identity) {
    if (identity->port == 0) return;
    cw_wg_port *port = &wg->ports[identity->port];
    if (identity->port_next != NULL) identity->port_next->port_previous = identity->port_previous;
    if (identity->port_previous != NULL) identity->port_previous->port_next = identity->port_next;
    else port->identities = identity->port_next;
    identity->port_next = identity->port_previous = NULL;
    port->identity_count--;
    identity->port = 0;
}

// ---- Identities ------------------------------------------------------------------------------------------------------

static void set_keys(cw_wg_identity *identity, const uint8_t private_key[CW_WG_KEY_SIZE]) {
    cw_noise_identity_set(&identity->keys, private_key);
    cw_cookie_keys_set(&identity->cookie_keys, identity->keys.public_key);
}

cw_status cw_wg_identity_add(cw_wg *wg, uint32_t port, const uint8_t private_key[CW_WG_KEY_SIZE], uint32_t *out) {
    cw_allowed_ips *allowed = cw_allowed_ips_create();
    if (allowed == NULL) return CW_NO_MEMORY;
    cw_status status = CW_OK;
    uint32_t number = 0;
    pthread_mutex_lock(&wg->lock);
    if (port != 0 && port_find(wg, port) == NULL) status = CW_INVALID;
    else if (wg->free_identity_count > 0) number = wg->free_identities[--wg->free_identity_count];
    else if (wg->identities_used < wg->config.identity_capacity) number = ++wg->identities_used;
    else status = CW_FULL;
    if (status == CW_OK) {
        cw_wg_identity *identity = &wg->identities[number];
        set_keys(identity, private_key);
        cw_gate_close(&wg->gate);
        identity->allowed = allowed;
        identity->mtu = CW_WG_DEFAULT_MTU;
        identity->up = true;
        identity->handle = (uint32_t)wg->generations[number] << 16 | number;
        enter_port(wg, identity, port);
        cw_gate_open(&wg->gate);
        wg->identity_count++;
        *out = identity->handle;
    }
    pthread_mutex_unlock(&wg->lock);
    if (status != CW_OK) cw_allowed_ips_destroy(allowed);
    return status;
}

// At most CW_WG_CHANGES of them, with one closing of the gate.
static void remove_some(cw_wg *wg, cw_wg_identity *identity) {
    cw_wg_peer *peers[CW_WG_CHANGES];
    size_t count = 0;
    cw_gate_close(&wg->gate);
    while (count < CW_WG_CHANGES && identity->first != NULL) {
        peers[count] = identity->first;
        cw_wg_peer_detach(wg, peers[count++]);
    }
    cw_gate_open(&wg->gate);
    for (size_t i = 0; i < count; i++) cw_wg_peer_free(wg, peers[i]);
}

cw_status cw_wg_remove_all_peers(cw_wg *wg, uint32_t handle) {
    for (bool more = true; more;) {
        pthread_mutex_lock(&wg->lock);
        cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
        if (identity != NULL) remove_some(wg, identity);
        more = identity != NULL && identity->first != NULL;
        pthread_mutex_unlock(&wg->lock);
        if (identity == NULL) return CW_NOT_FOUND;
    }
    return CW_OK;
}

cw_status cw_wg_identity_remove(cw_wg *wg, uint32_t handle) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    if (identity != NULL) {
        uint32_t number = handle & 0xFFFF;
        cw_gate_close(&wg->gate);
        identity->handle = 0;
        identity->up = false;
        cw_gate_open(&wg->gate);
        while (identity->first != NULL) remove_some(wg, identity);
        cw_gate_close(&wg->gate);
        leave_port(wg, identity);
        cw_allowed_ips *allowed = identity->allowed;
        sodium_memzero(identity, sizeof *identity); // workers look at the handle of any place
        cw_gate_open(&wg->gate);
        cw_allowed_ips_destroy(allowed);
        wg->generations[number]++;
        wg->free_identities[wg->free_identity_count++] = number;
        wg->identity_count--;
    }
    pthread_mutex_unlock(&wg->lock);
    return identity != NULL ? CW_OK : CW_NOT_FOUND;
}

static bool had_something_to_say(cw_wg_peer *peer) {
    return peer->current != NULL || peer->keepalive_seconds != 0 || atomic_load(&peer->handshaking) || !cw_wg_stage_is_empty(peer);
}

cw_status cw_wg_identity_set_key(cw_wg *wg, uint32_t handle, const uint8_t private_key[CW_WG_KEY_SIZE]) {
    cw_noise_identity keys;
    cw_noise_identity_set(&keys, private_key);
    pthread_mutex_lock(&wg->lock);
    cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    if (identity != NULL && sodium_memcmp(&keys, &identity->keys, sizeof keys) != 0) {
        cw_wg_peer *self = keys.has_key ? cw_wg_peer_find(wg, identity, keys.public_key) : NULL;
        if (self != NULL) {
            cw_gate_close(&wg->gate);
            cw_wg_peer_detach(wg, self);
            cw_gate_open(&wg->gate);
            cw_wg_peer_free(wg, self);
        }
        sodium_memzero(&identity->keys, sizeof identity->keys);
        set_keys(identity, private_key);
        for (cw_wg_peer *peer = identity->first; peer != NULL; peer = peer->next) {
            uint8_t public_key[CW_WG_KEY];
            memcpy(public_key, peer->remote.public_key, sizeof public_key);
            (void)cw_noise_remote_set(&peer->remote, &identity->keys, public_key);
            bool again = had_something_to_say(peer);
            cw_wg_timers_stop(wg, peer);
            cw_wg_session_clear(wg, peer);
            if (again) cw_wg_ask(wg, peer, CW_WG_WANT_HANDSHAKE);
        }
    }
    pthread_mutex_unlock(&wg->lock);
    sodium_memzero(&keys, sizeof keys);
    return identity != NULL ? CW_OK : CW_NOT_FOUND;
}

cw_status cw_wg_identity_set_port(cw_wg *wg, uint32_t handle, uint32_t port) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    cw_status status = identity == NULL ? CW_NOT_FOUND : port != 0 && port_find(wg, port) == NULL ? CW_INVALID : CW_OK;
    if (status == CW_OK && identity->port != port) {
        cw_gate_close(&wg->gate);
        leave_port(wg, identity);
        enter_port(wg, identity, port);
        cw_gate_open(&wg->gate);
        for (cw_wg_peer *peer = identity->first; peer != NULL; peer = peer->next) {
            cw_wg_endpoint_clear_source(wg, peer);
            // Who had no port could not do what it wanted.
            cw_wg_ask(wg, peer, peer->keepalive_seconds != 0 ? CW_WG_WANT_KEEPALIVE : CW_WG_WANT_TIMERS);
        }
    }
    pthread_mutex_unlock(&wg->lock);
    return status;
}

cw_status cw_wg_identity_set_up(cw_wg *wg, uint32_t handle, bool up) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    if (identity != NULL && identity->up != up) {
        cw_gate_close(&wg->gate);
        identity->up = up;
        cw_gate_open(&wg->gate);
        for (cw_wg_peer *peer = identity->first; peer != NULL; peer = peer->next) {
            if (up && peer->keepalive_seconds != 0) cw_wg_ask(wg, peer, CW_WG_WANT_KEEPALIVE);
            if (up) continue;
            cw_wg_timers_stop(wg, peer);
            cw_wg_session_clear(wg, peer);
            cw_wg_drop_staged(wg, peer);
        }
    }
    pthread_mutex_unlock(&wg->lock);
    return identity != NULL ? CW_OK : CW_NOT_FOUND;
}

cw_status cw_wg_identity_set_mtu(cw_wg *wg, uint32_t handle, uint16_t mtu) {
    pthread_mutex_lock(&wg->lock);
    cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    if (identity != NULL) {
        cw_gate_close(&wg->gate);
        identity->mtu = mtu == 0 ? CW_WG_DEFAULT_MTU : mtu;
        cw_gate_open(&wg->gate);
    }
    pthread_mutex_unlock(&wg->lock);
    return identity != NULL ? CW_OK : CW_NOT_FOUND;
}

cw_status cw_wg_identity_read(cw_wg *wg, uint32_t handle, cw_wg_identity_info *info) {
    pthread_mutex_lock(&wg->lock);
    const cw_wg_identity *identity = cw_wg_identity_find(wg, handle);
    if (identity != NULL) {
        memset(info, 0, sizeof *info);
        memcpy(info->private_key, identity->keys.private_key, CW_WG_KEY);
        memcpy(info->public_key, identity->keys.public_key, CW_WG_KEY);
        info->port = identity->port;
        info->listen_port = wg->ports[identity->port].number;
        info->fwmark = wg->ports[identity->port].config.fwmark;
        info->up = identity->up;
        info->has_key = identity->keys.has_key;
        info->peer_count = identity->peer_count;
    }
    pthread_mutex_unlock(&wg->lock);
    return identity != NULL ? CW_OK : CW_NOT_FOUND;
}
