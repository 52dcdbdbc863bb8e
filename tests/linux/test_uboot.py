# SPDX-License-Identifier: GPL-2.0-only
"""U-Boot loads Corevisor, kernel and ramdisk from a disk, adds the module nodes, and starts it by `booti`."""

import subprocess

import host
from harness import guest, paths
from harness.machine import Machine, quoted
from harness.registry import test

UBOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
UBOOT_PROMPT = r"\n=> "
DISK_MIB = 64
IMAGE_AT, TREE_AT, KERNEL_AT, RAMDISK_AT = 0x4200_0000, 0x4700_0000, 0x4800_0000, 0x4C00_0000
# Where QEMU puts the device tree when it starts firmware.
TREE_FROM = 0x4000_0000
TREE_ROOM = 0x20_0000


def fat_disk(path, files):
    """A disk image with one FAT file system that fills it."""
    with path.open("wb") as disk:
        disk.truncate(DISK_MIB << 20)
    subprocess.run(["mformat", "-i", path, "::"], check=True)
    for name, file in files.items():
        subprocess.run(["mcopy", "-i", path, file, f"::{name}"], check=True)


def module(address, kind):
    """U-Boot's commands for the node of the module last loaded, whose size is in `filesize`."""
    node = f"/chosen/module@{address:x}"
    return [
        f"fdt mknode /chosen module@{address:x}",
        f'fdt set {node} compatible "{kind}" "multiboot,module"',
        f"fdt set {node} reg <0 {address:#x} 0 0x${{filesize}}>",
    ]


@test
def uboot(bench):
    """From the firmware's prompt to user space and power-off."""
    disk = bench.scratch / "disk.img"
    fat_disk(disk, {"corevisor.img": paths.IMAGE, "vmlinuz": guest.kernel(), "initramfs": paths.INITRAMFS})
    machine = Machine(
        extra=(
            *("-bios", UBOOT),
            *("-drive", f"if=none,id=disk,format=raw,file={quoted(disk)}", "-device", "virtio-blk-device,drive=disk"),
        )
    )
    commands = [
        "virtio scan",
        f"fdt addr {TREE_FROM:#x}",
        f"fdt move {TREE_FROM:#x} {TREE_AT:#x} {TREE_ROOM:#x}",
        f"load virtio 0 {KERNEL_AT:#x} vmlinuz",
        *module(KERNEL_AT, "multiboot,kernel"),
        f'fdt set /chosen/module@{KERNEL_AT:x} bootargs "{host.BOOTARGS}"',
        f"load virtio 0 {RAMDISK_AT:#x} initramfs",
        *module(RAMDISK_AT, "multiboot,ramdisk"),
        f"load virtio 0 {IMAGE_AT:#x} corevisor.img",
        f"booti {IMAGE_AT:#x} - {TREE_AT:#x}",
    ]
    with bench.start(machine.arguments()) as console:
        console.expect("Hit any key to stop autoboot")
        console.send("\n")
        for command in commands:
            console.expect(UBOOT_PROMPT)
            console.send(command + "\n")
        host.expect_user_space(console, machine)
        console.power_off()
        host.expect_no_faults(console)
