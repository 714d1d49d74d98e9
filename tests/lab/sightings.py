# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of each frame within the guest: a packet capture of all its interfaces, read."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from .analysis import Phase
from .probe.control import AT_MASTER, AT_PRIMARY, Sighting


@dataclass
class Fate:
    """How often the guest saw a frame; taken is what the pair passed on to its master."""

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
        return ", ".join(words) or "seen nowhere"


@dataclass(frozen=True)
class Stretch:
    """Frames in a row that had the same fate."""

    first: int
    last: int
    sent_ms: float
    """When the first was sent, from the start of the migration."""
    fate: str


def fates(sightings: Iterable[Sighting]) -> dict[int, Fate]:
    """The fate of each frame that was seen at all. A frame is seen at its interface first, and then
    at the master, if it is taken."""
    found: dict[int, Fate] = {}
    entered: dict[int, int] = {}
    """Where a frame was seen whose sighting at the master may yet come."""
    for sighting in sightings:
        fate = found.setdefault(sighting.sequence, Fate())
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
    result: list[Stretch] = []
    for sequence, us in enumerate(sent):
        if not phase.contains(us):
            continue
        fate = found.get(sequence, Fate()).describe()
        if result and result[-1].fate == fate and result[-1].last == sequence - 1:
            last = result.pop()
            result.append(Stretch(last.first, sequence, last.sent_ms, fate))
        else:
            result.append(Stretch(sequence, sequence, (us - start_us) / 1000, fate))
    return result


def show(part: list[Stretch]) -> list[str]:
    """A line each."""
    return [
        f"{stretch.sent_ms:10.1f} ms  {stretch.last - stretch.first + 1:5} from {stretch.first}: "
        f"{stretch.fate}"
        for stretch in part
    ]


def as_json(part: list[Stretch]) -> list[dict[str, object]]:
    """For a report."""
    return [asdict(stretch) for stretch in part]
