# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians and worst of many runs."""

from dataclasses import asdict
from typing import Any

from lab import phases, summary
from lab.analysis import TO_CLIENT, TO_GUEST, Flow


def run(lost: int, contender: str = "stock", qemu: str = "stock", us: int = 2000) -> dict[str, Any]:
    flows = [
        Flow(phase, direction, 1000, lost, lost // 2, 2.0 * lost, 4.0 * lost)
        for phase in (*summary.SHOWN, phases.WHOLE)
        for direction in (TO_GUEST, TO_CLIENT)
    ]
    return {
        "contender": contender,
        "qemu": qemu,
        "spacing_us": us,
        "ok": True,
        "phases": [asdict(flow) for flow in flows],
        "migration": {"total_ms": lost, "downtime_ms": 1, "stopped_ms": 2.5, "vf_ms": 0},
    }


def failed(contender: str) -> dict[str, Any]:
    what = {"contender": contender, "qemu": "stock", "spacing_us": 2000}
    return {**what, "ok": False, "error": "no VF"}


def test_median_and_worst() -> None:
    (entry,) = summary.of([run(9), run(1), run(4)])
    assert (entry["runs"], entry["failed"]) == (3, 0)
    flow = entry["phases"][0]
    assert (flow["name"], flow["direction"]) == (phases.TO_STANDBY, TO_GUEST)
    assert flow["lost"] == {"median": 4, "worst": 9}
    assert flow["duplicated"] == {"median": 2, "worst": 4}
    assert flow["longest_gap_ms"] == {"median": 8.0, "worst": 18.0}
    assert flow["longest_silence_ms"] == {"median": 16.0, "worst": 36.0}
    assert entry["migration"]["total_ms"] == {"median": 4, "worst": 9}


def test_groups() -> None:
    entries = summary.of([run(1), run(2, us=500), run(3, qemu="patched"), run(5)])
    found = [(e["qemu"], e["spacing_us"], e["runs"]) for e in entries]
    assert found == [("stock", 2000, 2), ("stock", 500, 1), ("patched", 2000, 1)]


def test_failed_runs_count_as_such() -> None:
    first, second = summary.of([run(7), failed("stock"), failed("detach")])
    assert (first["runs"], first["failed"]) == (1, 1)
    assert first["phases"][0]["lost"] == {"median": 7, "worst": 7}
    assert (second["runs"], second["failed"], second["phases"]) == (0, 1, [])


def test_table() -> None:
    runs = [run(9), run(1), run(4), run(2, "vfailover", "patched", 500), failed("detach")]
    blocks = summary.table(summary.of(runs)).split("\n\n")
    assert [block.splitlines()[0].split(":")[0] for block in blocks] == [
        "client to guest, a frame every 2 ms",
        "guest to client, a frame every 2 ms",
        "client to guest, a frame every 0.5 ms",
        "guest to client, a frame every 0.5 ms",
    ]
    _, _, stock, detach = blocks[0].splitlines()
    assert stock.split() == ["stock", "3", *["4/2", "(9/4)"] * 4, "16", "(36)"]
    assert detach.split() == ["detach", "0-1", "-", "-", "-", "-", "-"]
    assert blocks[2].splitlines()[2].startswith("vfailover-patched ")


def with_neighbours(lost: int) -> dict[str, Any]:
    flows = run(lost)["phases"]
    return {**run(0), "neighbours": [{"kind": "vf", "role": "source", "phases": flows}]}


def test_neighbours() -> None:
    (entry,) = summary.of([with_neighbours(4), with_neighbours(6), with_neighbours(5), run(9)])
    (neighbour,) = entry["neighbours"]
    assert (neighbour["kind"], neighbour["role"]) == ("vf", "source")
    assert neighbour["phases"][0]["lost"] == {"median": 5, "worst": 6}


def test_table_of_neighbours() -> None:
    blocks = summary.table(summary.of([with_neighbours(4), run(1, "detach")])).split("\n\n")
    assert [block.splitlines()[0].split(",")[0] for block in blocks] == [
        TO_GUEST,
        TO_CLIENT,
        "neighbour > guest",
        "guest > neighbour",
    ]
    (row,) = blocks[2].splitlines()[2:]
    assert row.split()[:4] == ["stock:", "vf,", "source", "1"]
    assert row.split()[4:6] == ["4/2", "(4/2)"]
