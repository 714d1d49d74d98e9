# SPDX-License-Identifier: GPL-2.0-or-later
"""Ratios of what was measured in turns."""

import math

import pytest

from lab.ratio import EXCEEDED, NOT_SHOWN, SHOWN, Ratio, of_pairs


def test_drift_of_the_machine_cancels() -> None:
    found = of_pairs([(98, 100), (49, 50), (196, 200)])
    assert found.ratio == pytest.approx(0.98)
    assert found.low == pytest.approx(0.98)
    assert found.high == pytest.approx(0.98)


def test_confidence() -> None:
    # Of 1, 1.1 and 1 / 1.1: mean 1, deviation of the logarithms log(1.1), Student's t 4.303.
    found = of_pairs([(1, 1), (1.1, 1), (1, 1.1)])
    assert found.ratio == pytest.approx(1)
    assert found.high == pytest.approx(math.exp(4.303 * math.log(1.1) / math.sqrt(3)))
    assert found.low == pytest.approx(1 / found.high)


def test_one_pair_decides_nothing() -> None:
    found = of_pairs([(1, 1)])
    assert found.worse_than(0.03, more_is_better=True) == NOT_SHOWN
    assert found.worse_than(0.03, more_is_better=False) == NOT_SHOWN


def test_verdicts() -> None:
    assert Ratio(1, 0.98, 1.02).worse_than(0.03, more_is_better=True) == SHOWN
    assert Ratio(1, 0.98, 1.02).worse_than(0.03, more_is_better=False) == SHOWN
    assert Ratio(1, 0.96, 1.04).worse_than(0.03, more_is_better=True) == NOT_SHOWN
    assert Ratio(1, 0.96, 1.04).worse_than(0.03, more_is_better=False) == NOT_SHOWN
    assert Ratio(0.9, 0.88, 0.92).worse_than(0.03, more_is_better=True) == EXCEEDED
    assert Ratio(0.9, 0.88, 0.92).worse_than(0.03, more_is_better=False) == SHOWN
    assert Ratio(1.1, 1.08, 1.2).worse_than(0.03, more_is_better=False) == EXCEEDED
    assert Ratio(1.1, 1.08, 1.2).worse_than(0.03, more_is_better=True) == SHOWN
