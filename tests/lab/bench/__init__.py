# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurements of scripts/bench: one module each, with a DESCRIPTION, a function arguments()
that tells argparse its options, and a function run() that returns the exit status. They are found
by looking at this directory."""

import argparse
import importlib
from pathlib import Path
from types import ModuleType


def names() -> list[str]:
    """All measurements."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def load(name: str) -> ModuleType:
    """A measurement's module."""
    return importlib.import_module(f".{name}", __package__)


def number(text: str) -> int:
    """How often, as an option says it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: not a number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="scripts/bench", description="Measurements in the lab of emulated hosts."
    )
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    for name in names():
        module = load(name)
        command = commands.add_parser(
            name, help=module.DESCRIPTION, description=module.DESCRIPTION
        )
        module.arguments(command)
        command.set_defaults(function=module.run)
    return result


def main() -> int:
    arguments = parser().parse_args()
    return arguments.function(arguments)
