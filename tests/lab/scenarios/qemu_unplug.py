# SPDX-License-Identifier: GPL-2.0-or-later
"""The patched QEMU's failover pair with a real VF and a real guest, and nobody else to help."""

import re
import statistics
from typing import Any

from .. import clock, rarp, wait
from ..errors import LabError
from ..guest import Guest
from ..qmp import Event
from ..run import HAS_STANDBY, Run

DESCRIPTION = "patched QEMU: unplug, deadlines, cancel, release and replug of a real VF"
CONTENDERS = ("stock",)
PATCHED = True
VFS = 2

MIGRATIONS = 5
EVENT_SECONDS = 40
NOWHERE = "exec:cat >/dev/null"
SLOW = 1 << 20
FAST = 1 << 30
# What a guest does about an unplug on a native slot: it waits for 5 s, in case it is taken back.
NATIVE = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
EJECT = ["-trace", "acpi_pci_eject_slot", "-msg", "timestamp=on"]


def run(test: Run) -> None:
    _blocked(test)
    _acpi(test)
    _native(test)


def _blocked(test: Run) -> None:
    """A VF that nobody would unplug keeps its guest from migrating, and says why."""
    host = test.lab.host("hosta")

    def orphan(argv: list[str]) -> list[str]:
        wrong = f"failover_pair_id={Guest.standby_id}"
        return [*(word.replace(wrong, "failover_pair_id=nosuch") for word in argv), "-S"]

    guest = test.lab.start_guest(host, host.vfs[0], alter=orphan)
    reasons = guest.qmp.command("query-migrate").get("blocked-reasons", [])
    test.expect(
        f"a reason that names the VF and its standby: {reasons}",
        any(Guest.primary_id in reason and "nosuch" in reason for reason in reasons),
    )
    try:
        guest.qmp.command("migrate", uri=NOWHERE)
    except LabError as error:
        test.note("migration with a VF that has no standby", f"refused: {error}")
    else:
        raise LabError("a guest migrates with a VF in it")
    guest.quit()


def _acpi(test: Run) -> None:
    """A guest that answers: everything goes on at once, and the VF is free."""
    stock = _start(test, "", EJECT, stock=True)
    theirs = [_ack_to_active(test, stock) for _ in range(MIGRATIONS)]
    stock.quit()

    guest = _start(test, "failover-release=on,failover-unplug-timeout=20000", EJECT)
    capture = rarp.start(guest.host, guest.host.standby)
    _lend(test, guest)
    announced = rarp.sources(capture)
    test.expect(
        f"5 announcements of {guest.mac} at the switch to the standby: {announced}",
        announced[:5] == [guest.mac] * 5,
    )
    ours = [_ack_to_active(test, guest) for _ in range(MIGRATIONS)]
    test.note("ack to active, stock", _summary(theirs))
    test.note("ack to active, patched", _summary(ours))
    test.expect(
        f"a migration that goes on sooner than stock's: {ours}, stock {theirs}",
        statistics.median(ours) < statistics.median(theirs),
    )
    _resume_source(test, guest)
    guest.quit()


def _native(test: Run) -> None:
    """A guest that takes longer than it may, and a primary that comes before its standby."""
    guest = _start(test, "failover-unplug-timeout=2000", NATIVE, primary_first=True)
    traffic = test.start_traffic(guest)

    before, times = len(guest.qmp.events), guest.times_on_primary()
    _migrate(guest, SLOW)
    failed = _status(guest, "failed", before)
    timed_out = _state(guest, "timed-out", before)
    reason = guest.qmp.command("query-migrate").get("error-desc", "")
    test.expect(f"a reason that names the primary: {reason}", guest.primary_id in reason)
    test.expect("still in use by the guest", _pair(guest)["state"] == "active")
    test.note(
        "deadline 2 s, abort: request to failure",
        f"{_ms(_state(guest, 'unplug-requested', before), failed):.0f} ms",
    )
    # The guest's answer comes when nobody waits for it any more.
    late = _state(guest, "guest-released", before)
    test.note("late answer after the deadline", f"{_ms(timed_out, late):.0f} ms")
    _back(guest, late, times + 1)
    _settle(test)

    before, times = len(guest.qmp.events), guest.times_on_primary()
    _migrate(guest, SLOW)
    _status(guest, "wait-unplug", before)
    guest.qmp.command("migrate_cancel")
    cancelled = _status(guest, "cancelled", before)
    took = _ms(_status(guest, "cancelling", before), cancelled)
    test.note("migrate_cancel while the guest has not answered", f"{took:.0f} ms")
    test.expect(f"a cancel that does not wait for the guest: {took:.0f} ms", took < 1500)
    _back(guest, _state(guest, "guest-released", before), times + 1)

    _settle(test)
    # Taken away without consent: the guest lives on its standby.
    before, times = len(guest.qmp.events), guest.times_on_primary()
    guest.qmp.command(
        "virtio-net-failover-unplug", standby=guest.standby_id, timeout=2000, policy="surprise"
    )
    removed = _state(guest, "surprise-removed", before)
    wait.until("guest without a primary", lambda: guest.links().endswith("primary=none"), EVENT_SECONDS)
    traffic.wait_links("guest alive on its standby", HAS_STANDBY, EVENT_SECONDS, clock.now_us())
    test.expect("the VF is out of the guest", _pair(guest)["state"] == "unplugged")
    guest.qmp.command("virtio-net-failover-replug", standby=guest.standby_id)
    _back(guest, removed, times + 1)


def _settle(test: Run) -> None:
    """A native slot whose indicator still blinks after a plug takes no request."""
    test.wait_vf("guest settled on its VF", clock.now_us())


def _start(
    test: Run, standby: str, more: list[str], stock: bool = False, primary_first: bool = False
) -> Guest:
    """Start the guest with these properties of its standby; wait until it uses its VF."""

    def alter(argv: list[str]) -> list[str]:
        devices = [n for n, word in enumerate(argv) if word.startswith(("virtio-net-pci,", "vfio-pci,"))]
        if standby:
            argv[devices[0]] += f",{standby}"
        if primary_first:
            first, second = devices
            argv[first], argv[second] = argv[second], argv[first]
        return [*argv, *more]

    host = test.lab.host("hosta")
    guest = test.lab.start_guest(host, host.vfs[0], alter=alter, stock=stock)
    guest.wait_ready(primary=True)
    test.lab.say(f"guest uses its VF ({'stock' if stock else 'patched'} QEMU {standby})")
    return guest


def _lend(test: Run, guest: Guest) -> None:
    """Unplug without a migration; the VF is closed, can be reset, and comes back."""
    before, times = len(guest.qmp.events), guest.times_on_primary()
    guest.qmp.command("virtio-net-failover-unplug", standby=guest.standby_id)
    released = _state(guest, "guest-released", before)
    closed = _state(guest, "closed", before)
    vf = guest.host.vfs[0]
    group = f"/sys/bus/pci/devices/{vf}/iommu_group"
    users = guest.host.sh(
        f'group=/dev/vfio/$(basename "$(readlink {group})")\n'
        'for fd in /proc/[0-9]*/fd/*; do [ "$(readlink "$fd")" = "$group" ] && echo "$fd"; done; true'
    )
    test.expect(f"nobody has the VF open: {users.stdout}", not users.stdout.strip())
    guest.host.sh(f"echo 1 >/sys/bus/pci/devices/{vf}/reset")
    test.note("ack to closed", f"{_ms(released, closed):.0f} ms")
    guest.qmp.command("virtio-net-failover-replug", standby=guest.standby_id)
    _back(guest, closed, times + 1)


def _ack_to_active(test: Run, guest: Guest) -> float:
    """Milliseconds from the guest's eject until memory moves; the migration is cancelled then."""
    before, times = len(guest.qmp.events), guest.times_on_primary()
    ejects = len(_ejects(guest))
    _migrate(guest, SLOW)
    active = _status(guest, "active", before)
    found = _ejects(guest)[ejects:]
    if len(found) != 1:
        raise LabError(f"{len(found)} ejects of the VF in one unplug: {found}")
    guest.qmp.command("migrate_cancel")
    _status(guest, "cancelled", before)
    guest.wait_on_primary(times + 1, EVENT_SECONDS)
    return (active.host_us - found[0]) / 1000


def _ejects(guest: Guest) -> list[int]:
    """When the guest ejected a device, by QEMU's trace."""
    pattern = re.compile(r"@(\d+)\.(\d{6}):acpi_pci_eject_slot bsel: \d+ slot: 0")
    text = guest.log.read_text(errors="replace") if guest.log.exists() else ""
    return [int(second) * 1_000_000 + int(us) for second, us in pattern.findall(text)]


def _resume_source(test: Run, guest: Guest) -> None:
    """A source that goes on after its migration has completed has its VF again."""
    before, times = len(guest.qmp.events), guest.times_on_primary()
    _migrate(guest, FAST)
    _status(guest, "completed", before)
    test.expect("out of the guest that has left", _pair(guest)["state"] == "released")
    # Told of a moment before QEMU has left the migration behind, and refuses to go on until then.
    wait.until(
        f"{guest.name}: postmigrate",
        lambda: guest.qmp.command("query-status")["status"] == "postmigrate",
        EVENT_SECONDS,
    )
    guest.qmp.command("cont")
    resumed = guest.qmp.wait_event("RESUME", EVENT_SECONDS, after=before)
    _back(guest, resumed, times + 1)


def _back(guest: Guest, since: Event, times: int) -> None:
    """The guest uses its primary again, after that event, for the `times`th time."""

    def later(data: dict[str, Any]) -> bool:
        return data["reason"] == "bus-master-on"

    position = guest.qmp.events.index(since)
    guest.qmp.wait_event("VIRTIO_NET_FAILOVER_STATE", EVENT_SECONDS, later, after=position)
    wait.until("state active", lambda: _pair(guest)["state"] == "active", EVENT_SECONDS)
    guest.wait_on_primary(times, EVENT_SECONDS)


def _migrate(guest: Guest, bandwidth: int) -> None:
    guest.qmp.command("migrate-set-parameters", **{"max-bandwidth": bandwidth})
    guest.qmp.command("migrate", uri=NOWHERE)


def _status(guest: Guest, status: str, before: int) -> Event:
    return guest.qmp.wait_event(
        "MIGRATION", EVENT_SECONDS, lambda data: data["status"] == status, after=before
    )


def _state(guest: Guest, reason: str, before: int) -> Event:
    return guest.qmp.wait_event(
        "VIRTIO_NET_FAILOVER_STATE",
        EVENT_SECONDS,
        lambda data: data["reason"] == reason,
        after=before,
    )


def _pair(guest: Guest) -> dict[str, Any]:
    (pair,) = guest.qmp.command("query-virtio-net-failover")
    return pair


def _ms(first: Event, second: Event) -> float:
    return (second.host_us - first.host_us) / 1000


def _summary(values: list[float]) -> str:
    return f"median {statistics.median(values):.1f} ms, worst {max(values):.1f} ms (n={len(values)})"
