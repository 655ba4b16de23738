# Runs in a guest with Debian's kernel: two users, two keys, two kernel interfaces with a routing table each.
for module in wireguard tun veth; do modprobe -q $module; done
uname -sr
[ -d /sys/module/wireguard ] || { echo "this kernel has no wireguard"; exit 77; }
. "$INTEROP/lib.sh"
must "network of namespaces with a kernel WireGuard hub" topology_up
mkdir "$work/state"
chown $run_as:$run_as "$work/state"
chmod 700 "$work/state"
config_top="state-directory = \"$work/state\""
config_key=$'mode = "per-user"\nlinger = "5s"'
gateway_config
as_gateway() { setpriv --reuid $run_as --regid $run_as --clear-groups "$CAUSEWAY" "$@" --config "$work/causeway.toml"; }
must "every user has an identity" as_gateway hub provision
must "the hub knows them" eval 'as_gateway hub config >"$work/peers.conf" && in_hub wg addconf "$hub_interface" "$work/peers.conf"'
host_state >"$work/before"
must "gateway starts" gateway_start
interfaces() { ip -n "$G" -j -d link | jq -r '.[] | select(.linkinfo.info_kind == "wireguard") | .ifname'; }
check "without sessions it has no WireGuard interface" equal "$(interfaces)" ""
must "alice dials" dial "$C" cw0 alice
must "the hub answers her" ping_hub "$C" cw0 3
must "bob dials" dial "$O" cw1 bob
must "the hub answers him" ping_hub "$O" cw1 3
check "each has an interface" equal "$(interfaces | wc -l)" 2
key_of() { grep -A1 "^# user $1\$" "$work/peers.conf" | sed -n 's/^PublicKey = //p'; }
came_under() { in_hub wg show "$hub_interface" transfer | awk -v k="$(key_of "$1")" '$1 == k && $2 > 300 && $3 > 300 { found = 1 } END { exit !found }'; }
for user in alice bob; do check "$user's packets came under $user's key" came_under $user; done
check "bob has the address of the users file" equal "$(inner_address "$O" cw1)" 10.99.1.7
in_client ip route replace 10.99.1.7 dev cw0
check "alice does not reach bob" no_ping "$C" cw0 10.99.1.7
in_lan ip route replace 10.99.1.0/24 via 10.71.3.1
check "a LAN host does not reach bob" fails in_lan ping -n -q -c 2 -i 0.2 -W 1 10.99.1.7
check "nor an address that nobody has" fails in_lan ping -n -q -c 2 -i 0.2 -W 1 10.99.1.200
check "alice hangs up" hang_up cw0
check "her interface goes, his stays" wait_for 30 eval '[ "$(interfaces | wc -l)" = 1 ]'
check "the hub answers him still" ping_hub "$O" cw1 3
check "nothing went past the tunnel" only_tunnel
must "alice is back" dial "$C" cw0 alice
must "and the hub answers her at once" ping_hub "$C" cw0 3
reap gateway KILL 5 >/dev/null
check "a killed gateway leaves interfaces" eval '[ "$(interfaces | wc -l)" = 2 ]'
must "the next one starts over them" gateway_start
check "and has removed them" equal "$(interfaces)" ""
must "bob dials again" eval 'reap dial-cw1 TERM 5; dial "$O" cw2 bob'
must "the hub answers" ping_hub "$O" cw2 3

# ---- Her own device becomes that peer; the hub's kernel is asked over netlink who is there ----
causeway() { "$CAUSEWAY" "$@" --socket "$(socket)"; }
phase_is() { equal "$(causeway users show "$1" --json | jq -r .user.phase)" "$2"; }
observe() { in_hub "$CAUSEWAY" observe "$hub_interface" --once --name hub-1 --socket "$(socket)"; }
reap dial-cw0 TERM 5
check "alice's identity is handed over" causeway migrate hand-over alice --output "$work/alice.conf"
check "an observer that sees nothing new says nothing" eval 'observe && phase_is alice invited'
native_up() {
    ip link add direct netns "$C" type veth peer name direct netns "$H"
    ip -n "$C" addr add 10.72.0.1/30 dev direct && ip -n "$H" addr add 10.72.0.2/30 dev direct
    ip -n "$C" link set direct up && ip -n "$H" link set direct up
    ip -n "$C" route add $hub_address/32 via 10.72.0.2
    ip -n "$C" link add native type wireguard
    grep -Ev '^(Address|DNS|MTU) ' "$work/alice.conf" >"$work/setconf"
    in_client wg setconf native "$work/setconf"
    ip -n "$C" addr add "$(sed -n 's/^Address = //p' "$work/alice.conf")" dev native
    ip -n "$C" link set native mtu "$(sed -n 's/^MTU = //p' "$work/alice.conf")" up
    ip -n "$C" route replace 10.99.0.0/24 dev native
}
# A handshake within five seconds of the hand-over may have been the gateway's.
sleep 6
must "her device, with the kernel's WireGuard" native_up
check "the hub answers it" ping_hub "$C" native 3
check "observe: her handshake is noticed over netlink" eval 'observe && phase_is alice dual'
check "and bob, for whom the gateway speaks, is no WireGuard user" phase_is bob legacy
check "the gateway stops" gateway_stop
left() { host_state | diff "$work/before" -; }
check "nothing is left behind" left
steps_close
