# SPDX-License-Identifier: GPL-2.0-only
# Rust for static arm64 Linux programs, which the host runs: the choice goes to target/linux-rust.sh, for tools/cargo-linux.
#
# As for the firmware there are two ways: rustup's toolchain with the musl target, or the distribution's packages, with
# the standard library out of its arm64 packages, unpacked beside the machine's own.

linux_rust=$root/target/linux-rust.sh
musl_target=aarch64-unknown-linux-musl
gnu_target=aarch64-unknown-linux-gnu

setup_linux_rust() {
    if chosen_before rustup && rustup_gives_musl; then
        write_linux_choice "$musl_target" "rustup's $(cd "$root" && rustc --version)" "cargo" "cargo clippy" \
            "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld"
    else
        packages_complete || install_rust_packages
        need_command aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
        [ "$(uname -m)" = aarch64 ] || need_file /usr/aarch64-linux-gnu/lib/libc.a libc6-dev-arm64-cross
        install_needed
        make_linux_sysroot
        write_linux_choice "$gnu_target" "the distribution's $(/usr/bin/rustc --version)" "/usr/bin/cargo" \
            "/usr/bin/cargo-clippy clippy" \
            "unset RUSTUP_TOOLCHAIN CARGO RUSTC_WRAPPER
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY=never
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=\"--sysroot $linux_sysroot -Ctarget-feature=+crt-static\""
    fi
}

rustup_gives_musl() {
    rustup_here || return 1
    rustup_has_musl && return 0
    say "asking rustup for the target $musl_target"
    (cd "$root" && RUSTUP_MAX_RETRIES=1 timeout 300 rustup target add "$musl_target") >/dev/null 2>&1 && rustup_has_musl
}

rustup_has_musl() {
    (cd "$root" && rustup target list --installed 2>/dev/null) | grep -qx "$musl_target"
}

# The machine's sysroot, by links, and in it the library for arm64 of the same version: rustc takes no other.
linux_sysroot=$root/target/linux-sysroot
make_linux_sysroot() {
    local version own part
    version=$(/usr/bin/rustc --version)
    [ "$(cat "$linux_sysroot/version" 2>/dev/null)" = "$version" ] && return 0
    own=$(/usr/bin/rustc --print sysroot)/lib/rustlib
    rm -rf "$linux_sysroot"
    mkdir -p "$linux_sysroot/lib/rustlib"
    for part in "$own"/*; do
        ln -s "$part" "$linux_sysroot/lib/rustlib/"
    done
    if [ ! -e "$own/$gnu_target" ]; then
        fetch_arm64_library
        ln -s "$(find "$linux_sysroot/unpacked" -path "*/rustlib/$gnu_target" -print -quit)" "$linux_sysroot/lib/rustlib/"
    fi
    echo "$version" >"$linux_sysroot/version"
}

# By the machine's apt, with the machine's sources, and lists of our own that hold arm64, too.
fetch_arm64_library() {
    local development version name state=$linux_sysroot/apt
    have_apt || die "building for arm64 Linux needs rustup with the target $musl_target"
    development=$(dpkg -S "$(/usr/bin/rustc --print sysroot)/lib/rustlib" 2>/dev/null | tr ',' '\n' |
        sed -n 's/^ *\(libstd-rust[a-z-]*-dev\).*/\1/p' | head -n1)
    [ -n "$development" ] || die "no package libstd-rust-dev here, whose arm64 sister is needed"
    version=$(dpkg-query -W -f '${Version}' "$development")
    say "fetching $development $version for arm64 into target/linux-sysroot"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$linux_sysroot/unpacked"
    : >"$state/status"
    local options=(-qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oAPT::Sandbox::User= -oAcquire::Languages=none
        -oDir::State::Lists="$state/lists" -oDir::State::status="$state/status" -oDir::Cache="$state/cache")
    apt-get "${options[@]}" update >/dev/null 2>&1 || say "some package lists could not be updated; going on with what there is"
    for name in "$development" $(apt-cache "${options[@]}" depends "$development=$version" |
        sed -n 's/^ *Depends: \(libstd-rust-.*[0-9]\)$/\1/p'); do
        (cd "$state" && apt-get "${options[@]}" download "$name=$version") || die "could not fetch $name for arm64"
    done
    for name in "$state"/*.deb; do
        dpkg-deb -x "$name" "$linux_sysroot/unpacked"
    done
    rm -rf "$state"
}

# write_linux_choice TARGET DESCRIPTION CARGO CLIPPY ENVIRONMENT
write_linux_choice() {
    local new
    new="# Written by tools/setup.
linux_target=$1
linux_cargo=\"$3\"
linux_clippy=\"$4\"
$5"
    [ "$(cat "$linux_rust" 2>/dev/null)" = "$new" ] && return 0
    say "Rust for $1: $2"
    echo "$new" >"$linux_rust"
}
