# SPDX-License-Identifier: GPL-2.0-only
"""Guests are killed at any moment, and nothing is left of them."""

import complaints
import debian
import driver
import host
from harness import guest, vmm
from harness.machine import Machine
from harness.registry import add

SEED = 1
# A guest is up after some ten seconds, on a machine that is not busy.
SECONDS = 16


def killed(bench, kernel, count, timeout):
    """Shared and protected Debian guests by turns: the host has all its pages back after each, and nobody complains."""
    files = {"bin/kill-guests": driver.program("kill-guests")}
    with debian.boot(bench, Machine(), kernel, vmm.Guest(kernel=kernel, memory="128M"), files) as console:
        driver.load(console)
        start = len(console.text)
        status, said = console.shell(f"kill-guests {count} {SEED} {SECONDS} 'exec shared' 'exec protected'", timeout)
        host.check(status == 0, f"kill-guests ended with status {status}: {said.strip()[-600:]!r}")
        complaints.expect_none(console, start)
        driver.finish(console, had_guests=True)


add("driver-kill", killed, kernel=guest.DEFAULT_KERNEL, count=8, timeout=600)
for version in guest.SUITES:
    add(f"driver-kill-long-linux{version}", killed, soak=True, kernel=version, count=200, timeout=14400)
