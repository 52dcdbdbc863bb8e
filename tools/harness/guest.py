# SPDX-License-Identifier: GPL-2.0-only
"""The host's software, as `tools/fetch-guest` left it."""

import functools
import hashlib
import io
import json
import subprocess
import tarfile

from . import paths

# The suites whose kernels serve as host, by the kernel's version.
SUITES = {"6.12": "trixie", "6.1": "bookworm"}
DEFAULT_KERNEL = "6.12"


def kernel(version=DEFAULT_KERNEL):
    """The kernel file of Debian's package of this version."""
    return paths.GUEST / SUITES[version] / "vmlinuz"


@functools.lru_cache(maxsize=None)
def digests(version):
    """SHA-256 of the kernel file, and of the kernel inside the package, whose own digest the signed index gave."""
    folder = paths.GUEST / SUITES[version]
    manifest = json.loads((folder / "manifest.json").read_text())
    (package,) = [p for p in manifest["packages"] if p["name"].startswith("linux-image-")]
    archive = (folder / package["file"]).read_bytes()
    if hashlib.sha256(archive).hexdigest() != package["sha256"]:
        raise ValueError(f"{package['file']} is not the package that the archive signed")
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", "-"], input=archive, stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as files:
        (name,) = [n for n in files.getnames() if n.startswith("./boot/vmlinuz-")]
        inside = files.extractfile(name).read()
    return hashlib.sha256(kernel(version).read_bytes()).hexdigest(), hashlib.sha256(inside).hexdigest()
