# SPDX-License-Identifier: GPL-2.0-only
"""`make run`, which is what most people see first."""

import os
import subprocess

import host
from harness import paths
from harness.console import PATIENCE
from harness.registry import add, test

OURS = ("KERNEL", "INITRD", "APPEND", "SMP", "MEM", "CPU", "GIC", "QEMU_EXTRA", "LOG_LEVEL", "GUEST")


def run(bench, lines, **variables):
    """tools/run with these variables and this standard input: its exit status, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | variables
    with bench.log.open("ab") as log:
        # In a session of its own, so that QEMU ends with it.
        command = ["timeout", "--kill-after=5", str(2 * PATIENCE), paths.ROOT / "tools" / "run"]
        status = subprocess.run(
            command, input=lines.encode(), stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    return status, bench.log.read_text(errors="replace")


@test
def run_without_a_terminal(bench):
    """A protected guest comes up beside the host, nobody finds its secret, and both power off; what was typed was done."""
    status, text = run(bench, "corevisor-vm status --json\n")
    host.check(status == 0, f"tools/run ended with status {status}")
    for said in ("guest| corevisor-guest: user space reached, 1 CPUs", "hunt: kernel: ", "hunt: devmem: ", '"vms": [{"vm": 1, '):
        host.check(said in text, f"this is missing: {said}")
    host.check("corevisor-vm: measurement" in text, "the guest's measurement was not told")
    host.check("reboot: Power down" in text, "the host did not power off")


def run_tells_of_a_guest_that_ends(bench):
    """With a guest that does not end as it should, the exit status is not 0."""
    status, text = run(bench, "killall corevisor-vm\n")
    host.check(status == 1, f"tools/run ended with status {status}")
    host.check("guest: it has ended with status" in text or "guest: none runs" in text, "the host did not tell why")


add("run-tells-of-a-guest-that-ends", run_tells_of_a_guest_that_ends, soak=True)
