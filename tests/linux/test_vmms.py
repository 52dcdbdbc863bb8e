# SPDX-License-Identifier: GPL-2.0-only
"""VMMs that are not ours run guests by the driver: QEMU's own package for arm64."""

import hashlib
import random

import driver
import host
from harness import guest, paths
from harness.machine import Machine
from harness.registry import add

# A host that has all of QEMU in its RAM disk, and guests' memory.
MEMORY = "2G"
QEMU = "/qemu/ld-linux-aarch64.so.1 --library-path /qemu /qemu/qemu-system-aarch64"
# There is no ITS, and a shared VM may have devices where its memory could be, but not above 40 bits.
MACHINE = "-accel kvm -cpu host -M virt,gic-version=3,its=off,highmem=off -nodefaults -display none -serial stdio"
GUEST = "-kernel /guest/vmlinuz -initrd /guest/initramfs.img -append 'console=ttyAMA0 quiet'"
DISK = "-drive file=/disk.img,format=raw,if=none,id=disk"
PROMPT = r"guest:~# "
DISK_BYTES = 4 << 20


def in_guest(console, command):
    """Runs a command in the guest's shell; its output."""
    console.send(f"{command}; echo status:$?\n")
    start = console.position
    match = console.expect(r"status:(\d+)\r*\n")
    host.check(match[1] == "0", f"`{command}` in the guest ended with status {match[1]}")
    output = console.text[start : match.start()]
    console.expect(PROMPT)
    return output


def expect_user_space(console, cpus):
    """Waits for the guest's shell."""
    online = console.expect(r"corevisor-guest: user space reached, (\d+) CPUs online")[1]
    host.check(online == str(cpus), f"the guest has {online} CPUs")
    console.expect(PROMPT)


def qemu(bench, device, cpus, reboots=False, kernel=guest.DEFAULT_KERNEL):
    """QEMU starts a shared guest, which reads its disk, writes to it, reboots or not, and powers off."""
    content = random.Random(cpus).randbytes(DISK_BYTES)
    files = {f"qemu/{file.name}": file for file in (paths.GUEST / "trixie" / "qemu").iterdir()}
    files |= driver.guest_files() | {"disk.img": content}
    written = hashlib.sha256(bytes(2 << 20) + content[2 << 20 :]).hexdigest()
    with driver.boot(bench, Machine(memory=MEMORY), kernel=kernel, files=files) as console:
        driver.load(console)
        console.expect("host:~# ")
        console.send(f"{QEMU} {MACHINE} -m 256 -smp {cpus} {GUEST} {DISK} -device {device},drive=disk; echo status:$?\n")
        expect_user_space(console, cpus)
        found = in_guest(console, "sha256sum /dev/vda")
        host.check(hashlib.sha256(content).hexdigest() in found, "the guest reads something else from its disk")
        in_guest(console, "dd if=/dev/zero of=/dev/vda bs=64k count=32 conv=fsync 2>/dev/null")
        if reboots:
            console.send("reboot -f\n")
            expect_user_space(console, cpus)
            host.check(written in in_guest(console, "sha256sum /dev/vda"), "the guest does not find what it wrote")
        console.send("poweroff -f\n")
        host.check(console.expect(r"status:(\d+)\r*\n")[1] == "0", "QEMU did not end well")
        host.check(written in driver.run(console, "sha256sum /disk.img"), "the disk has something else than the guest wrote")
        driver.run(console, "rmmod corevisor")
        console.power_off()


add("qemu-accel-kvm", qemu, device="virtio-blk-device", cpus=1)
add("qemu-accel-kvm-2cpus", qemu, soak=True, device="virtio-blk-device", cpus=2, reboots=True)
add("qemu-accel-kvm-pci", qemu, soak=True, device="virtio-blk-pci", cpus=2)
add("qemu-accel-kvm-linux6.1", qemu, soak=True, device="virtio-blk-device", cpus=1, kernel="6.1")
