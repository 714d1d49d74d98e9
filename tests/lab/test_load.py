# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of the load that a guest had while it migrated."""

import json
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import pytest

from lab import load
from lab.analysis import TO_CLIENT, TO_GUEST
from lab.errors import LabError
from lab.load import Copy, Stream
from lab.trace import Delivery

GOOD: dict[str, Any] = {
    "files": {TO_GUEST: asdict(Copy(load.FILE_BYTES, 7, 5, 24.5, 310.4, True))},
    "iperf3": {TO_CLIENT: asdict(Stream(24_000_000, 3, 1_000_000))},
    "trace": {TO_GUEST: asdict(Delivery(5000, 40, 1, 2, 0))},
}


def test_nothing_broken() -> None:
    assert load.broken(GOOD) == []
    words = load.words(GOOD)
    assert words[f"file, {TO_GUEST}"] == (
        "33.6 MB in 24.5 s, SHA-256 equal, 7 retransmissions (5 needless), longest stall 310 ms"
    )
    assert words[f"trace, {TO_GUEST}"] == "5000 frames, 40 lost, 1 twice, 2 out of order"


@pytest.mark.parametrize(
    ("kind", "direction", "field", "value", "text"),
    [
        ("files", TO_GUEST, "equal", False, "otherwise than it was sent"),
        ("files", TO_GUEST, "bytes", 1, "otherwise than it was sent"),
        ("iperf3", TO_CLIENT, "bytes_at_the_end", 0, "does not get anything through"),
        ("trace", TO_GUEST, "lost", 5000, "nothing has arrived"),
        ("trace", TO_GUEST, "foreign", 1, "1 frames were altered"),
    ],
)
def test_broken(kind: str, direction: str, field: str, value: object, text: str) -> None:
    found = deepcopy(GOOD)
    found[kind][direction][field] = value
    (wrong,) = load.broken(found)
    assert text in wrong


def test_iperf3() -> None:
    report = {
        "intervals": [{}, {"sum": {"bytes": 5}, "sum_bidir_reverse": {"bytes": 6}}],
        "end": {
            "sum_sent": {"retransmits": 1},
            "sum_received": {"bytes": 100},
            "sum_sent_bidir_reverse": {"retransmits": 2},
            "sum_received_bidir_reverse": {"bytes": 200},
        },
    }
    found = load.streamed(json.dumps(report))
    assert found == {TO_GUEST: Stream(100, 1, 5), TO_CLIENT: Stream(200, 2, 6)}
    with pytest.raises(LabError, match="iperf3: error"):
        load.streamed("iperf3: error - unable to connect")
