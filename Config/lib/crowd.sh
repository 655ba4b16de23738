# Sourced after topology.sh: a gateway for a crowd that comes from one address at once, and the crowd.

# crowd_config COUNT shared|per-user: users user1, user2 ... with one password; in mode per-user the hub knows the identity of each.
crowd_config() {
    local count=$1 mode=$2 room=$(($1 + 16)) i
    for ((i = 1; i <= count; i++)); do echo "user$i * pass-word *"; done >"$work/chap-secrets"
    chown root:$run_as "$work/chap-secrets"
    chmod 640 "$work/chap-secrets"
    printf 'pass-word' >"$work/users.password"
    chmod 600 "$work/users.password"
    config_ranges='"10.100.0.0-10.100.255.250"'
    config_data_path="max-sessions = $room"
    # The one source has as much as everybody has; what is for everybody is as delivered, or as much as there are sessions.
    config_pptp="max-connections = $room
max-connections-per-source = $room
max-half-open = $room
max-half-open-per-source = $room
connects-per-second-per-source = 60000
max-unauthenticated = $room
max-unauthenticated-per-source = $room"
    ip -n "$H" route add 10.100.0.0/16 dev "$hub_interface"
    ulimit -n "$(ulimit -Hn)"
    if [ "$mode" = per-user ]; then
        mkdir "$work/state"
        chown $run_as:$run_as "$work/state"
        chmod 700 "$work/state"
        config_top="state-directory = \"$work/state\""
        config_key='mode = "per-user"'
        config_keepalive=0
    fi
    gateway_config
    [ "$mode" = per-user ] || return 0
    setpriv --reuid $run_as --regid $run_as --clear-groups "$CAUSEWAY" hub provision --config "$work/causeway.toml" >/dev/null &&
        in_hub wg showconf "$hub_interface" >"$work/hub.conf" &&
        "$CAUSEWAY" hub config --config "$work/causeway.toml" --merge "$work/hub.conf" >"$work/hub.new" &&
        in_hub wg syncconf "$hub_interface" "$work/hub.new"
}

# crowd_dial NAME COUNT [ARG...]: they log in, as many at a time as CONCURRENCY says.
crowd_dial() {
    local name=$1 count=$2
    shift 2
    spawn "$name" ip netns exec "$C" "$CAUSEWAY" dial --server $gateway_address --user 'user%d' --password-file "$work/users.password" \
        --profile embedded --no-delay --interface "${CROWD_LINK:-load}" --count "$count" --concurrency "${CONCURRENCY:-256}" --only-log-in "$@"
}
# crowd_ready NAME TIMES: all were up that often.
crowd_ready() { [ "$(grep -c '^ready' "$work/$1.log")" -ge "$2" ]; }

# crowd_watch FILE: how long `causeway status` takes, in milliseconds, twice a second until the file FILE.stop is there.
crowd_watch() {
    local begun status
    while [ ! -e "$1.stop" ]; do
        begun=$(now_ms) status=0
        timeout 30 "$CAUSEWAY" status --socket "$(socket)" >/dev/null 2>&1 || status=$?
        echo "$(($(now_ms) - begun)) $status" >>"$1"
        sleep 0.5
    done
}
crowd_watch_start() {
    rm -f "$1" "$1.stop"
    crowd_watch "$1" &
    started[watch]=$!
}
crowd_watch_stop() {
    touch "$1.stop"
    wait "${started[watch]}"
    unset "started[watch]"
}
