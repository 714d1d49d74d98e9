# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to migrate a guest with a VF that the lab compares."""

from .contender import Contender, Outcome
from .detach import Detach
from .kernel_script import KernelScript
from .libvirt import (
    Libvirt,
    LibvirtHostdev,
    LibvirtInterface,
    LibvirtNetwork,
    LibvirtPostcopy,
)
from .libvirt_vfailover import (
    LibvirtHostdevVfailover,
    LibvirtInterfaceVfailover,
    LibvirtNetworkVfailover,
    LibvirtPostcopyVfailover,
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
        LibvirtNetwork,
        LibvirtPostcopy,
        KernelScript,
        Detach,
        StockFilter,
        LibvirtHostdevVfailover,
        LibvirtInterfaceVfailover,
        LibvirtNetworkVfailover,
        LibvirtPostcopyVfailover,
        Vfailover,
    )
}

__all__ = ["ALL", "Contender", "Libvirt", "LibvirtVfailover", "Outcome", "Vfailover"]
