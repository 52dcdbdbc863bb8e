# SPDX-License-Identifier: GPL-2.0-only
# Chooses the Rust that builds for the target, and writes the choice to target/toolchain.mk.
#
# Two ways: rustup's toolchain with the precompiled target, or the distribution's packages with `core` and `alloc`
# built from their source. The variable TOOLCHAIN (rustup or packages) forces one.

rust_target=aarch64-unknown-none-softfloat
rust_minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
toolchain_mk=$root/target/toolchain.mk

# Debian's bookworm carries a current Rust beside its old one, under these names; newer releases need only the plain ones.
packages_web="rustc-web cargo-web rust-web-src rust-web-llvm rust-web-clippy lld llvm"
packages_plain="rustc cargo rust-src rust-llvm rust-clippy lld llvm"

setup_rust() {
    local forced=${TOOLCHAIN:-}
    if [ "$forced" != packages ] && rustup_has_target; then
        choose_rustup
    elif [ "$forced" != rustup ] && chosen_before packages && packages_complete; then
        choose_packages
    elif [ "$forced" != packages ] && rustup_adds_target; then
        choose_rustup
    elif [ "$forced" != rustup ]; then
        install_rust_packages
        choose_packages
    else
        die "rustup can not give the target $rust_target"
    fi
}

rustup_here() {
    command -v rustup >/dev/null 2>&1 && command -v cargo >/dev/null 2>&1
}

rustup_has_target() {
    rustup_here && (cd "$root" && rustup target list --installed 2>/dev/null) | grep -qx "$rust_target"
}

rustup_adds_target() {
    rustup_here || return 1
    # Without a way to its server rustup retries for minutes by itself.
    say "asking rustup for the target $rust_target"
    (cd "$root" && RUSTUP_MAX_RETRIES=1 timeout 300 rustup target add "$rust_target") >/dev/null 2>&1 &&
        rustup_has_target
}

chosen_before() {
    grep -qx "# choice: $1" "$toolchain_mk" 2>/dev/null
}

packages_complete() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && command -v ld.lld >/dev/null && find_objcopy >/dev/null &&
        [ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/core/Cargo.toml" ]
}

install_rust_packages() {
    packages_complete && version_reaches "$(/usr/bin/rustc --version | cut -d' ' -f2)" && return 0
    have_apt || die "no Rust for $rust_target: needs rustup with that target (rustup target add $rust_target)," \
        "or rustc >= $rust_minimum and cargo in /usr/bin with Rust's source, ld.lld and llvm-objcopy"
    apt_update
    local set
    for set in "$packages_plain" "$packages_web"; do
        if version_reaches "$(candidate "${set%% *}")"; then
            # shellcheck disable=SC2086
            apt_install $set
            packages_complete || die "the packages $set do not hold all that building for $rust_target needs"
            return 0
        fi
    done
    die "no package of rustc >= $rust_minimum here; rustup (rustup target add $rust_target) serves as well"
}

version_reaches() {
    [ -n "$1" ] && dpkg --compare-versions "$1" ge "$rust_minimum"
}

# Objcopy of LLVM or GNU; the Arm one of GNU where the machine itself is of another kind.
find_objcopy() {
    local name
    for name in llvm-objcopy aarch64-linux-gnu-objcopy rust-objcopy; do
        command -v "$name" && return 0
    done
    # llvm-tools of rustup live outside the path.
    rustup_here && find "$(cd "$root" && rustc --print sysroot)/lib/rustlib" -name llvm-objcopy 2>/dev/null | grep -m1 .
}

choose_rustup() {
    find_objcopy >/dev/null || {
        note_missing "llvm-objcopy" llvm
        install_needed
    }
    write_choice rustup "rustup's $(cd "$root" && rustc --version)" "cargo" "" "cargo" "cargo clippy"
}

choose_packages() {
    # Both a rustup in the path and a cargo that is running this would lead cargo to another rustc.
    local env="env -u RUSTUP_TOOLCHAIN -u CARGO -u RUSTC_WRAPPER RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc"
    # The warning is about how the distribution built `core`, and none of our business.
    env+=" CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY=never"
    env+=" RUSTDOC=/usr/bin/rustdoc CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER=ld.lld"
    local host="env RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc /usr/bin/cargo"
    rustup_here && host=cargo
    write_choice packages "the distribution's $(/usr/bin/rustc --version), core and alloc from source" \
        "$env /usr/bin/cargo" "-Zbuild-std=core,alloc -Zpanic-abort-tests" "$host" "$env CARGO=/usr/bin/cargo /usr/bin/cargo-clippy clippy"
}

write_choice() {
    local new
    new="# Written by tools/setup.
# choice: $1
CARGO_EL2 = $3
CARGO_EL2_FLAGS = $4
CARGO_HOST = $5
CARGO_EL2_CLIPPY = $6
OBJCOPY = $(find_objcopy)"
    [ "$(cat "$toolchain_mk" 2>/dev/null)" = "$new" ] && return 0
    say "Rust for $rust_target: $2"
    echo "$new" >"$toolchain_mk"
}

# Formatting and lints: rustup's toolchains carry both, or can add them.
setup_rust_lint() {
    if rustup_here; then
        (cd "$root" && cargo fmt --version && cargo clippy --version) >/dev/null 2>&1 ||
            (cd "$root" && rustup component add rustfmt clippy) >/dev/null 2>&1 ||
            die "rustup can not give rustfmt and clippy"
    fi
    if chosen_before packages; then
        local suffix=
        installed rustc-web && suffix=-web
        [ -x /usr/bin/cargo-clippy ] || note_missing cargo-clippy "rust$suffix-clippy"
        rustup_here || [ -x /usr/bin/rustfmt ] || note_missing rustfmt "rustfmt$suffix"
        install_needed
    fi
}
