# SPDX-License-Identifier: GPL-2.0-only
# Software that runs under Corevisor: Debian's arm64 packages, fetched into target/guest.

# The Debian mirror: the variable DEBIAN_MIRROR, else the one that this machine's apt uses.
debian_mirror() {
    local mirror=${DEBIAN_MIRROR:-}
    [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n1)
    [ -n "$mirror" ] || die "this machine's apt knows no Debian mirror; please name one: DEBIAN_MIRROR=http://…"
    echo "$mirror"
}

# setup_guest SUITE
setup_guest() {
    # The user's own kernel and ramdisk need nothing of ours.
    [ "$1" = trixie ] && [ -n "${KERNEL:-}" ] && [ -n "${INITRD:-}" ] && return 0
    fetch_guest "$1" base "Debian's arm64 kernel and busybox" "; without them, give your own: make run KERNEL=… INITRD=…"
}

# fetch_guest SUITE GROUP WHAT [ADVICE]: the groups are those of tools/fetch-guest.
fetch_guest() {
    "$root/tools/fetch-guest" --check "$1" "$2" && return 0
    have_apt || die "fetching $3 needs apt-get and dpkg-deb${4:-}"
    need_file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
    install_needed
    say "fetching $3 ($1) into target/guest"
    "$root/tools/fetch-guest" --mirror "$(debian_mirror)" "$1" "$2" || die "could not fetch the packages"
}
