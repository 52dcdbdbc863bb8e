# SPDX-License-Identifier: GPL-2.0-only
"""Corevisor names what is wrong with what it was started with, in one line, and stops."""

import gzip
import struct
import subprocess
from dataclasses import dataclass, replace
from typing import Callable

import host
from harness import fdt, guest, image, paths
from harness.fdt import Node, cells, strings
from harness.layout import IMAGE_OFFSET, MIB, RAM_BASE, ram_bytes
from harness.machine import Machine, corevisor, kernel_module, modules, raw
from harness.registry import add

IMAGE_AT = RAM_BASE + IMAGE_OFFSET
STUB_AT = RAM_BASE + 64 * MIB
TREE_AT = RAM_BASE + 68 * MIB
KERNEL_AT = RAM_BASE + 72 * MIB
RAMDISK_AT = RAM_BASE + 128 * MIB
TREE_SIZE_OFFSET = 4
# Far above all RAM of these machines, and below the end of what a Cortex-A76 addresses.
NOWHERE = 0x80_0000_0000

MACHINE = Machine(memory="512M", smp=1)


def machine_tree(bench, machine):
    """The device tree that QEMU would give this machine."""
    file = bench.scratch / "machine.dtb"
    arguments = machine.arguments()
    board = arguments.index("-machine") + 1
    arguments[board] += f",dumpdtb={file}"
    subprocess.run(arguments, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return fdt.parse(file.read_bytes())


def add_module(tree, kind, address, size):
    """Adds a boot module's node, as QEMU's guest-loader writes it."""
    properties = {"compatible": strings(f"multiboot,{kind}", "multiboot,module"), "reg": cells(address, size)}
    tree.child("chosen").children.append(Node(f"module@{address:x}", properties))


def good_tree(bench, machine):
    """A tree with which the machine would boot."""
    tree = machine_tree(bench, machine)
    add_module(tree, "kernel", KERNEL_AT, guest.kernel().stat().st_size)
    add_module(tree, "ramdisk", RAMDISK_AT, paths.INITRAMFS.stat().st_size)
    return tree


def jump(target, x0):
    """Instructions that branch to `target` with this value in x0, as a boot loader would."""
    # Both literals follow the code, at a multiple of eight.
    ldr_x0_literal, ldr_x4_literal, br_x4 = 0x5800_0080, 0x5800_00A4, 0xD61F_0080
    return struct.pack("<3I4x2Q", ldr_x0_literal, ldr_x4_literal, br_x4, x0, target)


def start_with_tree(bench, machine, blob, x0=TREE_AT):
    """Arguments that start Corevisor with these bytes as device tree: QEMU's own loader would refuse most of them."""
    stub = bench.file("stub.bin", jump(IMAGE_AT, x0))
    tree = bench.file("tree.dtb", blob)
    return [
        *machine.arguments(),
        *raw(IMAGE_AT, paths.IMAGE),
        *raw(STUB_AT, stub),
        *raw(TREE_AT, tree),
        *raw(KERNEL_AT, guest.kernel()),
        *raw(RAMDISK_AT, paths.INITRAMFS),
        *("-device", f"loader,addr={STUB_AT:#x},cpu-num=0"),
    ]


def with_edited_tree(edit):
    """A start with a tree that `edit` made bad."""

    def start(bench, machine):
        tree = good_tree(bench, machine)
        edit(tree)
        return start_with_tree(bench, machine, fdt.write(tree))

    return start


def with_modules_at(kernel, ramdisk):
    """A start with the modules' nodes naming these addresses and sizes (None: the right ones)."""

    def start(bench, machine):
        tree = machine_tree(bench, machine)
        add_module(tree, "kernel", *(kernel or (KERNEL_AT, guest.kernel().stat().st_size)))
        add_module(tree, "ramdisk", *(ramdisk or (RAMDISK_AT, paths.INITRAMFS.stat().st_size)))
        return start_with_tree(bench, machine, fdt.write(tree))

    return start


def normally(_bench, machine):
    """The usual start: all is well but the machine."""
    return [*machine.arguments(), *corevisor(), *modules(machine.memory, guest.kernel(), paths.INITRAMFS, host.BOOTARGS)]


def without_modules(_bench, machine):
    """No boot module at all."""
    return [*machine.arguments(), *corevisor()]


def with_kernel_bytes(content):
    """A start with these bytes as kernel."""

    def start(bench, machine):
        kernel = bench.file("kernel", content)
        return [*machine.arguments(), *corevisor(), *kernel_module(KERNEL_AT, kernel, host.BOOTARGS)]

    return start


def image_header(image_size):
    """The header of a kernel that says it takes this much memory."""
    return image.HEADER.pack(0, image_size, image.MAGIC)


def with_tree_pointer(pointer):
    """A start with x0 pointing elsewhere."""
    return lambda bench, machine: start_with_tree(bench, machine, fdt.write(good_tree(bench, machine)), pointer)


def with_tree_bytes(change):
    """A start with the flattened tree's bytes changed."""
    return lambda bench, machine: start_with_tree(bench, machine, change(fdt.write(good_tree(bench, machine))))


def shortened(blob):
    """A tree whose header says what is there, and whose structure goes on beyond that."""
    half = len(blob) // 2
    return blob[:TREE_SIZE_OFFSET] + struct.pack(">I", half) + blob[TREE_SIZE_OFFSET + 4 : half]


def cut_off(blob):
    """Data whose second half never arrived."""
    return blob[: len(blob) // 2]


def without_gic(tree):
    """Drops the interrupt controller."""
    tree.remove(lambda node: node.name.startswith("intc@"))


def scattered_memory(count):
    """RAM in `count` pieces with a hole after each, the first large enough for all that is needed."""

    def edit(tree):
        first = ram_bytes(MACHINE.memory) // 2
        pieces = [RAM_BASE, first]
        for index in range(1, count):
            pieces += [RAM_BASE + first + index * 2 * MIB, MIB]
        tree.child(f"memory@{RAM_BASE:x}").properties["reg"] = cells(*pieces)

    return edit


def no_free_memory(tree):
    """RAM that holds what is loaded, in pieces with no room for more."""
    room = 2 * MIB
    loaded = (
        (IMAGE_AT, room),
        (TREE_AT, room),
        (KERNEL_AT, -(-guest.kernel().stat().st_size // room) * room),
        (RAMDISK_AT, room),
    )
    tree.child(f"memory@{RAM_BASE:x}").properties["reg"] = cells(*(value for piece in loaded for value in piece))


@dataclass(frozen=True)
class BadInput:
    """How a start goes wrong, and the beginning of what Corevisor says."""

    name: str
    start: Callable
    says: str
    machine: Machine = MACHINE


RAM_END = RAM_BASE + ram_bytes(MACHINE.memory)
KERNEL = image_header(2 * MIB) + bytes(MIB)

BAD_INPUTS = (
    BadInput("no-module", without_modules, "no host kernel"),
    BadInput("tree-null", with_tree_pointer(0), "device tree unreadable"),
    BadInput("tree-misaligned", with_tree_pointer(TREE_AT + 1), "device tree unreadable"),
    BadInput("tree-magic", with_tree_bytes(lambda blob: b"\0\0\0\0" + blob[4:]), "device tree unreadable"),
    BadInput("tree-shortened", with_tree_bytes(shortened), "device tree unreadable"),
    BadInput("tree-cut-off", with_tree_bytes(cut_off), "device tree unreadable"),
    BadInput("kernel-nowhere", with_modules_at((NOWHERE, MIB), None), "module kernel outside RAM"),
    BadInput("kernel-half-outside", with_modules_at((RAM_END - MIB, 2 * MIB), None), "module kernel outside RAM"),
    BadInput("kernel-wraps", with_modules_at((KERNEL_AT, (1 << 64) - MIB), None), "device tree unreadable: a module's reg"),
    BadInput("ramdisk-nowhere", with_modules_at(None, (NOWHERE, MIB)), "module ramdisk outside RAM"),
    BadInput("ramdisk-below", with_modules_at(None, (0, MIB)), "module ramdisk outside RAM"),
    BadInput("overlap", with_modules_at(None, (KERNEL_AT + MIB, MIB)), "modules overlap"),
    BadInput("overlap-corevisor", with_modules_at(None, (IMAGE_AT, MIB)), "modules overlap"),
    BadInput("kernel-zeros", with_kernel_bytes(bytes(MIB)), "host kernel has no arm64 Image magic"),
    BadInput("kernel-short", with_kernel_bytes(b"MZ"), "host kernel has no arm64 Image magic"),
    BadInput("kernel-size-zero", with_kernel_bytes(image_header(0)), "host kernel has a bad Image header"),
    BadInput("kernel-gzip-broken", with_kernel_bytes(cut_off(gzip.compress(KERNEL))), "host kernel is gzip-compressed but"),
    BadInput("kernel-gzip-of-no-kernel", with_kernel_bytes(gzip.compress(bytes(MIB))), "host kernel has no arm64 Image"),
    BadInput("little-ram", with_edited_tree(no_free_memory), "too little RAM"),
    BadInput("kernel-larger-than-ram", with_kernel_bytes(image_header(1 << 30)), "too little RAM"),
    BadInput("no-el2", normally, "entered at EL1", replace(MACHINE, el2=False)),
    BadInput("no-gic", with_edited_tree(without_gic), "no GICv3 or GICv2"),
    BadInput("many-cpus", normally, "too many CPUs: 65 (at most 64)", replace(MACHINE, smp=65)),
    BadInput("many-regions", with_edited_tree(scattered_memory(33)), "too many memory regions"),
)


def stops(bench, case):
    """The one line appears, and nothing after it."""
    with bench.start(case.start(bench, case.machine)) as console:
        line = console.expect(r"ERROR +cpu0: boot stopped: ([^\r\n]*)\r?\n", fatal=None)[1]
        host.check(line.startswith(case.says), f"Corevisor says {line!r}, not {case.says!r}")
        console.expect_silence()
        host.check(console.text.count("boot stopped") == 1, "more than one line says that the boot stopped")


def boots(bench, start):
    """With nothing wrong such a start reaches user space: the bad ones fail for their own reason only."""
    with bench.start(start(bench, MACHINE)) as console:
        console.expect(host.USER_SPACE)


def goes_on(bench):
    """An SMMUv3 that lacks something, as QEMU's older boards have it, is named and stays closed; the host boots."""
    machine = replace(MACHINE, extra=("-machine", "virt-8.0,iommu=smmuv3"))
    with bench.start(normally(bench, machine)) as console:
        console.expect(r"ERROR +cpu0: SMMUv3 at 0x9050000 has no stage 2: its devices can't be let through", fatal=None)
        console.expect(r"ERROR +cpu0: DMA: an SMMU can't be driven; VMs that need protection are refused", fatal=None)
        console.expect(host.USER_SPACE, fatal=None)


for each in BAD_INPUTS:
    add(f"bad-input-{each.name}", stops, case=each)
add("good-input-tree", boots, start=with_edited_tree(lambda tree: None))
add("good-input-most-regions", boots, start=with_edited_tree(scattered_memory(32)))
add("smmu-without-stage-2", goes_on)
