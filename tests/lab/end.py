# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ends of the guest's traffic, and programs that run there side by side."""

import shlex
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from . import fabric, probe, process, wait
from .errors import DeadlineError, LabError
from .guest import Guest

START_SECONDS = 60
END_SECONDS = 60


class Task(ABC):
    """A program that has been started and runs beside others."""

    def __init__(self, what: str) -> None:
        self.what = what

    @abstractmethod
    def written(self) -> str:
        """What it has written so far."""

    @abstractmethod
    def status(self, seconds: float) -> int | None:
        """Its exit status; None if it has not ended within that time."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask it to end."""

    def wait_for(self, text: str) -> None:
        """Wait until it has written that."""

        def has_written() -> bool:
            if text in self.written():
                return True
            if self.status(0) is not None:
                raise LabError(f"{self.what}: it has ended: {self.written().strip()}")
            return False

        try:
            wait.until(f"{self.what}: {text}", has_written, START_SECONDS)
        except DeadlineError as error:
            raise DeadlineError(f"{error}: {self.written().strip()}") from error

    def result(self, seconds: float = END_SECONDS) -> str:
        """What it wrote, once it has ended; LabError unless it ended well."""
        status = self.status(seconds)
        if status is None:
            text = self.written().strip()
            raise DeadlineError(f"{self.what}: not done within {seconds:g} s: {text}")
        if status != 0:
            raise LabError(f"{self.what}: exit status {status}: {self.written().strip()}")
        return self.written()


class End(ABC):
    """Where programs run and have files, and an interface and an address of the fabric."""

    name: str
    address: str
    mac: str
    interface: str
    probe: str
    directory: str

    @abstractmethod
    def start(self, name: str, argv: list[str]) -> Task:
        """Start a program; the name is one that no other has that runs."""

    @abstractmethod
    def run(self, command: str) -> str:
        """What a piece of shell writes."""

    def path(self, name: str) -> str:
        """Where a file of that name is."""
        return f"{self.directory}/{name}"

    def checksum(self, name: str) -> str:
        """A file's SHA-256."""
        return self.run(f"sha256sum {shlex.quote(self.path(name))}").split()[0]


class _ClientTask(Task):
    def __init__(self, what: str, argv: list[str], log: Path) -> None:
        super().__init__(what)
        self._log = log
        log.unlink(missing_ok=True)
        self._process = process.spawn(argv, log)

    def written(self) -> str:
        return self._log.read_text(errors="replace")

    def status(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        self._process.terminate()


class Client(End):
    """The lab's own end, on this machine."""

    name = "client"
    address = fabric.CLIENT_ADDRESS
    mac = fabric.CLIENT_MAC
    interface = fabric.TOR

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = str(directory)
        self.probe = str(probe.program())

    def start(self, name: str, argv: list[str]) -> _ClientTask:
        return _ClientTask(f"{self.name}: {name}", argv, Path(self.path(f"{name}.log")))

    def run(self, command: str) -> str:
        found = subprocess.run(["/bin/sh", "-euc", command], capture_output=True, text=True)
        if found.returncode != 0:
            raise LabError(f"{command}: exit status {found.returncode}: {found.stderr.strip()}")
        return found.stdout


class _GuestTask(Task):
    def __init__(self, end: "GuestEnd", name: str, argv: list[str]) -> None:
        super().__init__(f"{end.name}: {name}")
        self._end = end
        self._stem = stem = end.path(name)
        command = f"{shlex.join(argv)} >{stem}.log 2>&1 & echo $! >{stem}.pid"
        command += f"; wait $!; echo $? >{stem}.status"
        end.run(f"rm -f {stem}.*; : >{stem}.log; ({command}) >/dev/null 2>&1 &")

    def written(self) -> str:
        return self._end.run(f"cat {self._stem}.log")

    def status(self, seconds: float) -> int | None:
        look = f"cat {self._stem}.status 2>/dev/null || true"
        try:
            return int(wait.until(self.what, lambda: self._end.run(look).strip(), seconds, 0.5))
        except DeadlineError:
            return None

    def terminate(self) -> None:
        self._end.run(f"kill -TERM $(cat {self._stem}.pid)")


class GuestEnd(End):
    """The guest; tasks go on while it migrates, and their ends are seen from where it is then."""

    name = "guest"
    probe = "/bin/vflab-probe"
    directory = "/tmp"

    def __init__(self, guest: Guest) -> None:
        self.address, self.mac = guest.address, guest.mac
        self.move_to(guest)
        find = f"ip -o -4 address | grep -F ' {guest.address}/' | cut -d ' ' -f 2"
        self.interface = self.run(find).strip()

    def move_to(self, guest: Guest) -> None:
        """It is there now."""
        self._guest = guest

    def start(self, name: str, argv: list[str]) -> _GuestTask:
        return _GuestTask(self, name, argv)

    def run(self, command: str) -> str:
        # A line for each command: one that is kept ends with the QEMU at its other end.
        with self._guest.shell() as shell:
            return shell.run(command, END_SECONDS)
