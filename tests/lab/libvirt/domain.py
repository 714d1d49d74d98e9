# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is a domain of libvirt."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from .. import qemus
from ..errors import DeadlineError, LabError
from ..guest import Guest, Image
from ..host import Host
from ..host.host import LOGS
from ..qmp import Qmp
from . import xml
from .xml import Form, Spec

UUID = "12345678-0000-4000-8000-00000000000c"
MONITOR_SECONDS = 120
VIRSH_SECONDS = 180
FILE = "/run/lab/guest.xml"


class Domain(Guest):
    """The guest as libvirt has it in one host, running there or about to arrive."""

    standby_id = xml.STANDBY
    primary_id = xml.PRIMARY

    def __init__(
        self,
        host: Host,
        image: Image,
        qemu: qemus.Qemu,
        form: Form,
        vf: str | None,
        generation: int,
        peers: list[tuple[str, str]],
        managed: bool = False,
        alter: Callable[[str], str] = str,
    ) -> None:
        super().__init__(host, image, [], None, generation=generation, peers=peers)
        self.form = form
        # libvirt has one console and one log for all lives of the domain in a host.
        self.console = host.directory / f"{self.name}-console.log"
        self.log = host.directory / f"{self.name}.log"
        self._console_from = _size(self.console)
        self._xml = alter(
            xml.domain(
                Spec(
                    name=self.name,
                    uuid=UUID,
                    mac=self.mac,
                    vf=vf,
                    form=form,
                    emulator=qemu.argv[0],
                    kernel=str(image.kernel),
                    ram_disk=str(image.ram_disk),
                    append=self._append(),
                    console=f"{LOGS}/{self.console.name}",
                    shell_port=self.shell_port,
                    qmp_port=self.lab_qmp_port,
                    managed=managed,
                    arguments=list(qemu.argv[1:]),
                )
            )
        )
        self._monitor: Qmp | None = None
        self._monitor_error: str | None = None
        self._connected = threading.Event()

    def virsh(self, *arguments: str, check: bool = True) -> str:
        """What virsh writes in the guest's host."""
        result = self.host.run(["virsh", "-q", *arguments], check=check, seconds=VIRSH_SECONDS)
        return result.stdout

    def start(self) -> None:
        """Create it, as a domain that is gone when it ends."""
        self.write()
        self.virsh("create", FILE)
        self.expect()

    def define(self) -> None:
        """Define it and start it."""
        self.write()
        self.virsh("define", FILE)
        self.virsh("start", self.name)
        self.expect()

    def write(self) -> None:
        """Put the XML where virsh of the host can read it."""
        self.host.write(FILE, self._xml)

    def expect(self) -> None:
        """Connect to the monitor as soon as there is a QEMU."""
        threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        name = f"{self.name} in {self.host.name}"
        log = self.host.directory / f"{self._stem}-qmp.log"
        deadline = time.monotonic() + MONITOR_SECONDS
        while time.monotonic() < deadline:
            try:
                self._monitor = Qmp(name, (self.host.mgmt, self.lab_qmp_port), log)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
            except (OSError, LabError, ValueError, KeyError) as error:
                self._monitor_error = str(error)
                time.sleep(0.05)
        self._connected.set()

    @property
    def qmp(self) -> Qmp:
        """The lab's monitor of it, once there is one."""
        if not self._connected.wait(MONITOR_SECONDS) or self._monitor is None:
            why = f": {self._monitor_error}" if self._monitor_error else ""
            raise DeadlineError(
                f"{self.host.name}: QEMU's monitor: not within {MONITOR_SECONDS} s{why}"
            )
        return self._monitor

    def learn_standby(self) -> None:
        """Note which tap libvirt has made for it."""
        self.host.standby = xml.tap_of(self.description()) or self.host.standby

    def description(self) -> str:
        """The XML of the running domain."""
        return self.virsh("dumpxml", self.name)

    def console_text(self) -> str:
        if not self.console.exists():
            return ""
        return self.console.read_bytes()[self._console_from :].decode(errors="replace")

    def running(self) -> bool:
        return not self.qmp.closed

    def migration_ms(self, source: Guest) -> tuple[int, int]:
        # The source's QEMU is gone by now, and its domain with it.
        del source
        return xml.completed_ms(self.virsh("domjobinfo", self.name, "--completed"))

    def kill(self) -> None:
        self.virsh("destroy", self.name)

    def quit(self) -> None:
        if self._connected.is_set() and self._monitor is not None:
            self._monitor.close()


_OPENED = """
for link in /proc/[0-9]*/fd/*; do
    target=$(readlink "$link" || true)
    case $target in /dev/vfio/[0-9]*) echo "${target##*/}" ;; esac
done | sort -u | while read -r group; do
    ls "/sys/kernel/iommu_groups/$group/devices"
done
"""


def opened_vfs(host: Host) -> list[str]:
    """The VFs that some process of a host has opened, as the kernel tells."""
    return host.sh(_OPENED).stdout.split()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
