# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirtd in a host that has no systemd, udev, dbus or virtlogd."""

import signal

from ..errors import LabError
from ..host import Host
from ..host.host import LOGS, Background
from .apparmor import AppArmor

MEMORY_MB = 1024
"""What a host needs that has libvirtd and a guest."""
START_SECONDS = 90
HOOKS = "/etc/libvirt/hooks/qemu.d"

# Whoever is in the lab's network may do anything.
_DAEMON = """listen_tls = 0
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "3:stderr"
"""
# No cgroups, no mount namespaces, no virtlogd; all is root's.
_QEMU = """user = "root"
group = "root"
security_driver = "{driver}"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
# What a host's administrator does for a tap of his own, see docs/hand-over.md.
_TAP_HOOK = """#!/bin/sh
[ "$2/$3" = start/begin ] || exit 0
for tap in $(sed -n "s/.*<target dev='\\(vnet[0-9]*\\)'.*/\\1/p"); do
    ip link set "$tap" txqueuelen 10000
done
"""
_PREPARE = f"""
mkdir -p /run/libvirt /var/lib/libvirt/qemu /var/cache/libvirt/qemu /var/log/libvirt/qemu
mount --bind {LOGS} /var/log/libvirt/qemu
ip link del tap0
# libvirt looks them up, whether it uses them or not.
for name in kvm libvirt libvirt-qemu; do
    getent group $name >/dev/null || groupadd --system $name
done
getent passwd libvirt-qemu >/dev/null || useradd --system --gid libvirt-qemu libvirt-qemu
"""


class Libvirtd:
    """The daemon of a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.process: Background | None = None

    def prepare(self) -> None:
        """Set the host up for it; libvirt makes its own taps."""
        uuid = f"0000000{self.host.number}-0000-4000-8000-000000000000"
        self.host.sh(_PREPARE)
        self.host.write("/etc/libvirt/libvirtd.conf", _DAEMON.format(uuid=uuid))
        self.host.write("/etc/libvirt/qemu.conf", _QEMU.format(driver="none"))
        self.host.write(f"{HOOKS}/lab-tap", _TAP_HOOK, 0o755)

    def confine(self) -> AppArmor:
        """From its next start on: AppArmor confines it, and it confines its guests."""
        guard = AppArmor(self.host)
        guard.start()
        self.host.write("/etc/libvirt/qemu.conf", _QEMU.format(driver="apparmor"))
        return guard

    def start(self) -> None:
        """Start it and wait until it can start guests; it probes QEMU for that."""
        self.process = self.host.start(["/usr/sbin/libvirtd", "--listen"], "libvirtd.log")
        try:
            self.host.wait_path("/run/libvirt/libvirt-sock", START_SECONDS)
            self.virsh("domcapabilities", "--virttype", "kvm", seconds=START_SECONDS)
        except LabError as error:
            log = (self.host.directory / "libvirtd.log").read_text().strip()
            raise LabError(f"{error} (libvirtd: {self.process.poll()}): {log}") from error

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; the guests run on."""
        if self.process is None:
            raise LabError(f"{self.host.name}: libvirtd was not started")
        self.process.signal(number)
        self.process.wait(START_SECONDS)
        self.host.sh("rm -f /run/libvirt/libvirt-sock")

    def virsh(self, *arguments: str, seconds: float = 60) -> str:
        """What virsh writes; LabError with its text if it fails."""
        return self.host.run(["virsh", "-q", *arguments], seconds=seconds).stdout
