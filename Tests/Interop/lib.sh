# Sourced by every test here: the topology, and what tests look at.

interop=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
set -u -o pipefail
. "$interop/../../Config/lib/topology.sh"

# ping_hub NAMESPACE LINK [COUNT]: all answers must come.
ping_hub() { ip netns exec "$1" ping -n -q -i 0.2 -W 2 -c "${3:-5}" -I "$2" $hub_inner | tee "$work/ping" && grep -q ' 0% packet loss' "$work/ping"; }
no_ping() { fails timeout 8 ip netns exec "$1" ping -n -q -i 0.3 -W 1 -c "${4:-3}" -I "$2" "$3"; } # NAMESPACE LINK ADDRESS [COUNT]

# steady_start NAMESPACE LINK: pings without end; steady_lossless says that none was lost since.
steady_start() { spawn "steady-$2" ip netns exec "$1" ping -n -i 0.1 -W 1 -I "$2" $hub_inner; }
steady_lossless() {
    local name=steady-$1
    kill -INT "${started[$name]}" && wait "${started[$name]}"
    unset "started[$name]"
    tail -3 "$work/$name.log"
    # The very last request may be on its way when ping is stopped.
    awk '/packets transmitted/ { found = 1; exit !($1 > 5 && $1 - $4 <= 1) } END { if (!found) exit 1 }' "$work/$name.log"
}

hub_server() { spawn transfer ip netns exec "$H" python3 "$topology_root/Config/lib/transfer.py" serve $hub_inner 7000; wait_for "${READY_SECONDS:-5}" hub_listens; }
hub_listens() { in_hub ss -Hltn 'sport = 7000' | grep -q .; }

# capture NAMESPACE LINK NAME [FILTER...]; capture_stop NAME; captured NAME [FILTER...] prints the packets.
capture() {
    local space=$1 device=$2 name=$3
    shift 3
    spawn "capture-$name" ip netns exec "$space" tcpdump -i "$device" -n -U --immediate-mode -Z root -w "$work/$name.pcap" "$@"
    wait_for 5 grep -q 'listening on' "$work/capture-$name.log"
}
capture_stop() { sleep 0.3; reap "capture-$1" INT 5; }
captured() { local name=$1; shift; tcpdump -n -v -r "$work/$name.pcap" "$@" 2>/dev/null; }

counter_reset() { in_hub nft reset counters table inet witness >/dev/null; }
only_tunnel() { # nothing but WireGuard came over the wire, and some of that
    echo "tunnel $(witness tunnel), other $(witness other), inner $(witness inner)"
    [ "$(witness tunnel)" -gt 0 ] && [ "$(witness other)" = 0 ] && [ "$(witness inner)" = 0 ]
}
nothing_inner() { equal "$(witness inner)" 0; }

# The state of a host that a gateway must leave as it found it.
host_state() {
    ip -n "$G" -o link | sed 's/^[0-9]*: //; s/ state .*//; s/ qlen.*//; s/NO-CARRIER,//; s/,LOWER_UP//' | sort
    ip -n "$G" rule; ip -n "$G" -6 rule
    ip -n "$G" route show table all | sort; ip -n "$G" -6 route show table all 2>/dev/null | sort
    in_gateway nft list ruleset
    in_gateway ss -Hltnu | awk '{ print $1, $5 }' | sort
    in_gateway ss -Hwan | awk '{ print $5 }' | sort
    in_gateway sysctl -a 2>/dev/null | grep -E '^net\.ipv4\.(ip_forward|conf\.[^.]*\.(forwarding|rp_filter))' | sort
    find "$work/run" -mindepth 1 | sort
    ip netns pids "$G" | wc -l
}
rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$(gateway_pid)/status"; }
fd_count() { ls "/proc/$(gateway_pid)/fd" | wc -l; }

# log_has PATTERN: the gateway said it.
log_has() { grep -Eiq -- "$1" "$work/gateway.log" || { echo "not in the log: $1"; tail -5 "$work/gateway.log"; return 1; }; }
