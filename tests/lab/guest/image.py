# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest boots."""

from pathlib import Path

from .. import initramfs, kernel

MODULES = ["virtio_pci", "failover", "net_failover", "virtio_net", "igbvf", "bonding", "8021q"]


class Image:
    """A kernel and an initial RAM disk with the probe and some programs of this machine inside."""

    def __init__(self, directory: Path, probe: Path, programs: tuple[str, ...] = ()) -> None:
        self.kernel = kernel.image()
        self.ram_disk = directory / "guest-initramfs"
        own = Path(__file__).resolve().parent
        extra = {"bin/vflab-probe": probe, "bin/side": own / "side", **initramfs.programs(programs)}
        initramfs.build(self.ram_disk, own / "init", MODULES, extra)
