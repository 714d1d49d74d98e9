# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirtd and vfailoverd end while a domain migrates, in either host. Where the guest is afterwards,
and what both hosts are like. (libvirt_breaks.py: the connection between them.)"""

import signal
from collections.abc import Callable

from .. import clock, phases
from ..analysis import Phase
from ..libvirt import Domain
from ..run import Run
from .libvirt_breaks import Way, settled

DESCRIPTION = "libvirtd and vfailoverd are killed while memory moves, at the source, at the destination"
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-interface-vfailover")
VFS = 2
TEST = False


def run(test: Run) -> None:
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    # Few frames: hosts that are busy with them take twice as long for all.
    test.start_traffic(guest, spacing_us=10000)
    for where, host in (("destination", "hostb"), ("source", "hosta")):
        what = f"libvirtd killed at the {where}"
        _all_undone(test, what, _stays(test, guest, what, _kill_libvirtd(test, host)))
    _stays(test, guest, "vfailoverd killed at the destination", _kill_daemon(test, "hostb"))
    _stays(test, guest, "vfailoverd ended at the source", _kill_daemon(test, "hosta", signal.SIGTERM))
    _leaves(test, guest, "vfailoverd killed at the source", _kill_daemon(test, "hosta"))


def _kill_libvirtd(test: Run, name: str) -> Callable[[Way], None]:
    def kill(way: Way) -> None:
        way.event("MIGRATION", "active")
        test.observe()
        libvirtd = way.contender.libvirtds[name]
        libvirtd.stop(signal.SIGKILL)
        test.observe()
        libvirtd.start()

    return kill


def _kill_daemon(test: Run, name: str, number: int = signal.SIGKILL) -> Callable[[Way], None]:
    def kill(way: Way) -> None:
        way.event("MIGRATION", "active")
        test.observe()
        host = test.lab.host(name)
        way.contender.stop_daemon(host, number)
        way.contender.start_daemon(host)
        test.observe()

    return kill


def _stays(test: Run, guest: Domain, what: str, breaks: Callable[[Way], None]) -> Way:
    """The migration fails; the guest has its VF where it was."""
    other = next(host for host in test.lab.hosts if host is not guest.host)
    contender = test.contender
    start_us = clock.now_us()
    destination = contender.start_destination(test.lab, other)
    assert isinstance(destination, Domain)
    way = Way(test, guest, destination, with_links=False)
    breaks(way)
    status = way.ends()
    ended_us = clock.now_us()
    test.expect(f"{what}: virsh that fails, not {status}", status != 0)
    since_us = test.wait_vf(f"{what}: guest on its VF", start_us)
    test.note(what, f"on the VF again {(since_us - ended_us) / 1000:.0f} ms after virsh's end")
    test.apart.append(Phase(phases.CANCELLED, ((start_us, max(since_us, clock.now_us())),)))
    way.contender.wait_idle()
    settled(test, guest, other, what)
    test.observe()
    return way


def _all_undone(test: Run, what: str, way: Way) -> None:
    """So says the job at the source, whose daemon has lived on."""
    job = way.contender.ended_job(way.source.host, way.source.name, way.known)
    failed = [step for step in job["steps"] if step["result"] == "undo-failed"]
    test.expect(f"{what}: all undone, not {failed}", not failed)


def _leaves(test: Run, guest: Domain, what: str, breaks: Callable[[Way], None]) -> None:
    """The migration goes on, and the guest has a VF where it comes to."""
    source = guest.host
    other = next(host for host in test.lab.hosts if host is not source)
    destination = test.contender.start_destination(test.lab, other)
    assert isinstance(destination, Domain)
    start_us = clock.now_us()
    way = Way(test, guest, destination, with_links=False)
    breaks(way)
    way.go_on()
    status = way.ends()
    test.expect(f"{what}: virsh that succeeds, not {status}", status == 0)
    destination.learn_standby()
    since_us = test.wait_vf(f"{what}: guest on its VF", clock.now_us())
    test.apart.append(Phase(phases.CANCELLED, ((start_us, max(since_us, clock.now_us())),)))
    way.contender.wait_idle()
    settled(test, destination, source, what)
