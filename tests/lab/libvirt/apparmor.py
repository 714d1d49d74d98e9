# SPDX-License-Identifier: GPL-2.0-or-later
"""AppArmor in a host, with the profiles that Debian has for libvirt: what runs in which of them, and
what the kernel denies."""

import re
from dataclasses import dataclass

from .. import wait
from ..errors import LabError
from ..host import Host

LOG = "kernel.log"
"""All that the kernel of a host says, as /dev/kmsg has it."""
LIBVIRTD = "libvirtd"
HELPER = "virt-aa-helper"
ENFORCED = "(enforce)"
DIRECTORY = "/etc/apparmor.d"
_LOAD_SECONDS = 120
_LOG_SECONDS = 30
_PROFILES = (f"{DIRECTORY}/usr.lib.libvirt.virt-aa-helper", f"{DIRECTORY}/usr.sbin.libvirtd")
# Which are empty when the package is installed; those of libvirt 9.0 want them to be there.
_LOCAL = {
    "usr.lib.libvirt.virt-aa-helper": "",
    "usr.sbin.libvirtd": "",
    # QEMU 10 reads it at its start; libvirt 9.0, with which no Debian has that QEMU, does not know.
    "abstractions/libvirt-qemu": "@{PROC}/sys/vm/max_map_count r,\n",
}

# Without auditd what is denied is in the kernel's log, which would leave out what comes too fast.
# The same rules are compiled in half the time, of which an emulated processor takes a lot.
_PREPARE = """
[ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ]
mount -t securityfs securityfs /sys/kernel/security
echo 0 >/proc/sys/kernel/printk_ratelimit
echo Optimize=no-expr-simplify >>/etc/apparmor/parser.conf
"""
_DENIED = """
mkdir -p /run/lab
touch "$1"
! aa-exec -p "$2" -- cat "$1"
"""
_MARK = "/run/lab/denied-"
_RECORD = re.compile(r"^\d+,(?P<number>\d+),\d+,[^;]*;(?P<text>.*)$", re.MULTILINE)
_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')
_LOST = re.compile(r"audit_lost=|printk limit exceeded|backlog limit exceeded|callbacks suppressed")
_HEX = re.compile(r"(?:[0-9A-F]{2})+")
# What the kernel writes in hexadecimal when it is not plain text.
_ENCODED = ("name", "comm", "profile", "target", "info")


@dataclass(frozen=True)
class Denial:
    """Something that AppArmor did not allow."""

    profile: str
    """Of the one who wanted it."""
    operation: str
    name: str
    """The path, or whatever else it is about."""
    program: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.program} in {self.profile}: {self.operation} {self.name} ({self.wanted})"


class AppArmor:
    """AppArmor of a host, from when its profiles are loaded."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._seen = 0
        self._marks = 0

    def start(self) -> None:
        """Load Debian's profiles, and listen to the kernel."""
        for profile in _PROFILES:
            if self.host.read(profile) is None:
                raise LabError(f"{profile} is not in this libvirt: set VFAILOVER_LIBVIRT to a newer one")
        self.host.sh(_PREPARE)
        self.host.start(["cat", "/dev/kmsg"], LOG)
        for file, rules in _LOCAL.items():
            self.host.write(f"{DIRECTORY}/local/{file}", rules)
        self.host.run(["apparmor_parser", "--replace", *_PROFILES], seconds=_LOAD_SECONDS)

    def label(self, pid: int | str) -> str:
        """The profile that confines a process, and how; "unconfined" if none does."""
        return (self.host.read(f"/proc/{pid}/attr/current") or "gone").strip("\0\n")

    def loaded(self) -> list[str]:
        """The names of the profiles that the kernel has."""
        text = self.host.read("/sys/kernel/security/apparmor/profiles") or ""
        return [line.rpartition(" ")[0] for line in text.splitlines()]

    def denials(self) -> list[Denial]:
        """What was denied since the last call.

        The kernel tells of it a moment later. So something more is denied here, and waited for: that
        also shows each time that denials are told at all.
        """
        self._marks += 1
        mark = f"{_MARK}{self._marks}"
        self.host.run(["/bin/sh", "-euc", _DENIED, "sh", mark, HELPER])
        log = self.host.directory / LOG

        def told() -> list[Denial] | None:
            text = log.read_text(errors="replace")
            found = denials(text[: text.rfind("\n") + 1])
            return found if any(denial.name == mark for denial in found) else None

        found = wait.until(f"{self.host.name}: {LOG} that tells of {mark}", told, _LOG_SECONDS)
        new = found[self._seen :]
        self._seen = len(found)
        return [denial for denial in new if not denial.name.startswith(_MARK)]


def denials(text: str) -> list[Denial]:
    """What was denied, of a piece of the kernel's log. LabError if some of it was lost."""
    found: list[Denial] = []
    before: int | None = None
    for record in _RECORD.finditer(text):
        number, said = int(record["number"]), record["text"]
        if _LOST.search(said) or (before is not None and number != before + 1):
            raise LabError(f"the kernel's log is not whole, from number {before} on: {said}")
        before = number
        if 'apparmor="DENIED"' in said:
            found.append(_denial(said))
    return found


def _denial(said: str) -> Denial:
    fields = {name: quoted or _plain(name, bare) for name, quoted, bare in _FIELD.findall(said)}
    about = ("name", "capname", "family", "target", "peer", "class")
    return Denial(
        fields.get("profile", ""),
        fields["operation"],
        next((fields[name] for name in about if fields.get(name)), ""),
        fields.get("comm", ""),
        fields.get("denied_mask") or fields.get("denied") or "",
    )


def _plain(name: str, value: str) -> str:
    if name in _ENCODED and _HEX.fullmatch(value):
        return bytes.fromhex(value).decode(errors="replace")
    return value
