# SPDX-License-Identifier: GPL-2.0-or-later
"""Many runs in few figures: the median and the worst of each contender."""

import statistics
from dataclasses import dataclass
from typing import Any

from . import phases, qemus
from .analysis import TO_CLIENT, TO_GUEST

COUNTS = ("lost", "duplicated")
TIMES = ("longest_gap_ms", "longest_silence_ms")
MIGRATION = ("total_ms", "downtime_ms", "stopped_ms", "vf_ms")
SHOWN = (phases.TO_STANDBY, phases.STOP_AND_COPY, phases.ON_STANDBY, phases.TO_VF)
NEIGHBOURS = {TO_GUEST: "neighbour > guest", TO_CLIENT: "guest > neighbour"}
COLUMN = max(map(len, SHOWN)) + 4


def of(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An entry for each contender, QEMU and spacing, in the order in which they come."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for run in runs:
        key = (run["contender"], run["qemu"], run["spacing_us"])
        groups.setdefault(key, []).append(run)
    return [
        {"contender": contender, "qemu": qemu, "spacing_us": spacing_us, **_of_group(group)}
        for (contender, qemu, spacing_us), group in groups.items()
    ]


def _of_group(runs: list[dict[str, Any]]) -> dict[str, Any]:
    good = [run for run in runs if run["ok"]]
    neighbours: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in good:
        for neighbour in run.get("neighbours", []):
            neighbours.setdefault((neighbour["kind"], neighbour["role"]), []).append(neighbour)
    return {
        "runs": len(good),
        "failed": len(runs) - len(good),
        "phases": _of_flows(good),
        "neighbours": [
            {"kind": kind, "role": role, "phases": _of_flows(own)}
            for (kind, role), own in neighbours.items()
        ],
        "migration": _figures([run["migration"] for run in good], MIGRATION),
    }


def _of_flows(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    flows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        for flow in run["phases"]:
            flows.setdefault((flow["name"], flow["direction"]), []).append(flow)
    return [
        {"name": name, "direction": direction, **_figures(own, COUNTS + TIMES)}
        for (name, direction), own in flows.items()
    ]


def _figures(values: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    if not values:
        return {}
    return {
        name: {
            "median": statistics.median(value[name] for value in values),
            "worst": max(value[name] for value in values),
        }
        for name in names
    }


def table(entries: list[dict[str, Any]]) -> str:
    """A block for each spacing and direction, with a row for each contender, and one for its neighbours."""
    blocks = []
    for spacing_us in dict.fromkeys(entry["spacing_us"] for entry in entries):
        own = [entry for entry in entries if entry["spacing_us"] == spacing_us]
        spacing = f"a frame every {spacing_us / 1000:g} ms"
        guest = [Row(_name(entry), _runs(entry), entry["phases"]) for entry in own]
        others = [
            Row(
                f"{_name(entry)}: {neighbour['kind']}, {neighbour['role']}",
                _runs(entry),
                neighbour["phases"],
            )
            for entry in own
            for neighbour in entry["neighbours"]
        ]
        for direction in (TO_GUEST, TO_CLIENT):
            blocks.append(_block(f"{direction}, {spacing}", guest, direction))
        if others:
            blocks += [
                _block(f"{arrow}, with {spacing} of the client", others, direction)
                for direction, arrow in NEIGHBOURS.items()
            ]
    return "\n\n".join(blocks)


def name(contender: str, qemu: str) -> str:
    """What a contender is called: stock QEMU goes without saying."""
    return f"{contender}-patched" if qemu == qemus.PATCHED else contender


def _name(entry: dict[str, Any]) -> str:
    return name(entry["contender"], entry["qemu"])


def _runs(entry: dict[str, Any]) -> str:
    return f"{entry['runs']}" + (f"-{entry['failed']}" if entry["failed"] else "")


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    runs: str
    phases: list[dict[str, Any]]


def _block(what: str, rows: list[Row], direction: str) -> str:
    first = max(len(row.name) for row in rows) + 2
    lines = [f"{what}: lost/duplicated, median (worst)"]
    heading = "".join(f"{phase:>{COLUMN}}" for phase in SHOWN)
    lines.append(f"{'':<{first}}{'runs':>4}{heading}{'quiet ms':>{COLUMN}}")
    for row in rows:
        found = {flow["name"]: flow for flow in row.phases if flow["direction"] == direction}
        cells = [_counts(found.get(phase)) for phase in SHOWN]
        cells.append(_pair(found[phases.WHOLE]["longest_silence_ms"]) if found else "-")
        lines.append(
            f"{row.name:<{first}}{row.runs:>4}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)
        )
    return "\n".join(lines)


def _counts(flow: dict[str, Any] | None) -> str:
    if flow is None:
        return "-"
    lost, duplicated = (flow[count] for count in COUNTS)
    median = f"{lost['median']:g}/{duplicated['median']:g}"
    return f"{median} ({lost['worst']:g}/{duplicated['worst']:g})"


def _pair(figure: dict[str, float]) -> str:
    return f"{figure['median']:.0f} ({figure['worst']:.0f})"
