# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain whose standby is a macvtap of libvirt's: `virsh migrate` there and back under traffic."""

from ..contenders import LibvirtVfailover
from ..libvirt import Domain, xml
from ..run import Run
from .libvirt_migrate import described, gone
from .macvtap import expect_unplugged

DESCRIPTION = "virsh migrate of a domain with <interface type='direct'> in mode bridge, and back"
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-interface-vfailover")


def run(test: Run) -> None:
    assert isinstance(test.contender, LibvirtVfailover)
    for host in test.lab.hosts:
        host.sh("modprobe macvtap; ip link set pf0 nomaster")
        host.uplink = None
    test.contender.alter = xml.put_standby_on_macvtap

    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    test.start_traffic(guest)
    for destination in ("hostb", "hosta"):
        there = test.migrate(guest, destination)
        assert isinstance(there, Domain)
        gone(guest)
        test.note(f"in {destination}", f"VF {described(there)}, standby {there.host.standby}")
        job = test.contender.command(guest.host, "job", guest.name)[-1]
        held = [step["result"] for step in job["steps"] if step["name"] in ("prepare", "hold")]
        test.expect(f"a job that held frames: {held}", {*held} == {"ok"})
        left = guest.host.sh("ip -o link show type macvtap").stdout
        test.expect(f"no macvtap left in {guest.host.name}: {left}", not left)
        for host in test.lab.hosts:
            expect_unplugged(test, host)
        guest = there
