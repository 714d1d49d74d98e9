# SPDX-License-Identifier: GPL-2.0-or-later
"""The XML of a domain with a failover pair."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from enum import Enum
from xml.sax.saxutils import escape, quoteattr

STANDBY = "ua-net1"
PRIMARY = "ua-vf0"
POOL = "vfpool"
_PCI = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


class Form(Enum):
    """How a domain says that it has a VF."""

    HOSTDEV = "hostdev"
    """<hostdev>: libvirt leaves the VF's address as it is."""
    INTERFACE = "interface"
    """<interface type='hostdev'>: libvirt gives the VF the address, and takes it away again."""
    NETWORK = "network"
    """<interface type='network'>: libvirt chooses the VF from the pool of a network, too."""


@dataclass(frozen=True)
class Spec:
    """What makes a domain."""

    name: str
    uuid: str
    mac: str
    vf: str | None
    """The VF's PCI address; None: a standby alone."""
    form: Form
    emulator: str
    kernel: str
    ram_disk: str
    append: str
    console: str
    shell_port: int
    qmp_port: int
    managed: bool = False
    memory_mb: int = 256
    bridge: str = "br0"
    arguments: list[str] = field(default_factory=list)
    """For QEMU, besides those of libvirt."""


def domain(spec: Spec) -> str:
    """The whole domain."""
    arguments = [*spec.arguments, "-qmp", f"tcp:0.0.0.0:{spec.qmp_port},server=on,wait=off"]
    words = "".join(f"<qemu:arg value={quoteattr(word)}/>" for word in arguments)
    teaming = "<teaming type='persistent'/>" if spec.vf is not None else ""
    vf = device(spec.form, spec.vf, spec.mac, spec.managed) if spec.vf is not None else ""
    net = standby(spec.mac, spec.bridge, teaming, STANDBY)
    # The memory is had before the guest runs, as with the lab's other guests.
    return f"""<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>{escape(spec.name)}</name>
<uuid>{spec.uuid}</uuid>
<memory unit='MiB'>{spec.memory_mb}</memory>
<memoryBacking><allocation mode='immediate'/></memoryBacking>
<vcpu>1</vcpu>
<os>
<type arch='x86_64' machine='q35'>hvm</type>
<kernel>{escape(spec.kernel)}</kernel>
<initrd>{escape(spec.ram_disk)}</initrd>
<cmdline>{escape(spec.append)}</cmdline>
</os>
<features><acpi/><apic/></features>
<cpu mode='host-passthrough' check='none' migratable='on'/>
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices>
<emulator>{escape(spec.emulator)}</emulator>
<controller type='usb' model='none'/>
<serial type='file'><source path={quoteattr(spec.console)} append='on'/></serial>
<serial type='tcp'>
<source mode='bind' host='0.0.0.0' service='{spec.shell_port}'/><protocol type='raw'/>
</serial>
{net}
{vf}
<memballoon model='none'/>
</devices>
<qemu:commandline>{words}</qemu:commandline>
</domain>
"""


def add_pair(
    text: str, form: Form, vf: str, mac: str, alias: str, primary: str, bridge: str = "br0"
) -> str:
    """A domain's XML with one more pair."""
    teaming = "<teaming type='persistent'/>"
    pair = standby(mac, bridge, teaming, alias) + device(form, vf, mac, False, alias, primary)
    return text.replace("</devices>", f"{pair}\n</devices>")


def standby(mac: str, bridge: str, teaming: str, alias: str) -> str:
    """The half of a pair that is on a tap."""
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/>"
        f"<model type='virtio'/>{teaming}<rom enabled='no'/><alias name='{alias}'/></interface>"
    )


def device(
    form: Form, vf: str, mac: str, managed: bool, alias: str = STANDBY, primary: str = PRIMARY
) -> str:
    """The half of the pair that is a VF."""
    yes = "yes" if managed else "no"
    end = f"<teaming type='transient' persistent='{alias}'/><rom enabled='no'/><alias name='{primary}'/>"
    if form is Form.HOSTDEV:
        return (
            f"<hostdev mode='subsystem' type='pci' managed='{yes}'>"
            f"<source>{_address(vf)}</source>{end}</hostdev>"
        )
    if form is Form.NETWORK:
        return (
            f"<interface type='network'><mac address='{mac}'/>"
            f"<source network='{POOL}'/>{end}</interface>"
        )
    return (
        f"<interface type='hostdev' managed='{yes}'><mac address='{mac}'/>"
        f"<source>{_address(vf, 'pci')}</source>{end}</interface>"
    )


def put_vf_into_vlan(text: str, vlan: int) -> str:
    """A domain's XML, the VF of its <interface> in that VLAN."""
    tree = _parse(text)
    for vf in tree.findall("./devices/interface[@type='hostdev']"):
        ElementTree.SubElement(ElementTree.SubElement(vf, "vlan"), "tag", id=str(vlan))
    return ElementTree.tostring(tree, encoding="unicode")


def put_standby_on_macvtap(text: str) -> str:
    """A domain's XML, its standby a macvtap of pf0 in place of a tap in a bridge."""
    tree = _parse(text)
    for standby_half in tree.findall("./devices/interface[@type='bridge']"):
        standby_half.set("type", "direct")
        source = standby_half.find("source")
        assert source is not None
        source.attrib = {"dev": "pf0", "mode": "bridge"}
    return ElementTree.tostring(tree, encoding="unicode")


def _parse(text: str) -> ElementTree.Element:
    ElementTree.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")
    return ElementTree.fromstring(text)


def pool(managed: bool) -> str:
    """The network that Form.NETWORK takes its VFs from."""
    yes = "yes" if managed else "no"
    return (
        f"<network><name>{POOL}</name>"
        f"<forward mode='hostdev' managed='{yes}'><pf dev='pf0'/></forward></network>"
    )


def _address(pci: str, kind: str = "") -> str:
    found = _PCI.fullmatch(pci)
    if found is None:
        raise ValueError(f"{pci}: not a PCI address")
    of = f"type='{kind}' " if kind else ""
    domain_part, bus, slot, function = found.groups()
    return (
        f"<address {of}domain='0x{domain_part}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"
    )


def vf_of(text: str) -> str | None:
    """The PCI address of the first VF that a domain's XML has; None if it has none."""
    return next(iter(vfs_of(text)), None)


def vfs_of(text: str) -> list[str]:
    """The PCI addresses of the VFs that a domain's XML has."""
    vfs = []
    for found in ElementTree.fromstring(text).findall("./devices/*"):
        teaming = found.find("teaming")
        address = found.find("source/address")
        alone = found.tag == "hostdev" or found.get("type") == "hostdev"
        paired = teaming is not None and teaming.get("type") == "transient"
        if address is None or not (alone or paired):
            continue
        numbers = [int(address.get(part, "0"), 16) for part in ("domain", "bus", "slot", "function")]
        vfs.append("{:04x}:{:02x}:{:02x}.{:x}".format(*numbers))
    return vfs


def tap_of(text: str) -> str | None:
    """The tap of the standby in the XML of a running domain."""
    for found in ElementTree.fromstring(text).findall("./devices/interface"):
        teaming = found.find("teaming")
        target = found.find("target")
        if target is not None and (teaming is None or teaming.get("type") == "persistent"):
            return target.get("dev")
    return None


def completed_ms(text: str) -> tuple[int, int]:
    """Of what `virsh domjobinfo --completed` writes: the duration, and the downtime."""
    found = dict(re.findall(r"^(Time elapsed|Total downtime):\s+(\d+)", text, re.MULTILINE))
    return int(found.get("Time elapsed", 0)), int(found.get("Total downtime", 0))
