# SPDX-License-Identifier: GPL-2.0-only
"""A host that has corevisor-vm and a Debian guest, which it can start as a shared and as a protected one: /bin/shared, /bin/protected."""

import json
import shlex

import driver
from harness import paths

SIGNATURES = "guest/signatures"


def script(guest, *kind):
    """A script that becomes a guest."""
    return f"#!/bin/sh\nexec corevisor-vm run {shlex.join([*kind, *guest.options()])}\n".encode()


def files(guest):
    """What the host needs for a guest. It is signed: the host has no key."""
    signatures, _measurement = guest.sign()
    return {
        **guest.files(),
        **{f"{SIGNATURES}/{name}": content for name, content in signatures.items()},
        "bin/corevisor-vm": paths.VMM,
        "bin/shared": script(guest, "--shared"),
        "bin/protected": script(guest, "--protected", "--signatures", f"/{SIGNATURES}"),
    }


def boot(bench, machine, kernel, guest, more=None):
    """The host."""
    keys = paths.VM_KEY.read_bytes()
    return driver.boot(bench, machine, kernel, files(guest) | (more or {}), keys=keys)


def start(console, kind, mark, typed="/dev/null"):
    """Starts the guest, and waits until it says something, or ends; what it has said."""
    driver.run(console, f"{kind} <{typed} >/tmp/{kind} 2>&1 & echo $! >/tmp/{kind}.pid")
    pid = f"$(cat /tmp/{kind}.pid)"
    driver.run(console, f"until grep -q '{mark}' /tmp/{kind} || ! kill -0 {pid}; do sleep 0.2; done; grep '{mark}' /tmp/{kind}")
    return driver.run(console, f"cat /tmp/{kind}")


def kill(console, kind):
    """Ends the guest as nobody can prevent."""
    driver.run(console, f"kill -9 $(cat /tmp/{kind}.pid); wait $(cat /tmp/{kind}.pid); true")


def status(console):
    """What Corevisor says of the machine."""
    output = driver.run(console, "corevisor-vm status --json")
    return json.loads(output[output.index("{") : output.rindex("}") + 1])
