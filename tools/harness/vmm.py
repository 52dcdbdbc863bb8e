# SPDX-License-Identifier: GPL-2.0-only
"""Linux guests, and what the owner of a protected one does before it runs, away from the host: sign it, and measure it."""

import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import guest, initramfs, paths
from .machine import corevisor, modules, with_keys_after

# Where the host has what guests start from.
KERNEL = "guest/vmlinuz"
INITRD = "guest/initramfs.img"
# C programs of the tests that a host with guests has.
PROGRAMS = ("hunt", "secret", "attack", "dma")
# What else such a host has.
HOST_FILES = paths.ROOT / "tools" / "host"


@dataclass(frozen=True)
class Guest:
    """A Debian guest with the initramfs of ours: what its measurement depends on."""

    cmdline: str = "console=ttyS0 quiet"
    kernel: str = guest.DEFAULT_KERNEL
    memory: str = "192M"
    cpus: int = 1

    def options(self, kernel=f"/{KERNEL}", initrd=f"/{INITRD}"):
        """The arguments of corevisor-vm that say so."""
        return [
            *("--kernel", str(kernel), "--initrd", str(initrd)),
            *("--cmdline", self.cmdline, "--mem", self.memory, "--cpus", str(self.cpus)),
        ]

    def files(self):
        """What the host needs of it, by name."""
        return {KERNEL: guest.kernel(self.kernel), INITRD: paths.GUEST_INITRAMFS}

    def sign(self, key=paths.VM_SECRET_KEY):
        """The signatures of what it starts from, by image, and the measurement that it will have."""
        options = self.options(guest.kernel(self.kernel), paths.GUEST_INITRAMFS)
        with tempfile.TemporaryDirectory(prefix="corevisor-sign-") as scratch:
            command = [paths.VMM_HERE, "sign", "--protected", "--key", key, "--output", scratch, *options]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            signatures = {file.name: file.read_bytes() for file in sorted(Path(scratch).iterdir())}
        return signatures, re.search(r"measurement ([0-9a-f]{64})", said)[1]

    def signed_files(self):
        """What the host needs of it if it is protected: the above, its signatures, the options, and what to expect."""
        signatures, measurement = self.sign()
        return {
            **self.files(),
            **{f"guest/signatures/{name}": signature for name, signature in signatures.items()},
            "guest/options": shlex.join(self.options()).encode() + b"\n",
            "guest/measurement": measurement.encode() + b"\n",
        }


def host(folder, machine, bootargs, files, start, serial="stdio", options=""):
    """QEMU's command line for a host, made in `folder`, that has the driver, the VMM, and what hunts for secrets, and begins
    with the script `start`. Corevisor trusts the key of this checkout."""
    suite = guest.SUITES[guest.DEFAULT_KERNEL]
    modules_of_ours = {f"lib/{name}.ko": paths.DRIVER / suite / f"{name}.ko" for name in ("corevisor", "hunter")}
    programs = {f"bin/{file.name}": file for file in (paths.VMM, *(paths.PROGRAMS / name for name in PROGRAMS))}
    folder.mkdir(parents=True, exist_ok=True)
    initrd = folder / "host-initramfs.img"
    files = {"start": HOST_FILES / start, **modules_of_ours, **programs, **files}
    initrd.write_bytes(initramfs.with_files(files, HOST_FILES / "common"))
    kernel = guest.kernel()
    arguments = [
        *machine.arguments(serial),
        *corevisor(options),
        *modules(machine.memory, kernel, initrd, bootargs),
    ]
    return with_keys_after(arguments, machine.memory, kernel, initrd, paths.VM_KEY.read_bytes(), folder)
