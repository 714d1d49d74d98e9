# SPDX-License-Identifier: GPL-2.0-or-later
"""Large files, iperf3 and a replayed trace across a migration, for several contenders:
nothing may break, and who makes TCP send how much again."""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from .. import isolation, load, qemus, runs, setup, summary
from ..analysis import TO_CLIENT, TO_GUEST
from ..contenders import ALL
from ..errors import LabError
from ..lab import Lab
from ..load import Load
from ..run import Run, header
from . import number
from .switch import INTERRUPTED, WAYS, Way

DESCRIPTION = "files, iperf3 and a replayed trace across a migration, for some contenders"

DEFAULT = ("virtio-net", "vfailover")
NAME = "transfer"
VFS = 2
SPACING_US = 10000
"""Gently: what is measured here is the rest."""

COLUMNS = (
    ("file: again", "files", "retransmits"),
    ("needless", "files", "needless"),
    ("stall ms", "files", "longest_stall_ms"),
    ("iperf3: again", "iperf3", "retransmits"),
    ("trace: lost", "trace", "lost"),
)
WIDTH = 14


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports to FILE")
    parser.add_argument("--runs", type=number, default=1, metavar="N", help="of each (1)")
    parser.add_argument(
        "--contender", nargs="+", default=list(DEFAULT), choices=WAYS,
        metavar="NAME", help=f"some of {', '.join(WAYS)} ({' '.join(DEFAULT)})",
    )  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Run them all; 1 if one of them failed."""
    if not setup.ready():
        return 1
    reports: list[dict[str, Any]] = []
    for turn in range(given.runs):
        for name in given.contender:
            directory = runs.new(NAME)
            print(f"== {name}, run {turn + 1} of {given.runs}: {directory}", flush=True)
            code = isolation.run(lambda: _one(WAYS[name], directory))
            if code == INTERRUPTED:
                return code
            written = directory / "report.json"
            if written.exists():
                reports.append(json.loads(written.read_text()))
            else:
                failed = header(NAME, WAYS[name].contender, WAYS[name].qemu)
                reports.append({**failed, "ok": False, "error": f"the lab ended ({code})"})
            if not reports[-1]["ok"]:
                print(f"bench: {name} failed: {reports[-1]['error']}", flush=True)
            if given.json:
                given.json.write_text(json.dumps({"runs": reports}, indent=1) + "\n")
    print(table(reports))
    return 0 if all(report["ok"] for report in reports) else 1


def _one(way: Way, directory: Path) -> int:
    """One run; its report is left in the directory."""
    contender = ALL[way.contender]()
    started = time.monotonic()
    try:
        contender.check()
        settings = {
            "qemu": qemus.patched() if way.qemu == qemus.PATCHED else qemus.stock(),
            "vfs": VFS,
            "memory_mb": contender.memory_mb,
            "layer": contender.layer(),
            "programs": load.PROGRAMS,
        }
        with Lab(directory, **settings) as lab:
            lab.say("hosts are up")
            test = Run(NAME, lab, contender)
            try:
                contender.prepare(lab)
                _migrate(test)
                test.finish()
            finally:
                test.abandon()
            result = test.report()
    except (LabError, OSError, subprocess.SubprocessError) as error:
        result = {**header(NAME, way.contender, way.qemu), "ok": False, "error": str(error)}
    result["seconds"] = round(time.monotonic() - started, 1)
    result["logs"] = str(directory)
    (directory / "report.json").write_text(json.dumps(result, indent=1))
    return 0


def _migrate(test: Run) -> None:
    guest = test.start_guest("hosta")
    busy = Load(test.lab, guest)
    test.start_traffic(guest, SPACING_US)
    busy.record_trace()
    test.lab.say("a trace is recorded")
    busy.start()
    busy.move_to(test.migrate(guest, "hostb"))
    test.judge("transfers that last longer than the migration", busy.runs())
    found = busy.finish()
    test.add("transfer", found)
    for what, text in load.words(found).items():
        test.note(what, text)
    for what in load.broken(found):
        test.judge(f"not that {what}", False)


def table(reports: list[dict[str, Any]]) -> str:
    """A row for each run that has its figures, and one for each that has not."""
    directions = (TO_GUEST, TO_CLIENT)
    names = [summary.name(report["contender"], report["qemu"]) for report in reports]
    first = max(map(len, names), default=0) + 2
    headings = "".join(f"{heading:>{WIDTH}}" for heading, _, _ in COLUMNS)
    lines = [
        " " * first + "".join(f"{name:^{WIDTH * len(COLUMNS)}}" for name in directions),
        " " * first + headings * len(directions),
    ]
    for name, report in zip(names, reports):
        found = report.get("transfer")
        cells = [
            f"{found[kind][direction][field]:.0f}" if found else "-"
            for direction in directions
            for _, kind, field in COLUMNS
        ]
        lines.append(f"{name:<{first}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells))
        if not report["ok"]:
            lines.append(f"  failed: {report['error']}")
    return "\n".join(lines)
