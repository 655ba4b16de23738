# Sourced by the tests of `causeway wireguard`: two hosts with a router between them, and a WireGuard interface on each.
#
#   left  10.71.1.2, fd71:1::2 ── router ── 10.71.2.2, fd71:2::2  right
#
# Inside, `left` is 10.99.0.1 and fd99::1, `right` 10.99.0.2 and fd99::2. Namespaces are those of the other tests' network.

. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/lib.sh"
host_packages=(iproute2 iputils-ping nftables iptables conntrack wireguard-tools procps jq python3)
[ "$HUB" != wireguard-go ] || host_packages+=(wireguard-go)
A=$C R=$G B=$H
left=cwl$$ right=cwr$$ # interfaces; their sockets are in one directory
left_port=51001 right_port=51002
in_left() { ip netns exec "$A" "$@"; }
in_router() { ip netns exec "$R" "$@"; }
in_right() { ip netns exec "$B" "$@"; }

hosts_up() {
    install_missing "${host_packages[@]}"
    [ "$(id -u)" = 0 ] || { say "This needs root: network namespaces."; exit 77; }
    [ -c /dev/net/tun ] || { say "There is no /dev/net/tun."; exit 77; }
    work=$(mktemp -d "${TMPDIR:-/tmp}/causeway-XXXXXX")
    trap hosts_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local space
    for space in "$A" "$R" "$B"; do
        ip netns add "$space"
        ip -n "$space" link set lo up
        ip netns exec "$space" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.conf.all.promote_secondaries=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    done
    link "$A" 10.71.1.2 wan
    link "$B" 10.71.2.2 uplink
    in_router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip -n "$A" addr add fd71:1::2/64 dev eth0 nodad
    ip -n "$B" addr add fd71:2::2/64 dev eth0 nodad
    ip -n "$R" addr add fd71:1::1/64 dev wan nodad
    ip -n "$R" addr add fd71:2::1/64 dev uplink nodad
    ip -n "$A" route add default via 10.71.1.1
    ip -n "$B" route add default via 10.71.2.1
    ip -n "$A" route add default via fd71:1::1
    ip -n "$B" route add default via fd71:2::1
    umask 077
    local name
    for name in left right; do
        wg genkey >"$work/$name.key"
        wg pubkey <"$work/$name.key" >"$work/$name.public"
    done
    wg genpsk >"$work/psk"
    wg genpsk >"$work/other-psk"
    umask 022
    left_public=$(cat "$work/left.public") right_public=$(cat "$work/right.public")
}
hosts_down() {
    local file
    topology_down
    for file in "$left" "$right" "${left}b" "${right}b"; do rm -f "/var/run/wireguard/$file.sock"; done
}

# ours NAMESPACE INTERFACE, theirs NAMESPACE INTERFACE: a device in the background, ended with the test.
ours() { ip netns exec "$1" "$CAUSEWAY" wireguard "$2"; }
# (HUB=kernel: the kernel's WireGuard instead of wireguard-go.)
theirs() {
    if [ "$HUB" = kernel ]; then
        ip -n "$1" link add "$2" type wireguard
        return
    fi
    spawn "go-$2" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error ip netns exec "$1" wireguard-go -f "$2"
    wait_for 5 test -S "/var/run/wireguard/$2.sock"
}
# The process of ours that serves INTERFACE in NAMESPACE.
device_pid() {
    local pid
    for pid in $(ip netns pids "$1"); do
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q " wireguard .*$2 \$" && echo "$pid"
    done
}
gone() { [ -z "$(device_pid "$1" "$2")" ] && [ ! -e "/var/run/wireguard/$2.sock" ] && fails ip -n "$1" link show dev "$2"; }

# Addresses and keys of both ends, no endpoints.
interfaces_up() {
    in_left wg set "$left" private-key "$work/left.key" listen-port $left_port peer "$right_public" allowed-ips 10.99.0.2/32,fd99::2/128
    in_right wg set "$right" private-key "$work/right.key" listen-port $right_port peer "$left_public" allowed-ips 10.99.0.1/32,fd99::1/128
    ip -n "$A" addr add 10.99.0.1/24 dev "$left"
    ip -n "$A" addr add fd99::1/64 dev "$left" nodad
    ip -n "$B" addr add 10.99.0.2/24 dev "$right"
    ip -n "$B" addr add fd99::2/64 dev "$right" nodad
    ip -n "$A" link set dev "$left" up
    ip -n "$B" link set dev "$right" up
}
# Both ends know each other's key and nothing else: what was agreed and where the other one is, is forgotten.
forget() {
    in_left wg set "$left" peer "$right_public" remove
    in_right wg set "$right" peer "$left_public" remove
    in_left wg set "$left" peer "$right_public" allowed-ips 10.99.0.2/32,fd99::2/128
    in_right wg set "$right" peer "$left_public" allowed-ips 10.99.0.1/32,fd99::1/128
}
left_knows() { in_left wg set "$left" peer "$right_public" endpoint "$@"; }
right_knows() { in_right wg set "$right" peer "$left_public" endpoint "$@"; }
# endpoint_at left|right: where it believes the other one to be; handshake_at: when they last shook hands.
endpoint_at() { of_other "$1" endpoints; }
handshake_at() { of_other "$1" latest-handshakes; }
of_other() {
    if [ "$1" = left ]; then in_left wg show "$left" "$2" | awk -v k="$right_public" '$1 == k { print $2 }'
    else in_right wg show "$right" "$2" | awk -v k="$left_public" '$1 == k { print $2 }'; fi
}

pings() { ip netns exec "$1" ping -n -q -i 0.1 -W 2 -c "${3:-5}" "$2" | tee "$work/ping" && grep -q ' 0% packet loss' "$work/ping"; } # NAMESPACE ADDRESS [COUNT]
silent() { fails timeout 8 ip netns exec "$1" ping -n -q -i 0.2 -W 1 -c 4 "$2"; }

# One server on the right, on both inner families; the left gets and puts.
serve_transfers() {
    local address
    for address in 10.99.0.2 fd99::2; do
        spawn "transfer-$address" ip netns exec "$B" python3 "$topology_root/Config/lib/transfer.py" serve "$address" 7000
    done
    wait_for 5 eval '[ "$(in_right ss -Hltn "sport = 7000" | wc -l)" = 2 ]'
}
move() { in_left timeout "${MOVE_SECONDS:-60}" python3 "$topology_root/Config/lib/transfer.py" "$1" "$2" 7000 "$3"; } # get|put ADDRESS BYTES
