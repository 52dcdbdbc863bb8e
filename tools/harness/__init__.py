# SPDX-License-Identifier: GPL-2.0-only
"""Boots QEMU machines, talks to their consoles and runs the tests that do so."""
