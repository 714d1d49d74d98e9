# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab reads of a kernel's log about AppArmor."""

from pathlib import Path
from typing import Any

import pytest

from lab import wait
from lab.errors import DeadlineError, LabError
from lab.host import Host
from lab.libvirt import AppArmor, apparmor

LOADED = (
    '5,811,9000000,-;audit: type=1400 audit(1763784000.100:11): apparmor="STATUS" '
    'operation="profile_load" profile="unconfined" name="libvirtd" pid=90 comm="apparmor_parser"\n'
)
OPEN = (
    '5,812,9100000,-;audit: type=1400 audit(1763784000.200:12): apparmor="DENIED" '
    'operation="open" profile="libvirt-12345678-0000-4000-8000-00000000000c" '
    'name="/sys/bus/pci/devices/0000:01:10.1/config" pid=99 comm="qemu-system-x86" '
    'requested_mask="r" denied_mask="r" fsuid=0 ouid=0\n'
    " SUBSYSTEM=none\n"
)
HEXADECIMAL = (
    '5,813,9100001,-;audit: type=1400 audit(1763784000.300:13): apparmor="DENIED" '
    'operation="exec" profile="libvirtd" name=2F746D702F6120686F6F6B pid=99 comm=6120686F6F6B '
    'requested_mask="x" denied_mask="x" fsuid=0 ouid=0\n'
)
CAPABLE = (
    '5,814,9100002,-;audit: type=1400 audit(1763784000.400:14): apparmor="DENIED" '
    'operation="capable" profile="virt-aa-helper" pid=99 comm="virt-aa-helper" capability=21  '
    'capname="sys_admin"\n'
)


def test_denials() -> None:
    found = apparmor.denials(LOADED + OPEN + HEXADECIMAL + CAPABLE)
    assert [str(denial) for denial in found] == [
        "qemu-system-x86 in libvirt-12345678-0000-4000-8000-00000000000c: "
        "open /sys/bus/pci/devices/0000:01:10.1/config (r)",
        "a hook in libvirtd: exec /tmp/a hook (x)",
        "virt-aa-helper in virt-aa-helper: capable sys_admin ()",
    ]
    assert apparmor.denials("") == []


@pytest.mark.parametrize(
    "text",
    [
        LOADED + HEXADECIMAL,
        "6,7,1,-;audit: audit_lost=1 audit_rate_limit=0 audit_backlog_limit=64\n",
        "6,7,1,-;audit: printk limit exceeded\n",
        "6,7,1,-;kauditd_printk_skb: 5 callbacks suppressed\n",
    ],
)
def test_lost(text: str) -> None:
    with pytest.raises(LabError, match="not whole"):
        apparmor.denials(text)


class FakeHost(Host):
    """A host whose kernel tells of what is denied, if it is `watchful`."""

    def __init__(self, directory: Path, watchful: bool = True) -> None:
        self.name = "hosta"
        self.directory = directory
        self._watchful = watchful
        self._number = 814

    def run(self, argv: list[str], *_rest: Any, **_more: Any) -> Any:
        program = argv[4]
        self._number += 1
        if self._watchful:
            self.say(f'5,{self._number},1,-;audit: apparmor="DENIED" operation="open" name="{program}"\n')

    def say(self, text: str) -> None:
        with (self.directory / apparmor.LOG).open("a", encoding="utf-8") as log:
            log.write(text)


def test_each_denial_is_told_once(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.say(LOADED + OPEN + HEXADECIMAL + CAPABLE)
    guard = AppArmor(host)
    assert len(guard.denials()) == 3
    assert guard.denials() == []


def test_a_kernel_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(tmp_path, watchful=False)
    host.say(LOADED)
    monkeypatch.setattr(wait.time, "monotonic", iter(range(0, 1000, 20)).__next__)
    with pytest.raises(DeadlineError, match="tells of"):
        AppArmor(host).denials()
