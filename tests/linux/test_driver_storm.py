# SPDX-License-Identifier: GPL-2.0-only
"""Random calls of Corevisor's, by the host's kernel, while guests of the driver's run and are killed."""

import re

import complaints
import debian
import driver
import host
from harness import guest, vmm
from harness.machine import Machine
from harness.registry import add

SEED = 1
# Calls, by their numbers in docs/abi.md, that must have been accepted at times, and refused at times.
BOTH = (15, 16, 17, 24, 25, 30, 34, 38, 39)
REFUSED = (23, 27, 29)


def check_sums(status):
    """Each page of RAM has one owner."""
    counters, of_vms = status["counters"], sum(vm["pages"] for vm in status["vms"])
    host.check(of_vms == counters["vm_pages"], f"VMs have {of_vms} pages, or {counters['vm_pages']}")
    pages = status["host_pages"] + status["corevisor_pages"] + of_vms
    host.check(pages == counters["ram_pages"], f"{pages} pages have an owner, of {counters['ram_pages']}")


def check_calls(said):
    """The storm was one."""
    found = re.findall(r"storm: call (\d+): (\d+), refused (\d+)", said)
    calls = {int(number): (int(done), int(refused)) for number, done, refused in found}
    for number in BOTH:
        done, refused = calls[number]
        host.check(0 < refused < done, f"call {number}: {refused} of {done} were refused")
    for number in REFUSED:
        host.check(calls[number][1] > 0, f"call {number} was never refused")
    entries = int(re.search(r"(\d+) entries, 0 wrong", said)[1])
    host.check(entries > 100, f"VMs of the storm's ran only {entries} times")


def storm(bench, kernel, calls, timeout):
    """The storm's pages are its own again, each page has one owner, and a guest that was there all the time still answers."""
    files = {"lib/storm.ko": driver.module_file(kernel, "storm")}
    with debian.boot(bench, Machine(), kernel, vmm.Guest(kernel=kernel, memory="128M"), files) as console:
        driver.load(console)
        before = debian.status(console)
        check_sums(before)
        driver.run(console, "mkfifo /tmp/typed && exec 9<>/tmp/typed")
        debian.start(console, "protected", "user space reached", typed="/tmp/typed")
        (good,) = debian.status(console)["vms"]
        others = "while [ ! -e /tmp/over ]; do timeout -s KILL 2 shared; timeout -s KILL 2 protected; done"
        driver.run(console, f"({others}) </dev/null >/dev/null 2>&1 & echo $! >/tmp/others.pid")
        driver.run(console, f"insmod /lib/storm.ko seed={SEED} good={good['vm']}")
        status, said = console.shell(f"echo {calls} >/sys/module/storm/parameters/calls", timeout)
        host.check(status == 0, f"the storm ended with {said.strip()[-600:]!r}")
        check_calls(driver.run(console, "dmesg"))
        driver.run(console, "touch /tmp/over; wait $(cat /tmp/others.pid); true")
        after = debian.status(console)
        check_sums(after)
        host.check([vm["vm"] for vm in after["vms"]] == [good["vm"]], f"there are the VMs {after['vms']}")
        host.check(after["vms"][0]["accessible_to_host"] == 0, "the host can reach the guest's memory")
        driver.run(console, "echo 'echo alive-$((6 * 7))' >&9; until grep -q alive-42 /tmp/protected; do sleep 0.2; done")
        debian.kill(console, "protected")
        after = debian.status(console)
        check_sums(after)
        host.check(after["host_pages"] == before["host_pages"], f"at the end there is {after}")
        said = complaints.of_kernel(console)
        host.check(not said, f"the kernel said {said}")
        driver.run(console, "rmmod storm")
        driver.finish(console, had_guests=True)


add("driver-storm", storm, kernel=guest.DEFAULT_KERNEL, calls=5000, timeout=300)
for version in guest.SUITES:
    add(f"driver-storm-long-linux{version}", storm, soak=True, kernel=version, calls=200000, timeout=7200)
