# SPDX-License-Identifier: GPL-2.0-only
"""`make demo`: all that it shows comes out as it must, and is what the README says."""

import subprocess

import host
from harness import paths
from harness.registry import test


@test
def demo(bench):
    """The demonstration, as it is shown."""
    with bench.log.open("ab") as log:
        command = [paths.ROOT / "tools" / "demo"]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False)
    host.check(run.returncode == 0, f"tools/demo ended with status {run.returncode}")
