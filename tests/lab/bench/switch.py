# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way to migrate, under the same traffic."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import isolation, neighbours, phases, qemus, runs, setup, summary, switch
from ..analysis import TO_CLIENT, TO_GUEST
from ..contenders import ALL
from ..errors import LabError
from ..lab import Lab
from ..run import header
from . import number

DESCRIPTION = "frames lost at each switch between VF and standby, by contender"
SPACINGS_MS = (2.0, 0.5)
RUNS = 5
INTERRUPTED = 130
REPORTS = "reports"


@dataclass(frozen=True)
class Way:
    """A contender on a QEMU."""

    contender: str
    qemu: str = qemus.STOCK

    @property
    def name(self) -> str:
        return summary.name(self.contender, self.qemu)


PATCHED = ("libvirt-hostdev-vfailover", "vfailover")
"""Those that are measured with our QEMU as well."""
WAYS = {
    way.name: way for way in (*map(Way, ALL), *(Way(name, qemus.PATCHED) for name in PATCHED))
}


@dataclass(frozen=True)
class Task:
    """One run to be made."""

    spacing_us: int
    number: int


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--contender", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME",
        help=f"only these of {', '.join(WAYS)}",
    )  # fmt: skip
    parser.add_argument(
        "--spacing", nargs="+", type=_spacing_us, metavar="MS",
        default=[_spacing_us(str(ms)) for ms in SPACINGS_MS],
        help="milliseconds between two frames (%s)" % " and ".join(f"{ms:g}" for ms in SPACINGS_MS),
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=number, default=RUNS, metavar="N",
        help=f"migrations of each contender at each spacing ({RUNS})",
    )  # fmt: skip
    parser.add_argument(
        "--neighbours", nargs="*", choices=list(neighbours.BY_NAME), metavar="KIND",
        help="have others in both hosts talk to the guest as well, and report on them: of "
        + f"{', '.join(neighbours.BY_NAME)}; without a KIND "
        + " and ".join(kind.kind for kind in neighbours.USUAL),
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")


def _spacing_us(text: str) -> int:
    try:
        spacing_us = round(float(text) * 1000)
    except ValueError:
        spacing_us = 0
    if not 100 <= spacing_us <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text}: not from 0.1 to 1000")
    return spacing_us


def run(options: argparse.Namespace) -> int:
    if not setup.ready():
        return 1
    reports: list[dict[str, Any]] = []
    for name in options.contender:
        tasks = [Task(us, n) for us in options.spacing for n in range(1, options.runs + 1)]
        while tasks:
            made, code = _in_a_lab(WAYS[name], tasks, options.neighbours)
            if code == INTERRUPTED:
                return code
            reports += made
            tasks = tasks[len(made) :]
            if options.json:
                options.json.write_text(json.dumps(result(reports), indent=1) + "\n")
    print("\n" + summary.table(summary.of(reports)))
    failed = [report for report in reports if not report["ok"]]
    for report in failed:
        print(f"bench: {_way(report)}: {report['error']}; logs: {report['logs']}", file=sys.stderr)
    return 1 if failed else 0


def _in_a_lab(
    way: Way, tasks: list[Task], kinds: list[str] | None
) -> tuple[list[dict[str, Any]], int]:
    """Make these runs up to the first that fails: the reports, at least one, and the lab's end."""
    directory = runs.new(f"switch-{way.name}")
    print(f"== {way.name}, {len(tasks)} runs: {directory}", flush=True)
    code = isolation.run(lambda: _make(way, tasks, directory, kinds))
    file = directory / REPORTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    reports = [json.loads(line) for line in lines]
    if not reports or (len(reports) < len(tasks) and reports[-1]["ok"]):
        task = tasks[len(reports)]
        reports.append(_failed(way, task, f"the lab ended ({code})", directory))
    return reports, code


def _make(way: Way, tasks: list[Task], directory: Path, kinds: list[str] | None) -> int:
    """The same in the lab: a line with a report for each run. A host in which something has failed
    is not used any more."""
    contender = ALL[way.contender]()
    task = tasks[0]
    with (directory / REPORTS).open("w", encoding="utf-8") as file:
        try:
            contender.check()
            qemu = qemus.patched() if way.qemu == qemus.PATCHED else qemus.stock()
            memory_mb = contender.memory_mb
            if kinds is not None:
                memory_mb = max(memory_mb, neighbours.HOST_MEMORY_MB)
            layer = contender.layer()
            with Lab(directory, memory_mb=memory_mb, qemu=qemu, layer=layer) as lab:
                contender.prepare(lab)
                others = None if kinds is None else neighbours.Neighbours(lab, neighbours.named(kinds))
                here, there = (host.name for host in lab.hosts)
                guest = switch.start_guest(lab, contender, here)
                for task in tasks:
                    started = time.monotonic()
                    guest, report = switch.measure(
                        lab, contender, guest, there, task.spacing_us, others
                    )
                    here, there = there, here
                    seconds = round(time.monotonic() - started, 1)
                    report |= {"number": task.number, "seconds": seconds, "logs": str(directory)}
                    _write(file, report)
                    lab.say(f"{way.name}, {task.spacing_us / 1000:g} ms, run {task.number}: "
                            + _in_short(report))  # fmt: skip
                    if not report["ok"]:
                        return 1
        except (LabError, OSError, subprocess.SubprocessError) as error:
            print(runs.last_lines(directory), file=sys.stderr)
            _write(file, _failed(way, task, str(error), directory))
            return 1
    return 0


def _write(file: Any, report: dict[str, Any]) -> None:
    file.write(json.dumps(report) + "\n")
    file.flush()


def _failed(way: Way, task: Task, why: str, directory: Path) -> dict[str, Any]:
    print(f"bench: {way.name}, run {task.number} failed: {why}", file=sys.stderr, flush=True)
    return {
        **header(switch.SCENARIO, way.contender, way.qemu),
        "ok": False,
        "error": why,
        "spacing_us": task.spacing_us,
        "number": task.number,
        "logs": str(directory),
    }


def _in_short(report: dict[str, Any]) -> str:
    if not report["ok"]:
        return f"FAILED: {report['error']}"
    lost = {(flow["name"], flow["direction"]): flow["lost"] for flow in report["phases"]}
    return "lost " + ", ".join(
        f"{phase} {lost[phase, TO_GUEST]}+{lost[phase, TO_CLIENT]}" for phase in summary.SHOWN
    )


def result(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file says; of one run it has every frame, for the plot."""
    shown = typical(reports)
    return {
        "runs": [
            {key: value for key, value in report.items() if key != "timeline"}
            for report in reports
        ],
        "summary": summary.of(reports),
        "timeline": shown and {"run": reports.index(shown), **shown["timeline"]},
    }


def typical(reports: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The run to show: of the best contender there is and the widest spacing the one in the middle,
    by its longest silence."""
    good = [report for report in reports if report["ok"] and report.get("timeline")]
    if not good:
        return None
    best = max(good, key=lambda report: list(WAYS).index(_way(report)))
    spacing_us = max(report["spacing_us"] for report in good if _way(report) == _way(best))
    same = [r for r in good if _way(r) == _way(best) and r["spacing_us"] == spacing_us]
    middle = statistics.median_low(map(_silence_ms, same))
    return next(report for report in same if _silence_ms(report) == middle)


def _way(report: dict[str, Any]) -> str:
    return summary.name(report["contender"], report["qemu"])


def _silence_ms(report: dict[str, Any]) -> float:
    """The longest of either direction."""
    whole = [flow for flow in report["phases"] if flow["name"] == phases.WHOLE]
    return max(flow["longest_silence_ms"] for flow in whole)
