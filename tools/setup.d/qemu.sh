# SPDX-License-Identifier: GPL-2.0-only
# QEMU: older ones than this lack parts of the machine (a second stage in the SMMUv3 among them).

qemu_minimum=9.0

setup_qemu() {
    qemu_is_new_enough && return 0
    have_apt || die "missing: qemu-system-aarch64 >= $qemu_minimum; please install it, then run this again"
    apt_update
    if dpkg --compare-versions "$(epochless "$(candidate qemu-system-arm)")" ge $qemu_minimum; then
        apt_install qemu-system-arm
    else
        install_qemu_from_backports
    fi
    qemu_is_new_enough || die "qemu-system-aarch64 is still older than $qemu_minimum"
}

qemu_is_new_enough() {
    local version
    version=$(qemu-system-aarch64 --version 2>/dev/null | sed -n '1s/.*version \([0-9][0-9.]*\).*/\1/p')
    [ -n "$version" ] && [ "$(printf '%s\n' $qemu_minimum "$version" | sort -V | head -n1)" = $qemu_minimum ]
}

epochless() {
    echo "${1#*:}"
}

# Uses a list of sources of its own, made of the machine's and the backports; the machine's own stays as it is.
install_qemu_from_backports() {
    local codename mirror work
    codename=$(. /etc/os-release && echo "${ID:-}/${VERSION_CODENAME:-}")
    case $codename in
        debian/?*) codename=${codename#debian/} ;;
        *) die "the newest packaged qemu-system-arm is older than $qemu_minimum; please install a newer QEMU" ;;
    esac
    mirror=$(debian_mirror)
    say "qemu-system-arm here is older than $qemu_minimum: taking it from $codename-backports, for this one" \
        "installation; the machine's own list of sources is not changed"
    work=$(mktemp -d)
    mkdir -p "$work/parts" "$work/lists/partial"
    [ ! -e /etc/apt/sources.list ] || cp /etc/apt/sources.list "$work/sources.list"
    cp /etc/apt/sources.list.d/* "$work/parts/" 2>/dev/null || true
    cat >"$work/parts/corevisor-backports.sources" <<END
Types: deb
URIs: $mirror
Suites: $codename-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
    touch "$work/sources.list"
    chmod -R a+rX "$work"
    local options=(-o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts"
        -o "Dir::State::Lists=$work/lists")
    apt_get "${options[@]}" update || say "some package lists could not be updated; going on with what there is"
    say "installing packages: qemu-system-arm (from $codename-backports)"
    apt_get "${options[@]}" install -y --no-install-recommends -t "$codename-backports" qemu-system-arm ||
        die "could not install qemu-system-arm from $codename-backports"
    as_root rm -rf "$work"
}
