# SPDX-License-Identifier: GPL-2.0-only
"""The secret of a protected guest is nowhere that its host's root could look, and nowhere at all when it has gone."""

import re

import complaints
import debian
import driver
import host
import hunt
from harness import guest, layout, vmm
from harness.machine import Machine
from harness.registry import add

PAGE = 4096
MEMORY = "768M"
GUEST = {"cmdline": "console=ttyS0 quiet corevisor.run=secret", "memory": "128M"}


def check_hunt(console, when, hidden, out_of_reach):
    """Hunts in both ways: all pages are looked at but those that are out of the host's reach, and at least so many with the
    secret are found, or none."""
    for way in hunt.WAYS:
        found = hunt.by(console, way)
        host.check(found.pages == layout.ram_bytes(MEMORY) // PAGE, f"{when}: {way} looked at {found.pages} pages")
        host.check(found.refused == out_of_reach, f"{when}: {way} was refused {found.refused} pages, not {out_of_reach}")
        host.check(found.with_secret >= hidden, f"{when}: {way} found {found.with_secret} pages of {hidden}")
        host.check(hidden or not found.with_secret, f"{when}: {way} found {found.with_secret} pages with the secret")


def keeps_secret(bench, kernel):
    """A protected guest's pages are those that the host can't read, and no other has its secret. The control is a shared one."""
    secretive = vmm.Guest(kernel=kernel, **GUEST)
    with debian.boot(bench, Machine(memory=MEMORY), kernel, secretive, hunt.files(kernel)) as console:
        driver.load(console)
        hunt.load(console)
        start = len(console.text)
        before = debian.status(console)
        for kind in ("protected", "shared"):
            said = debian.start(console, kind, "secret: ")
            hidden = int(re.search(r"secret: (\d+) pages", said)[1])
            during = debian.status(console)
            (vm,) = during["vms"]
            host.check(vm["pages"] > hidden, f"the {kind} guest has {vm['pages']} pages, and hides {hidden}")
            reachable = vm["accessible_to_host"]
            host.check(reachable == (vm["pages"] if kind == "shared" else 0), f"{reachable} pages are within reach")
            withheld = during["corevisor_pages"] + vm["pages"] - reachable
            check_hunt(console, f"{kind} guest", hidden if kind == "shared" else 0, withheld)
            debian.kill(console, kind)
            after = debian.status(console)
            host.check(after["host_pages"] == before["host_pages"] and not after["vms"], f"after it there is {after}")
            check_hunt(console, f"after the {kind} guest", 0, after["corevisor_pages"])
        complaints.expect_none(console, start, hunt.REFUSED)
        driver.run(console, "rmmod hunter")
        driver.finish(console, had_guests=True)


for version in guest.SUITES:
    add(f"driver-secret-linux{version}", keeps_secret, soak=version != guest.DEFAULT_KERNEL, kernel=version)
