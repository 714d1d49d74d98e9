# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt alone: `virsh migrate` of a domain with a failover pair."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import fabric, neighbours, paths
from ..guest import Guest
from ..host import Host
from ..lab import Lab
from ..libvirt import Domain, Form, Libvirtd
from ..libvirt import daemon as libvirtd
from ..libvirt import xml
from . import monitor
from .contender import Contender, Outcome

POSTCOPY = ("--live", "--p2p", "--postcopy", "--postcopy-after-precopy")
POOL_FILE = "/run/lab/pool.xml"


class Libvirt(Contender):
    """The domain of both hosts has the VF of the same PCI address."""

    form: Form
    memory_mb = libvirtd.MEMORY_MB
    managed = False
    """Whether libvirt binds the VF to vfio-pci, and back."""
    options: tuple[str, ...] = ("--live", "--p2p")
    """Of `virsh migrate`."""
    alter: Callable[[str], str] = str
    """What is made of the domain's XML."""

    def __init__(self) -> None:
        self.libvirtds: dict[str, Libvirtd] = {}
        self.alter: Callable[[str], str] = str
        """What becomes of the domain's XML before it is started."""
        self._generation = 0

    def layer(self) -> Path | None:
        return paths.libvirt()

    def prepare(self, lab: Lab) -> None:
        self.libvirtds = {host.name: Libvirtd(host) for host in lab.hosts}
        for host in lab.hosts:
            self.prepare_host(lab, host)
            self.libvirtds[host.name].prepare()
        # Most of it is the emulated processor's time.
        with ThreadPoolExecutor() as pool:
            list(pool.map(Libvirtd.start, self.libvirtds.values()))
        if self.form is Form.NETWORK:
            for host in lab.hosts:
                host.write(POOL_FILE, xml.pool(self.managed))
                self.libvirtds[host.name].virsh("net-create", POOL_FILE)

    def prepare_host(self, lab: Lab, host: Host) -> None:
        """What is to be done before libvirt runs."""
        del lab
        if self.form is Form.HOSTDEV:
            # libvirt leaves the address of such a VF alone.
            self.give_vf(host, 0)

    def domain(self, lab: Lab, host: Host, vf: str | None) -> Domain:
        """The guest as a domain, not started."""
        self._generation += 1
        made = Domain(
            host,
            lab.image,
            lab.qemu,
            self.form,
            vf,
            self._generation,
            neighbours.peers(lab.hosts, lab.vfs),
            self.managed,
            self.alter,
        )
        fabric.set_neighbour(made.address, made.mac)
        return made

    def start_source(self, lab: Lab, host: Host) -> Guest:
        guest = self.domain(lab, host, host.vfs[0])
        guest.start()
        guest.wait_ready(primary=True)
        guest.learn_standby()
        return guest

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        return self.domain(lab, host, None)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        assert isinstance(source, Domain) and isinstance(destination, Domain)
        source.qmp.command(
            "migrate-set-parameters", **{"downtime-limit": monitor.DOWNTIME_LIMIT_MS}
        )
        destination.expect()
        source.virsh(*self.migration(source.name, destination.host))
        destination.learn_standby()
        return Outcome()

    def migration(self, name: str, destination: Host) -> list[str]:
        """virsh's arguments."""
        return ["migrate", *self.options, name, f"qemu+tcp://{destination.name}/system"]


class LibvirtHostdev(Libvirt):
    """<hostdev>. The VF with the guest's MAC is there on both hosts all the time."""

    name = "libvirt-hostdev"
    form = Form.HOSTDEV


class LibvirtPostcopy(LibvirtHostdev):
    """The same, and the guest runs at the destination before the rest of its memory comes."""

    name = "libvirt-postcopy"
    options = POSTCOPY


class LibvirtNetwork(Libvirt):
    """<interface type='network'> with a pool of VFs. libvirt chooses the VF as well."""

    name = "libvirt-network"
    form = Form.NETWORK


class LibvirtInterface(Libvirt):
    """<interface type='hostdev'>. libvirt gives the VF the MAC when it prepares the migration."""

    name = "libvirt-interface"
    form = Form.INTERFACE
