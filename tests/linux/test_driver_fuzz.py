# SPDX-License-Identifier: GPL-2.0-only
"""Random calls of the driver's, from user space."""

import complaints
import driver
import host
from harness import guest, paths
from harness.registry import add

SEED = 1
FILES = {"bin/fuzz": driver.program("fuzz"), "lib/tiny.img": paths.TINY_IMAGE, "lib/tiny.sig": paths.TINY_SIGNATURE}
# What Corevisor refuses a driver whose user gives it one page twice, images that nobody has signed, page numbers that are
# none, and turns on a vCPU that its VM did not.
REFUSED = (
    r"vcpu\d of vm\d+ not run: (page 0x[0-9a-f]+ is not the host's|entry point 0x[0-9a-f]+ lies in no image)",
    r"vcpu\d of vm\d+ not run: vm\d+, or the vCPU, is not in the right state",
    r"\d+ more refusals were not logged",
    r"host call 0xc6001011 refused: no key of Corevisor's has signed this image for this address",
    r"host call 0xc6001026 refused: (argument 1 out of range|address out of the host's reach)",
)


def fuzz(console, calls, timeout, cgroup=""):
    """Makes so many calls."""
    status, said = console.shell(f"fuzz {calls} {SEED} /lib/tiny.img /lib/tiny.sig {cgroup}", timeout)
    host.check(status == 0, f"fuzz ended with status {status}: {said.strip()[-600:]!r}")


def without_memory(console, calls, timeout):
    """The same in a cgroup that has little memory. The kernel has much to say of processes that it kills, but nothing else."""
    driver.run(console, "mkdir /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup && mkdir /tmp/cgroup/few")
    driver.run(console, "echo +memory >/tmp/cgroup/cgroup.subtree_control; dmesg -c >/dev/null")
    fuzz(console, calls, timeout, "/tmp/cgroup/few")
    driver.run(console, "grep 'oom_kill [1-9]' /tmp/cgroup/few/memory.events")
    driver.run(console, "dmesg | grep -e 'cut here' -e BUG -e corevisor:", status=1)


def without_cpu(console, calls, timeout):
    """The same while one of the host's CPUs comes and goes."""
    cpu = "/sys/devices/system/cpu/cpu1/online"
    turns = f"while [ ! -e /tmp/over ]; do echo 0 >{cpu}; sleep 0.3; echo 1 >{cpu}; sleep 0.5; done"
    driver.run(console, f"({turns}) </dev/null >/dev/null 2>&1 & echo $! >/tmp/turns.pid")
    fuzz(console, calls, timeout)
    driver.run(console, "touch /tmp/over; wait $(cat /tmp/turns.pid); true")


def by_user_space(bench, kernel, calls, timeout):
    """Any ioctls in any order: the host lives, nothing is left of any VM, and the kernel has nothing to complain of."""
    with driver.boot(bench, kernel=kernel, files=FILES, keys=paths.VM_KEY.read_bytes()) as console:
        driver.load(console)
        start = len(console.text)
        fuzz(console, calls, timeout)
        without_cpu(console, calls // 8, timeout)
        complaints.expect_none(console, start, REFUSED)
        without_memory(console, calls // 4, timeout)
        driver.run(console, "rmmod corevisor")
        console.power_off()


for version in guest.SUITES:
    add(f"driver-fuzz-linux{version}", by_user_space, kernel=version, calls=30000, timeout=300)
    add(f"driver-fuzz-long-linux{version}", by_user_space, soak=True, kernel=version, calls=1000000, timeout=7200)
