# SPDX-License-Identifier: GPL-2.0-only
"""The host's initramfs with more in it."""

from . import paths
from .cpio import Cpio


def with_files(files, overlay=None):
    """Its bytes with `files`, from names to files or content, and with a folder. What is not compressed is not
    decompressed."""
    cpio = Cpio()
    if overlay:
        cpio.overlay(overlay)
    for name, file in sorted(files.items()):
        cpio.file(name, file if isinstance(file, bytes) else file.read_bytes())
    base = paths.INITRAMFS.read_bytes()
    return base + bytes(-len(base) % 4) + cpio.finish()
