# SPDX-License-Identifier: GPL-2.0-or-later
"""No VF at all: what live migration costs in any case."""

from ..guest import Guest
from ..guest.guest import without_pair
from ..host import Host
from ..lab import Lab
from . import monitor
from .contender import Contender, Outcome


class VirtioNet(Contender):
    """The guest has a virtio-net device that is half of no pair."""

    name = "virtio-net"
    has_vf = False

    def prepare(self, lab: Lab) -> None:
        # A card whose VFs are in use gives its PF nothing else of what no VF has asked for.
        for host in lab.hosts:
            self.let_in(host)

    def start_source(self, lab: Lab, host: Host) -> Guest:
        guest = lab.start_guest(host, None, alter=without_pair)
        guest.wait_ready(primary=False)
        return guest

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        return lab.start_guest(host, None, incoming=True, alter=without_pair)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        monitor.migrate(source, destination)
        return Outcome()
