# SPDX-License-Identifier: GPL-2.0-or-later
"""Many runs in few figures: the median and the worst of each contender."""

import statistics
from typing import Any

from . import phases, qemus
from .analysis import TO_CLIENT, TO_GUEST

COUNTS = ("lost", "duplicated")
TIMES = ("longest_gap_ms", "longest_silence_ms")
MIGRATION = ("total_ms", "downtime_ms", "stopped_ms", "vf_ms")
SHOWN = (phases.TO_STANDBY, phases.STOP_AND_COPY, phases.ON_STANDBY, phases.TO_VF)
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
    flows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in good:
        for flow in run["phases"]:
            flows.setdefault((flow["name"], flow["direction"]), []).append(flow)
    return {
        "runs": len(good),
        "failed": len(runs) - len(good),
        "phases": [
            {"name": name, "direction": direction, **_figures(own, COUNTS + TIMES)}
            for (name, direction), own in flows.items()
        ],
        "migration": _figures([run["migration"] for run in good], MIGRATION),
    }


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
    """A block for each spacing and direction, with a row for each contender."""
    spacings = list(dict.fromkeys(entry["spacing_us"] for entry in entries))
    return "\n\n".join(
        _block([entry for entry in entries if entry["spacing_us"] == spacing_us], direction)
        for spacing_us in spacings
        for direction in (TO_GUEST, TO_CLIENT)
    )


def name(contender: str, qemu: str) -> str:
    """What a contender is called: stock QEMU goes without saying."""
    return f"{contender}-patched" if qemu == qemus.PATCHED else contender


def _block(entries: list[dict[str, Any]], direction: str) -> str:
    spacing = f"{entries[0]['spacing_us'] / 1000:g} ms"
    first = max(len(name(entry["contender"], entry["qemu"])) for entry in entries) + 2
    lines = [f"{direction}, a frame every {spacing}: lost/duplicated, median (worst)"]
    heading = "".join(f"{phase:>{COLUMN}}" for phase in SHOWN)
    lines.append(f"{'':<{first}}{'runs':>4}{heading}{'quiet ms':>{COLUMN}}")
    for entry in entries:
        runs = f"{entry['runs']}" + (f"-{entry['failed']}" if entry["failed"] else "")
        found = {flow["name"]: flow for flow in entry["phases"] if flow["direction"] == direction}
        cells = [_counts(found.get(phase)) for phase in SHOWN]
        cells.append(_pair(found[phases.WHOLE]["longest_silence_ms"]) if found else "-")
        lines.append(
            f"{name(entry['contender'], entry['qemu']):<{first}}{runs:>4}"
            + "".join(f"{cell:>{COLUMN}}" for cell in cells)
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
