# Runs in a guest whose vec0 is plugged into the gateway's namespace: real pppd and pptp-linux as the legacy client.
# Arguments: what to do, then its own. Tells the host by files in $OUT; waits for the host by files there.

what=$1
shift
gateway=10.71.5.1 hub=10.99.0.1
ip link set dev vec0 up
for n in 2 11 12 13 14 15 16 17 18; do ip addr add 10.71.5.$n/24 dev vec0; done
for module in ppp_generic ppp_async ppp_mppe pptp; do modprobe -q $module 2>/dev/null; done
[ -e /dev/ppp ] || mknod /dev/ppp c 108 0
failures=0

told() { echo "guest: $*"; echo "$*" >>"$OUT/told"; }
good() { told "good: $*"; }
wrong() { told "WRONG: $*"; failures=$((failures + 1)); }
expect() { local text=$1; shift; if "$@" >/tmp/out 2>&1; then good "$text"; else wrong "$text"; tail -80 /tmp/out; fi; }
wait_until() { local i; for ((i = 0; i < $1 * 10; i++)); do "${@:2}" >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }
# meet NAME: tells the host that we are there, and goes on when the host says so.
meet() { touch "$OUT/at-$1"; wait_until 60 test -e "$OUT/go-$1" || wrong "the host never said go-$1"; }

# connect UNIT USER PASSWORD [PPPD-OPTION...]: pppd with pptp-linux (GRE in user space). $BIND is the local address.
connect() {
    local unit=$1 user=$2 password=$3
    shift 3
    pppd unit "$unit" pty "pptp $gateway --nolaunchpppd ${BIND:+--localbind $BIND} --loglevel 1" nodetach noauth user "$user" password "$password" \
        remotename causeway noipdefault nodefaultroute refuse-pap refuse-chap refuse-mschap refuse-eap \
        lcp-echo-interval 10 lcp-echo-failure 4 mru 1400 mtu 1396 debug logfile "$OUT/pppd-$unit.log" "$@" >/dev/null 2>&1 &
    pppds[$unit]=$!
}
# pppd sets the address, then brings the interface up, then lets IP pass, then says so: before that a packet is refused or lost in the guest.
up() { ip -4 -o addr show dev "ppp$1" 2>/dev/null | grep -q inet && grep -q 'remote IP address' "$OUT/pppd-$1.log"; }
all_answered() { # FILE: what ping said; of lost ones it tells the numbers
    grep -q ' 0% packet loss' "$1" && return
    local n
    for n in $(seq 1 "$(sed -n 's/ packets transmitted.*//p' "$1")"); do grep -q "icmp_seq=$n " "$1" || echo "no answer to $n"; done
    tail -2 "$1"
    ip -s link | grep -E -A5 'ppp|vec0'
    return 1
}
gone() { [ -n "${pppds[$1]}" ] && ! kill -0 "${pppds[$1]}" 2>/dev/null; }
address() { ip -4 -o addr show dev "ppp$1" | sed -n 's/.*inet \([0-9.]*\).*/\1/p'; }
ping_hub() { ping -n -c "${2:-5}" -i 0.2 -W 2 -I "ppp$1" $hub >/tmp/ping; all_answered /tmp/ping; }
hang_up() { kill -TERM "${pppds[$1]}"; wait_until 8 gone "$1"; }
stateless_128() { grep -q 'MPPE 128-bit stateless compression enabled' "$OUT/pppd-$1.log"; }
declare -A pppds

case $what in
stateless)
    connect 0 lab Secret-Passw0rd require-mppe-128
    expect "pppd is up" wait_until 15 up 0
    expect "MPPE 128-bit stateless" stateless_128 0
    expect "the hub answers 20 pings" ping_hub 0 20
    ip route add 10.99.0.0/24 dev ppp0
    expect "2 MB from the hub, SHA-256 right" timeout 60 python3 "$TRANSFER" get $hub 7000 2000000
    tail -1 /tmp/out
    expect "2 MB to the hub, SHA-256 right" timeout 60 python3 "$TRANSFER" put $hub 7000 2000000
    tail -1 /tmp/out
    big() { ping -n -q -c 3 -i 0.2 -W 2 -s 4000 -I ppp0 $hub | grep ' 0% packet loss'; }
    expect "4,000-byte pings, in fragments" big
    meet up
    expect "pppd hangs up" hang_up 0
    expect "the gateway acknowledged the Terminate-Request" grep -q 'rcvd \[LCP TermAck' "$OUT/pppd-0.log"
    meet hung-up
    ;;
wrong-password)
    connect 0 lab not-the-password require-mppe-128
    expect "pppd gives up" wait_until 30 gone 0
    wait "${pppds[0]}"
    code=$?
    [ $code = 19 ] && good "with exit code 19: failed to authenticate" || wrong "with exit code $code"
    expect "it was told E=691 or the like" grep -q 'rcvd \[CHAP Failure.*E=6[49]' "$OUT/pppd-0.log"
    connect 1 nobody-known Secret-Passw0rd require-mppe-128
    expect "pppd gives up for an unknown user" wait_until 30 gone 1
    said() { sed -n 's/.*CHAP Failure id=[^ ]* "\([^"]*\)".*/\1/p' "$OUT/pppd-$1.log" | sed 's/C=[0-9A-Fa-f]*//' | head -1; }
    [ -n "$(said 0)" ] && [ "$(said 0)" = "$(said 1)" ] && good "an unknown user looks like a wrong password: $(said 1)" || wrong "told apart: '$(said 0)' and '$(said 1)'"
    ;;
stateful) # refused | taken
    connect 0 lab Secret-Passw0rd plugin "$ASK_STATEFUL" require-mppe-128 mppe-stateful
    expect "pppd, asking for stateful MPPE, is up" wait_until 15 up 0
    if [ "$1" = refused ]; then
        expect "and got stateless" stateless_128 0
        expect "after a Configure-Nak" grep -q 'rcvd \[CCP ConfNak.*+H' "$OUT/pppd-0.log"
        expect "the hub answers 20 pings" ping_hub 0 20
    else
        expect "and got stateful, to itself" grep -q 'MPPE 128-bit stateful compression enabled' "$OUT/pppd-0.log"
        expect "the hub answers 20 pings" ping_hub 0 20
        meet lossy
        ping -n -q -c 100 -i 0.1 -W 1 -I ppp0 $hub >/tmp/ping 2>&1
        tail -2 /tmp/ping
        meet clean
        expect "after the loss the keys agree again: 10 of 10 pings" wait_until 10 ping_hub 0 10
        ip route add 10.99.0.0/24 dev ppp0
        expect "500 kB from the hub, SHA-256 right" timeout 60 python3 "$TRANSFER" get $hub 7000 500000
    fi
    expect "pppd hangs up" hang_up 0
    ;;
killed)
    connect 0 lab Secret-Passw0rd require-mppe-128
    expect "pppd is up" wait_until 15 up 0
    expect "the hub answers" ping_hub 0 3
    meet up
    kill -KILL "${pppds[0]}"
    meet pppd-killed
    connect 1 lab Secret-Passw0rd require-mppe-128
    expect "pppd is up again" wait_until 15 up 1
    expect "the hub answers" ping_hub 1 3
    meet up-again
    # pptp forks one process for GRE and one for the control connection.
    kill -KILL "${pppds[1]}" $(pidof pptp)
    kill -KILL $(pgrep -x pptp) $(pgrep -f 'pptp: call manager') 2>/dev/null
    meet all-killed
    ;;
eight)
    for n in 1 2 3 4 5 6 7 8; do
        [ "$1" = one-connection ] || BIND=10.71.5.1$n
        BIND=${BIND:-} connect $n user$n "secret $n" require-mppe-128
        # The call manager's socket is made by the first pptp.
        [ "$1" = one-connection ] && sleep 0.5
    done
    for n in 1 2 3 4 5 6 7 8; do expect "user$n is up" wait_until 30 up $n; done
    [ "$(for n in 1 2 3 4 5 6 7 8; do address $n; done | sort -u | wc -l)" = 8 ] && good "eight different addresses" || wrong "addresses are shared"
    meet up
    for n in 1 2 3 4 5 6 7 8; do ping -n -c 20 -i 0.2 -W 2 -I ppp$n $hub >/tmp/ping-$n 2>&1 & pings[n]=$!; done
    for n in 1 2 3 4 5 6 7 8; do wait "${pings[$n]}"; done
    for n in 1 2 3 4 5 6 7 8; do expect "the hub answered all of user$n's pings at once" all_answered /tmp/ping-$n; done
    meet pinged
    for n in 1 2 3 4 5 6 7 8; do kill -TERM "${pppds[$n]}"; done
    for n in 1 2 3 4 5 6 7 8; do expect "user$n hung up" wait_until 10 gone $n; done
    ;;
esac
[ $failures = 0 ] || tail -q -n 15 "$OUT"/pppd-*.log
told "end: $failures wrong"
exit $((failures > 0))
