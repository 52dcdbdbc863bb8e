# SPDX-License-Identifier: GPL-2.0-only
"""Linux guests, and what the owner of a protected one does before it runs, away from the host: sign it, and measure it."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import guest, paths

# Where the host has what guests start from.
KERNEL = "guest/vmlinuz"
INITRD = "guest/initramfs.img"


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
