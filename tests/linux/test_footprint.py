# SPDX-License-Identifier: GPL-2.0-only
"""What Corevisor takes for itself, as it prints it at boot, stays small."""

import host
from harness import footprint, layout
from harness.layout import MIB
from harness.registry import add

CPUS = 8
# At most this part of RAM, and this much more.
SHARE_OF_RAM = 256
FIXED = 8 * MIB


def stays_small(bench, memory):
    """Image and carve-out together."""
    with bench.start(footprint.start_arguments(memory, CPUS)) as console:
        taken = sum(footprint.measure(console).values())
    limit = layout.ram_bytes(memory) // SHARE_OF_RAM + FIXED
    host.check(taken <= limit, f"Corevisor takes {taken} bytes of {memory}, more than {limit}")


for size in ("1G", "4G", "64G"):
    add(f"footprint-{size}", stays_small, memory=size)
