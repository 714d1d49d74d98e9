# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to migrate a guest with a VF that the lab compares."""

from .contender import Contender, Outcome
from .detach import Detach
from .kernel_script import KernelScript
from .libvirt import LibvirtHostdev, LibvirtInterface
from .libvirt_vfailover import (
    LibvirtHostdevVfailover,
    LibvirtInterfaceVfailover,
    LibvirtVfailover,
)
from .stock import Stock
from .stock_filter import StockFilter
from .vfailover import Vfailover
from .virtio_net import VirtioNet

ALL: dict[str, type[Contender]] = {
    kind.name: kind
    for kind in (
        VirtioNet,
        Stock,
        LibvirtHostdev,
        LibvirtInterface,
        KernelScript,
        Detach,
        StockFilter,
        LibvirtHostdevVfailover,
        LibvirtInterfaceVfailover,
        Vfailover,
    )
}

__all__ = ["ALL", "Contender", "LibvirtVfailover", "Outcome", "Vfailover"]
