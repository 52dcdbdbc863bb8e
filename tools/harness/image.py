# SPDX-License-Identifier: GPL-2.0-only
"""The arm64 kernel image (the kernel's Documentation/arch/arm64/booting.rst)."""

import struct

HEADER = struct.Struct("<8xQQ32xI4x")
MAGIC = 0x644D_5241
GZIP_MAGIC = b"\x1f\x8b"
# A kernel unpacks to about three times its compressed size, and its BSS comes on top.
GZIP_GROWTH = 5


def memory_size(path):
    """The memory that the kernel in this file takes, its BSS included. Unknown kinds take what the file takes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(HEADER.size)
    if start.startswith(GZIP_MAGIC):
        return size * GZIP_GROWTH
    if len(start) == HEADER.size:
        _text_offset, image_size, magic = HEADER.unpack(start)
        if magic == MAGIC:
            return max(size, image_size)
    return size
