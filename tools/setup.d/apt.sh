# SPDX-License-Identifier: GPL-2.0-only
# Collects what is missing and installs it by apt, where there is apt.

missing_things=()
missing_packages=()

# need_command COMMAND PACKAGE...: COMMAND comes with these packages.
need_command() {
    local command=$1
    shift
    command -v "$command" >/dev/null 2>&1 || note_missing "$command" "$@"
}

# need_file PATH PACKAGE...
need_file() {
    local file=$1
    shift
    [ -e "$file" ] || note_missing "$file" "$@"
}

note_missing() {
    missing_things+=("$1")
    shift
    missing_packages+=("$@")
}

# Installs all that need_* noted since the last call.
install_needed() {
    [ ${#missing_things[@]} -gt 0 ] || return 0
    have_apt || die "missing: ${missing_things[*]} (in Debian's packages: ${missing_packages[*]}); please install" \
        "what provides them here, then run this again"
    apt_install "${missing_packages[@]}"
    missing_things=()
    missing_packages=()
}

have_apt() {
    command -v apt-get >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# What apt and dpkg say in passing helps nobody unless they fail.
apt_get() {
    local log=$root/target/setup.log
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 && return 0
    cat "$log" >&2
    return 1
}

# A machine's package lists may be missing or stale; once per run is enough to know.
lists_fresh=
apt_update() {
    [ -z "$lists_fresh" ] || return 0
    say "updating the package lists"
    apt_get update || say "some package lists could not be updated; going on with what there is"
    lists_fresh=yes
}

apt_install() {
    apt_update
    say "installing packages: $*"
    apt_get install -y --no-install-recommends "$@" || die "could not install: $*"
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The version that `apt-get install PACKAGE` would give; empty if none.
candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \(.*\)$/\1/p' | grep -v '(none)' || true
}
