# SPDX-License-Identifier: GPL-2.0-or-later
"""Open vSwitch in an emulated host: Debian's own, with the kernel's datapath."""

from dataclasses import dataclass

from . import paths, wait
from .errors import LabError
from .host import Host

SECONDS = 60
LEARN_SECONDS = 10
_DIRECTORY = "/run/lab-ovs"


@dataclass(frozen=True)
class Entry:
    """What a bridge has learned of one address."""

    port: str
    vlan: int


class OpenVswitch:
    """Its two daemons, with all that they write in a directory of the host."""

    def __init__(self, host: Host) -> None:
        tree = paths.CACHE / "openvswitch"
        if not tree.is_dir():
            raise LabError(f"no Open vSwitch in {paths.CACHE}: run scripts/lab-setup")
        self.host = host
        self.environment = {
            "PATH": f"{tree}/usr/bin:{tree}/usr/sbin:{tree}/usr/lib/openvswitch-switch:"
            "/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": f"{tree}/usr/lib/x86_64-linux-gnu",
            "OVS_RUNDIR": _DIRECTORY,
            "OVS_DBDIR": _DIRECTORY,
            "OVS_LOGDIR": _DIRECTORY,
            "OVS_SYSCONFDIR": _DIRECTORY,
        }
        self._sh(f"""
            modprobe openvswitch
            mkdir -p {_DIRECTORY}
            ovsdb-tool create {_DIRECTORY}/conf.db {tree}/usr/share/openvswitch/vswitch.ovsschema
            ovsdb-server {_DIRECTORY}/conf.db --remote=punix:{_DIRECTORY}/db.sock \\
                --pidfile --detach --log-file
            ovs-vsctl --no-wait init
            ovs-vswitchd unix:{_DIRECTORY}/db.sock --pidfile --detach --log-file
            """)

    def _sh(self, script: str) -> str:
        argv = ["/bin/sh", "-euc", script]
        return self.host.run(argv, seconds=SECONDS, environment=self.environment).stdout

    def vsctl(self, *arguments: str) -> str:
        """Change or read what is configured, and wait until it is so."""
        return self._sh(f"ovs-vsctl --timeout={SECONDS} {' '.join(arguments)}").strip()

    def learned(self, bridge: str, mac: str) -> list[Entry]:
        """Where the bridge has learned that an address is, for each VLAN."""
        entries = []
        for line in self._sh(f"ovs-appctl fdb/show {bridge}").splitlines():
            port, vlan, address, _ = line.split()
            if address == mac:
                name = self.vsctl("--bare", "--columns=name", "find", "Interface", f"ofport={port}")
                entries.append(Entry(name, int(vlan)))
        return entries

    def settled(self, bridge: str, mac: str) -> list[Entry]:
        """The same when it has learned from all frames that were received until now."""
        self._sh("ovs-appctl revalidator/wait")
        return self.learned(bridge, mac)

    def learns(self, bridge: str, mac: str, expected: Entry) -> bool:
        """Whether the bridge learns that: it does so a little after it has received a frame."""
        what = f"{bridge}: {mac} at {expected.port}"
        wait.until(what, lambda: expected in self.learned(bridge, mac), LEARN_SECONDS)
        return True
