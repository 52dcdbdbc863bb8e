# SPDX-License-Identifier: GPL-2.0-only
"""Debian guests work, power off and reboot, and leave nothing behind."""

import hashlib
import random
from dataclasses import dataclass

import complaints
import debian
import driver
import host
from harness import guest, paths, vmm
from harness.machine import Machine
from harness.registry import add

DISK_BYTES = 8 << 20
# Seconds for guests, on a machine that does many other things.
PATIENCE = 900
# A VM that powers itself off does so before its other CPUs know.
EXPECTED = (r"vcpu\d+ of vm\d+ not run: ",)
# What of Corevisor's state is the same with no guests as before any.
STAYS = ("ram_pages", "corevisor_pages", "vms", "vm_pages", "unsigned_vms", "shared_vms")


@dataclass(frozen=True)
class Run:
    """A guest that is started. One with a disk writes to it, reboots, and finds it as it was."""

    kind: str
    cpus: int
    disk: bool = False

    @property
    def name(self):
        """What its files are called."""
        return f"{self.kind}{self.cpus}{'d' if self.disk else ''}"

    def command(self, kernel):
        """The program that runs it."""
        then = " corevisor.then=reboot" if self.disk else ""
        cmdline = f"console=ttyS0 quiet corevisor.run=work{then}"
        start = vmm.Guest(cmdline, kernel, memory="128M", cpus=self.cpus)
        key = ["--sign-key", "/guest/key"] if self.kind == "protected" else []
        disk = ["--disk", f"/tmp/disk-{self.name}"] if self.disk else []
        return debian.script(start, f"--{self.kind}", *key, *disk)


def check(console, run, content):
    """Waits for the end of a guest, and checks what it did."""
    status, _output = console.shell(f"wait $(cat /tmp/{run.name}.pid)", PATIENCE)
    said = driver.run(console, f"cat /tmp/{run.name}")
    host.check(status == 0, f"{run.name} ended with status {status}: {said[-600:]!r}")
    boots = said.count(f"corevisor-guest: user space reached, {run.cpus} CPUs online")
    host.check(boots == (2 if run.disk else 1), f"{run.name} was up {boots} times: {said[-600:]!r}")
    host.check(said.count("corevisor-guest: work exit 0") == 1, f"{run.name} did not do its work: {said[-600:]!r}")
    host.check("reboot: Power down" in said, f"{run.name} did not power off: {said[-600:]!r}")
    if run.disk:
        found = driver.run(console, f"sha256sum /tmp/disk-{run.name}")
        wanted = content[: DISK_BYTES // 2]
        host.check(hashlib.sha256(2 * wanted).hexdigest() in found, f"the disk of {run.name} is not what it wrote")
        host.check(hashlib.sha256(wanted).hexdigest() in said, f"{run.name} read something else from its disk")


def state(console):
    """What must be as before."""
    status = debian.status(console)
    return status["host_pages"], status["vms"], [status["counters"][name] for name in STAYS]


def guests(bench, host_kernel, guest_kernel, cpus, rounds):
    """Guests on a host, those of a round at once."""
    content = random.Random(cpus).randbytes(DISK_BYTES)
    runs = {run for together in rounds for run in together}
    files = vmm.Guest(kernel=guest_kernel).files() | {
        "bin/corevisor-vm": paths.VMM,
        "guest/key": paths.VM_SECRET_KEY,
        "guest/disk": content,
        **{f"bin/{run.name}": run.command(guest_kernel) for run in runs},
    }
    machine = Machine(smp=cpus, memory="1G")
    with driver.boot(bench, machine, host_kernel, files, keys=paths.VM_KEY.read_bytes()) as console:
        driver.load(console)
        start = len(console.text)
        before = state(console)
        for together in rounds:
            for run in together:
                if run.disk:
                    driver.run(console, f"cp /guest/disk /tmp/disk-{run.name}")
                driver.run(console, f"{run.name} </dev/null >/tmp/{run.name} 2>&1 & echo $! >/tmp/{run.name}.pid")
            for run in together:
                check(console, run, content)
            after = state(console)
            host.check(after == before, f"before there were guests: {before}, after {together}: {after}")
        complaints.expect_none(console, start, EXPECTED)
        driver.finish(console, had_guests=True)


AT_ONCE = ((Run("protected", 2), Run("shared", 4, disk=True)),)
EACH = tuple((Run(kind, cpus),) for kind in ("shared", "protected") for cpus in (1, 2, 4))

add("guests", guests, host_kernel="6.12", guest_kernel="6.12", cpus=2, rounds=AT_ONCE)
for on in guest.SUITES:
    for inside in guest.SUITES:
        for count in (2, 4):
            add(
                f"guests-long-linux{inside}-on-linux{on}-{count}cpus",
                guests,
                soak=True,
                host_kernel=on,
                guest_kernel=inside,
                cpus=count,
                rounds=EACH + AT_ONCE,
            )
