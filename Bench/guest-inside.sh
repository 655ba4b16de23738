# Runs in the guest of Bench/guest; results go to $OUT/results.
[ -e /dev/ppp ] || mknod /dev/ppp c 108 0
[ -e /dev/net/tun ] || { mkdir -p /dev/net; mknod /dev/net/tun c 10 200; }
echo "guest: $(uname -sr), $(nproc) processor"
TUNNEL_BACKEND=kernel HUB=kernel LEGACY_CLIENT=$CLIENT READY_SECONDS=60 DIAL_SECONDS=60 NO_COLOR=1
set -u -o pipefail
. "$ROOT/Config/lib/topology.sh"
topology_up || exit
spawn iperf ip netns exec "$H" iperf3 -s -B $hub_inner
write_secrets

# pptpd with a route of its users into the kernel's WireGuard.
pptpd_start() {
    cat >"$work/pptpd.conf" <<T
option $work/pptpd.options
listen $gateway_address
localip $gateway_inner
remoteip 10.99.1.10-100
T
    cat >"$work/pptpd.options" <<T
name causeway
refuse-pap
refuse-chap
refuse-mschap
require-mschap-v2
require-mppe-128
auth
nodefaultroute
mru 1400
mtu 1396
lock
nobsdcomp
T
    cp "$work/chap-secrets" /etc/ppp/chap-secrets
    chmod 600 /etc/ppp/chap-secrets
    ip -n "$G" link add wg0 type wireguard
    in_gateway wg set wg0 private-key "$work/keys/gateway" peer "$hub_public" endpoint $hub_address:$hub_port allowed-ips 0.0.0.0/0 persistent-keepalive 25
    ip -n "$G" link set wg0 mtu 1420 up
    ip -n "$G" route add default dev wg0 table 100
    ip -n "$G" rule add from 10.99.1.0/24 lookup 100
    in_gateway sysctl -qw net.ipv4.ip_forward=1
    spawn pptpd ip netns exec "$G" pptpd -f -c "$work/pptpd.conf" -p "$work/pptpd.pid"
    pptpd_listens() { in_gateway ss -Hltn 'sport = 1723' | grep -q .; }
    wait_for 10 pptpd_listens
}
pptpd_stop() {
    reap pptpd TERM 10
    in_gateway sysctl -qw net.ipv4.ip_forward=0
    ip -n "$G" rule del from 10.99.1.0/24 lookup 100
    ip -n "$G" link del wg0
}
own_ticks() { local pid sum=0; for pid in $(ip netns pids "$G"); do sum=$((sum + $(awk '{ print $14 + $15 }' "/proc/$pid/stat" 2>/dev/null || echo 0))); done; echo $sum; }
# All but idle and waiting for disks.
all_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
measure() { # NAME KIND IPERF-ARGUMENTS...
    local name=$1 kind=$2 own all
    shift 2
    own=$(own_ticks) all=$(all_ticks)
    in_client timeout 60 iperf3 -c $hub_inner -t "$SECONDS_EACH" -J "$@" >"$work/iperf.json" 2>/dev/null || { echo "$name $kind: iperf3 failed"; jq -r .error "$work/iperf.json"; return 1; }
    own=$(($(own_ticks) - own)) all=$(($(all_ticks) - all))
    jq -r --arg n "$name" --arg k "$kind" --argjson o $own --argjson a $all --argjson hz "$(getconf CLK_TCK)" '.end.sum_received as $s
        | [$k, $n, $s.bits_per_second / 1e6, $o / $hz / ($s.bytes / 1e9), $a / $hz / ($s.bytes / 1e9)] | @tsv' "$work/iperf.json" | tee -a "$OUT/results"
}
both_ways() { # NAME
    dial "$C" cw0 alice || { tail -30 "$work/dial-cw0.log"; return 1; }
    in_client ping -n -q -c 5 -i 0.2 -W 3 -I cw0 $hub_inner | tail -2
    measure "$1" 'TCP to the hub' && measure "$1" 'TCP from the hub' -R
    local status=$?
    hang_up cw0
    return $status
}
causeway() { # BACKEND
    TUNNEL_BACKEND=$1
    gateway_config
    gateway_start || { tail -10 "$work/gateway.log"; return 1; }
    grep -E 'kernels' "$work/gateway.log" | tail -1
    both_ways "Causeway, $1"
    local status=$?
    reap gateway TERM 15
    : >"$work/gateway.log"
    return $status
}
for ((number = 1; number <= ROUNDS; number++)); do
    pptpd_start && both_ways 'pptpd, pppd, kernel WireGuard' || { tail -20 "$work/pptpd.log"; exit 1; }
    pptpd_stop
    causeway kernel || exit 1
    causeway embedded || exit 1
done
exit 0
