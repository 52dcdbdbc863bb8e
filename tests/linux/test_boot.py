# SPDX-License-Identifier: GPL-2.0-only
"""Debian's kernel, byte for byte, boots as host on many machines; power-off, reboot and CPU hotplug work."""

import gzip
import itertools

import host
import pairwise
from harness import guest, paths
from harness.console import PROMPT
from harness.machine import Machine, corevisor, modules
from harness.registry import add, test

SMP = (1, 2, 4, 8)
MEMORY = ("512M", "1G", "4G")
CPU = ("cortex-a76", "cortex-a57", "neoverse-n1", "max")
GIC = (3, 2)
KERNEL = tuple(guest.SUITES)

HOTPLUG_CYCLES = 50


def boots(bench, machine, kernel):
    """User space is reached with all CPUs, and the machine powers off."""
    ours, packaged = guest.digests(kernel)
    host.check(ours == packaged, "the kernel is not the package's, byte for byte")
    with bench.start(host.boot_arguments(machine, kernel)) as console:
        host.expect_user_space(console, machine)
        console.power_off()
        host.expect_no_faults(console)


def add_matrix():
    """A test for each combination; those that cover all pairs make the short form."""
    factors = (SMP, MEMORY, CPU, GIC, KERNEL)
    short = pairwise.cover(*factors)
    for row in itertools.product(*factors):
        smp, memory, cpu, gic, kernel = row
        machine = Machine(cpu=cpu, gic=gic, smp=smp, memory=memory)
        name = f"boot-smp{smp}-{memory}-{cpu}-gicv{gic}-linux{kernel}"
        add(name, boots, soak=row not in short, machine=machine, kernel=kernel)


add_matrix()


@test
def gzip_kernel(bench):
    """A gzip-compressed kernel boots as well."""
    machine = Machine()
    kernel = bench.file("vmlinuz.gz", gzip.compress(guest.kernel().read_bytes(), compresslevel=1))
    start = [*corevisor(), *modules(machine.memory, kernel, paths.INITRAMFS, host.BOOTARGS)]
    with bench.start([*machine.arguments(), *start]) as console:
        host.expect_user_space(console, machine)
        console.power_off()
        host.expect_no_faults(console)


@test
def reboot(bench):
    """The host resets the machine, boots again and powers off."""
    machine = Machine()
    with bench.start(host.boot_arguments(machine)) as console:
        host.expect_user_space(console, machine)
        console.expect(PROMPT)
        console.send("reboot -f\n")
        host.expect_user_space(console, machine)
        console.power_off()
        host.expect_no_faults(console)


@test
def hotplug(bench):
    """CPUs go off and on again, fifty times, and work afterwards."""
    machine = Machine(smp=4)
    with bench.start(host.boot_arguments(machine, append="quiet")) as console:
        console.expect(host.USER_SPACE)
        cycle = "; ".join(
            f"echo {state} > /sys/devices/system/cpu/cpu{cpu}/online || exit 1" for state in (0, 1) for cpu in (1, 2, 3)
        )
        status, _output = console.shell(f"for i in $(seq {HOTPLUG_CYCLES}); do ({cycle}) || break; done; echo last $i")
        host.check(status == 0, "the loop failed")
        host.check(f"last {HOTPLUG_CYCLES}\r\n" in console.text, "a CPU did not go off or on")
        for cpu in range(machine.smp):
            status, _output = console.shell(f"taskset -c {cpu} true")
            host.check(status == 0, f"CPU {cpu} runs nothing any more")
        status, output = console.shell("cat /sys/devices/system/cpu/online")
        host.check("0-3" in output, f"not all CPUs are online: {output}")
        console.power_off()
        host.expect_no_faults(console)
