# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of each frame within the guest: a packet capture of all its interfaces, read."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from .analysis import Phase
from .probe.control import AT_MASTER, AT_PRIMARY, Sighting


@dataclass
class Fate:
    """How often the guest saw a frame; taken is what the pair passed on to its master."""

    us: int
    """When it saw it first, by its own clock."""
    by_vf: int = 0
    by_standby: int = 0
    dropped_at_vf: int = 0
    dropped_at_standby: int = 0

    def describe(self) -> str:
        """In words."""
        words = [
            f"{what}{f' {times} times' if times > 1 else ''}"
            for what, times in (
                ("taken from the VF", self.by_vf),
                ("taken from the standby", self.by_standby),
                ("thrown away at the VF", self.dropped_at_vf),
                ("thrown away at the standby", self.dropped_at_standby),
            )
            if times
        ]
        return ", ".join(words)


@dataclass(frozen=True)
class Stretch:
    """Frames in a row that had the same fate."""

    first: int
    last: int
    sent_ms: float
    """When the first was sent, from the start of the migration."""
    fate: str
    late_ms: float
    """How long the one that took longest took to the guest; the fastest of the phase counts as 0,
    as the guest's clock is another one. What was not seen is not late."""


def fates(sightings: Iterable[Sighting]) -> dict[int, Fate]:
    """The fate of each frame that was seen at all. A frame is seen at its interface first, and then
    at the master, if it is taken."""
    found: dict[int, Fate] = {}
    entered: dict[int, int] = {}
    """Where a frame was seen whose sighting at the master may yet come."""
    for sighting in sightings:
        fate = found.setdefault(sighting.sequence, Fate(sighting.us))
        place = entered.pop(sighting.sequence, None)
        if sighting.place != AT_MASTER:
            _drop(fate, place)
            entered[sighting.sequence] = sighting.place
        elif place == AT_PRIMARY:
            fate.by_vf += 1
        else:
            fate.by_standby += 1
    for sequence, place in entered.items():
        _drop(found[sequence], place)
    return found


def _drop(fate: Fate, place: int | None) -> None:
    if place == AT_PRIMARY:
        fate.dropped_at_vf += 1
    elif place is not None:
        fate.dropped_at_standby += 1


def stretches(
    sent: list[int], found: dict[int, Fate], phase: Phase, start_us: int
) -> list[Stretch]:
    """Of the frames that were sent in a phase."""
    inside = [sequence for sequence, us in enumerate(sent) if phase.contains(us)]
    took = {sequence: found[sequence].us - sent[sequence] for sequence in inside if sequence in found}
    fastest = min(took.values(), default=0)
    result: list[Stretch] = []
    for sequence in inside:
        fate = found[sequence].describe() if sequence in found else "seen nowhere"
        late_ms = (took.get(sequence, fastest) - fastest) / 1000
        if result and result[-1].fate == fate and result[-1].last == sequence - 1:
            before = result.pop()
            stretch = replace(before, last=sequence, late_ms=max(before.late_ms, late_ms))
        else:
            stretch = Stretch(sequence, sequence, (sent[sequence] - start_us) / 1000, fate, late_ms)
        result.append(stretch)
    return result


def show(part: list[Stretch]) -> list[str]:
    """A line each."""
    return [
        f"{stretch.sent_ms:10.1f} ms  {stretch.last - stretch.first + 1:5} from {stretch.first}: "
        f"{stretch.fate}{_late(stretch)}"
        for stretch in part
    ]


def _late(stretch: Stretch) -> str:
    return f" (up to {stretch.late_ms:.0f} ms late)" if stretch.late_ms >= 1 else ""


def as_json(part: list[Stretch]) -> list[dict[str, object]]:
    """For a report."""
    return [asdict(stretch) for stretch in part]
