# Sourced by `vm` and `uml`: the cache, and the job that a guest runs.

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/../../../Config/lib/packages.sh"

cache=${CAUSEWAY_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/causeway}
mkdir -p "$cache"
cache=$(realpath "$cache")

# fetch_package PACKAGE DIRECTORY: unpacks a Debian package without installing it.
fetch_package() {
    local d
    d=$(mktemp -d)
    chmod 777 "$d"
    (cd "$d" && { apt-get -q download "$1" || { apt-get -q update && apt-get -q download "$1"; }; }) >/dev/null 2>"$d/error" </dev/null || {
        cat "$d/error" >&2
        rm -rf "$d"
        return 69
    }
    rm -rf "$2.new" "$2"
    dpkg-deb -x "$d"/*.deb "$2.new"
    mv "$2.new" "$2"
    rm -rf "$d"
}

# write_job KIND DIRECTORY SCRIPT [ARG...]: the script with its environment and arguments, as the guest will run it.
write_job() {
    local kind=$1 directory=$2 script=$3 name
    shift 3
    cp "$script" "$directory/script"
    {
        printf 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C OUT=/run/out LAB_KIND=%q\n' "$kind"
        for name in ${LAB_ENV:-}; do printf 'export %s=%q\n' "$name" "${!name-}"; done
        echo 'touch "$OUT/.booted"'
        echo 'stty -onlcr 2>/dev/null; cd /root; ip link set lo up; hostname lab 2>/dev/null'
        printf 'set --'
        [ $# -eq 0 ] || printf ' %q' "$@"
        echo
        echo '. /run/job/script'
    } >"$directory/run"
}

# wait_guest PID SECONDS: waits for a guest to end; 124 when the time is up.
wait_guest() {
    local i
    for ((i = 0; i < $2 * 10; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 124
}
