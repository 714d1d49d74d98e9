# SPDX-License-Identifier: GPL-2.0-or-later
"""Small initial RAM disks: busybox, some kernel modules, an /init, and extra files."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path, PurePosixPath

from . import kernel
from .errors import LabError

BUSYBOX = Path("/bin/busybox")
DIRECTORIES = ("bin", "dev", "etc", "modules", "mnt", "proc", "run", "sys", "tmp")


class _Archive:
    """A cpio archive in the "newc" format, the one the kernel unpacks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def add(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (
            self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(path), 0
        )  # fmt: skip
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self._parts += [_padded(header), _padded(data)]

    def write(self, target: Path) -> None:
        self.add("TRAILER!!!", 0)
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(b"".join(self._parts))
        temporary.rename(target)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def programs(names: tuple[str, ...]) -> dict[str, Path]:
    """Programs of this machine, and the libraries that they load, for build()."""
    extra: dict[str, Path] = {}
    for name in names:
        found = shutil.which(name)
        if found is None:
            raise LabError(f"{name} is not on this machine: run scripts/lab-setup")
        extra[f"bin/{name}"] = Path(found)
        listing = subprocess.run(["ldd", found], capture_output=True, text=True, check=True)
        for library in re.findall(r"(?:=>|^)\s*(/\S+) \(0x", listing.stdout, re.MULTILINE):
            extra[library.lstrip("/")] = Path(library)
    return extra


def build(target: Path, init: Path, modules: list[str], extra: dict[str, Path]) -> None:
    """Write the archive `target`; `extra` maps a name inside to a file of this machine.

    The modules lie in /modules, numbered in loading order, so that /init needs no modprobe.
    """
    archive = _Archive()
    for directory in DIRECTORIES:
        archive.add(directory, stat.S_IFDIR | 0o755)
    # The kernel opens /dev/console for /init before anything can mount devtmpfs.
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes())
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in set(applets.stdout.split()) - {"busybox"}:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    for number, module in enumerate(kernel.modules(modules)):
        archive.add(f"modules/{number:03}-{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
    above = {str(parent) for name in extra for parent in PurePosixPath(name).parents}
    for directory in sorted(above - {".", *DIRECTORIES}):
        archive.add(directory, stat.S_IFDIR | 0o755)
    for name, source in extra.items():
        archive.add(name, stat.S_IFREG | 0o755, source.read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, init.read_bytes())
    archive.write(target)
