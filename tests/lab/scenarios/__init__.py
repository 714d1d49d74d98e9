# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios: one module each, with a DESCRIPTION, CONTENDERS to choose from (the first is the
default) and a function run(). Those with TEST = False are run by hand. They are found by looking at this directory."""

import argparse
import fnmatch
import importlib
from pathlib import Path
from types import ModuleType


def names() -> list[str]:
    """All scenarios."""
    found = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(path.stem.replace("_", "-") for path in found)


def load(name: str) -> ModuleType:
    """A scenario's module."""
    return importlib.import_module(f".{name.replace('-', '_')}", __package__)


def is_test(name: str) -> bool:
    """Whether scripts/test runs it."""
    return getattr(load(name), "TEST", True)


def chosen(text: str) -> list[str]:
    """The scenario of that name, or all that match the pattern."""
    found = fnmatch.filter(names(), text)
    if not found:
        raise argparse.ArgumentTypeError(f"no scenario '{text}': see 'scripts/lab list'")
    return found
