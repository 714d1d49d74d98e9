# SPDX-License-Identifier: GPL-2.0-or-later
"""`virsh domjobabort`, at several moments of a migration; then a migration that is let be."""

from collections.abc import Callable

from .. import clock, phases, state
from ..analysis import Phase
from ..contenders import Libvirt, LibvirtVfailover
from ..libvirt import Domain, domain, xml
from ..run import Run
from .cancel import expect_as_before

DESCRIPTION = "virsh domjobabort during the unplug, when memory begins to move, and later"
CONTENDERS = (
    "libvirt-hostdev-vfailover",
    "libvirt-interface-vfailover",
    "libvirt-hostdev",
    "libvirt-interface",
)

MOMENT_SECONDS = 60
END_SECONDS = 120


def run(test: Run) -> None:
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    test.start_traffic(guest)

    def unplugs() -> None:
        event(guest, "UNPLUG_PRIMARY")

    def memory_moves() -> None:
        event(guest, "MIGRATION", "active")

    def memory_has_moved_for_a_while() -> None:
        memory_moves()
        test.observe()

    abort(test, guest, "the unplug", unplugs)
    abort(test, guest, "the begin of the memory", memory_moves)
    abort(test, guest, "the memory", memory_has_moved_for_a_while)
    test.migrate(guest, "hostb")


def event(
    guest: Domain, name: str, status: str | None = None, seconds: float = MOMENT_SECONDS
) -> None:
    """Wait for an event of QEMU's; if it is MIGRATION, for one with that status."""
    before = len(guest.qmp.events)
    guest.qmp.wait_event(
        name,
        seconds,
        lambda data: status is None or data["status"] == status,
        after=before,
    )


def abort(test: Run, guest: Domain, what: str, moment: Callable[[], None]) -> None:
    """Have a migration to hostb aborted when `moment` returns; all must be as before then."""
    contender = test.contender
    assert isinstance(contender, Libvirt)
    daemons = contender if isinstance(contender, LibvirtVfailover) else None
    hostb = test.lab.host("hostb")
    before = {host.name: state.read(host) for host in test.lab.hosts}
    known = daemons.job_ids(guest.host) if daemons else set()
    start_us = clock.now_us()
    # Slow enough to be aborted.
    command = guest.host.start(
        ["virsh", *contender.migration(guest.name, hostb), "--bandwidth", "1"], "virsh.log"
    )
    moment()
    aborted_us = clock.now_us()
    guest.virsh("domjobabort", guest.name)
    status = command.wait(END_SECONDS)
    test.expect(f"virsh that fails after an abort in {what}, not {status}", status != 0)
    since_us = test.wait_vf(f"guest on its VF after an abort in {what}", start_us)
    test.apart.append(Phase(phases.CANCELLED, ((start_us, max(since_us, clock.now_us())),)))
    test.note(
        f"abort in {what}", f"on the VF again {(since_us - aborted_us) / 1000:.0f} ms after it"
    )
    if daemons:
        job = daemons.ended_job(guest.host, guest.name, known)
        test.lab.say(f"job {job['state']}: {job['error']}")
        test.expect(
            f"a job that has ended without success, not {job['state']}",
            job["state"] in ("cancelled", "failed"),
        )
        failed = [step for step in job["steps"] if step["result"] == "undo-failed"]
        test.expect(f"all undone: {failed}", not failed)
        expect_as_before(test, guest, before, opened=True)
    found = domain.opened_vfs(guest.host)
    test.expect(f"dumpxml with the VF {found}", [xml.vf_of(guest.description())] == found)
    test.expect("no domain at the destination", not hostb.run(["virsh", "-q", "list"]).stdout.strip())
