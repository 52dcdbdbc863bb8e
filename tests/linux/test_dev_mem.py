# SPDX-License-Identifier: GPL-2.0-only
"""The host cannot reach Corevisor's memory: not from user space by /dev/mem, not from its kernel."""

import re

import host
from harness import footprint
from harness.machine import Machine
from harness.monitor import Monitor
from harness.registry import test

PAGE = 4096
# How a shell reports a process that a signal ended.
KILLED_BY_SIGBUS = 128 + 7
KILLED_BY_SIGSEGV = 128 + 11
# What the writes would leave, had they gone through.
PATTERN = 0x5AFE_C0DE


# Corevisor writes about no more than ten refusals a second.
SLOWLY = "sleep 0.2; "


def places(console):
    """Pages to try: the edges and the middle of each range that Corevisor keeps for itself."""
    found = set()
    for start, end in footprint.ranges(console.text).values():
        found |= {start, (start + end) // 2 // PAGE * PAGE, end - PAGE}
    return sorted(found)


def expect_refusal(output, address):
    """Checks that Corevisor wrote one line about a refused access to this page."""
    lines = re.findall(r"host access refused: .*ipa=0x([0-9a-f]+)", output)
    host.check(len(lines) == 1, f"{len(lines)} lines about a refused access to {address:#x}, not one: {output!r}")
    host.check(int(lines[0], 16) // PAGE == address // PAGE, f"the refusal names {lines[0]}, not {address:#x}")


def booted(bench, smp=2):
    """A booted host, with a monitor."""
    socket = bench.scratch / "monitor"
    machine = Machine(smp=smp, extra=Monitor.arguments(socket))
    console = bench.start(host.boot_arguments(machine))
    host.expect_user_space(console, machine)
    return console, Monitor(socket)


def finish(console):
    """The host is alive to the end."""
    status, output = console.shell("echo still $((40 + 2))")
    host.check(status == 0 and "still 42" in output, "the host does not answer any more")
    console.power_off()
    host.expect_no_faults(console)


@test
def dev_mem_from_user_space(bench):
    """Loads and stores of a process end in SIGBUS; memory stays as it was."""
    console, monitor = booted(bench)
    with console:
        for address in places(console):
            before = monitor.word(address)
            for command in (f"probe read {address:#x}", f"probe write {address:#x} {PATTERN:#x}", f"devmem {address:#x}"):
                status, output = console.shell(SLOWLY + command)
                host.check(status == KILLED_BY_SIGBUS, f"`{command}` ended with status {status}, not by SIGBUS")
                expect_refusal(output, address)
            host.check(monitor.word(address) != PATTERN or before == PATTERN, f"the store to {address:#x} went through")
        monitor.close()
        finish(console)


@test
def dev_mem_from_the_kernel(bench):
    """Loads and stores of the kernel end in an external abort, which kills the task and not the machine."""
    # With one CPU nobody else writes to the console in the middle of the kernel's long report.
    console, monitor = booted(bench, smp=1)
    with console:
        for address in places(console):
            for command in (f"probe kernel-read {address:#x}", f"probe kernel-write {address:#x}"):
                status, output = console.shell(SLOWLY + command)
                host.check(status == KILLED_BY_SIGSEGV, f"`{command}` ended with status {status}, not by an oops")
                host.check("synchronous external abort" in output, f"`{command}` met no external abort")
                expect_refusal(output, address)
        monitor.close()
        finish(console)


@test
def image_stays_unchanged(bench):
    """After attempts on each page of the image's code, every word tried still is what it was."""
    console, monitor = booted(bench)
    with console:
        start, end = footprint.ranges(console.text)["image"]
        pages = range(start, end, max(PAGE, (end - start) // 16 // PAGE * PAGE))
        before = {address: monitor.word(address) for address in pages}
        for address in pages:
            status, _output = console.shell(f"probe write {address:#x} {PATTERN:#x}")
            host.check(status == KILLED_BY_SIGBUS, f"the store to {address:#x} ended with status {status}")
        # The image's start, its header and code, never changes; its data may, but never to this.
        host.check(monitor.word(start) == before[start], "the image's header has changed")
        changed = [hex(a) for a in pages if monitor.word(a) == PATTERN and before[a] != PATTERN]
        host.check(not changed, f"stores went through at {changed}")
        monitor.close()
        finish(console)
