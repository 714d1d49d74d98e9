# SPDX-License-Identifier: GPL-2.0-or-later
"""`vfailover define`: an ordinary domain gets a VF, starts with it, moves to another host for good, starts
again there, and is an ordinary one again."""

import xml.etree.ElementTree as ElementTree

from .. import paths
from ..contenders import LibvirtVfailover
from ..host import Host
from ..libvirt import Domain, domain, xml
from ..run import Run
from .libvirt_migrate import defined, described, gone

DESCRIPTION = (
    "vfailover define: an interface becomes a pair, the domain starts with its VF, moves with its definition, "
    "as by virt-manager, starts again, and --undo"
)
CONTENDERS = ("libvirt-hostdev-vfailover",)
VFS = 2

NETWORK = "lan"
# All that virt-manager asks of libvirt.
_MIGRATE = """
import libvirt, sys
name, where = sys.argv[1:]
flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
libvirt.open("qemu:///system").lookupByName(name).migrate3(libvirt.open(where), {}, flags)
"""


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    host = test.lab.host("hosta")
    guest = contender.domain(test.lab, host, None)
    guest.write()
    guest.virsh("define", domain.FILE)
    before = _devices(guest.virsh("dumpxml", "--inactive", guest.name))

    printed = define(host, guest.name, "--network", NETWORK, "--print-xml")
    test.expect("a VF in what --print-xml prints", xml.vf_of(printed) is not None)
    unchanged = _devices(guest.virsh("dumpxml", "--inactive", guest.name))
    test.expect("--print-xml that defines nothing", unchanged == before)

    test.note("define", define(host, guest.name, "--network", NETWORK).strip())
    guest.virsh("start", guest.name)
    guest.expect()
    guest.wait_ready(primary=True)
    vfs = [described(guest)]

    guest = _move(test, guest, test.lab.host("hostb"))
    vfs.append(described(guest))
    guest.virsh("destroy", guest.name)
    guest.quit()
    guest = contender.domain(test.lab, guest.host, None)
    guest.virsh("start", guest.name)
    guest.expect()
    guest.wait_ready(primary=True)
    vfs.append(described(guest))
    test.note("VFs", " -> ".join(vfs))
    test.expect("another VF at the destination, and the same at the start there", vfs[0] != vfs[1] == vfs[2])

    guest.virsh("destroy", guest.name)
    guest.quit()
    test.note("define --undo", define(guest.host, guest.name, "--undo").strip())
    after = _devices(guest.virsh("dumpxml", "--inactive", guest.name))
    test.expect(f"the devices of before: {before}, not {after}", after == before)


def define(host: Host, name: str, *arguments: str) -> str:
    """What `vfailover define` writes."""
    return host.run([str(paths.COMMAND), "define", name, *arguments]).stdout


def _move(test: Run, guest: Domain, there: Host) -> Domain:
    """The guest in another host, with its definition, which names the VF that it has there."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    before = _devices(guest.virsh("dumpxml", "--inactive", guest.name))
    known = contender.job_ids(guest.host)
    arrived = contender.domain(test.lab, there, None)
    arrived.expect()
    where = f"qemu+tcp://{there.name}/system"
    guest.host.run(["/usr/bin/python3", "-c", _MIGRATE, guest.name, where], seconds=domain.VIRSH_SECONDS)
    job = contender.ended_job(guest.host, guest.name, known)
    test.expect(f"job completed, not {job['state']}: {job['error']}", job["state"] == "completed")
    gone(guest)
    guest.quit()

    after = _devices(defined(arrived))
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    test.expect(f"no change but the VF's: {changed}", [one.split()[0] for one, _ in changed] == ["<hostdev"])
    return arrived


def _devices(text: str) -> list[str]:
    """The devices of a domain but for its controllers, which libvirt adds as it needs them."""
    devices = ElementTree.fromstring(text).findall("./devices/*")
    return [
        ElementTree.canonicalize(ElementTree.tostring(device, "unicode"), strip_text=True)
        for device in devices
        if device.tag != "controller"
    ]
