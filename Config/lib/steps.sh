# Sourced: numbered steps with a verdict and a time, and the closing line.
#
# A step is a command; its output is kept and shown only when it fails.

steps_passed=0
steps_failed=0
steps_log=$(mktemp)
if [ -t 1 ] && [ -z "${CI:-}${NO_COLOR:-}" ]; then step_good=$'\e[32m✓\e[0m' step_bad=$'\e[31m✗\e[0m'; else step_good='✓' step_bad='✗'; fi

# With -q, grep goes at the first match, and whoever still writes into its pipe ends by SIGPIPE, which `pipefail` calls a failure. Here the
# rest is read, too.
grep() {
    local status=0 argument quiet=
    for argument; do case $argument in --) break ;; --*) ;; -*q*) quiet=1 ;; esac; done
    command grep "$@" || status=$?
    [ -z "$quiet" ] || ! [ -p /dev/stdin ] || cat >/dev/null
    return $status
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
seconds_since() { local d=$(($(now_ms) - $1)); printf '%d.%d' $((d / 1000)) $((d % 1000 / 100)); }
note() { printf '    %s\n' "$*"; }

# step TEXT COMMAND...: runs it in this shell, so that it may set variables; returns its status.
step() {
    local text=$1 begun status=0
    shift
    begun=$(now_ms)
    "$@" >"$steps_log" 2>&1 || status=$?
    if [ $status = 0 ]; then
        steps_passed=$((steps_passed + 1))
        printf '%s %s (%s s)\n' "$step_good" "$text" "$(seconds_since "$begun")"
    else
        steps_failed=$((steps_failed + 1))
        printf '%s %s (%s s): %s gave %d\n' "$step_bad" "$text" "$(seconds_since "$begun")" "$1" "$status"
        tail -n "${STEP_LINES:-25}" "$steps_log" | sed 's/^/    | /'
    fi
    return $status
}

# check TEXT COMMAND...: a step whose failure is counted, and the test goes on.
check() { step "$@" || true; }

# must TEXT COMMAND...: a step without which the rest makes no sense.
must() { step "$@" || { declare -F on_fatal >/dev/null && on_fatal; steps_close; exit 1; }; }

# steps_close: the closing line; fails when a step failed, or when there was none.
steps_close() {
    printf '%d passed, %d failed\n' "$steps_passed" "$steps_failed"
    [ $steps_failed = 0 ] && [ $steps_passed -gt 0 ]
}

# wait_for SECONDS COMMAND...: until the command succeeds; on failure the last try's output is shown.
wait_for() {
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt $end ] || { "$@" && return 0; echo "gave up waiting for: $*"; return 1; }
        sleep 0.1
    done
}

# ---- Small assertions for steps ----
equal() { [ "$1" = "$2" ] || { echo "expected '$2', found '$1'"; return 1; }; }
within() { # VALUE LOW HIGH
    [ "$1" -ge "$2" ] && [ "$1" -le "$3" ] || { echo "expected $2...$3, found $1"; return 1; }
}
fails() { ! "$@" || { echo "this succeeded, and should not have: $*"; return 1; }; }
exits_with() { # CODE COMMAND...
    local want=$1 status=0
    shift
    "$@" || status=$?
    equal "$status" "$want"
}
