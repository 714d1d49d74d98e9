# SPDX-License-Identifier: GPL-2.0-or-later
"""Neighbours of the guest in the hosts: whoever else is there and talks to it.

Each sends the guest a numbered frame every 20 ms, and the guest sends it one. A neighbour may be
out of the guest's reach: the guest's end is told what to do by the lab, from the client's place.
"""

import base64
import io
import signal
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import clock, fabric, wait
from .errors import LabError
from .guest import Guest
from .guest.guest import without_pair
from .host import Host
from .host.host import LOGS, Background
from .probe import Control, program
from .strangers import OTHER_MAC, Strangers

if TYPE_CHECKING:
    from .lab import Lab

PORT = 7003
SPACING_US = 20_000
HOST_MEMORY_MB = 960
"""What a host needs that has a second guest."""
SERIAL_SECONDS = 180
"""A guest's serial line is slow, and there are three of them in two hosts."""
FILES = ("sent.csv", "received.csv", "summary")
SECONDS = 30


@dataclass
class Log:
    """What a neighbour and the guest know of the traffic between them, on the client's clock."""

    kind: str
    host: str
    directory: Path
    """With sent.csv and received.csv, on the neighbour's monotonic clock."""
    clock: clock.Clock
    delivered: list[int]
    guest_sent: int


def peers(hosts: Iterable[Host], vfs: int) -> list[tuple[str, str]]:
    """Addresses and MACs of guest and neighbours; a guest is told them when it starts."""
    found = [(Guest.address, Guest.mac)]
    for host in hosts:
        for kind in KINDS:
            neighbour = kind(host, vfs)
            found.append((neighbour.address, neighbour.mac))
    return found


class Neighbour(ABC):
    """One of them. Set up once in the life of a host; then start() and stop() by turns."""

    kind: str

    def __init__(self, host: Host, vfs: int) -> None:
        self.host = host
        self.vfs = vfs
        self.directory = host.directory / f"neighbour-{self.kind}"

    @property
    @abstractmethod
    def address(self) -> str:
        """Its IP address."""

    @property
    @abstractmethod
    def mac(self) -> str:
        """Its address on the wire."""

    @property
    def clock_address(self) -> str:
        """Where its clock answers."""
        return self.host.mgmt

    @abstractmethod
    def set_up(self, lab: "Lab") -> None:
        """Bring it about."""

    @abstractmethod
    def start(self) -> None:
        """Send, and be ready to receive."""

    @abstractmethod
    def stop(self) -> None:
        """Send no more, and leave what was recorded in `directory`."""

    def _let_in(self) -> None:
        """A card that has VFs gives its PF what the PF's filter has, whatever bridge that is in."""
        self.host.run(["bridge", "fdb", "add", self.mac, "dev", "pf0", "self"])

    def _arguments(self, directory: str) -> list[str]:
        """The probe's."""
        return ["neighbour", Guest.address, str(SPACING_US), directory]


class _Process(Neighbour):
    """A process in a network namespace of the host, with one interface."""

    _process: Background | None = None
    _starts = 0

    @property
    def namespace(self) -> str:
        """Its name in the host."""
        return f"n-{self.kind}"

    def _move(self, interface: str) -> None:
        """Give the namespace its interface, and wait for the link."""
        enter = f"ip -n {self.namespace}"
        self.host.sh(
            f"ip netns add {self.namespace}\n"
            f"ip link set {interface} netns {self.namespace} name eth0\n"
            f"{enter} address add {self.address}/24 dev eth0\n"
            f"{enter} link set eth0 up\n"
            f"{enter} neighbour add {Guest.address} lladdr {Guest.mac} dev eth0 nud permanent\n"
            f"{enter} neighbour add {fabric.CLIENT_ADDRESS} lladdr {fabric.CLIENT_MAC} "
            "dev eth0 nud permanent\n"
        )
        wait.until(
            f"{self.host.name}: link of {self.namespace}",
            lambda: "LOWER_UP" in self.host.sh(f"{enter} link show dev eth0").stdout,
            SECONDS,
            0.5,
        )

    @property
    def _log(self) -> Path:
        return self.directory.with_suffix(".log")

    def start(self) -> None:
        self._starts += 1
        self.directory.mkdir(exist_ok=True)
        arguments = self._arguments(f"{LOGS}/{self.directory.name}")
        argv = ["ip", "netns", "exec", self.namespace, str(program()), *arguments]
        self._process = self.host.start(argv, self._log.name)
        wait.until(
            f"{self.host.name}: {self.kind} neighbour listens",
            lambda: self._log.read_text().count("listens") >= self._starts,
            SECONDS,
        )

    def stop(self) -> None:
        assert self._process is not None
        self._process.signal(signal.SIGTERM)
        status = self._process.wait(SECONDS)
        if status != 0:
            raise LabError(
                f"{self.host.name}: {self.kind} neighbour: exit status {status}: "
                + self._log.read_text().strip()
            )


class Vf(_Process):
    """On another VF of the guest's PF: the last one, with the address that it is parked with."""

    kind = "vf"

    @property
    def address(self) -> str:
        return f"10.9.0.{10 * self.host.number + 1}"

    @property
    def mac(self) -> str:
        return f"02:00:00:{self.host.number:02x}:00:{self.vfs - 1:02x}"

    def set_up(self, lab: "Lab") -> None:
        pci = self.host.vfs[-1]
        device = f"/sys/bus/pci/devices/{pci}"
        found = self.host.sh(
            "modprobe igbvf\n"
            f"echo {pci} >/sys/bus/pci/drivers/vfio-pci/unbind\n"
            f"echo igbvf >{device}/driver_override\n"
            f"echo {pci} >/sys/bus/pci/drivers_probe\n"
            f"ls {device}/net\n"
        )
        self._move(found.stdout.strip())


class Bridge(_Process):
    """On a port of the bridge that the standby's tap is in."""

    kind = "bridge"

    @property
    def address(self) -> str:
        return f"10.9.0.{10 * self.host.number + 2}"

    @property
    def mac(self) -> str:
        return f"52:54:00:00:0b:{self.host.number:02x}"

    def set_up(self, lab: "Lab") -> None:
        self.host.sh(
            "modprobe veth\n"
            f"ip link add veth0 type veth peer name veth1 address {self.mac}\n"
            "ip link set veth0 master br0\n"
            "ip link set veth0 up\n"
        )
        self._let_in()
        self._move("veth1")


class SecondGuest(Neighbour):
    """In another guest, which has a virtio-net device on a tap in that bridge and no VF."""

    kind = "guest"
    memory_mb = 160
    output = "/tmp/neighbour"

    _guest: Guest
    _pid = ""

    @property
    def number(self) -> int:
        """Of the guest."""
        return 1 + self.host.number

    @property
    def mac(self) -> str:
        return Guest.mac_of(self.number)

    @property
    def address(self) -> str:
        return Guest.address_of(self.number)

    @property
    def clock_address(self) -> str:
        return self.address

    def set_up(self, lab: "Lab") -> None:
        self.host.sh(
            "ip tuntap add tap1 mode tap\n"
            "ip link set tap1 master br0\n"
            "ip link set tap1 up\n"
        )
        self._let_in()
        self._guest = lab.start_guest(
            self.host,
            None,
            memory_mb=self.memory_mb,
            alter=self._alter,
            stock=True,
            number=self.number,
        )
        self._guest.wait_ready(primary=False)
        with self._guest.shell() as shell:
            shell.run("vflab-probe clock >/dev/console 2>&1 &")

    @staticmethod
    def _alter(argv: list[str]) -> list[str]:
        return [word.replace("ifname=tap0", "ifname=tap1") for word in without_pair(argv)]

    def start(self) -> None:
        probe = " ".join(["vflab-probe", *self._arguments(self.output)])
        with self._guest.shell() as shell:
            shell.run(f"rm -rf {self.output}; mkdir {self.output}")
            self._pid = shell.run(f"{probe} >{self.output}/log 2>&1 & echo $!").strip()
            shell.run(f"until grep -q listens {self.output}/log; do usleep 20000; done")

    def stop(self) -> None:
        with self._guest.shell() as shell:
            shell.run(f"kill -TERM {self._pid}")
            # The last file to be written.
            written = f"grep -qs epoch_us {self.output}/summary"
            shell.run(f"until {written}; do usleep 20000; done")
            packed = shell.run(
                f"cd {self.output} && tar c {' '.join(FILES)} | gzip | base64", SERIAL_SECONDS
            )
        self.directory.mkdir(exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as archive:
            for name in FILES:
                member = archive.extractfile(name)
                assert member is not None
                (self.directory / name).write_bytes(member.read())


KINDS: tuple[type[Neighbour], ...] = (Vf, Bridge, SecondGuest)
USUAL: tuple[type[Neighbour], ...] = (Vf, Bridge)
"""With a second guest beside it and all traffic on, the first one did not answer for 20 s, in hosts
of a machine that was busy otherwise as well. A process on the bridge stands for it: the same way."""

BY_NAME = {kind.kind: kind for kind in KINDS}


def named(names: list[str]) -> tuple[type[Neighbour], ...]:
    """The kinds of these names, the usual ones if there are none."""
    return tuple(BY_NAME[name] for name in names) or USUAL


class Neighbours:
    """Some of each kind in all hosts, for any number of runs in one lab."""

    def __init__(self, lab: "Lab", kinds: tuple[type[Neighbour], ...] = USUAL) -> None:
        self._all = [kind(host, lab.vfs) for host in lab.hosts for kind in kinds]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: self._set_up(lab, host), lab.hosts))
        self._before: list[clock.Reading] = []
        self._strangers = Strangers()
        self.isolation: dict[str, int] = {}

    def _set_up(self, lab: "Lab", host: Host) -> None:
        # A unicast frame that no filter knows the emulated card gives to VFs as well (QEMU 10.0,
        # igb_receive_assign()): the strangers' is the PF's.
        host.run(["bridge", "fdb", "add", OTHER_MAC, "dev", "pf0", "self"])
        for neighbour in self._all:
            if neighbour.host is host:
                neighbour.set_up(lab)

    def start(self) -> None:
        """Let them talk to the guest, and look at what its VF receives."""
        self._before = [clock.read(neighbour.clock_address) for neighbour in self._all]
        with Control(Guest.address) as control:
            control.capture()
            for neighbour in self._all:
                control.expect(neighbour.address, PORT)
            for neighbour in self._all:
                neighbour.start()
                control.send(neighbour.address, SPACING_US)
        self._strangers = Strangers()
        self._strangers.start()

    def stop(self) -> list[Log]:
        """End it; what was recorded."""
        after = [clock.read(neighbour.clock_address) for neighbour in self._all]
        self._strangers.stop()
        with Control(Guest.address) as control:
            captured = control.captured()
            sent = [control.stop(neighbour.address) for neighbour in self._all]
            # They receive for a moment longer, and the guest still records what they have sent.
            for neighbour in self._all:
                neighbour.stop()
            delivered = [control.record(neighbour.address) for neighbour in self._all]
        for neighbour, numbers in zip(self._all, delivered):
            text = "".join(f"{number}\n" for number in numbers)
            (neighbour.directory / "delivered.csv").write_text(text)
        self.isolation = {**captured, "strangers": self._strangers.sent}
        return [
            Log(n.kind, n.host.name, n.directory, clock.Clock(*readings), received, count)
            for n, readings, received, count in zip(
                self._all, zip(self._before, after), delivered, sent
            )
        ]

    def foreign_if_let_in(self, host: Host) -> int:
        """How many foreign frames are seen when the card in that host lets them through.

        After stop(): what finds none has to be able to find one.
        """
        strangers = Strangers()
        host.run(["bridge", "fdb", "del", OTHER_MAC, "dev", "pf0", "self"])
        with Control(Guest.address) as control:
            control.capture()
            strangers.start()
            wait.until("foreign frames", lambda: strangers.sent > 60, SECONDS)
            strangers.stop()
            return control.captured()["foreign"]
