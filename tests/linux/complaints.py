# SPDX-License-Identifier: GPL-2.0-only
"""What the host's kernel and Corevisor say when something is wrong."""

import re

import driver
import host

# What a kernel says, as a warning or worse, when a module of ours is loaded, and when QEMU was busy.
EXPECTED = r"\w+: loading out-of-tree module taints kernel|hrtimer: interrupt took"


def of_kernel(console):
    """What the kernel has said, as a warning or worse, from the driver's first line on."""
    said = driver.run(console, "dmesg -r")
    lines = re.findall(r"<(\d+)>\[ *[\d.]+\] (.*?)\r?\n", said)
    first = next(i for i, (_level, text) in enumerate(lines) if text.startswith("corevisor: "))
    return [text for level, text in lines[first:] if int(level) & 7 <= 4 and not re.match(EXPECTED, text)]


def of_corevisor(text, expected=()):
    """What Corevisor has said, as a warning or worse, but for what is expected."""
    said = {line.strip() for line in re.findall(r"\[corevisor\] (?:WARN|ERROR) +cpu\d+: (.*)", text)}
    return sorted(line for line in said if not any(re.match(pattern, line) for pattern in expected))


def expect_none(console, start, expected=()):
    """Checks that neither has complained since the console's position `start`."""
    complaints = of_corevisor(console.text[start:], expected) + of_kernel(console)
    host.check(not complaints, f"there were complaints: {complaints}")
