# SPDX-License-Identifier: GPL-2.0-or-later
"""The directories in which runs leave their logs."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from . import paths

KEPT = 12
LINES_SHOWN = 25
_DOUBLE_FAULT = re.compile(r"PANIC: double fault.*?(RIP: \S+)", re.DOTALL)


def new(name: str) -> Path:
    """A directory for a new run; old ones beyond a few are removed."""
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    known = sorted((path for path in paths.RUNS.iterdir() if path.is_dir()), key=_age)
    for path in known[: -(KEPT - 1)]:
        if state(path) is None:
            shutil.rmtree(path, ignore_errors=True)
    directory = paths.RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}"
    directory.mkdir()
    return directory


def _age(path: Path) -> float:
    return path.stat().st_mtime


def state(directory: Path) -> dict[str, Any] | None:
    """How to reach the lab that runs in there; None if none does."""
    try:
        found = json.loads((directory / "state.json").read_text())
    except (OSError, ValueError):
        return None
    return found if Path(f"/proc/{found['pid']}").exists() else None


def newest_live() -> dict[str, Any] | None:
    """The lab that was started last among those that run."""
    if not paths.RUNS.is_dir():
        return None
    for path in sorted(paths.RUNS.iterdir(), key=_age, reverse=True):
        if found := state(path):
            return found
    return None


def panics(directory: Path) -> list[str]:
    """Where guests' kernels have had a fault while they dealt with one."""
    return [
        f"{path.relative_to(directory)}: double fault at {found[1]}"
        for path in sorted(directory.glob("*/guest*-console.log"))
        if (found := _DOUBLE_FAULT.search(path.read_text(errors="replace")))
    ]


def last_lines(directory: Path) -> str:
    """The ends of those logs that tell why a run failed."""
    parts = panics(directory)
    for pattern in ("*/vfailoverd.log", "*/vfailover.log", "*/guest-*-qemu.log", "*/qemu.log",
                    "*/guest.log", "*/libvirtd.log",
                    "traffic/client.log", "*/guest-*-console.log", "*/console.log"):  # fmt: skip
        for path in sorted(directory.glob(pattern)):
            lines = path.read_text(errors="replace").strip().splitlines()[-LINES_SHOWN:]
            if lines:
                name = path.relative_to(directory)
                parts.append(f"--- {name}\n" + "\n".join(f"    {line}" for line in lines))
    return "\n".join(parts)
