# SPDX-License-Identifier: GPL-2.0-or-later
"""The report for people, and the sums behind it."""

from dataclasses import asdict

from lab import phases, report, slowdown
from lab.analysis import TO_CLIENT, TO_GUEST, Flow
from lab.contenders.vfailover import Own, own_of
from lab.run import sum_flows


def test_sum() -> None:
    flows = [
        Flow("whole", TO_GUEST, 100, 10, 1, 20.0, 4.0),
        Flow("whole", TO_CLIENT, 9, 0, 0, 0, 7.0),
        Flow("whole", TO_GUEST, 50, 5, 2, 30.0, 3.0),
        Flow("whole", TO_CLIENT, 8, 1, 0, 4, 3.0),
    ]
    assert sum_flows(flows) == [
        Flow("whole", TO_GUEST, 150, 15, 3, 30.0, 4.0),
        Flow("whole", TO_CLIENT, 17, 1, 0, 4, 7.0),
    ]


def test_table() -> None:
    run = {
        "scenario": "migrate",
        "contender": "vfailover",
        "qemu": "stock",
        "ok": True,
        "phases": [
            asdict(Flow(phases.STOP_AND_COPY, TO_GUEST, 1234, 567, 8, 901.4, 55.0)),
            asdict(Flow(phases.STOP_AND_COPY, TO_CLIENT, 432, 10, 0, 98.6, 76.0)),
        ],
        "tcp": {"alive": False, "longest_stall_ms": 4321.0},
    }
    text = report.table({"runs": [run]})
    assert "migrate with vfailover (stock QEMU): ok" in text
    row = next(line for line in text.splitlines() if phases.STOP_AND_COPY in line)
    assert row.split()[1:] == ["1234", "567", "8", "901", "55", "432", "10", "0", "99", "76"]
    assert "TCP DEAD, longest stall 4321 ms" in text


def test_neighbours() -> None:
    run = {
        "scenario": "neighbours",
        "contender": "vfailover",
        "qemu": "stock",
        "ok": True,
        "phases": [asdict(Flow(phases.WHOLE, TO_GUEST, 1, 2, 3, 4.0, 5.0))],
        "neighbours": [
            {
                "kind": "bridge",
                "host": "hosta",
                "role": "source",
                "phases": [asdict(Flow(phases.WHOLE, TO_CLIENT, 543, 21, 0, 98.6, 76.0))],
            }
        ],
        "isolation": {"frames": 4321, "foreign": 3, "missed": 0, "returned": 7, "strangers": 99},
    }
    lines = report.table({"runs": [run]}).splitlines()
    start = lines.index("  neighbour: bridge in hosta, the source")
    assert lines[start + 1].split(maxsplit=3)[3] == "guest > neighbour"
    assert lines[start + 3].split()[1:] == ["543", "21", "0", "99", "76"]
    assert "received 4321 frames, 3 of them foreign" in lines[-1]


def test_comparison() -> None:
    runs = [
        {
            "scenario": scenario,
            "contender": contender,
            "qemu": "stock",
            "ok": True,
            "phases": [asdict(Flow(phases.WHOLE, TO_GUEST, 9000, lost, 0, gap, 7.0))],
        }
        for scenario, contender, lost, gap in [
            ("stock", "stock", 2000, 4000.0),
            ("migrate", "vfailover", 3, 6.0),
        ]
    ]
    lines = report.table({"runs": runs}).splitlines()
    heading = next(line for line in lines if line.startswith("lost"))
    assert heading.split()[-2:] == ["stock", "vfailover"]
    row = next(line for line in lines if line.startswith("  client > guest  whole"))
    assert row.split()[4:] == ["2000", "(4000,", "7)", "3", "(6,", "7)"]
    assert "lost (gap" not in report.table({"runs": runs[:1]})


def test_table_of_a_failure() -> None:
    run = {"scenario": "x", "contender": "stock", "qemu": "stock", "ok": False, "error": "no VF"}
    assert "FAILED: no VF" in report.table({"runs": [run]})


def test_daemon() -> None:
    run = {
        "scenario": "migrate",
        "contender": "vfailover",
        "qemu": "stock",
        "ok": True,
        "daemon": {
            "own": [
                {"source_ms": 60.0, "destination_ms": 24.0},
                {"source_ms": 30.0, "destination_ms": 12.0},
            ],
            "slowdown": 12.0,
            "rss_kb": 12288,
        },
    }
    text = report.table({"runs": [run]})
    assert "7.0 ms (5.0 source, 2.0 destination), then 3.5 ms (2.5 source" in text
    assert "84 and 42 ms of the emulated processor, 12.0 times slower" in text
    assert "12.0 MiB resident" in report.table({"runs": [run]})


def test_timeline_is_in_order() -> None:
    steps = [
        {"name": "open", "host": "b", "start_ms": 900.0, "duration_ms": 1.0, "result": "ok"},
        {"name": "lease", "host": "a", "start_ms": 20.5, "duration_ms": 3.26, "result": "failed"},
    ]
    rows = report.timeline({"migrations": [{"job": {"steps": steps}}]}).splitlines()[1:]
    assert rows[0].split() == ["0.021", "3.3", "a", "lease", "failed"]
    assert rows[1].split() == ["0.900", "1.0", "b", "open", "ok"]


def test_own_time() -> None:
    steps = [
        {"name": "inspect", "host": "a", "own-us": 1500},
        {"name": "inspect", "host": "b", "own-us": 700},
        {"name": "lease", "host": "a", "own-us": 500},
    ]
    assert own_of({"steps": steps}, "a") == Own(2.0, 0.7)


def test_slowdown() -> None:
    """The first batch of each process, and a disturbance, do not count."""
    here = slowdown.batches("900\n10\n11\n") + slowdown.batches("900\n10\n90\n10\n")
    assert here == [10, 11, 10, 90, 10]
    assert slowdown.factor(here, slowdown.batches("9000\n120\n120\n")) == 12.0
