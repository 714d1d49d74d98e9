# SPDX-License-Identifier: GPL-2.0-or-later
"""A picture of one migration: the gap in both directions over time, and the steps of the job.

The file is SVG by hand: it has to be readable on a light and on a dark page, in a README.
"""

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from . import timeline
from .analysis import TO_CLIENT, TO_GUEST

WIDTH = 1000
LEFT, RIGHT = 64, 20
TOP = 84
PANEL, BETWEEN = 124, 66
ROW, BAR = 17, 9
LETTER = 6.3
"""The width of one, at most, in the font of the steps."""
TITLES = {TO_GUEST: "client to guest", TO_CLIENT: "guest to client"}

# Classes with plain colours: not every viewer of SVG knows variables.
COLOURS = {
    "page": ("#ffffff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9198a1"),
    "line": ("#d1d9e0", "#30363d"),
    "still": ("#fff1d6", "#33270f"),
    "gap": ("#0969da", "#4493f8"),
    "lost": ("#cf222e", "#f85149"),
    "source": ("#1a7f37", "#3fb950"),
    "destination": ("#8250df", "#ab7df8"),
}
FONT = "12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Scale:
    """Where on the page a time is."""

    begin_ms: float
    end_ms: float

    def x(self, ms: float) -> float:
        width = WIDTH - LEFT - RIGHT
        return LEFT + width * (ms - self.begin_ms) / (self.end_ms - self.begin_ms)

    @property
    def pixel_ms(self) -> float:
        """How much time a pixel is."""
        return (self.end_ms - self.begin_ms) / (WIDTH - LEFT - RIGHT)


def of(found: dict[str, Any]) -> str:
    """The picture of the run of which a bench's file has every frame."""
    shown = found["timeline"]
    run = found["runs"][shown["run"]]
    migration = run["migrations"][0]
    scale = Scale(shown["begin_us"] / 1000, shown["end_us"] / 1000)
    steps = migration.get("job", {}).get("steps", [])
    lanes = [
        (f"{role}, {host}", _rows([step for step in steps if step["host"] == host], scale), role)
        for role, host in (("source", migration["from"]), ("destination", migration["to"]))
    ]
    lanes = [lane for lane in lanes if lane[1]]
    panels_end = TOP + len(TITLES) * (PANEL + BETWEEN) - BETWEEN
    lanes_top = panels_end + 66
    bottom = lanes_top + sum(len(rows) * ROW + 28 for _, rows, _ in lanes) - (14 if lanes else 20)

    page = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {bottom}",
            "width": str(WIDTH),
            "height": str(bottom),
            "role": "img",
        },
    )
    SubElement(page, "title").text = "The gap in both directions during a live migration"
    SubElement(page, "style").text = _style()
    _box(page, 0, 0, WIDTH, bottom, "page")
    _marks(page, scale, migration, (TOP - 40, bottom - 8))
    longest = max(_longest_ms(flow, scale) for flow in shown["frames"])
    top = TOP
    for flow in shown["frames"]:
        _panel(page, flow, scale, top, longest)
        top += PANEL + BETWEEN
    _time_axis(page, scale, panels_end)
    for name, rows, kind in lanes:
        _lane(page, rows, scale, lanes_top, name, kind)
        lanes_top += len(rows) * ROW + 28
    _heading(page, run)
    ElementTree.indent(page)
    return ElementTree.tostring(page, encoding="unicode") + "\n"


def _style() -> str:
    rules = [f"text {{ font: {FONT} }}", ".small { font-size: 11px }", ".big { font-size: 15px }"]
    # Over lines and bands.
    rules += ["text { paint-order: stroke; stroke-width: 3px; stroke-linejoin: round }"]
    rules += [".bold { font-weight: 600 }", ".plain { font-weight: 400 }", ".dash { stroke-dasharray: 3 3 }"]
    light = _colours(0)
    dark = _colours(1)
    rules += light + ["@media (prefers-color-scheme: dark) {", *dark, "}"]
    return "\n" + "\n".join(rules) + "\n"


def _colours(which: int) -> list[str]:
    rules = [f"text {{ stroke: {COLOURS['page'][which]} }}"]
    for name, colours in COLOURS.items():
        rules.append(f".{name} {{ fill: {colours[which]} }}")
        rules.append(f".{name}-stroke {{ stroke: {colours[which]}; fill: none }}")
    return rules


def _heading(page: Element, run: dict[str, Any]) -> None:
    _text(page, LEFT, 26, "Time since the last new frame", "ink big bold")
    every = f"a frame every {run['spacing_us'] / 1000:g} ms each way"
    what = f"{run['contender']}, {run['qemu']} QEMU, {every}; the hosts are emulated"
    _text(page, WIDTH - RIGHT, 26, what, "faint", "end")


def _marks(
    page: Element, scale: Scale, migration: dict[str, Any], span: tuple[float, float]
) -> None:
    """What happened to the guest, across everything."""
    top, bottom = span
    stop, resume = (scale.x(migration[name]) for name in ("stop_ms", "resume_ms"))
    _box(page, stop, top, resume - stop, bottom - top, "still")
    marks = [(scale.x(0), "start"), (stop, "guest stops"), (resume, "runs again")]
    if migration["vf_ms"] is not None:
        marks.append((scale.x(migration["vf_ms"]), "uses its new VF"))
    for x, text in marks:
        _line(page, x, top, x, bottom, "faint-stroke dash")
        _beside(page, x, x, top + 9, text, to_the_left=x == stop)


def _panel(page: Element, flow: dict[str, Any], scale: Scale, top: float, longest: float) -> None:
    base = top + PANEL
    tick = _tick(longest)
    height = tick * -(-longest // tick)
    for n in range(round(height / tick) + 1):
        y = base - PANEL * n * tick / height
        _line(page, LEFT, y, WIDTH - RIGHT, y, "line-stroke")
        _text(page, LEFT - 6, y + 4, f"{n * tick:g}", "faint small", "end")
    _text(page, LEFT - 6, top - 9, "ms", "faint small", "end")
    lost = [us / 1000 for us in timeline.unpack(flow["lost"])]
    own = _longest_ms(flow, scale)
    title = _text(page, LEFT, top - 9, TITLES[flow["direction"]], "ink bold")
    _span(title, f"longest gap {own:.0f} ms,", "faint")
    _span(title, f"frames lost: {len(lost)}", "lost" if lost else "faint")
    area = _area(flow, scale, base, PANEL / height)
    SubElement(page, "path", {"class": "gap", "d": area})
    pixels = dict.fromkeys(round(scale.x(ms)) for ms in lost)
    marks = "".join(f"M{x} {base + 3:g}v7" for x in pixels)
    if marks:
        SubElement(page, "path", {"class": "lost-stroke", "d": marks, "stroke-width": "1.2"})


def _gaps(flow: dict[str, Any]) -> list[tuple[float, float]]:
    news = [us / 1000 for us in timeline.unpack(flow["news"])]
    return list(zip(news, news[1:]))


def _longest_ms(flow: dict[str, Any], scale: Scale) -> float:
    return max((end - start for start, end in _gaps(flow)), default=scale.pixel_ms)


def _area(flow: dict[str, Any], scale: Scale, base: float, per_ms: float) -> str:
    """A tooth for each gap that can be seen, and for the others the highest of each pixel."""
    teeth: list[str] = []
    highest: dict[int, float] = {}
    for start, end in _gaps(flow):
        height = (end - start) * per_ms
        if end - start > 2 * scale.pixel_ms:
            x, to = scale.x(start), scale.x(end)
            teeth.append(f"M{x:.1f} {base:g}L{to:.1f} {base - height:.1f}V{base:g}z")
        else:
            pixel = int(scale.x(end))
            highest[pixel] = max(highest.get(pixel, 0), height)
    teeth += [f"M{x} {base:g}v{-height:.1f}h1v{height:.1f}z" for x, height in highest.items()]
    return "".join(teeth)


def _tick(longest: float) -> float:
    """A round distance that goes into the longest two to five times."""
    unit = 1.0
    while True:
        for tick in (unit, 2 * unit, 5 * unit):
            if longest <= 5 * tick:
                return tick
        unit *= 10


def _time_axis(page: Element, scale: Scale, y: float) -> None:
    tick = _tick(scale.end_ms / 2)
    ms = 0.0
    while ms <= scale.end_ms:
        x = scale.x(ms)
        _line(page, x, y + 12, x, y + 16, "faint-stroke")
        _text(page, x, y + 29, f"{ms / 1000:g}", "faint small", "middle")
        ms += tick
    _text(page, WIDTH - RIGHT, y + 44, "seconds", "faint small", "end")


def _rows(steps: list[dict[str, Any]], scale: Scale) -> list[list[dict[str, Any]]]:
    """Steps in rows, so that no name runs into the next step."""
    rows: list[list[dict[str, Any]]] = []
    ends: list[float] = []
    for step in sorted(steps, key=lambda step: step["start_ms"]):
        x = scale.x(step["start_ms"])
        row = next((n for n, end in enumerate(ends) if end <= x), len(rows))
        if row == len(rows):
            rows.append([])
            ends.append(0)
        rows[row].append(step)
        bar_end = scale.x(step["start_ms"] + step["duration_ms"])
        ends[row] = bar_end + 4 + LETTER * len(step["name"]) + 8
    return rows


def _lane(
    page: Element, rows: list[list[dict[str, Any]]], scale: Scale, top: float, name: str, kind: str
) -> None:
    _text(page, LEFT, top - 6, f"steps at the {name}", f"{kind} bold small")
    for n, steps in enumerate(rows):
        y = top + n * ROW
        for step in steps:
            x = scale.x(step["start_ms"])
            width = max(scale.x(step["start_ms"] + step["duration_ms"]) - x, 1.5)
            bar = _box(page, x, y + 3, width, BAR, kind)
            SubElement(bar, "title").text = (
                f"{step['name']}: {step['duration_ms']:.1f} ms, {step['result']}"
            )
            _beside(page, x, x + width, y + 11.5, step["name"])


def _box(
    parent: Element, x: float, y: float, width: float, height: float, kind: str
) -> Element:
    values = {"x": x, "y": y, "width": width, "height": height}
    return SubElement(parent, "rect", {"class": kind, **_attributes(values)})


def _line(parent: Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    values = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return SubElement(parent, "line", {"class": kind, **_attributes(values)})


def _text(
    parent: Element, x: float, y: float, text: str, kind: str, anchor: str = "start"
) -> Element:
    attributes = {"class": kind, "text-anchor": anchor, **_attributes({"x": x, "y": y})}
    element = SubElement(parent, "text", attributes)
    element.text = text
    return element


def _beside(
    parent: Element, left: float, right: float, y: float, text: str, to_the_left: bool = False
) -> None:
    """A name at the right of something, or at its left where there is no room."""
    if to_the_left or right + 4 + LETTER * len(text) > WIDTH - RIGHT:
        _text(parent, left - 4, y, text, "ink small", "end")
    else:
        _text(parent, right + 4, y, text, "ink small")


def _span(parent: Element, text: str, kind: str) -> None:
    SubElement(parent, "tspan", {"class": f"{kind} plain", "dx": "3"}).text = f" {text}"


def _attributes(values: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.1f}".removesuffix(".0") for name, value in values.items()}
