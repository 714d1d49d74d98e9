# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when a guest's link is what it is."""

from lab.probe.probe import shown_since


def test_shown_since() -> None:
    changes = [(10, 3), (20, 7), (30, 15), (40, 7), (50, 15)]
    assert shown_since(changes, 12, 0) == 50
    assert shown_since(changes[:3], 12, 0) == 30
    assert shown_since(changes[:4], 12, 0) is None
    assert shown_since(changes, 3, 0) == 10
    assert shown_since(changes, 12, 70) == 70
    assert shown_since([], 1, 0) is None
