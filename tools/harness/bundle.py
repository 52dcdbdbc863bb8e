# SPDX-License-Identifier: GPL-2.0-only
"""The images of VMs in one file, which a test host gets as its ramdisk; tests/el1/world/bundle.rs tells the format."""

import struct
from dataclasses import dataclass

MAGIC = b"CVGUESTS"
HEADER = struct.Struct("<8sQ")
ENTRY = struct.Struct("<16sQQQQ64s16x")
PAGE = 4096
# Where tests/guest/link.ld puts the image.
GUEST_ADDRESS = 0x4000_0000


@dataclass(frozen=True)
class Image:
    """An image, where the VM has it, and its signature."""

    name: str
    content: bytes
    address: int = GUEST_ADDRESS
    signature: bytes = bytes(64)


def aligned(position):
    """The next multiple of a page."""
    return -(-position // PAGE) * PAGE


def write(path, images):
    """Writes `images` to `path`, and returns that."""
    offset = aligned(HEADER.size + ENTRY.size * len(images))
    head, body = HEADER.pack(MAGIC, len(images)), b""
    for image in images:
        size = len(image.content)
        head += ENTRY.pack(image.name.encode(), image.address, offset + len(body), size, 0, image.signature)
        body += image.content.ljust(aligned(size), b"\0")
    path.write_bytes(head.ljust(offset, b"\0") + body)
    return path
