# SPDX-License-Identifier: GPL-2.0-or-later
"""One migration, frame by frame, in a form that is small enough to keep.

Times are microseconds from the start of the migration, each written as the difference to the one
before it.
"""

from typing import Any

from . import analysis
from .analysis import Record, Span

AROUND_US = 500_000
"""How much of the time before and after the migration belongs to the picture."""


def of(record: Record, whole: Span) -> dict[str, Any]:
    """The part of a record that surrounds a migration."""
    start = whole[0]
    begin, end = start - AROUND_US, whole[1] + AROUND_US
    return {
        "begin_us": begin - start,
        "end_us": end - start,
        "frames": [
            {
                "direction": flow.direction,
                "news": pack([us - start for us in flow.news if begin <= us <= end]),
                "lost": pack([us - start for us in flow.lost if begin <= us <= end]),
            }
            for flow in analysis.frames(record)
        ],
    }


def pack(times: list[int]) -> str:
    """Times as the differences between them."""
    return " ".join(str(b - a) for a, b in zip([0, *times], times))


def unpack(text: str) -> list[int]:
    """What was packed."""
    times: list[int] = []
    for difference in text.split():
        times.append((times[-1] if times else 0) + int(difference))
    return times
