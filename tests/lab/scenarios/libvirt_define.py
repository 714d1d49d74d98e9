# SPDX-License-Identifier: GPL-2.0-or-later
"""`vfailover define`: an ordinary domain gets a VF, starts with it, and is an ordinary one again."""

import xml.etree.ElementTree as ElementTree

from .. import paths
from ..contenders import LibvirtVfailover
from ..host import Host
from ..libvirt import domain, xml
from ..run import Run

DESCRIPTION = "vfailover define: an interface becomes a pair, the domain starts with its VF, and --undo"
CONTENDERS = ("libvirt-hostdev-vfailover",)
VFS = 2

NETWORK = "lan"


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
    found = domain.opened_vfs(host)
    said = xml.vf_of(guest.description())
    test.expect(f"dumpxml with {found}, not {said}", found == [said])

    guest.virsh("destroy", guest.name)
    guest.quit()
    test.note("define --undo", define(host, guest.name, "--undo").strip())
    after = _devices(guest.virsh("dumpxml", "--inactive", guest.name))
    test.expect(f"the devices of before: {before}, not {after}", after == before)


def define(host: Host, name: str, *arguments: str) -> str:
    """What `vfailover define` writes."""
    return host.run([str(paths.COMMAND), "define", name, *arguments]).stdout


def _devices(text: str) -> list[str]:
    """The devices of a domain but for its controllers, which libvirt adds as it needs them."""
    devices = ElementTree.fromstring(text).findall("./devices/*")
    return [
        ElementTree.canonicalize(ElementTree.tostring(device, "unicode"), strip_text=True)
        for device in devices
        if device.tag != "controller"
    ]
