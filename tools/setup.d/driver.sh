# SPDX-License-Identifier: GPL-2.0-only
# What the Linux driver is built and checked with: a cross compiler, the headers of the fetched kernels, checkpatch.

driver_suites="trixie bookworm"

setup_driver_build() {
    local suite
    need_command make make
    need_command aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    # For programs that run on Linux; where this machine is of that kind its own serves.
    [ "$(uname -m)" = aarch64 ] || need_file /usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross
    install_needed
    for suite in $driver_suites; do
        fetch_guest "$suite" base "Debian's arm64 kernel and busybox"
        fetch_guest "$suite" headers "the kernel's headers"
    done
}

setup_checkpatch() {
    need_command perl perl
    install_needed
    fetch_guest trixie checkpatch "the kernel's checkpatch.pl, once, in a package of 140 MB"
}
