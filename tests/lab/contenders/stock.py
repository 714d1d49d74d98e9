# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own failover and nothing else."""

from ..guest import Guest
from ..host import Host
from ..lab import Lab
from . import monitor
from .contender import Contender, Outcome


class Stock(Contender):
    """The VF with the guest's MAC is there on both hosts, from before the migration until after."""

    name = "stock"

    def prepare(self, lab: Lab) -> None:
        for host in lab.hosts:
            self.give_vf(host, 0)

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        return lab.start_guest(host, host.vfs[0], incoming=True)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        monitor.migrate(source, destination)
        return Outcome()
