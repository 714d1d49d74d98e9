# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: hosts on a network, ready to run guests."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from . import fabric, neighbours, probe, qemus
from .guest import Guest, Image
from .host import Host
from .qemus import Qemu

HOST_MEMORY_MB = 704


class Lab:
    """Two hosts, booted and prepared; use as a context manager, inside isolation.run().

    `directory` gets all logs. `vfs` is the number of VFs of each host's PF. With `pfs` of 2 there is a
    second one, pf1, in a network of its own, as it comes out of its box.
    `layer` is a tree that hosts lay over their root. `programs` of this machine are in the guests, too. `qemu` runs the guests; the usual one if none
    is given.
    """

    def __init__(
        self,
        directory: Path,
        vfs: int = 4,
        names: tuple[str, ...] = ("hosta", "hostb"),
        memory_mb: int = HOST_MEMORY_MB,
        programs: tuple[str, ...] = (),
        qemu: Qemu | None = None,
        layer: Path | None = None,
        pfs: int = 1,
    ) -> None:
        self._programs = programs
        self.qemu = qemu or qemus.usual()
        self.directory = directory
        self.vfs = vfs
        self._pfs = pfs
        self._started = time.monotonic()
        self.hosts = [
            Host(name, n, directory / name, memory_mb, layer, pfs)
            for n, name in enumerate(names, start=1)
        ]
        self._guests = 0
        self.image: Image

    def __enter__(self) -> "Lab":
        self.directory.mkdir(parents=True, exist_ok=True)
        # What `scripts/lab sh` needs to find this network. Not getpid(): that is 1 in here.
        hosts = {host.name: host.mgmt for host in self.hosts}
        state = {"pid": int(os.readlink("/proc/self")), "hosts": hosts}
        (self.directory / "state.json").write_text(json.dumps(state))
        try:
            fabric.up()
            if self._pfs > 1:
                fabric.add_storage()
            for host in self.hosts:
                host.boot(hosts)
            self.image = Image(self.directory, probe.program(), self._programs)
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._bring_up, self.hosts))
        except BaseException:
            self.close()
            raise
        return self

    def _bring_up(self, host: Host) -> None:
        host.wait_ready()
        host.prepare(self.vfs)
        host.start([str(probe.program()), "clock"], "clock.log")

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Pull all plugs."""
        for host in self.hosts:
            host.stop()
        (self.directory / "state.json").unlink(missing_ok=True)

    def host(self, name: str) -> Host:
        """The host of that name."""
        return next(host for host in self.hosts if host.name == name)

    def say(self, text: str) -> None:
        """Tell the user how far the run is."""
        print(f"{time.monotonic() - self._started:7.1f} s  {text}", flush=True)

    def start_guest(
        self,
        host: Host,
        primary: str | None,
        incoming: bool = False,
        memory_mb: int = 256,
        alter: Callable[[list[str]], list[str]] = list,
        stock: bool = False,
        number: int = 1,
    ) -> Guest:
        """Start a guest's QEMU in a host; with `incoming`, one that waits for a migration.

        `stock`: on this machine's QEMU, whatever the run is about. `number`: which guest it is.
        """
        self._guests += 1
        binary = list((qemus.stock() if stock else self.qemu).argv)
        guest = Guest(
            host,
            self.image,
            binary,
            primary,
            incoming,
            memory_mb,
            self._guests,
            alter,
            number,
            neighbours.peers(self.hosts, self.vfs),
        )
        guest.start()
        fabric.set_neighbour(guest.address, guest.mac)
        return guest
