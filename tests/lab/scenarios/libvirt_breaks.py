# SPDX-License-Identifier: GPL-2.0-or-later
"""vfailoverd's connection to libvirtd breaks while a domain migrates, in either host, at several
moments; the migration goes on as if nothing had been. (libvirt_kills.py: the daemons themselves.)"""

import re
import time
from collections.abc import Callable

from .. import state, wait
from ..contenders import LibvirtVfailover, Outcome
from ..contenders import monitor
from ..errors import DeadlineError
from ..guest import Guest
from ..host import Host
from ..libvirt import Domain, domain, xml
from ..run import Run

DESCRIPTION = "vfailoverd's connection to libvirtd is cut, and kept away, in a migration"
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-interface-vfailover")
VFS = 2
TEST = False

MOMENT_SECONDS = 150
END_SECONDS = 240
SETTLE_SECONDS = 60
UNSEEN_SECONDS = 1.5
# MiB/s and bytes/s: memory moves for as long as it is to.
SLOW = "1"
FAST = 200 << 20


def run(test: Run) -> None:
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    # Few frames: hosts that are busy with them take twice as long for all.
    test.start_traffic(guest, spacing_us=10000)

    def cut_in_unplug(way: "Way") -> None:
        way.event("UNPLUG_PRIMARY")
        way.here.cut()
        way.event("MIGRATION", "active")

    def blind_in_unplug(way: "Way") -> None:
        way.job_begins()
        with way.here:
            way.event("MIGRATION", "active")
            time.sleep(UNSEEN_SECONDS)

    def cut_in_memory(way: "Way") -> None:
        way.event("MIGRATION", "active")
        way.here.cut()
        way.there.cut()
        test.observe()

    def blind_source(way: "Way") -> None:
        way.event("MIGRATION", "active")
        test.observe()
        with way.here:
            way.go_on()
            way.destination.qmp.wait_event("RESUME", END_SECONDS)
            way.ends()

    def blind_destination(way: "Way") -> None:
        way.event("MIGRATION", "active")
        test.observe()
        with way.there:
            way.go_on()
            way.destination.qmp.wait_event("RESUME", END_SECONDS)
            time.sleep(UNSEEN_SECONDS)

    def blind_both(way: "Way") -> None:
        way.event("MIGRATION", "active")
        test.observe()
        with way.here, way.there:
            way.go_on()
            way.destination.qmp.wait_event("RESUME", END_SECONDS)
            time.sleep(UNSEEN_SECONDS)

    for what, to, breaks in (
        ("source: cut off in the unplug", "hostb", cut_in_unplug),
        ("source: nothing told of the unplug", "hosta", blind_in_unplug),
        ("both: cut off while memory moves", "hostb", cut_in_memory),
        ("source: nothing told from the memory to the end", "hosta", blind_source),
        ("destination: nothing told of the end", "hostb", blind_destination),
        ("both: nothing told of the end", "hosta", blind_both),
    ):
        guest = _moves(test, guest, to, what, breaks)


# ------------------------------------------------------------------ what breaks


class Link:
    """The connection of a host's vfailoverd to libvirtd. As a context: there is none meanwhile."""

    def __init__(self, contender: LibvirtVfailover, host: Host) -> None:
        self.host = host
        self._pid = contender.daemons[host.name].pid
        self._clients: list[str] = []

    def find(self) -> None:
        """Learn which it is. Not when it is to be cut: that takes a while."""
        self._clients = wait.until(
            f"{self.host.name}: vfailoverd's connection", self._find, MOMENT_SECONDS
        )

    def _admin(self, *arguments: str) -> str:
        return self.host.run(["virt-admin", "-q", "-c", "libvirtd:///system", *arguments]).stdout

    def _find(self) -> list[str]:
        found = []
        for line in self._admin("client-list", "libvirtd").splitlines():
            number = line.split()[0] if line.split() else ""
            if not number.isdigit():
                continue
            about = self._admin("client-info", "libvirtd", number)
            if re.search(rf"^unix_process_id\s*:\s*{self._pid}$", about, re.MULTILINE):
                found.append(number)
        return found

    def _limit(self, clients: int, unauthenticated: int) -> None:
        self._admin(
            "server-clients-set", "libvirtd",
            "--max-clients", str(clients), "--max-unauth-clients", str(unauthenticated),
        )  # fmt: skip

    def cut(self) -> None:
        """Have libvirtd close it; vfailoverd makes another at once."""
        for client in self._clients:
            self._admin("client-disconnect", "libvirtd", client)

    def __enter__(self) -> None:
        self._limit(1, 1)
        self.cut()

    def __exit__(self, *_: object) -> None:
        self._limit(5000, 20)


class Way:
    """A migration under way."""

    def __init__(
        self, test: Run, source: Domain, destination: Domain, with_links: bool = True
    ) -> None:
        contender = test.contender
        assert isinstance(contender, LibvirtVfailover)
        self.contender = contender
        self.source = source
        self.destination = destination
        self.here = Link(contender, source.host)
        self.there = Link(contender, destination.host)
        for link in (self.here, self.there) if with_links else ():
            link.find()
        self.known = contender.job_ids(source.host)
        self._events = len(source.qmp.events)
        source.qmp.command(
            "migrate-set-parameters", **{"downtime-limit": monitor.DOWNTIME_LIMIT_MS}
        )
        destination.expect()
        argv = ["virsh", *contender.migration(source.name, destination.host), "--bandwidth", SLOW]
        self.command = source.host.start(argv, "virsh.log")

    def job_begins(self) -> None:
        """Wait until the source's daemon has a job."""
        wait.until(
            "a job of the migration",
            lambda: self.contender.job_ids(self.source.host) - self.known,
            MOMENT_SECONDS,
            0.05,
        )

    def event(self, name: str, status: str | None = None) -> None:
        """Wait for an event of the source's QEMU."""
        self.source.qmp.wait_event(
            name,
            MOMENT_SECONDS,
            lambda data: status is None or data["status"] == status,
            after=self._events,
        )

    def go_on(self) -> None:
        """Memory moves as fast as it can."""
        self.source.qmp.command("migrate-set-parameters", **{"max-bandwidth": FAST})

    def ends(self) -> int:
        """virsh's exit status, once it has ended."""
        return self.command.wait(END_SECONDS)


# --------------------------------------------------------------- what comes of it


def _moves(
    test: Run, guest: Domain, to: str, what: str, breaks: Callable[[Way], None]
) -> Domain:
    """The migration goes on as if nothing had been."""

    def drive(source: Guest, destination: Guest) -> Outcome:
        assert isinstance(source, Domain) and isinstance(destination, Domain)
        way = Way(test, source, destination)
        breaks(way)
        if way.command.poll() is None:
            way.go_on()
        status = way.ends()
        test.expect(f"{what}: virsh that succeeds, not {status}", status == 0)
        destination.learn_standby()
        job = way.contender.ended_job(source.host, source.name, way.known)
        test.note(what, f"job {job['state']}: {job['error']}")
        test.expect(f"{what}: a completed job, not {job['state']}", job["state"] == "completed")
        way.contender.wait_idle()
        return Outcome(job, returning_step="configure")

    there = test.migrate(guest, to, drive)
    assert isinstance(there, Domain)
    settled(test, there, guest.host, what)
    return there


def settled(test: Run, guest: Domain, other: Host, what: str) -> None:
    """The guest is on its VF, and the other host has nothing of it."""

    def wrong() -> list[str]:
        found = state.arrived(state.read(guest.host), guest.name, guest.mac)
        there = state.read(other)
        for vf in there.vfs:
            if vf["mac"] == guest.mac or vf["owner"] or vf["lease"] or vf["opened"]:
                found.append(f"{other.name}: a VF that is nobody's: {vf}")
        if there.lets_in(guest.mac) or there.bridge_port(guest.mac) or there.holds:
            found.append(f"{other.name}: no entries of the guest's address")
        if listed := other.run(["virsh", "-q", "list", "--name"]).stdout.strip():
            found.append(f"{other.name}: no domain, not {listed}")
        opened = domain.opened_vfs(guest.host)
        if opened != [xml.vf_of(guest.description())]:
            found.append(f"dumpxml with {opened}")
        return found

    try:
        wait.until(what, lambda: not wrong(), SETTLE_SECONDS, 1)
    except DeadlineError:
        test.expect(f"{what}: {'; '.join(wrong())}", False)
    test.lab.say(f"{what}: all as it should be")
