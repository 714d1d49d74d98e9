# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own failover and nothing else."""

from ..errors import LabError
from ..guest import Guest
from ..host import Host
from ..lab import Lab
from .contender import Contender, Outcome

PORT = 49152
MAX_BANDWIDTH = 200 << 20
DOWNTIME_LIMIT_MS = 2000
MIGRATION_SECONDS = 120


class Stock(Contender):
    """The VF with the guest's MAC is there on both hosts, from before the migration until after."""

    name = "stock"

    def prepare(self, lab: Lab) -> None:
        for host in lab.hosts:
            self.give_vf(host, 0)

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        return lab.start_guest(host, host.vfs[0], incoming=True)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        for guest in (source, destination):
            guest.qmp.command(
                "migrate-set-parameters",
                **{"max-bandwidth": MAX_BANDWIDTH, "downtime-limit": DOWNTIME_LIMIT_MS},
            )
        uri = f"tcp:{destination.host.mgmt}:{PORT}"
        destination.qmp.command("migrate-incoming", uri=uri)
        before = len(source.qmp.events)
        source.qmp.command("migrate", uri=uri)
        ended = source.qmp.wait_event(
            "MIGRATION",
            MIGRATION_SECONDS,
            lambda data: data["status"] in ("completed", "failed", "cancelled"),
            after=before,
        )
        if ended.data["status"] != "completed":
            why = source.qmp.command("query-migrate").get("error-desc", "no reason given")
            raise LabError(f"migration {ended.data['status']}: {why}")
        destination.qmp.wait_event("RESUME", MIGRATION_SECONDS)
        return Outcome()
