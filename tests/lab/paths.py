# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are on this machine; the hosts see the same paths through their shared root."""

import os
from pathlib import Path

from .errors import LabError

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
HOOK = BUILD / "orchestrator" / "vfailover-hook"


def libvirt() -> Path:
    """The libvirt that hosts lay over their root: the version that VFAILOVER_LIBVIRT names."""
    wanted = os.environ.get("VFAILOVER_LIBVIRT") or "11.3"
    tree = CACHE / f"libvirt-{wanted}"
    if not tree.is_dir():
        found = sorted(p.name.removeprefix("libvirt-") for p in CACHE.glob("libvirt-[0-9]*"))
        raise LabError(
            f"no libvirt {wanted} in {CACHE} (there is: {', '.join(found) or 'none'}): "
            "run scripts/lab-setup, or set VFAILOVER_LIBVIRT to one that is there"
        )
    return tree
