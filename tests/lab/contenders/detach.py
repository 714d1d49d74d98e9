# SPDX-License-Identifier: GPL-2.0-or-later
"""Detach, migrate, attach: what a cloud stack does with a guest's VF."""

from .. import clock
from ..guest import Guest
from ..host import Host
from ..lab import Lab
from . import monitor
from .contender import Contender, Outcome


class Detach(Contender):
    """As libvirt does it for an interface of type hostdev: the VF has the guest's MAC while it is
    attached, and before and after that its own. Nobody looks after the way through the PF."""

    name = "detach"

    def prepare(self, lab: Lab) -> None:
        self.give_vf(lab.hosts[0], 0)

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        return lab.start_guest(host, None, incoming=True)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        monitor.unplug(source)
        source.host.set_vf_mac(0, source.host.parking_mac(0))
        monitor.migrate(source, destination)
        returning_us = clock.now_us()
        self.give_vf(destination.host, 0)
        monitor.plug(destination, destination.host.vfs[0])
        return Outcome(returning_us=returning_us)
