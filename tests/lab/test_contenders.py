# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which contenders without a daemon do things."""

from typing import Any

import pytest

from lab.contenders import ALL, Contender
from lab.errors import LabError
from lab.guest import Guest
from lab.host import Host
from lab.qmp import Event


class FakeQmp:
    """A monitor that does all it is asked for, and has every event ready."""

    def __init__(self, name: str, log: list[str], status: str = "completed") -> None:
        self.events: list[Event] = []
        self._name = name
        self._log = log
        self._status = status

    def command(self, execute: str, **arguments: Any) -> dict[str, Any]:
        if not execute.startswith("migrate-"):
            words = [str(value) for value in arguments.values()]
            self._log.append(" ".join([self._name, execute, *words]))
        return {"error-desc": "it broke"}

    def wait_event(self, name: str, _seconds: float, *_rest: Any, after: int = 0) -> Event:
        del after
        self._log.append(f"{self._name} {name}")
        return Event(name, 0, {"status": self._status})


class FakeHost(Host):
    """A host that notes what is run in it."""

    def __init__(self, name: str, number: int, log: list[str]) -> None:
        self.name = name
        self.number = number
        self.mgmt = f"10.8.0.{number}"
        self.vfs = [f"{name}-vf0"]
        self._log = log

    def run(self, argv: list[str], *_rest: Any, **_more: Any) -> Any:
        self._log.append(f"{self.name}: {' '.join(argv)}")

    def sh(self, script: str, *_rest: Any, **_more: Any) -> Any:
        self._log += [f"{self.name}: {line}" for line in script.splitlines() if line]


def guest(host: FakeHost, log: list[str], status: str = "completed") -> Guest:
    made = Guest.__new__(Guest)
    made.host = host
    made.qmp = FakeQmp(host.name, log, status)  # type: ignore[assignment]
    return made


def migrate(name: str, status: str = "completed") -> tuple[list[str], Contender]:
    log: list[str] = []
    hosts = [FakeHost("a", 1, log), FakeHost("b", 2, log)]
    contender = ALL[name]()
    contender.migrate(None, guest(hosts[0], log, status), guest(hosts[1], log))  # type: ignore[arg-type]
    return log, contender


MIGRATES = ["a migrate tcp:10.8.0.2:49152", "a MIGRATION", "b RESUME"]
MAC = Guest.mac


def test_detach() -> None:
    log, _ = migrate("detach")
    assert log == [
        "a device_del hostdev0",
        "a DEVICE_DELETED",
        "a: ip link set pf0 vf 0 mac 02:00:00:01:00:00",
        *MIGRATES,
        f"b: ip link set pf0 vf 0 mac {MAC}",
        "b device_add vfio-pci b-vf0 hostdev0 root2 net1 0",
    ]


def test_kernel_script() -> None:
    log, _ = migrate("kernel-script")
    shut = [f"bridge fdb del {MAC} dev pf0 self", f"bridge fdb del {MAC} dev tap0 master"]
    assert log == [
        "a set_link net1 True",
        "a device_del hostdev0",
        "a DEVICE_DELETED",
        "a: ip link set pf0 vf 0 mac 00:00:00:00:00:00",
        f"a: bridge fdb replace {MAC} dev pf0 self",
        f"a: bridge fdb replace {MAC} dev tap0 master static",
        *MIGRATES,
        *(f"a: {line}" for line in shut),
        *(f"b: {line}" for line in shut),
        f"b: ip link set pf0 vf 0 mac {MAC}",
        "b device_add vfio-pci b-vf0 hostdev0 root2 net1 0",
        "b set_link net1 False",
    ]


@pytest.mark.parametrize("name", ["virtio-net", "stock", "stock-filter"])
def test_leaves_it_to_qemu(name: str) -> None:
    assert migrate(name)[0] == MIGRATES


def test_failure_says_why() -> None:
    with pytest.raises(LabError, match="migration failed: it broke"):
        migrate("stock", "failed")
