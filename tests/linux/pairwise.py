# SPDX-License-Identifier: GPL-2.0-only
"""Few combinations that still show each value of a factor together with each value of every other."""

import itertools


def pairs(row):
    """All pairs of values in a combination, with their places."""
    return set(itertools.combinations(enumerate(row), 2))


def cover(*factors):
    """Combinations that hold every pair: greedily the one that adds most, the first of equals."""
    everything = list(itertools.product(*factors))
    missing = set().union(*map(pairs, everything))
    chosen = []
    while missing:
        best = max(everything, key=lambda row: len(pairs(row) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen
