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


def by_user_space(bench, kernel, calls, timeout):
    """Any ioctls in any order: the host lives, nothing is left of any VM, and the kernel has nothing to complain of."""
    with driver.boot(bench, kernel=kernel, files=FILES, keys=paths.VM_KEY.read_bytes()) as console:
        driver.load(console)
        start = len(console.text)
        status, said = console.shell(f"fuzz {calls} {SEED} /lib/tiny.img /lib/tiny.sig", timeout)
        host.check(status == 0, f"fuzz ended with status {status}: {said.strip()[-600:]!r}")
        complaints.expect_none(console, start, REFUSED)
        driver.run(console, "rmmod corevisor")
        console.power_off()


for version in guest.SUITES:
    add(f"driver-fuzz-linux{version}", by_user_space, kernel=version, calls=15000, timeout=300)
    add(f"driver-fuzz-long-linux{version}", by_user_space, soak=True, kernel=version, calls=1000000, timeout=7200)
