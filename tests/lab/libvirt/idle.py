# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain whose firmware finds nothing to boot: no driver of a guest ever runs in it, so that
QEMU never shows it the VF of its pair."""

from .. import state, wait
from ..host import Host
from ..lab import Lab
from . import xml
from .xml import Form

MEMORY_MB = 64
CREATE_SECONDS = 60
KNOWN_SECONDS = 30


class Idle:
    """The domain, with a pair if it is given a VF."""

    mac = "52:54:00:aa:00:77"

    def __init__(self, lab: Lab, name: str, form: Form, vf: str | None = None) -> None:
        self.name = name
        self._file = f"/run/lab/{name}.xml"
        teaming = "<teaming type='persistent'/>" if vf else ""
        primary = xml.device(form, vf, self.mac, managed=False) if vf else ""
        # Without <acpi> libvirt 9.0 gives QEMU an option that the one of the hosts no longer has.
        self._xml = f"""<domain type='kvm'>
<name>{name}</name>
<memory unit='MiB'>{MEMORY_MB}</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<features><acpi/><apic/></features>
<cpu mode='host-passthrough' check='none' migratable='on'/>
<devices>
<emulator>{lab.qemu.argv[0]}</emulator>
<controller type='usb' model='none'/>
{xml.standby(self.mac, "br0", teaming, xml.STANDBY)}
{primary}
<memballoon model='none'/>
</devices>
</domain>
"""

    def create(self, host: Host) -> str:
        """Start it; what virsh says if it is refused, else nothing."""
        host.write(self._file, self._xml)
        result = host.run(["virsh", "-q", "create", self._file], check=False, seconds=CREATE_SECONDS)
        return result.stderr.strip() if result.status != 0 else ""

    def wait_known(self, host: Host) -> None:
        """Wait until the host's vfailoverd has found it, and has seen to its VF's side."""

        def known() -> bool:
            now = state.read(host)
            return now.vf_of(self.name) is not None and now.bridge_port(self.mac) == host.uplink

        wait.until(f"{host.name}: vfailoverd knows {self.name}", known, KNOWN_SECONDS)

    def runs_in(self, host: Host) -> bool:
        """Whether it is there and runs."""
        return self.name in host.run(["virsh", "-q", "list", "--name", "--state-running"]).stdout.split()

    def destroy(self, host: Host) -> None:
        """End it."""
        host.run(["virsh", "-q", "destroy", self.name])
