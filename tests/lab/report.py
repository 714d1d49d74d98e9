# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports for people. As a program: `python3 -m lab.report FILE`, in tests/."""

import json
import sys
from pathlib import Path
from typing import Any

from . import phases
from .analysis import TO_CLIENT, TO_GUEST

PHASES = (
    phases.TO_STANDBY,
    phases.STOP_AND_COPY,
    phases.ON_STANDBY,
    phases.TO_VF,
    phases.WHOLE,
    phases.CANCELLED,
    phases.REST,
)
WIDTH = max(len(phase) for phase in PHASES)
ARROWS = {TO_GUEST: "client > guest", TO_CLIENT: "guest > client"}
NEIGHBOUR_ARROWS = {TO_GUEST: "neighbour > guest", TO_CLIENT: "guest > neighbour"}


def table(report: dict[str, Any]) -> str:
    """A block for each run, with a row for each phase; then the runs beside each other."""
    runs = report["runs"]
    measured = [run for run in runs if run.get("phases")]
    blocks = [_block(run) for run in runs]
    if len(measured) > 1:
        blocks.append(_comparison(measured))
    return "\n\n".join(blocks)


def _block(run: dict[str, Any]) -> str:
    verdict = "ok" if run["ok"] else f"FAILED: {run.get('error', 'no reason given')}"
    name = run["scenario"]
    if run["contender"] != name:
        name += f" with {run['contender']}"
    lines = [f"{name} ({run['qemu']} QEMU): {verdict}"]
    if run.get("phases"):
        lines += _flows(run["phases"])
    for neighbour in run.get("neighbours", []):
        lines.append(f"  neighbour: {neighbour['kind']} in {neighbour['host']}, "
                     f"the {neighbour['role']}")
        lines += _flows(neighbour["phases"], NEIGHBOUR_ARROWS)
    for what, value in run.get("notes", {}).items():
        lines.append(f"  {what}: {value}")
    facts = _facts(run)
    if facts:
        lines.append("  " + "; ".join(facts))
    return "\n".join(lines)


def _flows(flows: list[dict[str, Any]], arrows: dict[str, str] = ARROWS) -> list[str]:
    by_key = {(flow["name"], flow["direction"]): flow for flow in flows}
    lines = [
        f"  {'':<{WIDTH}}" + "".join(f"{arrow:>36}" for arrow in arrows.values()),
        f"  {'phase':<{WIDTH}}" + f"{'sent':>9}{'lost':>7}{'dup':>5}{'gap ms':>8}{'quiet':>7}" * 2,
    ]
    for phase in PHASES:
        if not any(name == phase for name, _ in by_key):
            continue
        line = f"  {phase:<{WIDTH}}"
        for direction in ARROWS:
            flow = by_key.get((phase, direction))
            if flow is None:
                line += " " * 36
                continue
            line += f"{flow['sent']:>9}{flow['lost']:>7}{flow['duplicated']:>5}"
            line += f"{flow['longest_gap_ms']:>8.0f}{flow['longest_silence_ms']:>7.0f}"
        lines.append(line)
    return lines


def _comparison(runs: list[dict[str, Any]]) -> str:
    headings = [_column(run) for run in runs]
    width = max(24, *(len(heading) + 2 for heading in headings))
    corner = f"{'lost (gap, quiet in ms)':<{WIDTH + 18}}"
    lines = [corner + "".join(f"{h:>{width}}" for h in headings)]
    for direction, arrow in ARROWS.items():
        for phase in PHASES:
            if all(_cell(run, phase, direction) == "-" for run in runs):
                continue
            line = f"  {arrow}  {phase:<{WIDTH}}"
            for run in runs:
                line += f"{_cell(run, phase, direction):>{width}}"
            lines.append(line)
    return "\n".join(lines)


def _column(run: dict[str, Any]) -> str:
    name = run["contender"]
    if run["scenario"] not in ("migrate", name):
        name += f" {run['scenario']}"
    return name if run["qemu"] == "stock" else f"{name}, {run['qemu']} QEMU"


def _cell(run: dict[str, Any], phase: str, direction: str) -> str:
    for flow in run["phases"]:
        if (flow["name"], flow["direction"]) == (phase, direction):
            return (
                f"{flow['lost']} ({flow['longest_gap_ms']:.0f}, {flow['longest_silence_ms']:.0f})"
            )
    return "-"


def _facts(run: dict[str, Any]) -> list[str]:
    facts = []
    if "migration" in run:
        worst = run["migration"]
        facts.append(
            f"{len(run['migrations'])} migrations, longest {worst['total_ms']} ms, "
            f"downtime {worst['downtime_ms']} ms, guest stopped {worst['stopped_ms']:.0f} ms, "
            + (f"VF back after {worst['vf_ms']:.0f} ms" if worst["vf_ms"] else "no VF")
        )
    if "tcp" in run:
        state = "alive" if run["tcp"]["alive"] else "DEAD"
        facts.append(f"TCP {state}, longest stall {run['tcp']['longest_stall_ms']:.0f} ms")
    if "isolation" in run:
        seen = run["isolation"]
        facts.append(
            f"the guest's VF received {seen['frames']} frames, {seen['foreign']} of them foreign, "
            f"{seen['missed']} not looked at, {seen['returned']} its own; "
            f"{seen['strangers']} foreign ones were sent"
        )
    if "daemon" in run:
        facts.append(_own(run["daemon"]))
    return facts


def _own(daemon: dict[str, Any]) -> str:
    """What the daemons of both hosts took for each migration, in this machine's processor time."""
    factor = daemon["slowdown"]
    each = [
        f"{(own['source_ms'] + own['destination_ms']) / factor:.1f} ms "
        f"({own['source_ms'] / factor:.1f} source, {own['destination_ms'] / factor:.1f} destination)"
        for own in daemon["own"]
    ]
    emulated = " and ".join(
        f"{own['source_ms'] + own['destination_ms']:.0f}" for own in daemon["own"]
    )
    return (
        f"vfailoverd's own time per migration: {', then '.join(each)}; that is {emulated} ms of the "
        f"emulated processor, {factor:.1f} times slower than this one; "
        f"{daemon['rss_kb'] / 1024:.1f} MiB resident"
    )


def timeline(run: dict[str, Any]) -> str:
    """The steps of a run's first migration, in the order in which they began."""
    job = run["migrations"][0]["job"]
    lines = [f"{'start s':>9}{'took ms':>10}  {'host':<8}{'step':<12}result"]
    for step in sorted(job["steps"], key=lambda step: step["start_ms"]):
        lines.append(
            f"{step['start_ms'] / 1000:>9.3f}{step['duration_ms']:>10.1f}  "
            f"{step['host']:<8}{step['name']:<12}{step['result']}"
        )
    return "\n".join(lines)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python3 -m lab.report FILE", file=sys.stderr)
        return 2
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
