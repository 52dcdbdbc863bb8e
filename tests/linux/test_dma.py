# SPDX-License-Identifier: GPL-2.0-only
"""Disks and network behind an SMMU that the host knows nothing of work as ever, while protected guests come and go; and no device
reaches those guests' memory."""

import hashlib
import random
import re
from dataclasses import dataclass

import complaints
import debian
import driver
import host
from harness import guest, vmm
from harness.machine import Machine
from harness.monitor import Monitor
from harness.registry import add

DISK_MIB = 64
# What goes over the network, in both directions.
SENT_BYTES = 1 << 20
# Seconds for that many MiB, on a machine that does many other things.
PATIENCE = 900
# In the order in which they are loaded; what a kernel has built in is not there.
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net"),
)
EDU = "edu,dma_mask=0xffffffffffffffff"
VIRTIO = "iommu_platform=on,disable-legacy=on"
# Interrupts by messages, which are DMA to the interrupt controller, of the three devices.
INTERRUPTS = ("virtio0-", "virtio1-", "nvme0q")
# A guest that is killed when it is up, or after so many tenths of a second.
GUEST = (
    "protected </dev/null >/tmp/guest 2>&1 & i=0; until grep -q reached /tmp/guest || [ $i = $1 ]; do i=$((i + 1)); sleep 0.1; done; "
    "kill -9 $!; wait $!; grep -c reached /tmp/guest >>/tmp/guests"
)
TRANSLATED = r"smmuv3_translate_success .*sid=0x(\w+)"


@dataclass(frozen=True)
class Devices:
    """Two disks of 64 MiB and a network with someone in it who sends all back: virtio for two, and one that is not."""

    disk: str
    plain: str
    monitor: str
    log: str

    def arguments(self):
        """QEMU's, for a machine that has its SMMU between them and memory."""
        return (
            *("-machine", "iommu=smmuv3"),
            *("-drive", f"file={self.disk},format=raw,if=none,id=disk"),
            *("-device", f"virtio-blk-pci,drive=disk,addr=1,{VIRTIO}"),
            *("-drive", f"file={self.plain},format=raw,if=none,id=plain"),
            *("-device", "nvme,drive=plain,serial=plain,addr=2"),
            *("-netdev", "user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:cat"),
            *("-device", f"virtio-net-pci,netdev=net,addr=3,romfile=,{VIRTIO}"),
            *Monitor.arguments(self.monitor),
            *("-D", str(self.log)),
        )


def module_files(kernel):
    """The modules for the devices, by the names that they get in the host."""
    found = enumerate(guest.module(kernel, name) for name in MODULES)
    return {f"lib/pci/{number:02}-{module[0]}.ko": module[1] for number, module in found if module}


def digest(content):
    """SHA-256, as sha256sum has it."""
    return hashlib.sha256(content).hexdigest()


def check_sum(console, command, wanted):
    """Checks the SHA-256 that a command in the host puts out."""
    status, output = console.shell(f"{command} | sha256sum", PATIENCE)
    host.check(status == 0 and wanted in output, f"`{command}` gave something else: {output.strip()[-200:]!r}")


def translated(console, devices):
    """The streams that the SMMU translates for while the host reads its first disk."""
    monitor = Monitor(devices.monitor)
    monitor.command("log trace:smmuv3_translate_success")
    driver.run(console, "dd if=/dev/vda of=/dev/null bs=4k count=16 iflag=direct 2>/dev/null")
    monitor.command("log none")
    monitor.close()
    return {int(stream, 16) for stream in re.findall(TRANSLATED, devices.log.read_text(errors="replace"))}


def copy(console, source, target, flags):
    """Copies a disk."""
    status, output = console.shell(f"dd if=/dev/{source} of=/dev/{target} bs=1M {flags}", PATIENCE)
    host.check(status == 0, f"no copy from {source} to {target}: {output.strip()[-200:]!r}")


def check_interrupts(console):
    """Checks that the devices interrupt by messages, and have."""
    lines = driver.run(console, "cat /proc/interrupts").splitlines()
    for name in INTERRUPTS:
        counts = [line.split()[1:3] for line in lines if "MSI" in line and name in line]
        host.check(sum(int(count) for row in counts for count in row) > 0, f"{name} has never interrupted")


def came(console):
    """For each guest that has come and gone, whether it was up: 1 or 0."""
    return re.findall(r"^([01])\r?$", driver.run(console, "cat /tmp/guests 2>/dev/null; true"), re.MULTILINE)


def io(bench, kernel, rounds):
    """Reads and writes disks, past the page cache and through it, and the network; nothing is lost, no access refused."""
    content = random.Random(kernel).randbytes(DISK_MIB << 20)
    disk, plain = bench.file("disk.img", content), bench.file("plain.img", bytes(DISK_MIB << 20))
    devices = Devices(disk, plain, bench.scratch / "qmp", bench.scratch / "qemu.log")
    machine = Machine(memory="1G", extra=devices.arguments())
    sent = content[:SENT_BYTES]
    files = module_files(kernel) | {"sent": sent}
    with debian.boot(bench, machine, kernel, vmm.Guest(kernel=kernel, memory="128M"), files) as console:
        driver.load(console)
        driver.run(console, "for module in /lib/pci/*; do insmod $module || exit 1; done")
        driver.run(console, "until [ -b /dev/vda ] && [ -b /dev/nvme0n1 ] && [ -e /sys/class/net/eth0 ]; do sleep 0.2; done")
        host.check(8 in translated(console, devices), "the SMMU has nothing to do with the disk")
        driver.run(console, "ifconfig eth0 10.0.2.15 up")
        start = len(console.text)
        # Guests come, are up or not yet, and go.
        driver.run(console, f"echo '{GUEST}' >/tmp/once")
        others = "while [ ! -e /tmp/over ]; do sh /tmp/once 10; sh /tmp/once 1000; done"
        driver.run(console, f"({others}) </dev/null >/dev/null 2>&1 & echo $! >/tmp/others.pid")
        done = 0
        while done < rounds or {"0", "1"} - set(came(console)):
            host.check(done < 10 * rounds, f"guests that were up, or not: {came(console)}")
            done += 1
            check_sum(console, "dd if=/dev/vda bs=1M iflag=direct 2>/dev/null", digest(content))
            copy(console, "vda", "nvme0n1", "oflag=direct")
            driver.run(console, "echo 3 >/proc/sys/vm/drop_caches")
            check_sum(console, "cat /dev/nvme0n1", digest(content))
            # What is written next is not what is there.
            content = content[1 << 20 :] + content[: 1 << 20]
            copy(console, "nvme0n1", "vda", "skip=1 conv=notrunc,fsync")
            copy(console, "nvme0n1", "vda", f"count=1 seek={DISK_MIB - 1} oflag=direct conv=notrunc")
            check_sum(console, "dd if=/dev/vda bs=64k iflag=direct 2>/dev/null", digest(content))
            check_sum(console, "nc 10.0.2.100 7 </sent", digest(sent))
        driver.run(console, "touch /tmp/over; wait $(cat /tmp/others.pid); true")
        check_interrupts(console)
        status = debian.status(console)
        host.check(not status["vms"], f"there are VMs left: {status}")
        refused = status["counters"]["dma_events"]
        host.check(refused == 0, f"{refused} accesses of the devices were refused")
        complaints.expect_none(console, start)
        driver.finish(console, had_guests=True)
    host.check(disk.read_bytes() == content, "the disk has something else than was written to it")


def attack(bench, smmu):
    """Root has a device copy pages of a protected guest, which holds a secret: it finds it only where there is no SMMU."""
    machine = Machine(extra=("-device", EDU, *(("-machine", "iommu=smmuv3") if smmu else ())))
    holder = vmm.Guest("console=ttyS0 quiet corevisor.background=secret", memory="128M")
    with debian.boot(bench, machine, guest.DEFAULT_KERNEL, holder, {"bin/dma": driver.program("dma")}) as console:
        driver.load(console)
        debian.start(console, "protected", "pages hold it")
        found = {}
        for what in ("own", "guests 32"):
            said = driver.run(console, f"dma {what}")
            found[what] = tuple(map(int, re.search(r"dma: \w+: pages=(\d+) with-secret=(\d+)", said).groups()))
        (own, own_secrets), (pages, secrets) = found.values()
        host.check((own, own_secrets) == (1, 1), f"of a page of its own the device found {own_secrets} secrets")
        host.check(pages >= 16, f"{pages} pages were tried")
        host.check((secrets == 0) == smmu, f"in {secrets} of {pages} pages of the guest's the device found its secret")
        refused = debian.status(console)["counters"]["dma_events"]
        host.check((refused >= 2 * pages) == smmu, f"{refused} accesses were refused, to {pages} pages")
        debian.kill(console, "protected")
        if smmu:
            driver.finish(console, had_guests=True)


add("dma-attack", attack, smmu=True)
add("dma-attack-without-an-smmu", attack, smmu=False)
add("dma-devices", io, kernel=guest.DEFAULT_KERNEL, rounds=1)
for version in guest.SUITES:
    add(f"dma-devices-long-linux{version}", io, soak=True, kernel=version, rounds=10)
