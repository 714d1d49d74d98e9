# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of a migration."""

import copy
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lab import bench, plot, timeline
from lab.analysis import TO_CLIENT, TO_GUEST
from lab.plot import Scale

SVG = "{http://www.w3.org/2000/svg}"


def step(name: str, host: str, start_ms: float, duration_ms: float) -> dict[str, Any]:
    return {
        "name": name, "host": host, "start_ms": start_ms, "duration_ms": duration_ms,
        "result": "ok",
    }  # fmt: skip


def news(stopped: bool) -> list[int]:
    """A frame every 10 ms, with a hole from 4 to 4.5 s."""
    return [us for us in range(-500_000, 9_500_000, 10_000)
            if not stopped or not 4_000_000 < us < 4_500_000]  # fmt: skip


MIGRATION = {
    "from": "hosta",
    "to": "hostb",
    "stop_ms": 4000.0,
    "resume_ms": 4300.0,
    "vf_ms": 8000.0,
    "job": {"steps": [
        step("unplug", "hosta", 300, 600), step("open", "hosta", 280, 5),
        step("resume", "hostb", 310, 4000), step("plug & <use>", "hostb", 8400, 500),
    ]},
}  # fmt: skip
FOUND: dict[str, Any] = {
    "runs": [
        {"contender": "other"},
        {"contender": "vfailover", "qemu": "patched", "spacing_us": 10_000,
         "migrations": [MIGRATION]},
    ],
    "timeline": {
        "run": 1,
        "begin_us": -500_000,
        "end_us": 9_500_000,
        "frames": [
            {"direction": TO_GUEST, "news": timeline.pack(news(True)),
             "lost": timeline.pack([4_100_000, 4_100_100, 4_200_000])},
            {"direction": TO_CLIENT, "news": timeline.pack(news(False)), "lost": ""},
        ],
    },
}  # fmt: skip


def texts(root: ElementTree.Element) -> list[str]:
    return [" ".join("".join(e.itertext()).split()) for e in root.iter(f"{SVG}text")]


def test_says_what_happened() -> None:
    shown = texts(ElementTree.fromstring(plot.of(FOUND)))
    for text in ("guest stops", "runs again", "uses its new VF", "unplug", "plug & <use>"):
        assert text in shown
    assert "vfailover, patched QEMU, a frame every 10 ms each way; the hosts are emulated" in shown
    assert "client to guest longest gap 500 ms, frames lost: 3" in shown
    assert "guest to client longest gap 10 ms, frames lost: 0" in shown


def test_gap_is_where_it_was() -> None:
    root = ElementTree.fromstring(plot.of(FOUND))
    to_guest, to_client = (p for p in root.iter(f"{SVG}path") if p.get("class") == "gap")
    scale = Scale(-500, 9500)
    start, end = scale.x(4000), scale.x(4500)
    base = plot.TOP + plot.PANEL
    # The highest line is 500 ms: the tooth reaches it.
    tooth = f"M{start:.1f} {base:g}L{end:.1f} {plot.TOP:.1f}V{base:g}z"
    assert tooth in to_guest.get("d", "")
    assert "L" not in to_client.get("d", "")


def test_lost_frames_of_one_pixel_are_one_mark() -> None:
    root = ElementTree.fromstring(plot.of(FOUND))
    (marks,) = (p for p in root.iter(f"{SVG}path") if p.get("class") == "lost-stroke")
    assert marks.get("d", "").count("M") == 2


def test_names_do_not_run_into_steps() -> None:
    scale = Scale(0, 10_000)
    steps = [step("a", "h", 0, 100), step("b", "h", 150, 10), step("c", "h", 2000, 10)]
    assert [[s["name"] for s in row] for row in plot._rows(steps, scale)] == [["a", "c"], ["b"]]


def test_light_and_dark() -> None:
    text = plot.of(FOUND)
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    for name, colours in plot.COLOURS.items():
        assert f".{name} {{ fill: {colours[0]} }}" in light
        assert f".{name} {{ fill: {colours[1]} }}" in dark


def test_without_job_and_vf() -> None:
    found = copy.deepcopy(FOUND)
    migration = found["runs"][1]["migrations"][0]
    del migration["job"]
    migration["vf_ms"] = None
    shown = texts(ElementTree.fromstring(plot.of(found)))
    assert "guest stops" in shown
    assert "uses its new VF" not in shown


@pytest.mark.parametrize(("longest", "tick"), [(3, 1), (5, 1), (6, 2), (26, 10), (900, 200)])
def test_tick(longest: float, tick: float) -> None:
    assert plot._tick(longest) == tick


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "bench.json", tmp_path / "switch.svg"
    options = bench.parser().parse_args(["plot", str(file), "--out", str(out)])
    assert options.function(options) == 2
    file.write_text(json.dumps({**FOUND, "timeline": None}))
    assert options.function(options) == 2
    assert "nothing to draw" in capsys.readouterr().err
    assert not out.exists()
    file.write_text(json.dumps(FOUND))
    assert options.function(options) == 0
    assert out.read_text() == plot.of(FOUND)
