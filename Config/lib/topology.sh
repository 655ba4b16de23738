# Sourced: a small network of namespaces to run the gateway in.
#
#   client 10.71.1.2 ──┐
#   other  10.71.4.2 ──┤ gateway ── 10.71.2.2 hub (WireGuard; inner service address 10.99.0.1)
#   lan    10.71.3.2 ──┘          (its default route points at the hub's host: what is not in the tunnel would be seen there)
#
# In the gateway the links are called `wan`, `side`, `lan` and `uplink`; in the other namespaces `eth0`. Legacy users get
# 10.99.1.0/24, or 10.99.4.0/22 for large numbers. Names of namespaces begin with $net_prefix, so several runs do not meet.
#
#   TUNNEL_BACKEND  embedded (default) or kernel: WireGuard of the gateway
#   HUB             of the hub: wireguard-go or kernel (default: kernel where the gateway's is)
#   CAUSEWAY        the program (default: the release build of this checkout)

topology_root=$(realpath "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../..")
. "$topology_root/Config/lib/packages.sh"
. "$topology_root/Config/lib/steps.sh"

TUNNEL_BACKEND=${TUNNEL_BACKEND:-embedded}
[ "$TUNNEL_BACKEND" = kernel ] && HUB=${HUB:-kernel}
HUB=${HUB:-wireguard-go}
CAUSEWAY=${CAUSEWAY:-$topology_root/.build/release/causeway}
run_as=causeway
net_prefix=cw$$
C=$net_prefix-client G=$net_prefix-gateway H=$net_prefix-hub L=$net_prefix-lan O=$net_prefix-other
client_address=10.71.1.2 gateway_address=10.71.1.1 hub_address=10.71.2.2 lan_address=10.71.3.2 other_address=10.71.4.2
hub_inner=10.99.0.1 gateway_inner=10.99.1.1 hub_port=51820
hub_interface=hub$$
tunnel_interface=cwh$$
declare -A started=()  # name -> process that we started
declare -a cleanup_functions=()

topology_packages=(iproute2 iputils-ping nftables tcpdump wireguard-tools procps jq python3 util-linux)
[ "$HUB" != wireguard-go ] || topology_packages+=(wireguard-go)

in_client() { ip netns exec "$C" "$@"; }
in_gateway() { ip netns exec "$G" "$@"; }
in_hub() { ip netns exec "$H" "$@"; }
in_lan() { ip netns exec "$L" "$@"; }
in_other() { ip netns exec "$O" "$@"; }

# spawn NAME COMMAND...: in the background, output to $work/NAME.log, ended with the topology at the latest.
spawn() {
    local name=$1
    shift
    "$@" >>"$work/$name.log" 2>&1 </dev/null &
    started[$name]=$!
}
alive() { kill -0 "${started[$1]:-0}" 2>/dev/null && [ -n "${started[$1]:-}" ]; }

# reap NAME [SIGNAL [SECONDS]]: ends what spawn started and waits for it; its exit code is in reaped.
reap() {
    local pid=${started[$1]:-} end
    [ -n "$pid" ] || return 0
    end=$(($(now_ms) + ${3:-10} * 1000))
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && [ "$(now_ms)" -lt $end ]; do sleep 0.05; done
    kill -KILL "$pid" 2>/dev/null && echo "$1 did not end by itself" && reaped=137
    reaped=0
    wait "$pid" 2>/dev/null || reaped=$?
    unset "started[$1]"
}

topology_down() {
    local name pid
    for name in "${cleanup_functions[@]}"; do "$name" || true; done
    for name in "${!started[@]}"; do kill -TERM "${started[$name]}" 2>/dev/null || true; done
    # Whoever still lives in our namespaces (and only those) was started by us or by what we started.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        pid=
        for name in "$C" "$G" "$H" "$L" "$O"; do pid+=" $(ip netns pids "$name" 2>/dev/null | tr '\n' ' ')"; done
        [ -n "${pid// /}" ] || break
        sleep 0.1
    done
    for name in $pid; do kill -KILL "$name" 2>/dev/null || true; done
    for name in "${!started[@]}"; do kill -KILL "${started[$name]}" 2>/dev/null || true; wait "${started[$name]}" 2>/dev/null || true; done
    for name in "$C" "$G" "$H" "$L" "$O"; do ip netns del "$name" 2>/dev/null || true; done
    rm -f "/var/run/wireguard/$hub_interface.sock"
    if [ -n "${KEEP:-}" ]; then note "kept: $work"; else rm -rf "$work"; fi
    rm -f "$steps_log"
}

# link NAMESPACE ADDRESS GATEWAY_LINK: a veth from `eth0` there to the gateway.
link() {
    ip link add eth0 netns "$1" type veth peer name "$3" netns "$G"
    ip -n "$1" addr add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$G" addr add "${2%.*}.1/24" dev "$3"
    ip -n "$G" link set dev "$3" up
}

topology_up() {
    install_missing "${topology_packages[@]}"
    [ "$(id -u)" = 0 ] || { say "This needs root: network namespaces."; exit 77; }
    getent passwd $run_as >/dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $run_as
    work=$(mktemp -d "${TMPDIR:-/tmp}/causeway-XXXXXX")
    chmod 755 "$work"
    trap topology_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local name
    for name in "$C" "$G" "$H" "$L" "$O"; do
        ip netns add "$name"
        ip -n "$name" link set lo up
        # Duplicate address detection and router solicitations would only disturb what the tests count.
        ip netns exec "$name" sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    done
    link "$C" $client_address wan
    link "$O" $other_address side
    link "$L" $lan_address lan
    link "$H" $hub_address uplink
    ip -n "$C" route add default via $gateway_address
    ip -n "$O" route add default via ${other_address%.*}.1
    ip -n "$L" route add default via ${lan_address%.*}.1
    ip -n "$G" route add default via $hub_address
    ip -n "$H" route add 10.71.0.0/16 via ${hub_address%.*}.1
    mkdir -p "$work/run"
    chown $run_as:$run_as "$work/run"
    hub_up
}

# ---- Hub ----
hub_up() {
    mkdir -p "$work/keys"
    umask 077
    wg genkey >"$work/keys/hub"
    wg genkey >"$work/keys/gateway"
    umask 022
    hub_public=$(wg pubkey <"$work/keys/hub")
    gateway_public=$(wg pubkey <"$work/keys/gateway")
    chmod 600 "$work/keys/hub"
    chown root:$run_as "$work/keys/gateway"
    chmod 640 "$work/keys/gateway"
    if [ "$HUB" = kernel ]; then
        ip -n "$H" link add "$hub_interface" type wireguard
    else
        mkdir -p /var/run/wireguard
        spawn hub env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error ip netns exec "$H" wireguard-go -f "$hub_interface"
        wait_for 5 test -S "/var/run/wireguard/$hub_interface.sock"
    fi
    in_hub wg set "$hub_interface" private-key "$work/keys/hub" listen-port $hub_port \
        peer "$gateway_public" allowed-ips 10.99.1.0/24,10.99.4.0/22,10.88.0.0/24
    ip -n "$H" addr add "$hub_inner/24" dev "$hub_interface"
    ip -n "$H" link set "$hub_interface" mtu 1420 up
    ip -n "$H" route add 10.99.1.0/24 dev "$hub_interface"
    ip -n "$H" route add 10.99.4.0/22 dev "$hub_interface"
    ip -n "$H" route add 10.88.0.0/24 dev "$hub_interface"
    # The witness on the wire: what reaches the hub's host from the gateway, before any routing. Apart from that, WireGuard's own
    # messages are counted: keepalives (data messages without data, 32 bytes) and handshakes (all that is not of type 4).
    in_hub nft -f - <<N
table inet witness {
    counter tunnel { }
    counter other { }
    counter inner { }
    counter own_in { }
    counter own_out { }
    chain own {
        type filter hook prerouting priority -401; policy accept;
        iifname "eth0" udp dport $hub_port udp length 40 counter name own_in
        iifname "eth0" udp dport $hub_port @th,64,8 != 4 counter name own_in
    }
    chain answered {
        type filter hook postrouting priority 400; policy accept;
        oifname "eth0" udp sport $hub_port udp length 40 counter name own_out
        oifname "eth0" udp sport $hub_port @th,64,8 != 4 counter name own_out
    }
    chain wire {
        type filter hook prerouting priority -400; policy accept;
        iifname "eth0" ip saddr 10.99.0.0/16 counter name inner
        iifname "eth0" ip daddr 10.99.0.0/16 counter name inner
        iifname "eth0" udp dport $hub_port counter name tunnel accept
        iifname "eth0" counter name other
    }
}
N
}
witness() { in_hub nft -j list counter inet witness "$1" | jq '.nftables[] | .counter? | select(.) | .packets'; }
hub_transfer() { in_hub wg show "$hub_interface" transfer | awk -v k="$gateway_public" '$1 == k { print $2, $3 }'; } # received sent
hub_handshake() { in_hub wg show "$hub_interface" latest-handshakes | awk -v k="$gateway_public" '$1 == k { print $2 }'; }
# Datagrams that found a socket's buffer full, in NAMESPACE.
udp_overflows() { ip netns exec "$1" awk '/^Udp:/ && $2 ~ /^[0-9]/ { print $6 }' /proc/net/snmp; }
link_packets() { ip -n "$1" -s -j link show dev "$2" | jq ".[0].stats64.$3.packets"; } # NAMESPACE LINK rx|tx

# ---- Gateway ----
# The configuration is put together from these; a test changes them before gateway_config.
config_listen='address = "0.0.0.0"'
config_top='' config_pptp='' config_ppp='' config_encryption='' config_data_path='' config_users='' config_tunnel=''
config_authentication='when-connected = "replace"'
config_ranges='"10.99.1.10-10.99.1.250"'
# Lines instead of the usual ones.
config_key='' config_endpoint='' config_standby=''
socket() { echo "$work/run/control.sock"; }

write_secrets() {
    cat >"$work/chap-secrets" <<'S'
# client   server     secret               address
alice      *          "wonderland 1"       *
bob        *          builder\ 2           10.99.1.7
lab        causeway   'Secret-Passw0rd'    *
S
    chown root:$run_as "$work/chap-secrets"
    chmod 640 "$work/chap-secrets"
    printf '%s' 'wonderland 1' >"$work/alice.password"
    printf '%s' 'builder 2' >"$work/bob.password"
    printf '%s' 'Secret-Passw0rd' >"$work/lab.password"
    printf '%s' 'not the password' >"$work/wrong.password"
    chmod 600 "$work"/*.password
}

gateway_config() {
    local store="[store]
path = \"$work/store/causeway.db\""
    [ -e "$work/chap-secrets" ] || write_secrets
    cat >"$work/causeway.toml" <<T
instance = "t$$"
run-as = "$run_as"
$config_top

[control]
socket = "$(socket)"

${config_store-$store}

[[listen]]
$config_listen

[pptp]
$config_pptp

[ppp]
$config_ppp

[encryption]
$config_encryption

[authentication]
secrets = ["$work/chap-secrets"]
$config_authentication

[[pool]]
name = "users"
gateway = "$gateway_inner"
ranges = [$config_ranges]

[[tunnel]]
name = "hub"
interface = "$tunnel_interface"
backend = "$TUNNEL_BACKEND"
${config_key:-private-key-file = \"$work/keys/gateway\"}
$config_tunnel

[[tunnel.peer]]
public-key = "$hub_public"
${config_endpoint:-endpoint = \"$hub_address:$hub_port\"}
allowed-ips = ["0.0.0.0/0"]
persistent-keepalive = ${config_keepalive:-25}
$config_standby

[data-path]
$config_data_path

$config_users
T
    chown root:$run_as "$work/causeway.toml"
    chmod 640 "$work/causeway.toml"
}

gateway_ready() {
    alive gateway || { echo "the gateway ended:"; tail -20 "$work/gateway.log"; return 0; }
    in_gateway ss -Hltn 'sport = 1723' | grep -q . && "$CAUSEWAY" sessions --json --socket "$(socket)" >/dev/null 2>&1
}
gateway_start() {
    [ -e "$work/causeway.toml" ] || gateway_config
    spawn gateway ip netns exec "$G" "$CAUSEWAY" serve --config "$work/causeway.toml"
    wait_for "${READY_SECONDS:-15}" gateway_ready
    alive gateway
}
gateway_stop() {
    reap gateway TERM 15
    equal "$reaped" 0
}
gateway_pid() { echo "${started[gateway]}"; }
on_fatal() { [ ! -s "$work/gateway.log" ] || { note "the gateway's last words:"; tail -30 "$work/gateway.log" | sed 's/^/    | /'; }; }

# ---- Sessions ----
sessions() { "$CAUSEWAY" sessions --json --socket "$(socket)"; }
session_list() { sessions | jq -c '(.sessions? // .) | .[]'; }
session_count() { session_list | wc -l; }
session_of() { session_list | jq -c "select(.user == \"$1\")" | head -1; } # USER
sessions_are() { equal "$(session_count)" "$1"; }
session_get() { session_of "$1" | jq -r "$2"; } # USER JQ-PATH

# ---- Legacy client ----
# dial NAMESPACE NAME USER [ARG...]: a client on interface NAME; returns when it has an address. It is ours, or pppd with
# pptp-linux where LEGACY_CLIENT=pppd (that needs the kernel's ppp).
dial() {
    local space=$1 name=$2 user=$3 server command
    shift 3
    server=$(ip -n "$space" route show default | awk '{ print $3 }')
    if [ "${LEGACY_CLIENT:-ours}" = pppd ]; then
        command=(pppd ifname "$name" pty "pptp $server --nolaunchpppd --loglevel 1" nodetach noauth user "$user" password "$(cat "$work/$user.password")"
            remotename causeway noipdefault nodefaultroute refuse-pap refuse-chap refuse-mschap refuse-eap require-mppe-128
            mru 1400 mtu 1396 debug logfd 2 "$@")
    else
        command=("$CAUSEWAY" dial --server "$server" --user "$user" --password-file "$work/$user.password"
            --profile "${DIAL_PROFILE:-pppd}" --interface "$name" "$@")
    fi
    spawn "dial-$name" ip netns exec "$space" "${command[@]}"
    wait_for "${DIAL_SECONDS:-15}" dial_settled "$space" "$name"
    alive "dial-$name" || { tail -20 "$work/dial-$name.log"; return 1; }
    ip -n "$space" route replace 10.99.0.0/24 dev "$name"
}
# Both clients say when packets may pass, which is a little after the address is set.
dial_settled() {
    { [ -n "$(inner_address "$1" "$2")" ] && grep -Eq '^ready|remote IP address' "$work/dial-$2.log"; } || ! alive "dial-$2"
}
inner_address() { ip -n "$1" -j addr show dev "$2" 2>/dev/null | jq -r '.[0].addr_info[]? | select(.family == "inet") | .local' | head -1; }
hang_up() { reap "dial-$1" TERM 10; }
transfer() { python3 "$topology_root/Config/lib/transfer.py" "$@"; }
