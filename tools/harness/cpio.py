# SPDX-License-Identifier: GPL-2.0-only
"""Archives that Linux unpacks as its first file system."""

import stat
from pathlib import Path


class Cpio:
    """A cpio archive in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.bytes = bytearray()
        self.inodes = 0
        self.folders = set()

    def folder(self, name):
        """Adds a folder, and those above it."""
        if name in ("", ".") or name in self.folders:
            return
        self.folder(str(Path(name).parent))
        self.folders.add(name)
        self._entry(name, stat.S_IFDIR | 0o755, b"", links=2)

    def file(self, name, content, mode=0o755):
        """Adds a file."""
        self.folder(str(Path(name).parent))
        self._entry(name, stat.S_IFREG | mode, content)

    def character_device(self, name, major, minor):
        """Adds a device node."""
        self.folder(str(Path(name).parent))
        self._entry(name, stat.S_IFCHR | 0o600, b"", device=(major, minor))

    def overlay(self, root):
        """Adds all files below a folder."""
        for path in sorted(root.rglob("*")):
            if path.is_file():
                self.file(str(path.relative_to(root)), path.read_bytes())

    def finish(self):
        """The whole archive."""
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self.bytes)

    def _entry(self, name, mode, content, links=1, device=(0, 0)):
        self.inodes += 1
        encoded = name.encode() + b"\0"
        owner_and_time = (0, 0)
        fields = (self.inodes, mode, *owner_and_time, links, 0, len(content), 0, 0, *device, len(encoded), 0)
        self.bytes += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self._pad()
        self.bytes += content
        self._pad()

    def _pad(self):
        self.bytes += bytes(-len(self.bytes) % 4)
