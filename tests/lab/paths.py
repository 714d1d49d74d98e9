# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are on this machine; the hosts see the same paths through their shared root."""

import os
from pathlib import Path

LAB = Path(__file__).resolve().parent
REPOSITORY = LAB.parent.parent


def _from_environment(name: str, default: Path) -> Path:
    value = os.environ.get(name)
    return Path(value).resolve() if value else default


CACHE = _from_environment("VFAILOVER_CACHE", Path("/var/cache/vfailover-lab"))
RUNS = _from_environment("VFAILOVER_LAB_DIR", Path("/var/tmp/vfailover-lab"))
BUILD = _from_environment("VFAILOVER_BUILD", REPOSITORY / "build")

KERNEL = CACHE / "kernel"
DAEMON = BUILD / "orchestrator" / "vfailoverd"
COMMAND = BUILD / "orchestrator" / "vfailover"
