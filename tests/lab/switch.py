# SPDX-License-Identifier: GPL-2.0-or-later
"""One migration under traffic, measured on its own."""

from typing import Any

from .contenders import Contender
from .guest import Guest
from .lab import Lab
from .neighbours import Neighbours
from .run import Run

SCENARIO = "switch"


def start_guest(lab: Lab, contender: Contender, host_name: str) -> Guest:
    """The guest that is to be migrated, once it uses what it is to have."""
    return Run(SCENARIO, lab, contender).start_guest(host_name)


def measure(
    lab: Lab,
    contender: Contender,
    guest: Guest,
    host_name: str,
    spacing_us: int,
    neighbours: Neighbours | None = None,
) -> tuple[Guest, dict[str, Any]]:
    """Migrate the guest to that host; the guest there, and the report, with a timeline."""
    test = Run(SCENARIO, lab, contender, neighbours)
    try:
        test.start_traffic(guest, spacing_us)
        there = test.migrate(guest, host_name)
        test.finish()
    finally:
        test.abandon()
    report = {**test.report(), "spacing_us": spacing_us}
    return there, {**report, "timeline": test.timeline()}
