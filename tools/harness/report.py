# SPDX-License-Identifier: GPL-2.0-only
"""What `make bench` leaves for programs: target/bench.json, one object for each of the tools that measure."""

import json

from . import paths

FILE = paths.TARGET / "bench.json"


def store(section, figures):
    """Replaces one section of the file."""
    report = json.loads(FILE.read_text()) if FILE.exists() else {}
    report[section] = figures
    FILE.write_text(json.dumps(report, indent=2) + "\n")
