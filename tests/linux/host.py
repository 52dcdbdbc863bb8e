# SPDX-License-Identifier: GPL-2.0-only
"""What the tests share: booting the host, and what they expect of each boot."""

import re

from harness import guest, paths
from harness.console import Failure
from harness.machine import corevisor, modules

BOOTARGS = "console=ttyAMA0"
USER_SPACE = r"corevisor-host: user space reached, (\d+) CPUs online"


def boot_arguments(machine, kernel=guest.DEFAULT_KERNEL, append=""):
    """QEMU's command line for Debian's kernel of this version as host under Corevisor."""
    bootargs = f"{BOOTARGS} {append}".strip()
    return [
        *machine.arguments(),
        *corevisor(),
        *modules(machine.memory, guest.kernel(kernel), paths.INITRAMFS, bootargs),
    ]


def expect_user_space(console, machine):
    """Waits for the host's user space; checks that all CPUs run, and at EL1."""
    online = int(console.expect(USER_SPACE)[1])
    check(online == machine.smp, f"{online} of {machine.smp} CPUs are online")
    # The kernel's boot messages are on the console, all before the first line of user space.
    check("CPU: All CPU(s) started at EL1" in console.text[: console.position], "the kernel did not start at EL1")


def expect_no_faults(console):
    """Checks, after power-off, that Corevisor counted no stage-2 fault of the host on RAM that it owns."""
    found = re.findall(r"stats: .*host-ram-faults=(\d+)", console.text)
    check(found, "Corevisor printed no statistics at power-off")
    check(found[-1] == "0", f"the host took {found[-1]} stage-2 faults on its own RAM")


def check(condition, complaint):
    """Fails the test unless `condition` holds."""
    if not condition:
        raise Failure(complaint)
