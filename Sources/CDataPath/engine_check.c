// Ranges of what comes from outside: configuration and commands. Nothing behind these looks again.
#define _GNU_SOURCE
#include "worker.h"

static bool is_power_of_two(uint32_t value) { return value != 0 && (value & (value - 1)) == 0; }

bool cw_config_valid(const cw_engine_config *config) {
    enum { ring_minimum = 8, ring_maximum = 1 << 20 };
    if (config->role != CW_ROLE_GATEWAY && config->role != CW_ROLE_CLIENT) return false;
    if (config->worker_count < 1 || config->worker_count > CW_MAX_WORKERS) return false;
    if (config->xdp != NULL && config->xdp->worker_count != config->worker_count) return false;
    if (config->session_capacity < 1 || config->session_capacity > 65535) return false;
    if (config->batch_size < 1 || config->batch_size > CW_MAX_BATCH) return false;
    if (!is_power_of_two(config->command_capacity) || !is_power_of_two(config->event_capacity)) return false;
    if (config->command_capacity < ring_minimum || config->command_capacity > ring_maximum) return false;
    if (config->event_capacity < ring_minimum || config->event_capacity > ring_maximum) return false;
    if (config->wireguard && config->role != CW_ROLE_GATEWAY) return false;
    if (config->poll_microseconds > 1000) return false;
    if (config->reorder_packets > 256 || config->reorder_microseconds > 1000000) return false;
    return true;
}

static bool is_address(const cw_address *address) { return address->family == 4 || address->family == 6; }

bool cw_session_config_valid(const cw_session_config *config) {
    uint32_t known = CW_ALLOW_ADDRESS_CHANGE | CW_REQUIRE_ENCRYPTION | CW_SEND_ACFC | CW_SEND_PFC | CW_SEND_SEQUENCE_ZERO;
    // The outer family is IPv4 (see cw_open_gre); without a local address the kernel chooses one.
    return (config->flags & ~known) == 0 && config->peer_address.family == 4 &&
           (config->local_address.family == 4 || config->local_address.family == 0);
}

bool cw_bind_valid(const cw_bind *bind) {
    if (bind->tunnel >= CW_TUNNELS || bind->mtu < CW_MINIMUM_MTU) return false;
    if (bind->prefix_count < 1 || bind->prefix_count > CW_MAX_PREFIXES) return false;
    if (bind->gateway_address.family != 0 && !is_address(&bind->gateway_address)) return false;
    for (uint32_t i = 0; i < bind->prefix_count; i++)
        if (!cw_prefix_valid(&bind->prefixes[i])) return false;
    return true;
}

static bool is_update_valid(const cw_update *update) {
    uint32_t known = CW_UPDATE_FLAGS | CW_UPDATE_MTU | CW_UPDATE_PEER_ADDRESS | CW_UPDATE_RATE;
    if ((update->mask & ~known) != 0) return false;
    if ((update->mask & CW_UPDATE_MTU) != 0 && update->mtu < CW_MINIMUM_MTU) return false;
    if ((update->mask & CW_UPDATE_PEER_ADDRESS) != 0 && update->peer_address.family != 4) return false;
    cw_session_config flags = {.flags = update->flags, .peer_address.family = 4};
    return (update->mask & CW_UPDATE_FLAGS) == 0 || cw_session_config_valid(&flags);
}

static bool is_rekey_valid(const cw_rekey *rekey) {
    if (rekey->direction != CW_RECEIVE && rekey->direction != CW_TRANSMIT) return false;
    if ((rekey->flags & ~(uint32_t)CW_MPPE_STATELESS) != 0) return false;
    return rekey->key_bits == 0 || rekey->key_bits == 40 || rekey->key_bits == 56 || rekey->key_bits == 128;
}

static bool are_local_addresses_valid(const cw_local_addresses *local) {
    if (local->count > CW_MAX_LOCAL_ADDRESSES || (local->count > 0 && local->addresses == NULL)) return false;
    for (uint32_t i = 0; i < local->count; i++)
        if (!is_address(&local->addresses[i])) return false;
    return true;
}

static bool are_prefixes4(const cw_prefix *prefixes, uint32_t count) {
    if (count > 0 && prefixes == NULL) return false;
    for (uint32_t i = 0; i < count; i++)
        if (prefixes[i].address.family != 4 || prefixes[i].length > 32) return false;
    return true;
}

static bool are_sources_valid(const cw_sources *sources) {
    if (sources->allowed_count > CW_MAX_SOURCE_PREFIXES || sources->blocked_count > CW_MAX_SOURCE_PREFIXES - sources->allowed_count)
        return false;
    return are_prefixes4(sources->allowed, sources->allowed_count) && are_prefixes4(sources->blocked, sources->blocked_count);
}

bool cw_command_valid(const cw_command *command) {
    switch (command->type) {
    case CW_TUNNEL: return command->tunnel.index < CW_TUNNELS && command->tunnel.mtu >= CW_MINIMUM_MTU;
    case CW_SOURCES: return are_sources_valid(&command->sources);
    case CW_LOCAL_ADDRESSES: return are_local_addresses_valid(&command->local_addresses);
    default: break;
    }
    if (command->session == 0) return false;
    switch (command->type) {
    case CW_OPEN: return cw_session_config_valid(&command->open);
    case CW_OPEN_NATIVE: return command->open_native.identity != 0;
    case CW_UPDATE: return is_update_valid(&command->update);
    case CW_REKEY: return is_rekey_valid(&command->rekey);
    case CW_BIND: return cw_bind_valid(&command->bind);
    case CW_INJECT:
        return command->inject.length <= CW_MAX_CONTROL_FRAME && (command->inject.length == 0 || command->inject.payload != NULL);
    case CW_IMPORT: return command->import_state.length <= CW_SESSION_STATE_SIZE && command->import_state.state != NULL;
    case CW_UNBIND: case CW_CLOSE: case CW_EXPORT: return true;
    default: return false;
    }
}
