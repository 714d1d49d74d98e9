# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain in a VLAN: `virsh migrate` there and back between bridges on a VLAN interface."""

from .. import state, tagging
from ..contenders import LibvirtVfailover
from ..host import Host
from ..libvirt import Domain, Form, xml
from ..run import Run
from .libvirt_migrate import described, gone
from .vlan import VLAN, expect_own, put_bridge_on_vlan, start_stranger

DESCRIPTION = "virsh migrate of a domain in VLAN 100, a bridge on pf0.100 in each host, and back"
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-interface-vfailover")


def run(test: Run) -> None:
    assert isinstance(test.contender, LibvirtVfailover)
    for host in test.lab.hosts:
        put_bridge_on_vlan(host)
    tagging.client_in_vlan(VLAN)
    # libvirt gives such a VF its VLAN; that of the other form is what its standby is in.
    if test.contender.form is Form.INTERFACE:
        test.contender.alter = lambda text: xml.put_vf_into_vlan(text, VLAN)

    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    test.start_traffic(guest)
    stranger = start_stranger(guest)
    for destination in ("hostb", "hosta"):
        there = test.migrate(guest, destination)
        assert isinstance(there, Domain)
        gone(guest)
        _expect_vlan(test, there.host, described(there))
        guest = there
    expect_own(test, stranger.tally(guest))
    stranger.stop()


def _expect_vlan(test: Run, where: Host, pci: str) -> None:
    """The guest's VF is in its VLAN, and no other VF of either host is."""
    for host in test.lab.hosts:
        vlans = {vf["pci"]: vf["vlan"] for vf in state.read(host).vfs}
        wanted = {vf: VLAN if host is where and vf == pci else 0 for vf in vlans}
        test.expect(f"VLANs {wanted} of {host.name}'s VFs, not {vlans}", vlans == wanted)
