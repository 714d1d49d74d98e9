# SPDX-License-Identifier: GPL-2.0-or-later
"""The phases of a migration, and of a run with several of them."""

from dataclasses import dataclass

from .analysis import Phase, Span

TO_STANDBY = "VF to standby"
STOP_AND_COPY = "stop-and-copy"
ON_STANDBY = "standby at destination"
TO_VF = "standby to VF"
REST = "rest"
WHOLE = "whole"
CANCELLED = "cancelled"

AFTER_RESUME_US = 400_000
"""How long announcements, and bridges that learn, count as part of the switch-over."""
AFTER_VF_US = 1_000_000


@dataclass(frozen=True)
class Borders:
    """When the things happened that separate the phases of one migration."""

    start: int
    """The job starts; on stock QEMU that is the request to unplug the VF."""
    stop: int
    """The source stopped the guest (analysis.stopped_us())."""
    resume: int
    """The destination resumed it."""
    returning: int
    """The first thing was done to give it a VF again."""
    vf: int
    """The guest uses its new VF."""


def of_migration(borders: Borders) -> list[Phase]:
    """The phases of one migration, and the whole of it."""
    switched = borders.resume + AFTER_RESUME_US
    returning = max(borders.returning, switched)
    end = max(borders.vf, returning) + AFTER_VF_US
    return [
        Phase(TO_STANDBY, ((borders.start, borders.stop),)),
        Phase(STOP_AND_COPY, ((borders.stop, switched),)),
        Phase(ON_STANDBY, ((switched, returning),)),
        Phase(TO_VF, ((returning, end),)),
        Phase(WHOLE, ((borders.start, end),)),
    ]


def rest(migrations: list[list[Phase]], run: Span) -> Phase:
    """What of the run belongs to no migration."""
    spans: list[Span] = []
    start = run[0]
    for whole in sorted(phases[-1].spans[0] for phases in migrations):
        if whole[0] > start:
            spans.append((start, whole[0]))
        start = max(start, whole[1])
    if run[1] > start:
        spans.append((start, run[1]))
    return Phase(REST, tuple(spans))
