# SPDX-License-Identifier: GPL-2.0-only
"""Where things go in the RAM of QEMU's `virt` machine."""

MIB = 1 << 20
RAM_BASE = 0x4000_0000
ALIGNMENT = 2 * MIB
# QEMU puts its own first instructions at the start of RAM and the image of -kernel 2 MiB above.
IMAGE_OFFSET = 2 * MIB
IMAGE_ROOM = 32 * MIB
# It puts the device tree in the middle of RAM, but no higher than this.
DTB_OFFSET_LIMIT = 128 * MIB
DTB_ROOM = 4 * MIB


class DoesNotFit(Exception):
    """The modules need more RAM than there is."""


def ram_bytes(text):
    """The size that QEMU's -m means."""
    units = {"K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40}
    unit = units.get(text[-1].upper())
    return int(text[:-1]) * unit if unit else int(text) * MIB


def place(memory, sizes):
    """Addresses for modules of these sizes, clear of what QEMU itself puts into RAM, each 2 MiB-aligned."""
    end = RAM_BASE + ram_bytes(memory)
    dtb = RAM_BASE + min(ram_bytes(memory) // 2, DTB_OFFSET_LIMIT)
    taken = [(RAM_BASE, RAM_BASE + IMAGE_OFFSET + IMAGE_ROOM), (dtb, dtb + DTB_ROOM)]
    addresses = []
    for size in sizes:
        address = RAM_BASE
        for start, stop in sorted(taken):
            if address + size > start and address < stop:
                address = -(-stop // ALIGNMENT) * ALIGNMENT
        if address + size > end:
            raise DoesNotFit(f"{memory} of RAM does not hold the host's kernel and ramdisk")
        taken.append((address, address + size))
        addresses.append(address)
    return addresses
