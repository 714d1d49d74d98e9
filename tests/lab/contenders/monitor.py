# SPDX-License-Identifier: GPL-2.0-or-later
"""What contenders do over QEMU's monitors, without a daemon."""

from ..errors import LabError
from ..guest import Guest

PORT = 49152
MAX_BANDWIDTH = 200 << 20
DOWNTIME_LIMIT_MS = 2000
MIGRATION_SECONDS = 120
UNPLUG_SECONDS = 60


def migrate(source: Guest, destination: Guest) -> None:
    """Migrate, until the destination runs the guest."""
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


def unplug(guest: Guest) -> None:
    """Take the primary away, until the guest has let go of it."""
    before = len(guest.qmp.events)
    guest.qmp.command("device_del", id=guest.primary_id)
    guest.qmp.wait_event(
        "DEVICE_DELETED",
        UNPLUG_SECONDS,
        lambda data: data.get("device") == guest.primary_id,
        after=before,
    )


def plug(guest: Guest, vf: str) -> None:
    """Plug a VF in as the primary; `vf` is its PCI address."""
    guest.qmp.command(
        "device_add",
        driver="vfio-pci",
        host=vf,
        id=guest.primary_id,
        bus=guest.primary_bus,
        failover_pair_id=guest.standby_id,
        rombar=0,
    )


def set_standby(guest: Guest, up: bool) -> None:
    """Set the link of the standby."""
    guest.qmp.command("set_link", name=guest.standby_id, up=up)
