# SPDX-License-Identifier: GPL-2.0-or-later
"""What `scripts/bench switch` makes of its runs."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import phases, setup
from lab.analysis import TO_GUEST
from lab.bench import switch


def report(contender: str, qemu: str, us: int, silence_ms: float) -> dict[str, Any]:
    flow = {
        "name": phases.WHOLE, "direction": TO_GUEST, "lost": 0, "duplicated": 0,
        "longest_gap_ms": 0.0, "longest_silence_ms": silence_ms,
    }  # fmt: skip
    return {
        "contender": contender, "qemu": qemu, "spacing_us": us, "ok": True, "phases": [flow],
        "migration": {"total_ms": 1, "downtime_ms": 1, "stopped_ms": 1, "vf_ms": 1},
        "timeline": {"begin_us": 0},
    }  # fmt: skip


def test_typical_run() -> None:
    """Of vfailover with the patched QEMU, at the widest spacing, in the middle."""
    reports = [
        report("vfailover", "patched", 500, 5.0),
        *(report("vfailover", "patched", 2000, ms) for ms in (9.0, 7.0, 8.0)),
        report("vfailover", "stock", 2000, 1.0),
        report("stock", "stock", 2000, 1.0),
    ]
    result = switch.result(reports)
    assert result["timeline"] == {"run": 3, "begin_us": 0}
    assert len(result["runs"]) == 6
    assert not any("timeline" in run for run in result["runs"])
    assert [entry["runs"] for entry in result["summary"]] == [1, 3, 1, 1]


def test_no_typical_run() -> None:
    bad = {"contender": "stock", "qemu": "stock", "spacing_us": 2000, "ok": False, "error": "x"}
    assert switch.result([bad])["timeline"] is None


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    switch.arguments(parser)
    options = parser.parse_args([])
    assert options.contender[-1] == "vfailover-patched"
    assert (options.spacing, options.runs) == ([2000, 500], 5)
    assert parser.parse_args(["--spacing", "0.25"]).spacing == [250]
    for wrong in (["--runs", "0"], ["--spacing", "x"], ["--contender", "none"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


def flows_of_all_phases() -> list[dict[str, Any]]:
    whole = report("stock", "stock", 2000, 1.0)["phases"][0]
    names = (*switch.summary.SHOWN, phases.WHOLE)
    directions = (TO_GUEST, switch.TO_CLIENT)
    return [{**whole, "name": n, "direction": d} for n in names for d in directions]


def test_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second lab dies without a word, in its first run; the third makes what is left."""
    labs: list[Path] = []

    def directory_of(_name: str) -> Path:
        labs.append(tmp_path / str(len(labs)))
        labs[-1].mkdir()
        return labs[-1]

    def in_isolation(_function: Callable[[], int]) -> int:
        good = {**report("stock", "stock", 2000, 1.0), "phases": flows_of_all_phases()}
        bad = {key: good[key] for key in ("contender", "qemu", "spacing_us")}
        bad |= {"ok": False, "error": "no VF", "logs": "x"}
        written = ([good, bad], [], [good, good])[len(labs) - 1]
        (labs[-1] / switch.REPORTS).write_text("".join(json.dumps(r) + "\n" for r in written))
        return 9

    monkeypatch.setattr(switch.runs, "new", directory_of)
    monkeypatch.setattr(setup, "ready", lambda: True)
    monkeypatch.setattr(switch.isolation, "run", in_isolation)
    out = tmp_path / "switch.json"
    parser = argparse.ArgumentParser()
    switch.arguments(parser)
    words = ["--contender", "stock", "--spacing", "2", "--runs", "5", "--json", str(out)]
    assert switch.run(parser.parse_args(words)) == 1
    assert len(labs) == 3
    found = json.loads(out.read_text())
    errors = [run.get("error") for run in found["runs"]]
    assert errors == [None, "no VF", "the lab ended (9)", None, None]
    shown = capsys.readouterr()
    assert "bench: stock: no VF; logs: x" in shown.err
    assert "3-2" in shown.out
