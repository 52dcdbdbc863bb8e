# SPDX-License-Identifier: GPL-2.0-only
"""What Corevisor takes for itself, as it prints it at boot, stays small."""

import host
from harness import layout
from harness.layout import MIB
from harness.machine import Machine
from harness.registry import add

# At most this part of RAM, and this much more.
SHARE_OF_RAM = 256
FIXED = 8 * MIB


def footprint(bench, memory):
    """Image and carve-out together."""
    # The test's machine need not have the memory: only what is touched counts.
    backend = f"memory-backend-ram,id=ram,size={memory},reserve=off"
    machine = Machine(smp=1, memory=memory, extra=("-object", backend, "-machine", "memory-backend=ram"))
    with bench.start(host.boot_arguments(machine)) as console:
        console.expect("host: entering at")
        taken = sum(end - start for start, end in host.ranges(console).values())
        limit = layout.ram_bytes(memory) // SHARE_OF_RAM + FIXED
        host.check(taken <= limit, f"Corevisor takes {taken} bytes of {memory}, more than {limit}")


for size in ("1G", "4G", "64G"):
    add(f"footprint-{size}", footprint, memory=size)
