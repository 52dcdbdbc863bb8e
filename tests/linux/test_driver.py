# SPDX-License-Identifier: GPL-2.0-only
"""The Linux driver comes and goes."""

import errno
import re

import driver
import host
from harness import guest
from harness.registry import add

ABSENT = "this kernel does not run under Corevisor"


def loads(bench, kernel):
    """The driver finds Corevisor, on each kernel that it is built for, and can be loaded again."""
    with driver.boot(bench, kernel=kernel) as console:
        for _ in range(2):
            said = driver.load(console)
            host.check("corevisor: found Corevisor" in said, f"the driver said {said!r}")
            driver.run(console, "grep -q '^corevisor ' /proc/modules")
            driver.run(console, "rmmod corevisor")
        driver.load(console)
        driver.finish(console)


for version in guest.SUITES:
    add(f"driver-loads-linux{version}", loads, kernel=version)


def refuses(bench, kernel):
    """Without Corevisor insmod fails, with one line that says why, and nothing is left."""
    with driver.boot(bench, kernel=kernel, under_corevisor=False) as console:
        said = driver.run(console, f"insmod /{driver.MODULE}", status=errno.ENODEV)
        # Busybox tries a second system call where the first one failed.
        ours = {line for line in re.findall(r"\] corevisor: (.*)", said) if "taint" not in line}
        host.check({line.strip() for line in ours} == {ABSENT}, f"the driver said {ours}")
        host.check("No such device" in said, f"insmod said {said!r}")
        driver.run(console, "grep -q corevisor /proc/modules", status=1)
        driver.run(console, "test -e /dev/kvm", status=1)
        console.power_off()


for version in guest.SUITES:
    add(f"driver-without-corevisor-linux{version}", refuses, kernel=version)


def kvm_api(bench, kernel):
    """The KVM API, as far as shared VMs of a few instructions show it: refusals, MMIO, ioeventfds, signals, ends of all kinds."""
    files = {f"bin/{name}": driver.program(name) for name in ("kvm", "refusals")}
    with driver.boot(bench, kernel=kernel, files=files) as console:
        driver.load(console)
        driver.run(console, "refusals")
        driver.run(console, "kvm")
        driver.run(console, "rmmod corevisor")
        console.power_off()


for version in guest.SUITES:
    add(f"driver-kvm-api-linux{version}", kvm_api, kernel=version)
