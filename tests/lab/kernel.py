# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that hosts and guests boot, as `scripts/lab-setup` left it in the cache."""

import subprocess
from pathlib import Path

from . import paths
from .errors import LabError


def image() -> Path:
    """The uncompressed kernel."""
    vmlinux = paths.KERNEL / "vmlinux"
    if not vmlinux.exists():
        raise LabError(f"{vmlinux} is missing: run scripts/lab-setup")
    return vmlinux


def version() -> str:
    """The kernel's release, as `uname -r` says it."""
    return (paths.KERNEL / "version").read_text().strip()


def modules(names: list[str]) -> list[Path]:
    """The files of these modules and of all they depend on, in loading order."""
    files: list[Path] = []
    for name in names:
        listing = subprocess.run(
            ["modprobe", "-d", str(paths.KERNEL), "-S", version(), "--show-depends", name],
            capture_output=True,
            text=True,
        )
        if listing.returncode != 0:
            raise LabError(f"kernel module {name}: {listing.stderr.strip()}")
        for line in listing.stdout.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "insmod" and Path(rest.split()[0]) not in files:
                files.append(Path(rest.split()[0]))
    return files
