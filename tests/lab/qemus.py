# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU that runs a guest: this machine's, or our own."""

import os
import subprocess
from dataclasses import dataclass

from . import paths
from .errors import LabError

STOCK = "stock"
PATCHED = "patched"


@dataclass(frozen=True)
class Qemu:
    """A QEMU as reports call it, and how to start it."""

    kind: str
    argv: tuple[str, ...]


def stock() -> Qemu:
    """The one of the distribution."""
    return Qemu(STOCK, ("/usr/bin/qemu-system-x86_64",))


def patched() -> Qemu:
    """The one that VFAILOVER_QEMU names, else what scripts/qemu has built."""
    binary = os.environ.get("VFAILOVER_QEMU")
    if not binary:
        script = paths.REPOSITORY / "scripts" / "qemu"
        found = subprocess.run([script, "path"], capture_output=True, text=True)
        if found.returncode != 0:
            raise LabError(
                f"no patched QEMU, build it first with scripts/qemu build: {found.stderr}"
            )
        binary = found.stdout.strip()
    # It is not installed; where it finds its firmware:
    return Qemu(PATCHED, (binary, "-L", "/usr/share/qemu", "-L", "/usr/share/seabios"))


def usual() -> Qemu:
    """The patched one if VFAILOVER_QEMU asks for it."""
    return patched() if os.environ.get("VFAILOVER_QEMU") else stock()
