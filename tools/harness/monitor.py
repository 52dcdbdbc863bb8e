# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's own view of a machine, by its machine protocol (QMP) on a Unix socket."""

import json
import re
import socket


class Monitor:
    """A connection to a running QEMU."""

    @staticmethod
    def arguments(path):
        """QEMU's arguments for a monitor at this path."""
        return ("-qmp", f"unix:{path},server=on,wait=off")

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        # The greeting; then the protocol wants to be opened.
        self._lines.readline()
        self._execute("qmp_capabilities", {})

    def close(self):
        """Ends the connection."""
        self._lines.close()
        self._socket.close()

    def word(self, address):
        """The 32-bit word at a physical address, whatever the machine's own tables say about it."""
        return int(re.search(r": (0x[0-9a-f]+)", self.command(f"xp /1wx {address:#x}"))[1], 16)

    def command(self, line):
        """A command of the monitor for people; its answer."""
        return self._execute("human-monitor-command", {"command-line": line})

    def _execute(self, command, arguments):
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        while True:
            message = json.loads(self._lines.readline())
            # Events come in between.
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise RuntimeError(f"QEMU refused {command}: {message['error']}")
