# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of the kernel's documentation (Documentation/networking/net_failover.rst,
"Live Migration of a VM with SR-IOV VF & virtio-net in STANDBY mode")."""

from .. import clock
from ..guest import Guest
from ..host import Host
from ..lab import Lab
from . import monitor
from .contender import Contender, Outcome

NO_MAC = "00:00:00:00:00:00"

# The document's second entry is not static. To the bridge that is an address of its own: it would
# keep the guest's frames.
OPEN = f"""
bridge fdb replace {Guest.mac} dev pf0 self
bridge fdb replace {Guest.mac} dev tap0 master static
"""
SHUT = f"""
bridge fdb del {Guest.mac} dev pf0 self
bridge fdb del {Guest.mac} dev tap0 master
"""


class KernelScript(Contender):
    """The standby's link is down unless the guest migrates. What the document does with a VF that
    is a port of the bridge is done with the PF here, which is one."""

    name = "kernel-script"

    def prepare(self, lab: Lab) -> None:
        self.give_vf(lab.hosts[0], 0)
        for host in lab.hosts:
            # A host that has been up for long has read the program before.
            host.sh("bridge fdb show >/dev/null")

    def start_source(self, lab: Lab, host: Host) -> Guest:
        guest = super().start_source(lab, host)
        monitor.set_standby(guest, False)
        return guest

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        # "Similarly an appropriate FDB entry is added", and before the migration starts.
        host.sh(OPEN)
        return lab.start_guest(host, None, incoming=True)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        monitor.set_standby(source, True)
        monitor.unplug(source)
        source.host.sh(f"ip link set pf0 vf 0 mac {NO_MAC}" + OPEN)
        monitor.migrate(source, destination)
        source.host.sh(SHUT)
        returning_us = clock.now_us()
        destination.host.sh(SHUT + f"ip link set pf0 vf 0 mac {Guest.mac}")
        monitor.plug(destination, destination.host.vfs[0])
        monitor.set_standby(destination, False)
        return Outcome(returning_us=returning_us)
