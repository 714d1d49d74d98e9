# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest in a VLAN: there and back between a bridge that filters VLANs and a VLAN interface."""

from .. import marks, tagging
from ..guest import Guest
from ..host import Host
from ..run import Run

DESCRIPTION = "a guest in VLAN 100, from a VLAN-filtering bridge to a bridge on pf0.100, and back"
CONTENDERS = ("vfailover",)
VFS = 2

VLAN = 100
OWN, UNTAGGED, FOREIGN = 1, 2, 3
_ACCESS = f"""
ip link set br0 type bridge vlan_filtering 1
bridge vlan del dev tap0 vid 1
bridge vlan add dev tap0 vid {VLAN} pvid untagged
bridge vlan add dev pf0 vid {VLAN}
"""
_INTERFACE = f"""
ip link add link pf0 name pf0.{VLAN} type vlan id {VLAN}
ip link set pf0 nomaster
ip link set pf0.{VLAN} master br0 up
"""


def run(test: Run) -> None:
    hosta, hostb = test.lab.host("hosta"), test.lab.host("hostb")
    hosta.sh(_ACCESS + f"ip link set pf0 vf 0 vlan {VLAN}")
    put_bridge_on_vlan(hostb)
    tagging.client_in_vlan(VLAN)

    guest = test.start_guest("hosta")
    test.start_traffic(guest)
    stranger = start_stranger(guest)
    _refused(test, hosta)
    guest = test.migrate(guest, "hostb")
    _has_vlan(test, hostb, hosta)
    guest = test.migrate(guest, "hosta")
    _has_vlan(test, hosta, hostb)
    expect_own(test, stranger.stop(guest))


def start_stranger(guest: Guest) -> marks.Marks:
    """Whose frames are in the guest's VLAN, in none, and in another."""
    stranger = marks.Marks({OWN: VLAN, UNTAGGED: 0, FOREIGN: VLAN + 1})
    stranger.start(guest)
    return stranger


def expect_own(test: Run, counts: dict[int, int]) -> None:
    """The guest got the stranger's frames of its own VLAN alone."""
    test.note(
        "marked frames delivered to the guest",
        f"{counts[OWN]} of its VLAN, {counts[UNTAGGED]} untagged, {counts[FOREIGN]} of another",
    )
    test.expect("frames of the guest's own VLAN", counts[OWN] > 100)
    test.expect("no frame of another VLAN", counts[UNTAGGED] == counts[FOREIGN] == 0)


def put_bridge_on_vlan(host: Host) -> None:
    """The bridge has an interface of the VLAN as its port, and not the PF itself."""
    host.sh(_INTERFACE)
    host.uplink = f"pf0.{VLAN}"


def _refused(test: Run, host: Host) -> None:
    """A tap in another VLAN than the VF."""
    host.sh("bridge vlan add dev tap0 vid 1 untagged")
    answer = test.contender.command(host, "migrate", "guest", "hostb", check=False)
    host.sh("bridge vlan del dev tap0 vid 1")
    test.expect(
        "a refusal with the command that helps",
        "bridge vlan del dev tap0 vid 1" in str(answer[-1].get("error") if answer else None),
    )


def _has_vlan(test: Run, host: Host, other: Host) -> None:
    """The VLAN has moved with the guest."""
    for where, vlans in ((host, {VLAN, 0}), (other, {0})):
        shown = test.contender.command(where, "vfs")
        test.expect(f"VLANs {vlans} in {where.name}", {vf["vlan"] for vf in shown} == vlans)
