# SPDX-License-Identifier: GPL-2.0-only
"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "target"
IMAGE = TARGET / "corevisor.img"
ELF = TARGET / "corevisor.elf"
INITRAMFS = TARGET / "initramfs.img"
GUEST = TARGET / "guest"
# The Linux driver, by suite; C programs for the host; what guests of the host start with.
DRIVER = TARGET / "driver"
PROGRAMS = TARGET / "linux-programs"
GUEST_INITRAMFS = TARGET / "guest-initramfs.img"
# What the VMs of the tests run.
VM_IMAGE = TARGET / "guest.img"
VM_SIGNATURE = TARGET / "guest.sig"
VM_SECRET_KEY = TARGET / "guest.key"
VM_KEY = TARGET / "guest.key.pub"
# What runs VMs on Linux: for the host, and for this machine.
VMM = TARGET / "corevisor-vm"
VMM_HERE = TARGET / "corevisor-vm-here"
# What the VMs of the driver's fuzz run.
TINY_IMAGE = TARGET / "tiny.img"
TINY_SIGNATURE = TARGET / "tiny.sig"
LOGS = TARGET / "test-logs"
LINUX_TESTS = ROOT / "tests" / "linux"
