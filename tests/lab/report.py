# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports for people. As a program: `python3 -m lab.report FILE`, in tests/."""

import json
import sys
from pathlib import Path
from typing import Any

from . import phases
from .analysis import TO_CLIENT, TO_GUEST

PHASES = (phases.TO_STANDBY, phases.STOP_AND_COPY, phases.TO_VF, phases.WHOLE, phases.REST)
ARROWS = {TO_GUEST: "client > guest", TO_CLIENT: "guest > client"}


def table(report: dict[str, Any]) -> str:
    """A block for each run: a row for each phase, lost frames and longest gaps by direction."""
    return "\n\n".join(_block(run) for run in report["runs"])


def _block(run: dict[str, Any]) -> str:
    verdict = "ok" if run["ok"] else f"FAILED: {run.get('error', 'no reason given')}"
    name = run["scenario"]
    if run["contender"] != name:
        name += f" with {run['contender']}"
    lines = [f"{name} ({run['qemu']} QEMU): {verdict}"]
    if run.get("phases"):
        lines += _flows(run["phases"])
    facts = _facts(run)
    if facts:
        lines.append("  " + "; ".join(facts))
    return "\n".join(lines)


def _flows(flows: list[dict[str, Any]]) -> list[str]:
    by_key = {(flow["name"], flow["direction"]): flow for flow in flows}
    lines = [
        f"  {'':<14}" + "".join(f"{ARROWS[direction]:>36}" for direction in ARROWS),
        f"  {'phase':<14}" + f"{'sent':>9}{'lost':>7}{'dup':>5}{'gap ms':>8}{'quiet':>7}" * 2,
    ]
    for phase in PHASES:
        line = f"  {phase:<14}"
        for direction in ARROWS:
            flow = by_key.get((phase, direction))
            if flow is None:
                line += " " * 36
                continue
            silence = flow["longest_silence_ms"]
            line += f"{flow['sent']:>9}{flow['lost']:>7}{flow['duplicated']:>5}"
            line += f"{flow['longest_gap_ms']:>8.0f}"
            line += f"{'-' if silence is None else format(silence, '.0f'):>7}"
        lines.append(line)
    return lines


def _facts(run: dict[str, Any]) -> list[str]:
    facts = []
    if "migration" in run:
        worst = run["migration"]
        facts.append(
            f"{len(run['migrations'])} migrations, longest {worst['total_ms']} ms, "
            f"downtime {worst['downtime_ms']} ms, guest stopped {worst['stopped_ms']:.0f} ms, "
            f"VF back after {worst['vf_ms']:.0f} ms"
        )
    if "tcp" in run:
        state = "alive" if run["tcp"]["alive"] else "DEAD"
        facts.append(f"TCP {state}, longest stall {run['tcp']['longest_stall_ms']:.0f} ms")
    if "daemon" in run:
        daemon = run["daemon"]
        facts.append(f"vfailoverd: {daemon['own_ms']:.1f} ms of its own, {daemon['rss_kb']} KiB")
    return facts


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python3 -m lab.report FILE", file=sys.stderr)
        return 2
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
