# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the Linux driver share: a host that has it, with the programs, kernels and images that a test needs.

An oops of the host's kernel ends it, and with it the test.
"""

import host
from harness import guest, paths, vmm
from harness.initramfs import with_files
from harness.machine import Machine, corevisor, linux_directly, modules, with_keys_after

# A hypervisor whose host's kernel had a fault that it survived has failed, too.
# What has to do with time is no failure: QEMU may have had none for half a minute.
BOOTARGS = f"{host.BOOTARGS} oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
MODULE = "lib/corevisor.ko"


def module_file(kernel=guest.DEFAULT_KERNEL, name="corevisor"):
    """A module of ours, built for this kernel."""
    return paths.DRIVER / guest.SUITES[kernel] / f"{name}.ko"


def program(name):
    """Where tests/linux/programs/NAME.c was built."""
    return paths.PROGRAMS / name


def guest_files(kernel=guest.DEFAULT_KERNEL):
    """What a VMM in the host starts a Debian guest from."""
    return vmm.Guest(kernel=kernel).files()


def initramfs(bench, files):
    """The host's initramfs with more files, from names to files or content."""
    return bench.file("host-initramfs.img", with_files(files))


def boot(bench, machine=None, kernel=guest.DEFAULT_KERNEL, files=None, append="", under_corevisor=True, keys=None):
    """A host in its user space, with the driver's file and `files`. Corevisor trusts `keys` for images of VMs."""
    machine = machine or Machine(el2=under_corevisor)
    initrd = initramfs(bench, {MODULE: module_file(kernel)} | (files or {}))
    bootargs = f"{BOOTARGS} {append}".strip()
    if under_corevisor:
        software = [*corevisor(), *modules(machine.memory, guest.kernel(kernel), initrd, bootargs)]
    else:
        software = linux_directly(guest.kernel(kernel), initrd, bootargs)
    arguments = [*machine.arguments(), *software]
    if keys:
        arguments = with_keys_after(arguments, machine.memory, guest.kernel(kernel), initrd, keys, bench.scratch)
    console = bench.start(arguments)
    try:
        host.expect_user_space(console, machine)
    except BaseException:
        console.close()
        raise
    return console


def run(console, command, status=0):
    """Runs a command in the host's shell, checks its exit status, and returns its output."""
    found, output = console.shell(command)
    host.check(found == status, f"`{command}` ended with status {found}, not {status}: {output.strip()[-400:]!r}")
    return output


def load(console):
    """Loads the driver; what it said."""
    return run(console, f"insmod /{MODULE}")


def finish(console, had_guests=False):
    """Unloads the driver, which leaves nothing, and powers off. Pages that guests had the host finds by faults."""
    run(console, "rmmod corevisor")
    console.power_off()
    if not had_guests:
        host.expect_no_faults(console)
