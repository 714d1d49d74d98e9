# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture of the guest's interfaces says of a frame."""

from lab.analysis import Phase
from lab.probe.control import AT_MASTER, AT_PRIMARY, AT_STANDBY, Sighting
from lab.sightings import Fate, Stretch, fates, show, stretches


def _see(*seen: tuple[int, int]) -> dict[int, Fate]:
    return fates(Sighting(us, sequence, place) for us, (sequence, place) in enumerate(seen))


def test_taken_or_thrown_away() -> None:
    found = _see(
        (0, AT_PRIMARY),
        (0, AT_MASTER),
        (1, AT_STANDBY),
        (1, AT_MASTER),
        (2, AT_STANDBY),
        (3, AT_PRIMARY),
    )
    assert found == {
        0: Fate(0, by_vf=1),
        1: Fate(2, by_standby=1),
        2: Fate(4, dropped_at_standby=1),
        3: Fate(5, dropped_at_vf=1),
    }


def test_twice() -> None:
    assert _see((0, AT_PRIMARY), (0, AT_MASTER), (0, AT_STANDBY), (0, AT_MASTER)) == {
        0: Fate(0, by_vf=1, by_standby=1)
    }
    assert _see((0, AT_STANDBY), (0, AT_PRIMARY), (0, AT_MASTER)) == {
        0: Fate(0, by_vf=1, dropped_at_standby=1)
    }


def test_two_processors_at_a_time() -> None:
    """Sightings of different frames are mixed."""
    assert _see((0, AT_PRIMARY), (1, AT_STANDBY), (0, AT_MASTER), (1, AT_MASTER)) == {
        0: Fate(0, by_vf=1),
        1: Fate(1, by_standby=1),
    }


def test_stretches() -> None:
    """The guest's clock is 500 s ahead, and its third frame 3 ms late."""
    clock = 500_000_000
    found = {
        0: Fate(clock + 1200, by_vf=1),
        1: Fate(clock + 3100, by_vf=1),
        3: Fate(clock + 10_100, by_vf=1),
        4: Fate(clock + 9100, by_standby=2),
    }
    sent = [1000, 3000, 5000, 7000, 9000, 11000]
    rows = stretches(sent, found, Phase("any", ((1000, 11000),)), 1000)
    assert rows == [
        Stretch(0, 1, 0.0, "taken from the VF", 0.1),
        Stretch(2, 2, 4.0, "seen nowhere", 0.0),
        Stretch(3, 3, 6.0, "taken from the VF", 3.0),
        Stretch(4, 4, 8.0, "taken from the standby 2 times", 0.0),
    ]
    assert [line.split(": ")[1] for line in show(rows)] == [
        "taken from the VF",
        "seen nowhere",
        "taken from the VF (up to 3 ms late)",
        "taken from the standby 2 times",
    ]
