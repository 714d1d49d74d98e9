# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture of one of the migrations that `scripts/bench switch` made."""

import argparse
import json
import sys
from pathlib import Path

from .. import plot

DESCRIPTION = "draw the migration of which a file of `switch` has every frame"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="written by switch --json")
    parser.add_argument("--out", type=Path, required=True, metavar="SVG", help="the picture")


def run(options: argparse.Namespace) -> int:
    try:
        found = json.loads(options.file.read_text(encoding="utf-8"))
        if not found["timeline"]:
            raise ValueError("no run was ok, there is nothing to draw")
        options.out.write_text(plot.of(found), encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        print(f"bench: {options.file}: {error}", file=sys.stderr)
        return 2
    return 0
