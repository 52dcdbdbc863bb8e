# SPDX-License-Identifier: GPL-2.0-only
# Messages. They go to standard error: standard output belongs to the command that asked for the set-up.

say() {
    echo "setup: $*" >&2
}

die() {
    say "$*"
    exit 1
}
