# SPDX-License-Identifier: GPL-2.0-or-later
"""vfailoverd on both hosts, told by the command line to migrate."""

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import certificates, paths, qemus, slowdown, state
from ..errors import LabError
from ..guest import Guest
from ..guest.guest import QMP_DIRECTORY
from ..host import Host
from ..host.host import Background
from ..lab import Lab
from .contender import Contender, Outcome

CONFIG = "/etc/vfailover/vfailoverd.conf"
SOCKET = "/run/vfailover/vfailoverd.sock"
PORT = 16516
START_SECONDS = 30
MIGRATION_SECONDS = 180

Changes = Mapping[str, Mapping[str, str | None]]
"""Of a configuration: settings by group; None: the setting is left out."""


@dataclass(frozen=True)
class Own:
    """By how much the daemons prolonged a migration, in emulated processor time."""

    source_ms: float
    destination_ms: float


def own_of(job: dict[str, Any], source: str) -> Own:
    """Of a job, as that host's daemon tells of it."""
    here = sum(step["own-us"] for step in job["steps"] if step["host"] == source)
    there = sum(step["own-us"] for step in job["steps"] if step["host"] != source)
    return Own(here / 1000, there / 1000)


class Vfailover(Contender):
    """The destination's QEMU is started without a VF; the daemon chooses and plugs one."""

    name = "vfailover"

    def __init__(self) -> None:
        self.daemons: dict[str, Background] = {}
        self._own: list[Own] = []
        self._before: dict[str, state.State] = {}

    def check(self) -> None:
        for program in (paths.DAEMON, paths.COMMAND):
            if not program.exists():
                raise LabError(f"{program} is not there: build it first with scripts/build")

    def prepare(self, lab: Lab) -> None:
        self.prepare_daemons(lab)
        self.give_vf(lab.hosts[0], 0)

    def prepare_daemons(self, lab: Lab) -> None:
        """Start a daemon in each host."""
        pki = certificates.directory([host.name for host in lab.hosts])
        for host in lab.hosts:
            certificates.install(host, pki)
            host.write(CONFIG, self.config(lab, host))
            self.start_daemon(host)

    def config(self, lab: Lab, host: Host, changes: Changes | None = None) -> str:
        """The daemon's configuration in a host."""
        sections: dict[str, dict[str, str | None]] = {
            "daemon": {
                "name": host.name,
                "listen": host.mgmt,
                "port": str(PORT),
                "qmp-dir": QMP_DIRECTORY,
            },
            "migration": {
                "address": host.mgmt,
                "ports": "49152-49215",
                "max-bandwidth": str(200 << 20),
                "downtime-limit": "2000",
            },
            # Emulated hosts are slow: a guest takes 0.5 s to release its VF, or more.
            "deadlines": {"hold": "5"},
            "tls": {**certificates.settings()},
            "network lan": {"pf": "pf0", "bridge": "br0"},
        }
        for peer in lab.hosts:
            if peer is not host:
                sections[f"peer {peer.name}"] = {"address": peer.mgmt, "port": str(PORT)}
        for group, settings in (changes or {}).items():
            sections.setdefault(group, {}).update(settings)
        return "\n".join(
            f"[{name}]\n"
            + "".join(f"{key}={value}\n" for key, value in values.items() if value is not None)
            for name, values in sections.items()
        )

    def start_daemon(self, host: Host) -> None:
        """Start the daemon and wait until it serves its control socket."""
        host.sh(f"rm -f {SOCKET}; mkdir -p {QMP_DIRECTORY} /var/lib/vfailover")
        # LD_BIND_NOW as in packaging/vfailoverd.service.
        argv = ["/usr/bin/env", "LD_BIND_NOW=1", str(paths.DAEMON), "--config", CONFIG]
        daemon = host.start(argv, "vfailoverd.log")
        self.daemons[host.name] = daemon
        try:
            host.wait_path(SOCKET, START_SECONDS)
        except LabError as error:
            log = (host.directory / "vfailoverd.log").read_text().strip()
            raise LabError(f"{error} (daemon: {daemon.poll()}): {log}") from error

    def stop_daemon(self, host: Host, number: int = signal.SIGTERM) -> None:
        """End the daemon."""
        daemon = self.daemons[host.name]
        daemon.signal(number)
        daemon.wait(START_SECONDS)

    def reconfigure(self, lab: Lab, host: Host, changes: Changes) -> None:
        """Restart the daemon with other settings than the lab's usual ones."""
        self.stop_daemon(host)
        host.write(CONFIG, self.config(lab, host, changes))
        self.start_daemon(host)

    def command(self, host: Host, *arguments: str, check: bool = True) -> list[dict[str, Any]]:
        """Run the command line in a host; the JSON objects that it printed."""
        result = host.run(
            [str(paths.COMMAND), "--json", *arguments], check=False, seconds=MIGRATION_SECONDS
        )
        with (host.directory / "vfailover.log").open("a", encoding="utf-8") as log:
            log.write(f"$ vfailover {' '.join(arguments)}\n{result.stdout}{result.stderr}")
        if check and result.status != 0:
            what = f"{host.name}: vfailover {' '.join(arguments)}"
            text = f"{what}: exit status {result.status}: {result.stderr.strip()}"
            for name, daemon in self.daemons.items():
                if (status := daemon.poll()) is not None:
                    text += f"; the daemon in {name} ended: {_ending(status)}"
            raise LabError(text)
        return _objects(result.stdout)

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        self._before = {each.name: state.read(each) for each in lab.hosts}
        prepares = lab.qemu.kind == qemus.PATCHED
        return lab.start_guest(host, None, incoming=True, alter=_with_prepare if prepares else list)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        return self.migrate_to(source, destination, "completed")

    def migrate_to(self, source: Guest, destination: Guest, ending: str) -> Outcome:
        """Migrate; LabError unless the job ends in that state."""
        printed = self.command(
            source.host,
            "migrate",
            source.name,
            destination.host.name,
            check=ending == "completed",
        )
        last = printed[-1] if printed else {}
        if "id" not in last:
            raise LabError("vfailover migrate: the last object it printed is not a job")
        if last["state"] != ending:
            raise LabError(f"job {last['state']} instead of {ending}: {last['error']}")
        job = self.command(source.host, "job", last["id"])[0]
        self._own.append(own_of(job, source.host.name))
        return Outcome(job, returning_step="configure")

    def verify(self, lab: Lab, source: Guest, destination: Guest, with_vf: bool) -> None:
        there = destination.host
        wrong = state.left(
            self._before[source.host.name], state.read(source.host), source.name, source.mac
        )
        after = state.read(there)
        if with_vf:
            wrong += state.arrived(after, source.name, source.mac)
        else:
            before = self._before[there.name]
            wrong += state.arrived_on_standby(before, after, source.name, source.mac)
        if wrong:
            raise LabError("after the migration: " + "; ".join(wrong))

    def figures(self, lab: Lab) -> dict[str, Any] | None:
        if not self._own:
            return None
        return {
            "own": [asdict(own) for own in self._own],
            "slowdown": slowdown.measure(lab.hosts[0]),
            "rss_kb": max(self.rss_kb(host) for host in lab.hosts),
        }

    def rss_kb(self, host: Host) -> int:
        """How much memory the daemon uses in a host."""
        return self._status(host, "VmRSS")

    def threads(self, host: Host) -> int:
        """How many threads the daemon has in a host."""
        return self._status(host, "Threads")

    def _status(self, host: Host, key: str) -> int:
        status = host.read(f"/proc/{self.daemons[host.name].pid}/status") or ""
        found = re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)
        if found is None:
            raise LabError(f"{host.name}: the daemon does not run")
        return int(found[1])


def _with_prepare(argv: list[str]) -> list[str]:
    """Has our QEMU open the VF before the guest arrives, and show it when the daemon says so."""
    return [
        word + ",failover-prepare=on,failover-replug=manual"
        if word.startswith("virtio-net-pci,")
        else word
        for word in argv
    ]


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return signal.strsignal(-status) or f"signal {-status}"


def _objects(text: str) -> list[dict[str, Any]]:
    """JSON values written one behind the other, each on one line or on several."""
    decoder = json.JSONDecoder()
    objects: list[dict[str, Any]] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        value, position = decoder.raw_decode(text, position)
        objects += value if isinstance(value, list) else [value]
    return objects
