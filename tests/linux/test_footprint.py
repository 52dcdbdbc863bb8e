# SPDX-License-Identifier: GPL-2.0-only
"""What Corevisor takes for itself, as it prints it at boot, stays small."""

import host
from harness import footprint, layout
from harness.layout import MIB
from harness.registry import add

CPUS = 8
# At most this part of RAM, and this much more. An SMMUv3 has the host's devices use a table of their own, with as much in
# reserve as that of its CPUs.
SHARE_OF_RAM = {"none": 2 / 512, "smmuv3": 3 / 512}
FIXED = {"none": 8 * MIB, "smmuv3": 9 * MIB}


def stays_small(bench, memory, iommu):
    """Image and carve-out together."""
    with bench.start(footprint.start_arguments(memory, CPUS, iommu)) as console:
        taken = sum(footprint.measure(console).values())
    limit = int(layout.ram_bytes(memory) * SHARE_OF_RAM[iommu]) + FIXED[iommu]
    host.check(taken <= limit, f"Corevisor takes {taken} bytes of {memory}, more than {limit}")


for size in ("1G", "4G", "64G"):
    add(f"footprint-{size}", stays_small, memory=size, iommu="none")
for size in ("1G", "64G"):
    add(f"footprint-{size}-smmuv3", stays_small, memory=size, iommu="smmuv3")
