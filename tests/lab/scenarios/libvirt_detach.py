# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest without net_failover, which bonds its VF itself: `vfailover migrate` takes the VF out, has
libvirt migrate the domain, and gives it a VF there."""

import re

from .. import clock, state
from ..contenders import LibvirtVfailover, Outcome
from ..contenders.libvirt_vfailover import occupy, vacate
from ..guest import Guest
from ..libvirt import Domain, domain, xml
from ..run import Run

DESCRIPTION = "vfailover migrate of a domain whose guest bonds its VF; back to a host without a free VF"
CONTENDERS = ("libvirt-interface-vfailover",)
VFS = 2


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    contender.alter = _bonded
    hosta, hostb = test.lab.hosts
    # The guest's bond takes its time in an emulated host.
    patient = {"deadlines": {"unplug": "60"}}
    contender.reconfigure(test.lab, hosta, {"migration": {"no-vf": "standby-only"}, **patient})
    contender.reconfigure(test.lab, hostb, patient)
    guest = test.start_guest("hosta")
    test.start_traffic(guest)

    used = _described(test, guest)
    there = test.migrate(guest, "hostb", lambda *ends: _migrate(test, *ends, "completed"))
    uses = _described(test, there)
    test.note("VFs", f"{used} -> {uses}")
    test.expect("another VF there", used != uses)

    for vf in hosta.vfs:
        occupy(hosta, vf)
    back = test.migrate(
        there, "hosta", lambda *ends: _migrate(test, *ends, "degraded"), with_vf=False
    )
    assert isinstance(back, Domain)
    test.expect("no VF in its XML", xml.vf_of(back.description()) is None)
    freed_us = clock.now_us()
    vacate(hosta, hosta.vfs[1])
    since_us = test.wait_vf("guest on the VF that has become free", freed_us)
    test.note("from a VF that becomes free to its use", f"{(since_us - freed_us) / 1000:.0f} ms")
    test.expect(f"the VF {hosta.vfs[1]}", _described(test, back) == hosta.vfs[1])

    for host in test.lab.hosts:
        log = (host.directory / "vfailoverd.log").read_text()
        test.expect(
            f"{host.name}: its PF side open from the VM's stop", "are lost until it runs" not in log
        )
    test.finish()
    back.kill()
    back.quit()
    now = state.read(hosta)
    test.expect("no VF with the guest's address", all(vf["mac"] != back.mac for vf in now.vfs))
    test.expect(
        "no way to the guest", not now.lets_in(back.mac) and now.bridge_port(back.mac) is None
    )


def _bonded(text: str) -> str:
    """The domain without <teaming>: its guest joins the two interfaces."""
    return re.sub("<teaming [^>]*/>", "", text).replace("console=", "lab_pair=bond console=", 1)


def _described(test: Run, guest: Guest) -> str | None:
    """The VF in the XML of a running domain, which must be the one that QEMU has."""
    assert isinstance(guest, Domain)
    said = xml.vf_of(guest.description())
    found = domain.opened_vfs(guest.host)
    test.expect(f"{guest.host.name}: dumpxml with {found}, not {said}", found == [said])
    return said


def _migrate(test: Run, source: Guest, destination: Guest, ending: str) -> Outcome:
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover) and isinstance(destination, Domain)
    destination.expect()
    outcome = contender.migrate_to(source, destination, ending)
    destination.learn_standby()
    return outcome
