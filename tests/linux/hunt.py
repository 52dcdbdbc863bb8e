# SPDX-License-Identifier: GPL-2.0-only
"""Root of the host looks for a guest's secret in all of RAM: by a module of the kernel, and through /dev/mem.

Both survive what they are refused, so that they look at each page there is.
"""

import re
from dataclasses import dataclass

import driver
from harness import guest

WAYS = ("kernel", "devmem")
# What Corevisor says of it.
REFUSED = (r"host access refused", r"\d+ more refusals were not logged")
RESULT = r"hunt: (\w+): pages=(\d+) refused=(\d+) with-secret=(\d+)"


@dataclass(frozen=True)
class Found:
    """How many pages there are, could not be looked at, and hold some of a secret."""

    pages: int
    refused: int
    with_secret: int


def files(kernel=guest.DEFAULT_KERNEL):
    """What the host needs to hunt."""
    programs = {f"bin/{name}": driver.program(name) for name in ("hunt", "secret")}
    return {"lib/hunter.ko": driver.module_file(kernel, "hunter")} | programs


def load(console):
    """Loads the module."""
    driver.run(console, "insmod /lib/hunter.ko")


def by(console, way):
    """Hunts in one of the ways."""
    output = driver.run(console, f"hunt {way}")
    _way, *numbers = re.search(RESULT, output).groups()
    return Found(*map(int, numbers))
