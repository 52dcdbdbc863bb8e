# SPDX-License-Identifier: GPL-2.0-only
"""The memory that Corevisor keeps for itself, as it prints it at boot."""

import re

from . import guest, paths
from .console import Failure
from .machine import Machine, corevisor, modules, unreserved

RANGE = r"{}: +0x([0-9a-f]+) *- *0x([0-9a-f]+)"
# Printed after both ranges.
LATER = "host: entering at"


def ranges(text):
    """Start and end of Corevisor's image and carve-out, from a console's text."""
    found = {}
    for name in ("image", "carve-out"):
        match = re.search(RANGE.format(name), text)
        if not match:
            raise Failure(f"Corevisor printed no line `{name}: 0x… - 0x…`")
        found[name] = (int(match[1], 16), int(match[2], 16))
    return found


def start_arguments(memory, smp, iommu="none"):
    """QEMU's command line to learn the footprint on a machine of this size, which ours need not have to spare."""
    machine = Machine(smp=smp, memory=memory, extra=(*unreserved(memory), "-machine", f"iommu={iommu}"))
    return [*machine.arguments(), *corevisor(), *modules(memory, guest.kernel(), paths.INITRAMFS, "")]


def measure(console):
    """The sizes in bytes, by name, once they are printed."""
    console.expect(LATER)
    return {name: end - start for name, (start, end) in ranges(console.text).items()}
