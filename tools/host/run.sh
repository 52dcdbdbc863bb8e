#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What the host of `make run` does before it gives a shell.

. /lib/hunt.sh

fail() {
    echo "make run: $*"
    exit 1
}

insmod /lib/corevisor.ko && insmod /lib/hunter.ko || fail "no guest without the driver"
echo
echo "Starting a protected guest: Debian's kernel, from images that its owner has signed. This host has no key."
echo "Its owner expects the measurement $(cat /guest/measurement)."
guest start || fail "the guest does not run"
grep -q "corevisor-vm: measurement $(cat /guest/measurement)" /tmp/guest.log || fail "the guest is not what it should be"
pages=$(hidden /tmp/guest.log)
echo
echo "The guest holds a secret, in $pages pages. This host's kernel looks for it in all of RAM, then root, by /dev/mem:"
hunted kernel "$pages" && hunted devmem "$pages" || fail "the guest has NOT kept its secret"
echo "make run: the secret is the guest's alone"
cat <<'EOF'

This is the host: Debian's Linux, at EL1, root. The guest runs in the background.

  guest                        its console; Ctrl-] leaves it
  guest stop, guest start      power it off, start it again
  corevisor-vm status          whose memory is whose
  corevisor-vm map --png FILE  the same, as a picture
  corevisor-vm --help          and how to run other guests
  hunt kernel, hunt devmem     look for the guest's secret again
  poweroff -f                  the end

EOF
