# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU process and the serial console of its machine."""

import os
import re
import subprocess
import threading
import time

# What ends a run for good, unless the test is about just that: waiting for the time limit would tell nothing more.
FATAL = r"Kernel panic - |\[corevisor\] ERROR "
PROMPT = r"host:~# "
# A boot takes seconds; a machine that is busy with other things may need many times that.
PATIENCE = 300
# Seconds for what follows the first line of a fatal message: registers, a backtrace.
REST_OF_MESSAGE = 2


class Failure(Exception):
    """The machine did not do what was expected of it."""


class Console:
    """Runs QEMU, keeps all that its machine prints, and types into it."""

    def __init__(self, arguments, log, on_output=None):
        self.text = ""
        self.position = 0
        self._on_output = on_output
        self._changed = threading.Condition()
        self._ended = False
        self._log = open(log, "ab") if log else None
        if self._log:
            self._log.write((" ".join(arguments) + "\n").encode())
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        """Ends QEMU if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()
        if self._log:
            self._log.close()

    def send(self, text):
        """Types `text`."""
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"QEMU had ended when this was to be typed: {text!r}") from None

    def expect(self, pattern, timeout=PATIENCE, fatal=FATAL):
        """Waits until `pattern` appears after the previous match; its match. Without `timeout`, for ever."""
        compiled = re.compile(pattern)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                match = compiled.search(self.text, self.position)
                if match:
                    self.position = match.end()
                    return match
                stopped = fatal and re.search(fatal, self.text[self.position :])
                if stopped:
                    self._changed.wait_for(lambda: self._ended, REST_OF_MESSAGE)
                    line = self.text[self.position + stopped.start() :].splitlines()[0]
                    raise Failure(f"waited for {pattern!r}, and the machine said: {line}")
                if self._ended:
                    raise Failure(f"QEMU ended with status {self.process.wait()} before {pattern!r} appeared")
                if not self._changed.wait(None if deadline is None else deadline - time.monotonic()):
                    raise Failure(f"{pattern!r} did not appear in {timeout} s")

    def expect_silence(self, seconds=1):
        """Checks that the machine prints nothing more for a while."""
        with self._changed:
            before = self.text
            self._changed.wait(seconds)
            if self.text != before:
                raise Failure(f"the machine went on: {self.text[len(before):].strip()[:200]!r}")

    def shell(self, command, timeout=PATIENCE):
        """Runs a command in the host's shell, once it shows its prompt; its exit status and output."""
        self.expect(PROMPT, timeout)
        # The shell echoes what it is sent; only the executed form has a number after the mark.
        self.send(f"{command}; echo status:$?\n")
        start = self.position
        match = self.expect(r"status:(\d+)\r?\n", timeout)
        return int(match[1]), self.text[start : match.start()]

    def power_off(self, timeout=PATIENCE):
        """Has the host power off; checks that QEMU ends well."""
        self.expect(PROMPT, timeout)
        self.send("poweroff -f\n")
        self.expect_power_off(timeout)

    def expect_power_off(self, timeout=PATIENCE):
        """Waits until the machine is off; checks that QEMU ends well."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"the machine was not off after {timeout} s") from None
        self._reader.join()
        if status != 0:
            raise Failure(f"QEMU ended with status {status}")

    def _read(self):
        while True:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if self._log:
                self._log.write(data)
                self._log.flush()
            if data and self._on_output:
                self._on_output(data)
            with self._changed:
                self.text += data.decode("utf-8", "replace")
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return
