# SPDX-License-Identifier: GPL-2.0-only
"""The choices that `tools/setup` wrote down."""

import re

from . import paths


def variables(name="toolchain"):
    """The make variables in target/toolchain.mk, or another such file; none if the set-up did not run yet."""
    file = paths.TARGET / f"{name}.mk"
    return dict(re.findall(r"^(\w+) = (.*)$", file.read_text(), re.MULTILINE)) if file.exists() else {}
