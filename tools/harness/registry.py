# SPDX-License-Identifier: GPL-2.0-only
"""The list of tests, and what each gets to work with."""

import importlib.util
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import paths
from .console import Console


@dataclass(frozen=True)
class Test:
    """A test: a function that is called with a Bench and raises an exception if the machine disappoints."""

    name: str
    function: Callable
    arguments: dict = field(default_factory=dict)
    soak: bool = False


class Bench:
    """A test's place of work: its log and its scratch folder."""

    def __init__(self, test):
        self.log = paths.LOGS / f"{test.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self._scratch = tempfile.TemporaryDirectory(prefix="corevisor-test-")
        self.scratch = Path(self._scratch.name)

    def start(self, arguments):
        """A running machine."""
        return Console(arguments, self.log)

    def file(self, name, content):
        """A scratch file."""
        path = self.scratch / name
        path.write_bytes(content)
        return path

    def close(self):
        """Removes the scratch folder."""
        self._scratch.cleanup()


TESTS = []


def test(function):
    """Registers a function under its name."""
    add(function.__name__.replace("_", "-"), function)
    return function


def add(name, function, soak=False, **arguments):
    """Registers a function to be called with these arguments. A `soak` test belongs to the long form only."""
    if any(known.name == name for known in TESTS):
        raise ValueError(f"two tests are called {name}")
    TESTS.append(Test(name, function, arguments, soak))


def load():
    """Imports all test files, which register their tests."""
    sys.path.insert(0, str(paths.LINUX_TESTS))
    for file in sorted(paths.LINUX_TESTS.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return TESTS
