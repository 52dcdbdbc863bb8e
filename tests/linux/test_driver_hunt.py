# SPDX-License-Identifier: GPL-2.0-only
"""The hunter finds what there is to be found, looks at all of RAM, and survives what it is refused."""

import driver
import host
import hunt
from harness import footprint, guest, layout
from harness.machine import Machine
from harness.registry import add

PAGE = 4096
SECRET_MIB = 8


def finds(bench, kernel):
    """It finds the secret of a process of the host, each page of it, but none while there is no such process."""
    # With one CPU nobody writes to the console in the middle of a result.
    machine = Machine(smp=1, memory="512M")
    ram_pages = layout.ram_bytes(machine.memory) // PAGE
    with driver.boot(bench, machine, kernel, hunt.files(kernel)) as console:
        own_pages = sum((end - start) // PAGE for start, end in footprint.ranges(console.text).values())
        hunt.load(console)
        before = {way: hunt.by(console, way) for way in hunt.WAYS}
        driver.run(console, f"secret {SECRET_MIB} >/tmp/said & until grep -q hold /tmp/said; do sleep 0.1; done")
        during = {way: hunt.by(console, way) for way in hunt.WAYS}
        for way in hunt.WAYS:
            host.check(before[way].pages == ram_pages, f"{way}: looked at {before[way].pages} pages of {ram_pages}")
            host.check(before[way].with_secret == 0, f"{way}: found a secret where there is none")
            for count in (before[way].refused, during[way].refused):
                host.check(count == own_pages, f"{way}: {count} pages were refused; Corevisor has {own_pages}")
            found, hidden = during[way].with_secret, (SECRET_MIB << 20) // PAGE
            host.check(found >= hidden, f"{way}: {found} pages of {hidden} were found")
        console.power_off()


for version in guest.SUITES:
    add(f"driver-hunt-linux{version}", finds, kernel=version)
