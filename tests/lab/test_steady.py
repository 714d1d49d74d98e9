# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench steady makes of its measurements."""

import json

import pytest

from lab.bench import steady
from lab.bench.steady import BARE, FAILOVER, LATENCY, THROUGHPUT, TO_CLIENT, TO_GUEST, Measurement
from lab.errors import LabError


def _pair(number: int, what: str, first: float, second: float) -> list[Measurement]:
    return [
        Measurement(1500, number, FAILOVER, TO_GUEST, what, first, retransmits=1),
        Measurement(1500, number, BARE, TO_GUEST, what, second, missing=2),
    ]


def test_summary() -> None:
    measurements = _pair(0, LATENCY, 110, 100) + _pair(1, LATENCY, 220, 200)
    measurements += _pair(0, THROUGHPUT, 99, 100) + _pair(1, THROUGHPUT, 198, 200)
    throughput, latency = steady.summary(measurements)
    assert throughput["what"] == THROUGHPUT
    assert (throughput["failover_median"], throughput["bare_median"]) == (148.5, 150)
    assert throughput["ratio"] == pytest.approx(0.99)
    assert throughput["within"] == "within"
    assert throughput["retransmits"] == {FAILOVER: 2, BARE: 0}
    assert latency["ratio"] == pytest.approx(1.1)
    assert latency["within"] == "beyond"
    assert latency["missing"] == {FAILOVER: 0, BARE: 4}
    text = steady.table({"tolerance": 0.03, "summary": [throughput, latency]})
    assert "0.990..0.990" in text
    assert text.splitlines()[2].endswith("beyond")


def test_directions_are_apart() -> None:
    measurements = _pair(0, LATENCY, 1, 1)
    measurements += [
        Measurement(1500, 0, side, TO_CLIENT, LATENCY, value)
        for side, value in ((FAILOVER, 3), (BARE, 1))
    ]
    assert [row["ratio"] for row in steady.summary(measurements)] == pytest.approx([1, 3])


def test_iperf3() -> None:
    end = {
        "sum_received": {"bits_per_second": 8e6, "bytes": 3_000_000},
        "sum_sent": {"retransmits": 4},
    }
    assert steady.throughput(json.dumps({"end": end})) == ({"value": 8, "retransmits": 4}, 3)
    with pytest.raises(LabError, match="no figures: iperf3: error"):
        steady.throughput("iperf3: error - unable to connect")


def test_ping_pong() -> None:
    found, trips = steady.latency("1000 2 500000 480000 900000\n")
    assert (found, trips) == ({"value": 500, "missing": 2}, 1000)


def test_turns() -> None:
    failover, bare = steady.turns("3 4\n3200000 6400000\n32000 64000\n")
    assert (failover, bare) == (([100, 1], 3), ([200, 2], 4))
    assert steady.turns("0 0\n") == [([], 0), ([], 0)]
