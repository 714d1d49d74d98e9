# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest: a QEMU inside a host, and after a migration another QEMU inside another host."""

import signal
from collections.abc import Callable

from .. import fabric, wait
from ..errors import LabError
from ..host import Host
from ..host.host import LOGS, Background
from ..qmp import Qmp
from .image import Image
from .shell import Shell

READY_SECONDS = 120
QMP_DIRECTORY = "/run/vfailover/qmp"
"""Where the daemon looks for QEMU's sockets."""

_MACVTAP_FD = 10
# QEMU cannot open a macvtap itself: it gets the open device.
_OPEN_MACVTAP = (
    f'exec {_MACVTAP_FD}<>"/dev/tap$(cat "/sys/class/net/$1/ifindex")"; shift; exec "$@"'
)
_WITH_MACVTAP = ["/bin/bash", "-euc", _OPEN_MACVTAP, "bash"]


def without_pair(argv: list[str]) -> list[str]:
    """QEMU's arguments for a guest whose virtio-net device is half of no pair."""
    changed = [
        word.replace(",failover=on", "") if word.startswith("virtio-net-pci,") else word
        for word in argv
    ]
    # Without a pair there is no master device; the guest has to know.
    return [word + " lab_pair=no" if word.startswith("console=") else word for word in changed]


class Guest:
    """One QEMU process with this guest in it, running or waiting for it to come in.

    `primary` is the PCI address of the VF on its command line, None for none. `alter` may change
    QEMU's arguments, for a guest that is not as it should be. `number` tells guests apart. `peers`
    are addresses and MACs that the guest shall know besides the client's.
    """

    name = "guest"
    mac = "52:54:00:aa:00:10"
    address = "10.9.0.100"
    standby_id = "net1"
    primary_id = "hostdev0"
    primary_bus = "root2"
    lab_qmp_port = 5555
    shell_port = 5655

    def __init__(
        self,
        host: Host,
        image: Image,
        qemu: list[str],
        primary: str | None,
        incoming: bool = False,
        memory_mb: int = 256,
        generation: int = 0,
        alter: Callable[[list[str]], list[str]] = list,
        number: int = 1,
        peers: list[tuple[str, str]] | None = None,
    ) -> None:
        if number > 1:
            self.name = f"guest{number}"
            self.mac = Guest.mac_of(number)
            self.address = Guest.address_of(number)
            self.lab_qmp_port = Guest.lab_qmp_port + number - 1
            self.shell_port = Guest.shell_port + number - 1
        self.host = host
        self._peers = [(fabric.CLIENT_ADDRESS, fabric.CLIENT_MAC)]
        self._peers += [peer for peer in peers or [] if peer[0] != self.address]
        self.incoming = incoming
        stem = f"{self.name}-{generation}"
        self.console = host.directory / f"{stem}-console.log"
        self.log = host.directory / f"{stem}-qemu.log"
        console = f"{LOGS}/{stem}-console.log"
        argv = [*qemu, *alter(self._arguments(image, primary, memory_mb, console))]
        self._argv = [*_WITH_MACVTAP, host.standby, *argv] if host.has_macvtap else argv
        self._stem = stem
        self._process: Background | None = None
        self.qmp: Qmp

    @staticmethod
    def mac_of(number: int) -> str:
        """What a VF has to have before that guest is started on it."""
        return f"52:54:00:aa:00:{0x0F + number:02x}"

    @staticmethod
    def address_of(number: int) -> str:
        """That guest's address."""
        return f"10.9.0.{99 + number}"

    def _arguments(
        self, image: Image, primary: str | None, memory_mb: int, console: str
    ) -> list[str]:
        argv = ["-name", self.name, "-nodefaults", "-no-reboot", "-display", "none"]
        argv += ["-M", "q35,memory-backend=ram0", "-accel", "kvm", "-cpu", "host", "-smp", "1"]
        # A VF pins all of the guest's memory in any case. Had before the guest runs, the memory
        # costs its start; had when the VF is plugged in, it costs the running guest a second.
        argv += ["-m", str(memory_mb)]
        argv += ["-object", f"memory-backend-ram,id=ram0,size={memory_mb}M,prealloc=on"]
        argv += ["-serial", f"file:{console}"]
        argv += ["-serial", f"tcp:{self.host.mgmt}:{self.shell_port},server=on,wait=off"]
        argv += ["-qmp", f"unix:{QMP_DIRECTORY}/{self.name}.sock,server=on,wait=off"]
        argv += ["-qmp", f"tcp:{self.host.mgmt}:{self.lab_qmp_port},server=on,wait=off"]
        argv += ["-device", "pcie-root-port,id=root1,bus=pcie.0,chassis=1,slot=1,addr=3"]
        argv += ["-device", "pcie-root-port,id=root2,bus=pcie.0,chassis=2,slot=2,addr=4"]
        argv += ["-netdev", f"tap,id=hn1,{self._tap()},vhost=on"]
        argv += ["-device", f"virtio-net-pci,netdev=hn1,id={self.standby_id},mac={self.mac},"
                 "bus=root1,failover=on,romfile="]  # fmt: skip
        if primary is not None:
            argv += ["-device", f"vfio-pci,host={primary},id={self.primary_id},bus={self.primary_bus},"
                     f"failover_pair_id={self.standby_id},rombar=0"]  # fmt: skip
        argv += ["-kernel", str(image.kernel), "-initrd", str(image.ram_disk)]
        argv += ["-append", self._append()]
        if self.incoming:
            argv += ["-incoming", "defer"]
        return argv

    def _append(self) -> str:
        """The guest kernel's command line."""
        return (
            "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable "
            f"net.ifnames=0 lab_address={self.address}/24 "
            "lab_peers=" + "/".join(",".join(peer) for peer in self._peers)
        )

    def _tap(self) -> str:
        if self.host.has_macvtap:
            return f"fd={_MACVTAP_FD}"
        return f"ifname={self.host.standby},script=no,downscript=no"

    def start(self) -> None:
        """Start QEMU and connect to it."""
        self.host.sh(f"mkdir -p {QMP_DIRECTORY}")
        self._process = self.host.start(self._argv, f"{self._stem}-qemu.log")
        process = self._process

        def connect() -> Qmp | None:
            if process.poll() is not None:
                raise LabError(f"{self.host.name}: QEMU ended: {self.log.read_text().strip()}")
            try:
                name = f"{self.name} in {self.host.name}"
                log = self.host.directory / f"{self._stem}-qmp.log"
                return Qmp(name, (self.host.mgmt, self.lab_qmp_port), log)
            except ConnectionRefusedError:
                return None

        self.qmp = wait.until(f"{self.host.name}: QEMU's monitor", connect, 30)
        capabilities = [{"capability": "events", "state": True}]
        self.qmp.command("migrate-set-capabilities", capabilities=capabilities)

    def wait_ready(self, primary: bool) -> None:
        """Wait until the guest serves its probe, with its primary in use if it is to have one."""
        text = "primary=up" if primary else "lab: probe ready"

        def ready() -> bool:
            if not self.running():
                raise LabError(f"{self.host.name}: QEMU ended: {self.log.read_text().strip()}")
            return text in self.console_text() and "lab: probe ready" in self.console_text()

        wait.until(f"guest in {self.host.name}: {text}", ready, READY_SECONDS)

    def times_on_primary(self) -> int:
        """How often the guest has begun to use its primary in this host."""
        return self.console_text().count("primary=up")

    def links(self) -> str:
        """The guest's last word about its links."""
        return [line for line in self.console_text().splitlines() if "lab: links" in line][-1]

    def wait_on_primary(self, times: int, seconds: float) -> None:
        """Wait until the guest has begun that often to use its primary, and still does."""

        def using() -> bool:
            return self.times_on_primary() >= times and "primary=up" in self.links()

        wait.until(f"guest in {self.host.name} on its primary, {times}", using, seconds)

    def shell(self) -> Shell:
        """A way to run commands in the guest that does not use its network."""
        return Shell(f"{self.name} in {self.host.name}", (self.host.mgmt, self.shell_port))

    def console_text(self) -> str:
        """All that the guest wrote to its console in this host."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def running(self) -> bool:
        """Whether QEMU has not ended."""
        return self._process is not None and self._process.poll() is None

    def migration_ms(self, source: "Guest") -> tuple[int, int]:
        """Of the migration that brought the guest here: its duration, and QEMU's downtime."""
        statistics = source.qmp.command("query-migrate")
        return statistics["total-time"], statistics["downtime"]

    def kill(self) -> None:
        """End QEMU as a crash would: what it would have cleaned up stays."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
            self._process.wait(20)

    def quit(self) -> None:
        """What a manager does with the source's QEMU after a migration: end it."""
        if self._process is None:
            return
        if self.running():
            try:
                self.qmp.command("quit")
            except LabError:
                pass  # it may be gone before it answers
        self._process.wait(20)
        self.qmp.close()
