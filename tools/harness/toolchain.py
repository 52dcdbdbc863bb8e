# SPDX-License-Identifier: GPL-2.0-only
"""The choice of Rust that `tools/setup` wrote down."""

import re

from . import paths


def variables():
    """The make variables in target/toolchain.mk; none if the set-up did not run yet."""
    file = paths.TARGET / "toolchain.mk"
    return dict(re.findall(r"^(\w+) = (.*)$", file.read_text(), re.MULTILINE)) if file.exists() else {}
