# SPDX-License-Identifier: GPL-2.0-or-later
"""The same with the other way to give a domain a VF, which libvirt binds to vfio-pci itself."""

from ..contenders import LibvirtVfailover
from ..run import Run
from . import libvirt_migrate

DESCRIPTION = "the same with <interface type='hostdev' managed='yes'>"
CONTENDERS = ("libvirt-interface-vfailover",)


def run(test: Run) -> None:
    assert isinstance(test.contender, LibvirtVfailover)
    test.contender.managed = True
    libvirt_migrate.run(test)
