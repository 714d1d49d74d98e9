# SPDX-License-Identifier: GPL-2.0-or-later
"""A host's times on the client's clock."""

from lab.clock import Clock, Reading


def test_offset() -> None:
    clock = Clock(Reading(1000, 501_000, 10), Reading(2000, 502_000, 30))
    assert clock.client_us(501_250) == 1250
    assert clock.uncertainty_us == 30


def test_drift() -> None:
    # The host's clock runs at twice the client's speed.
    clock = Clock(Reading(1000, 50_000, 10), Reading(2000, 52_000, 10))
    assert clock.client_us(51_000) == 1500
    assert clock.client_us(54_000) == 3000
    assert clock.client_us(48_000) == 0


def test_one_reading() -> None:
    reading = Reading(1000, 50_000, 10)
    assert Clock(reading, reading).client_us(50_500) == 1500
