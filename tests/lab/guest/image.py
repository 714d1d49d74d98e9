# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest boots."""

from pathlib import Path

from .. import initramfs, kernel

MODULES = ["virtio_pci", "failover", "net_failover", "virtio_net", "igbvf"]


class Image:
    """A kernel and an initial RAM disk with the probe inside."""

    def __init__(self, directory: Path, probe: Path) -> None:
        self.kernel = kernel.image()
        self.ram_disk = directory / "guest-initramfs"
        init = Path(__file__).resolve().parent / "init"
        initramfs.build(self.ram_disk, init, MODULES, {"bin/vflab-probe": probe})
