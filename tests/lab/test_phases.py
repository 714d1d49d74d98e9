# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the borders of the phases are."""

from lab import phases
from lab.phases import Borders

S = 1_000_000


def test_migration() -> None:
    borders = Borders(S, 4 * S, 5 * S, 6 * S, 8 * S)
    to_standby, stop_and_copy, on_standby, to_vf, whole = phases.of_migration(borders)
    assert to_standby.spans == ((S, 4 * S),)
    assert stop_and_copy.spans == ((4 * S, 5_400_000),)
    assert on_standby.spans == ((5_400_000, 6 * S),)
    assert to_vf.spans == ((6 * S, 9 * S),)
    assert whole.spans == ((S, 9 * S),)


def test_vf_at_once_does_not_turn_a_phase_around() -> None:
    borders = Borders(S, 4 * S, 5 * S, 5 * S, 5 * S)
    _, _, on_standby, to_vf, _ = phases.of_migration(borders)
    assert not on_standby.contains(5_400_000)
    assert to_vf.spans == ((5_400_000, 6_400_000),)


def test_rest() -> None:
    first = phases.of_migration(Borders(2 * S, 3 * S, 4 * S, 4 * S, 5 * S))
    second = phases.of_migration(Borders(10 * S, 11 * S, 12 * S, 12 * S, 13 * S))
    assert phases.rest([second, first], (0, 20 * S)).spans == (
        (0, 2 * S),
        (6 * S, 10 * S),
        (14 * S, 20 * S),
    )
    assert phases.rest([], (5, 9)).spans == ((5, 9),)
    assert phases.rest([first], (2 * S, 6 * S)).spans == ()
