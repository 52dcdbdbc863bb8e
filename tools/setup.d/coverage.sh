# SPDX-License-Identifier: GPL-2.0-only
# llvm-profdata and llvm-cov that can read what the host's rustc writes: of its LLVM version, or a newer one. The
# choice goes to target/llvm.mk.

llvm_mk=$root/target/llvm.mk

setup_coverage() {
    setup_build
    local rustc=rustc version
    rustup_here || rustc=/usr/bin/rustc
    version=$(cd "$root" && "$rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    find_llvm "$rustc" "$version" && return 0
    if rustup_here; then
        say "asking rustup for llvm-tools"
        (cd "$root" && RUSTUP_MAX_RETRIES=1 timeout 300 rustup component add llvm-tools) >/dev/null 2>&1 || true
        find_llvm "$rustc" "$version" && return 0
    fi
    have_apt || die "missing: llvm-profdata and llvm-cov of LLVM $version (rustup component add llvm-tools, or your" \
        "distribution's LLVM); please install them, then run this again"
    apt_install "llvm-$version"
    find_llvm "$rustc" "$version" || die "the package llvm-$version has no llvm-profdata that serves"
}

# find_llvm RUSTC VERSION
find_llvm() {
    local profdata
    local sysroot
    sysroot=$(cd "$root" && "$1" --print sysroot)
    for profdata in "$sysroot"/lib/rustlib/*/bin/llvm-profdata "llvm-profdata-$2" llvm-profdata; do
        profdata=$(command -v "$profdata") || continue
        [ "$(llvm_major "$profdata")" -ge "$2" ] || continue
        printf 'LLVM_PROFDATA = %s\nLLVM_COV = %s\n' "$profdata" "${profdata/profdata/cov}" >"$llvm_mk"
        return 0
    done
    return 1
}

llvm_major() {
    "$1" --version | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p'
}
