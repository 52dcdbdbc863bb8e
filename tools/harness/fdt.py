# SPDX-License-Identifier: GPL-2.0-only
"""Reads, changes and writes flattened device trees (Devicetree Specification 0.4, chapter 5)."""

import struct
from dataclasses import dataclass, field

MAGIC = 0xD00D_FEED
VERSION, LAST_COMPATIBLE = 17, 16
BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
HEADER = struct.Struct(">10I")


@dataclass
class Node:
    """A node: its properties' bytes by name, its children in their order."""

    name: str
    properties: dict = field(default_factory=dict)
    children: list = field(default_factory=list)

    def child(self, name):
        """The child of this name."""
        (found,) = [node for node in self.children if node.name == name]
        return found

    def remove(self, predicate):
        """Drops the children that `predicate` holds for."""
        self.children = [node for node in self.children if not predicate(node)]


def cells(*values):
    """Numbers as two cells each."""
    return struct.pack(f">{len(values)}Q", *values)


def strings(*values):
    """A list of strings."""
    return b"".join(value.encode() + b"\0" for value in values)


def parse(blob):
    """The root node of a flattened tree."""
    magic, _size, structure, names, *_rest = HEADER.unpack_from(blob)
    if magic != MAGIC:
        raise ValueError("no device tree")
    position = structure
    path = [Node("")]
    while True:
        (token,) = struct.unpack_from(">I", blob, position)
        position += 4
        if token == BEGIN_NODE:
            end = blob.index(b"\0", position)
            node = Node(blob[position:end].decode())
            path[-1].children.append(node)
            path.append(node)
            position = aligned(end + 1)
        elif token == END_NODE:
            path.pop()
        elif token == PROPERTY:
            length, name_at = struct.unpack_from(">2I", blob, position)
            name = blob[names + name_at : blob.index(b"\0", names + name_at)].decode()
            path[-1].properties[name] = blob[position + 8 : position + 8 + length]
            position = aligned(position + 8 + length)
        elif token == END:
            return path[0].children[0]
        elif token != NOP:
            raise ValueError(f"unknown token {token}")


def aligned(position):
    """The next multiple of a token's size."""
    return (position + 3) & ~3


def write(root):
    """The flattened tree."""
    names = bytearray()
    offsets = {}
    structure = bytearray()

    def node(this):
        structure.extend(struct.pack(">I", BEGIN_NODE) + this.name.encode() + b"\0")
        structure.extend(bytes(-len(structure) % 4))
        for name, value in this.properties.items():
            if name not in offsets:
                offsets[name] = len(names)
                names.extend(name.encode() + b"\0")
            structure.extend(struct.pack(">3I", PROPERTY, len(value), offsets[name]) + value)
            structure.extend(bytes(-len(structure) % 4))
        for child in this.children:
            node(child)
        structure.extend(struct.pack(">I", END_NODE))

    node(root)
    structure.extend(struct.pack(">I", END))
    reservations = bytes(16)
    structure_at = HEADER.size + len(reservations)
    names_at = structure_at + len(structure)
    size = names_at + len(names)
    header = HEADER.pack(
        *(MAGIC, size, structure_at, names_at, HEADER.size, VERSION, LAST_COMPATIBLE, 0, len(names), len(structure))
    )
    return header + reservations + bytes(structure) + bytes(names)
