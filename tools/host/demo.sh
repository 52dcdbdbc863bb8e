#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What the host of `make demo` does: root, and a kernel module, try to get at a protected guest. Lines that begin with
# "demo: |" are rows of the table at the end.

. /lib/hunt.sh

# How long to wait for a guest, in seconds.
patience=300
failed=0

say() {
    echo
    echo "== $*"
}

# row ATTEMPT OUTCOME STATUS [WHY]: what came of an attempt.
row() {
    outcome=$2
    if [ "$3" != 0 ]; then
        outcome="**NOT AS IT MUST BE**"
        failed=1
    fi
    echo "demo: | $1 | $outcome |"
}

# until_said TEXT LOG: waits for it.
until_said() {
    seconds=0
    until grep -q "$1" "$2"; do
        [ $seconds -lt $patience ] || return
        seconds=$((seconds + 1))
        sleep 1
    done
}

# intact: whether the guest finds its secret as it was.
intact() {
    said=$(grep -c 'secret: intact' /tmp/guest.log)
    echo 'killall -USR1 secret' >/tmp/guest.input
    seconds=0
    while [ "$(grep -c 'secret: intact' /tmp/guest.log)" = "$said" ]; do
        ! grep -q 'secret: SPOILT' /tmp/guest.log && [ $seconds -lt $patience ] || return
        seconds=$((seconds + 1))
        sleep 1
    done
    echo "guest| secret: intact"
}

# attacked WAY [PID]: whether all attempts, and there were some, were refused.
attacked() {
    result=$(attack "$@") || return
    echo "$result"
    [ "$(value "$result" attempts)" -gt 0 ] && [ "$(value "$result" attempts)" = "$(value "$result" refused)" ]
}

# refused SED: whether a guest of options that are changed like that does not start, for want of a signature that fits.
refused() {
    eval "set -- $(sed "$1" /guest/options)"
    timeout $patience corevisor-vm run --protected --signatures /guest/signatures "$@" </dev/null >/tmp/tampered.log 2>&1
    status=$?
    sed 's/\r//g;s/^/guest| /' /tmp/tampered.log
    [ $status = 1 ] && grep -q 'the guest does not start' /tmp/tampered.log && ! grep -q 'corevisor-guest' /tmp/tampered.log
}

# memory NAME: a number of corevisor-vm status.
memory() {
    corevisor-vm status --json | sed -n "s/.*\"counters\".*\"$1\": \([0-9]*\).*/\1/p"
}

insmod /lib/corevisor.ko && insmod /lib/hunter.ko || exit

say "This is the host: Debian's Linux, root. First: do its means find a secret at all? One of its own processes holds one."
secret 1 >/tmp/own.log &
until_said 'pages hold it' /tmp/own.log
result=$(hunt kernel)
echo "$result"
[ "$(value "$result" with-secret)" -ge 256 ]
row "look for the secret of a process of the host's own, to see that it would be found" "found" $?
kill $!
wait $! 2>/dev/null

say "Two protected guests start: Debian's kernel, from images that their owner signed elsewhere. They hold secrets."
eval "set -- $(cat /guest/options)"
corevisor-vm run --protected --signatures /guest/signatures "$@" </dev/null >/tmp/second.log 2>&1 &
second=$!
guest start
until_said 'pages hold it' /tmp/second.log
grep -q "corevisor-vm: measurement $(cat /guest/measurement)" /tmp/guest.log
row "start a guest from what its owner signed" "it runs, and its measurement is the one that the owner expects" $?
pages=$(($(hidden /tmp/guest.log) + $(hidden /tmp/second.log)))
corevisor-vm status | sed '/^Page tables/,$d'

say "The host's kernel loads each word of RAM, by a module that survives what it is refused."
hunted kernel "$pages"
row "read all of RAM by a kernel module" "an external abort at each page of the guests'; no secret is found" $?

say "Root loads each word of RAM through /dev/mem."
hunted devmem "$pages"
row "read all of RAM through /dev/mem" "SIGBUS at each page of the guests'; no secret is found" $?

say "The VMM, under a debugger, loads and stores where it has mapped the guest's memory."
vmm=$(cat /tmp/guest.pid)
attacked mapping "$vmm" && kill -0 "$vmm"
row "read and write the guest's memory where its VMM has mapped it" "SIGBUS" $?

say "The host's kernel writes to each page of the guests', then root does through /dev/mem. The guest looks at its secret."
attacked overwrite && intact
row "overwrite the guest's memory by a kernel module" "an external abort at each page; the guest finds its secret intact" $?
attacked devmem && intact
row "overwrite the guest's memory through /dev/mem" "SIGBUS at each page; the guest finds its secret intact" $?

say "The host's kernel makes a VM whose memory it can read, and wants each of the guests' pages to be that VM's."
attacked take && intact
row "give the guest's pages to another VM" "DENIED for each page" $?

say "Root has a PCI device copy memory: of a process of its own first, to see that it does; then to and from pages of the guests'."
result=$(dma own)
echo "$result"
[ "$(value "$result" with-secret)" = 1 ]
row "read memory of a process of the host's own by DMA, to see that it would be found" "found" $?
result=$(dma guests 64) && echo "$result" && [ "$(value "$result" pages)" -gt 0 ] && [ "$(value "$result" with-secret)" = 0 ] && intact
row "read and overwrite the guest's memory by DMA" "nothing moves: no secret is found; the guest finds its own intact" $?

say "A guest from an altered RAM disk: one byte of it."
cp /guest/initramfs.img /tmp/altered.img
printf 'x' | dd of=/tmp/altered.img bs=1 seek=5000 conv=notrunc 2>/dev/null
refused 's#/guest/initramfs.img#/tmp/altered.img#'
row "start a guest from an altered RAM disk" "refused: the signature does not fit" $?
rm /tmp/altered.img

say "A guest with another command line for its kernel, such as one that begins with a shell for the host."
refused 's#quiet#quiet init=/bin/sh#'
row "start a guest with another command line" "refused: the signature does not fit" $?

say "The first guest's VMM is killed, which ends the guest. What it had in memory is the host's again."
kill -9 "$vmm"
seconds=0
while [ "$(memory vms)" != 1 ] && [ $seconds -lt $patience ]; do
    seconds=$((seconds + 1))
    sleep 1
done
[ "$(memory vms)" = 1 ] && hunted kernel "$(hidden /tmp/second.log)"
row "end a guest, and read what it leaves" "zeroes: no secret is found" $?
corevisor-vm status | sed '/^Page tables/,$d'

say "The second guest, which has run all the time, is ended, too."
kill $second
wait $second
[ $? = 143 ] && [ "$(memory vm_pages)" = 0 ]
row "end the other guest" "all memory is the host's again" $?

rmmod hunter corevisor || failed=1
echo "demo: exit $failed"
poweroff -f
