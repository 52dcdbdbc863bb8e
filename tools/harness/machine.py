# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line for the machines that Corevisor and its host run on."""

import subprocess
from dataclasses import dataclass

from . import fdt, image, layout, paths

QEMU = "qemu-system-aarch64"


@dataclass(frozen=True)
class Machine:
    """A `virt` machine."""

    cpu: str = "cortex-a76"
    gic: int = 3
    smp: int = 2
    memory: str = "1G"
    el2: bool = True
    extra: tuple = ()

    def arguments(self, serial="stdio"):
        """QEMU with this machine, its first serial port on `serial`, and nothing that is not asked for."""
        virtualization = ",virtualization=on" if self.el2 else ""
        return [
            QEMU,
            *("-machine", f"virt,gic-version={self.gic}{virtualization}"),
            *("-cpu", self.cpu),
            *("-smp", str(self.smp)),
            *("-m", self.memory),
            *("-nodefaults", "-display", "none", "-serial", serial),
            *self.extra,
        ]


def unreserved(memory):
    """Arguments for a machine with more memory than ours has to spare, most of which it never touches."""
    backend = f"memory-backend-ram,id=ram,size={memory},reserve=off"
    return ("-object", backend, "-machine", "memory-backend=ram")


def corevisor(options="", image_file=paths.IMAGE):
    """Arguments that start Corevisor with these options on its command line."""
    return ["-kernel", str(image_file), *(("-append", options) if options else ())]


def modules(memory, kernel, initrd, bootargs):
    """Arguments that load a host kernel and its ramdisk as boot modules."""
    sizes = [image.memory_size(kernel)] + ([initrd.stat().st_size] if initrd else [])
    addresses = layout.place(memory, sizes)
    arguments = kernel_module(addresses[0], kernel, bootargs)
    if initrd:
        arguments += ramdisk_module(addresses[1], initrd)
    return arguments


def with_keys_after(arguments, memory, kernel, initrd, keys, scratch):
    """Arguments that have `modules` of these, with keys for images of VMs behind them."""
    sizes = [image.memory_size(kernel), initrd.stat().st_size if initrd else 0, len(keys)]
    return with_image_keys(arguments, layout.place(memory, sizes)[-1], keys, scratch)


def kernel_module(address, kernel, bootargs):
    """Arguments for a `multiboot,kernel` module at this address."""
    return ["-device", f"guest-loader,addr={address:#x},kernel={quoted(kernel)},bootargs={quoted(bootargs)}"]


def ramdisk_module(address, initrd):
    """Arguments for a `multiboot,ramdisk` module at this address."""
    return ["-device", f"guest-loader,addr={address:#x},initrd={quoted(initrd)}"]


def with_image_keys(arguments, address, keys, scratch):
    """Arguments that also load keys for images of VMs as a boot module. QEMU's guest-loader knows no such module: the tree
    that it would make is taken from it, and given to it with one node more."""
    properties = {
        "compatible": fdt.strings("corevisor,image-keys", "multiboot,module"),
        "reg": fdt.cells(address, len(keys)),
    }
    module = fdt.Node(f"module@{address:x}", properties)
    file = scratch / "image-keys"
    file.write_bytes(keys)
    edited = with_edited_tree(arguments, lambda root: root.child("chosen").children.append(module), scratch)
    return [*edited, *raw(address, file)]


def with_edited_tree(arguments, edit, scratch):
    """Arguments with the device tree that QEMU would make, edited."""
    dumped, tree = (scratch / name for name in ("dumped.dtb", "tree.dtb"))
    machine = arguments.index("-machine") + 1
    dump = [*arguments[:machine], f"{arguments[machine]},dumpdtb={quoted(dumped)}", *arguments[machine + 1 :]]
    subprocess.run(dump, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    root = fdt.parse(dumped.read_bytes())
    edit(root)
    tree.write_bytes(fdt.write(root))
    return [*arguments, *("-dtb", str(tree))]


def with_smmus(arguments, smmus, scratch):
    """Arguments for a machine with SMMUv2s, which QEMU has none of: memory that the tree calls so, and reserves. `smmus` are
    pairs of a window's start and size, and the registers in it that are not 0."""

    def edit(root):
        properties = {"#address-cells": word(2), "#size-cells": word(2), "ranges": b""}
        reserved = fdt.Node("reserved-memory", properties)
        root.remove(lambda node: node.name == reserved.name)
        root.children.append(reserved)
        for (start, size), _ in smmus:
            reg = fdt.cells(start, size)
            reserved.children.append(fdt.Node(f"smmu@{start:x}", {"reg": reg, "no-map": b""}))
            compatible = fdt.strings("arm,mmu-500", "arm,smmu-v2")
            root.children.append(fdt.Node(f"iommu@{start:x}", {"compatible": compatible, "reg": reg}))

    def word(value):
        return value.to_bytes(4, "big")

    edited = with_edited_tree(arguments, edit, scratch)
    for (start, _), registers in smmus:
        for offset, value in registers.items():
            edited += ["-device", f"loader,addr={start + offset:#x},data={value:#x},data-len=4"]
    return edited


def raw(address, file):
    """Arguments that put a file's bytes into memory."""
    return ["-device", f"loader,file={quoted(file)},addr={address:#x},force-raw=on"]


def linux_directly(kernel, initrd, bootargs):
    """Arguments that start Linux itself, without Corevisor."""
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", bootargs]


def quoted(value):
    """A value inside one of QEMU's comma-separated options."""
    return str(value).replace(",", ",,")
