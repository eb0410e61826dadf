#!/usr/bin/env bash
# Checks what building and `taskrunnerx dev` need, with --tests also what only the tests want, and installs what is
# missing where apt can. Safe to repeat: when everything is there it changes nothing and says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=false
case "${1:-}" in
    "") ;;
    --tests) tests=true ;;
    *)
        echo "setup: takes nothing, or --tests" >&2
        exit 2
        ;;
esac

# Where servers live beyond PATH: Debian keeps them in /usr/sbin, Fedora in /usr/libexec. The
# program looks in the same places.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/usr/libexec:/opt/homebrew/bin:/opt/homebrew/opt/mariadb/bin:$HOME/.cargo/bin"

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# MySQL makes its data directory by itself; MariaDB has an installer, which calls a program of
# the client's package.
have_database() {
    if have mariadbd; then
        { have mariadb-install-db || have mysql_install_db; } && have my_print_defaults
    else
        have mysqld
    fi
}

have_redis() { have redis-server || have valkey-server; }

# For the chaos tests, where one scheduler's clock is an hour ahead.
have_faketime() { have faketime; }

# For the test of the documents, which runs what they show: the backup among it.
have_dump() { have mariadb-dump || have mysqldump; }

# What is missing, in the words of whoever would look for it.
missing() {
    have cc || echo "a C compiler"
    have curl || echo "curl"
    have_database || echo "MariaDB or MySQL (the server's programs)"
    have_redis || echo "Redis or Valkey (the server's program)"
    "$tests" || return 0
    have_faketime || echo "faketime (for the tests)"
    have jq || echo "jq (for the tests)"
    have openssl || echo "openssl (for the tests)"
    have python3 || echo "python3 (for the tests)"
    have_dump || echo "mariadb-dump or mysqldump (for the tests)"
}

# The first of these packages that apt knows, if any.
known_to_apt() {
    local package
    for package in "$@"; do
        if apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
            echo "$package"
            return
        fi
    done
    echo "$1"
}

# The -core packages have the programs and no service. On Debian 12 mariadb-install-db fails
# without my_print_defaults, which is in the client's core package and no dependency.
packages() {
    have cc || echo gcc libc6-dev
    have curl || echo curl ca-certificates
    if ! have_database; then
        known_to_apt mariadb-server-core mariadb-server-core-10.6
        known_to_apt mariadb-client-core mariadb-client-core-10.6
    fi
    have_redis || known_to_apt redis-server valkey-server
    "$tests" || return 0
    have_faketime || echo faketime
    have jq || echo jq
    have openssl || echo openssl
    have python3 || echo python3
    have_dump || known_to_apt mariadb-client mysql-client
}

# What somebody may run who is root here, or becomes it.
by_hand() { echo "apt-get update && apt-get install -y --no-install-recommends $*"; }

# Stops where nothing can be installed, before anything is tried. Its arguments are the packages.
need_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    have sudo || fail "this needs root, and there is no sudo. As root run, and start again:
  $(by_hand "$@")"
    # Nobody is there to type a password.
    [ -t 0 ] || sudo -n true 2>/dev/null || fail "this needs root, and sudo wants a password. Run, and start again:
  sudo sh -c '$(by_hand "$@")'"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Only the programs are wanted. The package would start a Redis on port 6379 and again at each
# boot; masked for the moment of the installation it does neither.
without_redis_service() {
    if have_redis || [ ! -d /run/systemd/system ]; then
        "$@"
        return
    fi
    local status=0 unit units=(redis-server.service valkey-server.service)
    as_root systemctl --quiet --runtime mask "${units[@]}" || true
    # In a shell of its own: where it gives up, the units must be unmasked all the same.
    ("$@") || status=$?
    as_root systemctl --quiet --runtime unmask "${units[@]}" || true
    # One by one: the one that was not installed must not keep the other enabled.
    for unit in "${units[@]}"; do
        as_root systemctl --quiet disable "$unit" 2>/dev/null || true
    done
    return "$status"
}

# Installs the packages that a function lists. The lists of a fresh machine are empty or old, so a failure is followed by
# one update, and by asking the function again: which names there are depends on them.
install_with_apt() {
    local list=$1 wanted
    mapfile -t wanted < <("$list" | xargs -n 1)
    need_root "${wanted[@]}"
    say "installing ${wanted[*]}"
    if apt_install "${wanted[@]}"; then
        return
    fi
    say "that failed; updating apt's lists and trying once more"
    as_root apt-get update -qq >&2 || fail "apt-get update failed: is there a network, and may this user use sudo?
  Without a network, install these by hand and start again: ${wanted[*]}"
    mapfile -t wanted < <("$list" | xargs -n 1)
    apt_install "${wanted[@]}" || fail "apt-get install ${wanted[*]} failed; its own words are above"
}

install_missing() {
    local lacks
    lacks=$(missing | paste -sd ';' - | sed 's/;/; /g')
    [ -n "$lacks" ] || return 0
    say "missing: $lacks"
    if have apt-get; then
        # shellcheck disable=SC2046 # words of their own
        need_root $(packages)
        without_redis_service install_with_apt packages
        lacks=$(missing | paste -sd ';' - | sed 's/;/; /g')
        [ -z "$lacks" ] || fail "still missing after the installation: $lacks"
        return 0
    fi
    local more=""
    ! "$tests" || more=" libfaketime jq openssl python3"
    fail "install them and start again; the servers need not be running:
  Fedora:  sudo dnf install gcc curl mariadb-server valkey$more
  Arch:    sudo pacman -S gcc curl mariadb valkey${more/python3/python}
  macOS:   xcode-select --install; brew install mariadb redis$more"
}

# rust-version of Cargo.toml against the compiler's own. Rust is not installed from here: which
# toolchain a machine has is its owner's choice, and Debian's own is too old.
check_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! have cargo || ! have rustc; then
        fail "Rust $needed or later is needed, and there is no cargo. Install it and start again:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default"
    fi
    found=$(rustc --version | awk '{ print $2 }')
    if [ "$(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1)" != "$needed" ]; then
        fail "Rust $needed or later is needed; this is $found. With rustup: rustup update stable"
    fi
}

# What tries the API in every way that its specification allows, and in others (tests/it/openapi.rs). Only the tests
# want it, and they say what to do where it is not there: so nothing stops here for it.
schemathesis_version=4.32.5
venv_packages() { echo python3 python3-venv; }
install_schemathesis() {
    local venv=target/tools/schemathesis log=target/tools/schemathesis.log
    [ "$(cat "$venv/installed" 2>/dev/null)" != "$schemathesis_version" ] || return 0
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && have apt-get; then
        (install_with_apt venv_packages) || true
    fi
    say "installing schemathesis $schemathesis_version into $venv, for the tests of the API"
    mkdir -p target/tools
    if python3 -m venv --clear "$venv" >"$log" 2>&1 &&
        timeout 300 "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$schemathesis_version" >>"$log" 2>&1; then
        echo "$schemathesis_version" >"$venv/installed"
    else
        say "that failed (no network, or no python3-venv?); all but the tests of the API works without: $log"
    fi
}

# What reads the alert rules and tries them (tests/it/ops.rs): one program of the package prometheus. The package itself
# would start a server and bring a web page along, so the program alone is taken out of it.
install_promtool() {
    if have promtool || [ -x target/tools/promtool ]; then
        return 0
    fi
    if ! have apt-get || ! have dpkg-deb; then
        say "promtool is missing: the tests of the alert rules need it (Fedora, Arch, macOS: the package prometheus)"
        return 0
    fi
    say "taking promtool out of the package prometheus into target/tools, for the tests of the alert rules"
    local directory status=0
    directory=$(mktemp -d)
    (
        # In a directory that apt's own user may not enter, root fetches.
        fetch() { (cd "$directory" && apt-get download -qq -o APT::Sandbox::User=root prometheus >&2); }
        fetch || { as_root apt-get update -qq >&2 && fetch; }
        mkdir -p target/tools
        dpkg-deb --fsys-tarfile "$directory"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$directory/promtool"
        chmod 755 "$directory/promtool"
        mv "$directory/promtool" target/tools/promtool
    ) || status=$?
    rm -rf "$directory"
    [ "$status" -eq 0 ] || say "that failed (no network?); all but the tests of the alert rules works without"
}

install_missing
check_rust
if "$tests"; then
    install_schemathesis
    install_promtool
fi
