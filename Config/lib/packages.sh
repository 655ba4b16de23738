# Sourced: Debian packages and the Swift toolchain, for the set-up and test scripts.

say() { printf '%s\n' "$*" >&2; }

# install_missing PACKAGE...: installs those that are not installed yet.
install_missing() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "These Debian packages are missing: ${missing[*]}"
        say "Install them with: sudo apt-get install ${missing[*]}"
        return 69
    fi
    say "Installing: ${missing[*]}"
    local log apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # A bare image has no package lists; a stale one names versions that are gone. So: try, refresh, try again.
    if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
        "${apt[@]}" update >>"$log" 2>&1 </dev/null
        if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
            tail -20 "$log" >&2
            rm -f "$log"
            say "apt-get could not install: ${missing[*]}"
            return 69
        fi
    fi
    rm -f "$log"
}

# What the package needs to build, beyond Swift itself. The C++ library is for the TOML parser.
build_packages=(libmnl-dev libnftables-dev nettle-dev libsodium-dev libssl-dev libb2-dev libsqlite3-dev libqrencode-dev pkg-config libstdc++-12-dev git ca-certificates)

# What unit tests check our output with; without them those tests are skipped.
unit_test_packages=(zbar-tools wireguard-tools)

# find_swift: puts a Swift 6.2 or newer on PATH, or says what to install and returns 69 (EX_UNAVAILABLE).
find_swift() {
    local candidate version
    for candidate in "$(command -v swift || true)" "${SWIFT_HOME:-/nonexistent}/usr/bin/swift" "${SWIFT_HOME:-/nonexistent}/bin/swift" \
        /opt/swift/usr/bin/swift /opt/swift*/usr/bin/swift /usr/share/swift/usr/bin/swift /usr/local/swift/usr/bin/swift \
        /usr/libexec/swift/*/bin/swift "$HOME/.local/share/swiftly/bin/swift" \
        "${SUDO_USER:+$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)/.local/share/swiftly/bin/swift}"; do
        [ -n "$candidate" ] && [ -x "$candidate" ] || continue
        version=$("$candidate" --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -1)
        [ -n "$version" ] || continue
        if [ "$(printf '6.2\n%s\n' "$version" | sort -V | head -1)" != 6.2 ]; then
            say "$candidate is Swift $version: too old, looking further"
            continue
        fi
        PATH="$(dirname "$candidate"):$PATH"
        export PATH
        return 0
    done
    say "No Swift 6.2 or newer was found on PATH or in the usual places."
    say "Install it for Debian 12 from https://www.swift.org/install/linux/ (with swiftly, or the tarball unpacked to /opt/swift),"
    say "then run this again; SWIFT_HOME=/path/to/toolchain names a toolchain elsewhere."
    return 69
}
