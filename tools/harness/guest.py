# SPDX-License-Identifier: GPL-2.0-only
"""The host's software, as `tools/fetch-guest` left it."""

import functools
import hashlib
import io
import json
import lzma
import subprocess
import tarfile

from . import paths

# The suites whose kernels serve as host, by the kernel's version.
SUITES = {"6.12": "trixie", "6.1": "bookworm"}
DEFAULT_KERNEL = "6.12"


def kernel(version=DEFAULT_KERNEL):
    """The kernel file of Debian's package of this version."""
    return paths.GUEST / SUITES[version] / "vmlinuz"


def package(version):
    """The kernel's package: its entry in what tools/fetch-guest noted."""
    manifest = json.loads((paths.GUEST / SUITES[version] / "manifest.json").read_text())
    (found,) = [p for p in manifest["packages"] if p["name"].startswith("linux-image-")]
    return found


def release(version):
    """What `uname -r` says on this kernel."""
    return package(version)["name"].removeprefix("linux-image-").removesuffix("-unsigned")


@functools.lru_cache(maxsize=None)
def files(version):
    """The files of the kernel's package."""
    archive = (paths.GUEST / SUITES[version] / package(version)["file"]).read_bytes()
    if hashlib.sha256(archive).hexdigest() != package(version)["sha256"]:
        raise ValueError(f"{package(version)['file']} is not the package that the archive signed")
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", "-"], input=archive, stdout=subprocess.PIPE, check=True)
    return tarfile.open(fileobj=io.BytesIO(unpacked.stdout))  # pylint: disable=consider-using-with


def module(version, name):
    """A module of the kernel's package, by its file's name: name and content. None if there is none, as it is built in."""
    wanted = name.replace("-", "_")
    for path in files(version).getnames():
        file, extension, compression = path.rsplit("/", 1)[-1].partition(".ko")
        if file.replace("-", "_") == wanted and extension and compression in ("", ".xz"):
            content = files(version).extractfile(path).read()
            return file, lzma.decompress(content) if compression else content
    return None


@functools.lru_cache(maxsize=None)
def digests(version):
    """SHA-256 of the kernel file, and of the kernel inside the package, whose own digest the signed index gave."""
    (name,) = [n for n in files(version).getnames() if n.startswith("./boot/vmlinuz-")]
    inside = files(version).extractfile(name).read()
    return hashlib.sha256(kernel(version).read_bytes()).hexdigest(), hashlib.sha256(inside).hexdigest()
