# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of scripts/bench transfer."""

from typing import Any

from lab.analysis import TO_CLIENT, TO_GUEST
from lab.bench import transfer


def _found(number: int) -> dict[str, Any]:
    both = (TO_GUEST, TO_CLIENT)
    return {
        "files": {
            direction: {
                "retransmits": number,
                "needless": 2 * number,
                "longest_stall_ms": 10.4 * number,
            }
            for direction in both
        },
        "iperf3": {direction: {"retransmits": 100 * number} for direction in both},
        "trace": {direction: {"lost": 1000 * number} for direction in both},
    }


def test_table() -> None:
    text = transfer.table(
        [
            {"contender": "a", "qemu": "stock", "ok": True, "transfer": _found(1)},
            {"contender": "b", "qemu": "patched", "ok": False, "error": "it broke"},
        ]
    )
    _, _, first, second, error = text.splitlines()
    assert first.split() == ["a", *["1", "2", "10", "100", "1000"] * 2]
    assert second.split() == ["b-patched", *["-"] * 10]
    assert error == "  failed: it broke"
