# Sourced by the tests with real pppd: a User-Mode Linux guest on a tap in the gateway's namespace.

. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../lib.sh"
export TRANSFER=$topology_root/Config/lib/transfer.py
install_missing ppp pptp-linux kmod >&2 || exit
export ASK_STATEFUL=''

guest_topology() {
    topology_up || return
    ip -n "$G" tuntap add dev tap0 mode tap
    ip -n "$G" addr add 10.71.5.1/24 dev tap0
    ip -n "$G" link set dev tap0 up
    ip -n "$H" route add 10.71.5.0/24 via ${hub_address%.*}.1 2>/dev/null || true
}

# guest_start NAME WHAT...: in-guest/pppd.sh with those arguments.
guest_start() {
    guest=$1
    shift
    mkdir -p "$work/$guest"
    LAB_TAP=tap0 LAB_NETNS=$G LAB_OUT=$work/$guest LAB_ENV="TRANSFER ASK_STATEFUL" spawn "guest-$guest" "$interop/lab/uml" "$interop/guest/in-guest/pppd.sh" 120 "$@"
}
arrived() { [ -e "$work/$guest/at-$1" ] || ! alive "guest-$guest"; }
guest_reaches() { wait_for 60 arrived "$1" && [ -e "$work/$guest/at-$1" ]; }
guest_may_go() { touch "$work/$guest/go-$1"; }

# build_ask_stateful: the plugin that makes pppd ask for stateful MPPE.
build_ask_stateful() {
    install_missing ppp-dev gcc libc6-dev || return
    ASK_STATEFUL=$work/ask-stateful.so
    gcc -Wall -O2 -fPIC -shared -o "$ASK_STATEFUL" "$interop/guest/ask-stateful.c"
}

# guest_ends: waits for it, and makes a step of each thing that it told.
ended() { ! alive "guest-$guest"; }
guest_ends() {
    wait_for 110 ended >/dev/null
    local status=0 line
    wait "${started[guest-$guest]}" || status=$?
    unset "started[guest-$guest]"
    while read -r line; do
        case $line in
            'good: '*) check "guest: ${line#good: }" true ;;
            'WRONG: '*) check "guest: ${line#WRONG: }" guest_log ;;
        esac
    done <"$work/$guest/told"
    [ $status = 0 ] || [ $status = 1 ] || check "the guest ran to its end ($status)" guest_log
    grep -qs '^end: ' "$work/$guest/told" || check "the guest came to its end" guest_log
}
# guest_log fails, with the guest's console; once for each guest, for the logs are long.
guest_log() {
    [ "${guest_shown:-}" != "$guest" ] || { echo "see the guest's log above"; return 1; }
    guest_shown=$guest
    STEP_LINES=150
    tail -80 "$work/guest-$guest.log"; grep -h -E 'LCP|CHAP|CCP|IPCP|failed|rror' "$work/$guest"/pppd-*.log | tail -30
    return 1
}
