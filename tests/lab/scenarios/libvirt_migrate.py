# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain of libvirt: `virsh migrate` there and back under traffic, with nothing but its own XML."""

import os
import re

from .. import wait
from ..contenders import Libvirt, LibvirtVfailover
from ..errors import LabError
from ..libvirt import Domain, Form, domain, xml
from ..run import Run

DESCRIPTION = (
    "virsh migrate --live, <hostdev>, hosta to hostb and back with --p2p: the VF, and what dumpxml says of it"
)
CONTENDERS = (
    "libvirt-hostdev-vfailover",
    "libvirt-interface-vfailover",
    "libvirt-network-vfailover",
    "libvirt-hostdev",
    "libvirt-interface",
    "libvirt-network",
)
TIMES = int(os.environ.get("VFAILOVER_MIGRATIONS") or 2)
SPACING_US = 2000 if TIMES <= 2 else 20_000
"""With many it is what they leave that counts, and a guest with little to do moves sooner."""
LABS_TAINTS = {"custom-argv", "high-privileges", "host-cpu"}
"""Of the lab's own XML, and of a QEMU that is root."""
DEFINED_SECONDS = 60
DIRECT = ("--live",)
"""virsh itself drives it, in place of the source's libvirtd (--p2p)."""


def run(test: Run) -> None:
    assert isinstance(test.contender, Libvirt)
    peer_to_peer = test.contender.options
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    used = [described(guest)]
    handles: list[list[int]] = []
    memory: list[list[int]] = []
    threads: list[list[int]] = []
    test.start_traffic(guest, SPACING_US)
    for number in range(TIMES):
        test.contender.options = peer_to_peer if number % 2 else DIRECT
        there = test.migrate(guest, "hosta" if number % 2 else "hostb")
        assert isinstance(there, Domain)
        gone(guest)
        used.append(described(there))
        guest = there
        if isinstance(test.contender, LibvirtVfailover):
            handles.append(test.contender.handles())
            memory.append([test.contender.rss_kb(host) for host in test.lab.hosts])
            threads.append([test.contender.threads(host) for host in test.lab.hosts])
    test.note("VFs", " -> ".join(used))
    if isinstance(test.contender, LibvirtVfailover):
        # Of a pool libvirt takes the first, on either host.
        if guest.form is not Form.NETWORK:
            test.expect(f"another VF at the destination: {used}", used[0] != used[1])
        test.note("open files of the daemons", str(handles))
        test.note("resident kB of the daemons", str(memory))
        test.note("threads of the daemons", str(threads))
        taints = set(re.findall(r"is tainted: ([a-z-]+)", guest.log.read_text(errors="replace")))
        test.expect(f"no taint but that of a hook: {taints}", taints - LABS_TAINTS <= {"hook-script"})
        # Two migrations make the hosts what they were.
        for before, after in zip(handles[1:], handles[3:]):
            test.judge(f"no more open files than two migrations ago: {handles}", before >= after)


def described(guest: Domain) -> str:
    """The VF of a running domain: the one in its XML, which must be the one that QEMU has."""
    said = xml.vf_of(guest.description())
    found = domain.opened_vfs(guest.host)
    if said is None or found != [said]:
        raise LabError(f"{guest.host.name}: dumpxml says {said}, QEMU has {found}")
    return said


def defined(guest: Domain) -> str:
    """The definition of a running domain that has just come with it, once it names the VF that the
    domain has; vfailoverd sees to that when the domain runs."""
    vf = described(guest)

    def right() -> str | None:
        text = guest.virsh("dumpxml", "--inactive", guest.name)
        return text if xml.vf_of(text) == vf else None

    return wait.until(f"{guest.host.name}: a definition with {vf}", right, DEFINED_SECONDS)


def gone(guest: Domain) -> None:
    """The domain that was created at the source is gone there."""
    listed = guest.virsh("list", "--all", "--name").split()
    if listed or domain.opened_vfs(guest.host):
        raise LabError(f"{guest.host.name}: the domain has left, and there still is {listed}")
