# SPDX-License-Identifier: GPL-2.0-or-later
"""What `virsh migrate` says when the destination cannot take the guest; then one that works."""

import signal
from collections.abc import Callable

from .. import paths, state, wait
from ..contenders import LibvirtVfailover
from ..contenders.libvirt_vfailover import HOOK, occupy, vacate
from ..contenders.vfailover import CONFIG
from ..errors import DeadlineError
from ..host import Host
from ..libvirt import Domain, Idle, daemon, domain
from ..run import Run
from .libvirt_life import nothing_left

DESCRIPTION = (
    "virsh migrate to a full pool, without a daemon at either end, to one that hangs, past a user's hook, "
    "with a <virtualport>, before the guest boots, to a host without vfailover"
)
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-interface-vfailover")
VFS = 2

USERS_HOOK = f"{daemon.HOOKS}/zz-user"
REFUSES = """#!/bin/sh
cat >/dev/null
case $2/$3 in
migrate/begin) echo "not on a Saturday" >&2; exit 1 ;;
esac
"""
END_SECONDS = 150
SETTLE_SECONDS = 30
XML = "/run/lab/destination.xml"
STANDBY = "<teaming type='persistent'/>"


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    hostb = test.lab.host("hostb")
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    test.start_traffic(guest)

    occupy(hostb, hostb.vfs[1])
    _refused(test, guest, "a full pool", ["lan"])
    vacate(hostb, hostb.vfs[1])

    hostb.write(USERS_HOOK, REFUSES, 0o755)
    _refused(test, guest, "a user's hook that refuses", ["not on a Saturday"])
    hostb.run(["rm", USERS_HOOK])

    hung = contender.daemons["hostb"]
    _refused(
        test,
        guest,
        "a daemon that hangs",
        ["vfailoverd does not answer"],
        lambda: hung.signal(signal.SIGSTOP),
        lambda: hung.signal(signal.SIGCONT),
    )

    _refused(
        test,
        guest,
        "no daemon",
        ["vfailoverd does not answer"],
        lambda: contender.stop_daemon(hostb),
        lambda: contender.start_daemon(hostb),
    )

    hosta = test.lab.host("hosta")
    _refused(
        test,
        guest,
        "no daemon at the source",
        ["no host hands it over", "vfailoverd must run"],
        lambda: contender.stop_daemon(hosta),
        lambda: contender.start_daemon(hosta),
    )
    _without_daemons(test, guest)
    _with_virtualport(test, guest)
    _before_it_boots(test)
    there = test.migrate(guest, "hostb")
    assert isinstance(there, Domain)
    _without_vfailover(test, there)


def _without_daemons(test: Run, guest: Domain) -> None:
    """A domain without a pair starts and migrates all the same; one with a pair starts when the
    administrator has said so."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    hosta, hostb = test.lab.hosts
    for host in test.lab.hosts:
        contender.stop_daemon(host)

    plain = Idle(test.lab, "plain", contender.form)
    test.expect("no word about a domain without a pair", plain.create(hosta) == "")
    hosta.run(["virsh", *contender.migration(plain.name, hostb)], seconds=END_SECONDS)
    test.expect("it runs at the destination", plain.runs_in(hostb) and not plain.runs_in(hosta))
    plain.destroy(hostb)

    paired = Idle(test.lab, "paired", contender.form, hosta.vfs[1])
    said = paired.create(hosta)
    test.note("virsh create, no daemon", said.replace("\n", " | "))
    for word in (f"domain {paired.name} has a VF", "vfailoverd does not answer", "no-daemon = allow"):
        test.expect(f"a start that is refused with '{word}': {said}", word in said)
    hosta.write(CONFIG, contender.config(test.lab, hosta, {"libvirt": {"no-daemon": "allow"}}))
    said = paired.create(hosta)
    test.expect(f"no-daemon = allow: a start, not {said}", paired.runs_in(hosta))
    paired.destroy(hosta)
    hosta.write(CONFIG, contender.config(test.lab, hosta))

    for host in test.lab.hosts:
        contender.start_daemon(host)
    _known_again(test, guest)


def _known_again(test: Run, guest: Domain) -> None:
    """Wait until a new daemon has found the guest."""

    def wrong() -> list[str]:
        return state.arrived(state.read(guest.host), guest.name, guest.mac)

    try:
        wait.until("the guest known to a new daemon", lambda: not wrong(), SETTLE_SECONDS, 0.5)
    except DeadlineError:
        test.expect(f"the guest known to a new daemon: {wrong()}", False)


def _with_virtualport(test: Run, guest: Domain) -> None:
    """In the XML of the destination: no switch of this lab gives such a domain its port."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    text = guest.virsh("dumpxml", "--migratable", guest.name)
    guest.host.write(XML, text.replace(STANDBY, f"<virtualport type='openvswitch'/>{STANDBY}"))
    options = contender.options
    contender.options = (*options, "--xml", XML)
    _refused(test, guest, "a <virtualport>", ["has a <virtualport>, which cannot be handed over"])
    contender.options = options


def _before_it_boots(test: Run) -> None:
    """A guest that has not negotiated failover: QEMU cannot ask it for its VF, and has not opened that.
    The VF is its own all the same."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    hosta = test.lab.host("hosta")
    idle = Idle(test.lab, "idle", contender.form, hosta.vfs[1])
    said = idle.create(hosta)
    test.expect(f"a domain with a pair, not {said}", idle.runs_in(hosta))
    idle.wait_known(hosta)
    vf = state.read(hosta).vf(hosta.vfs[1])
    test.expect(f"its VF, closed: {vf}", vf["owner"] == idle.name and not vf["opened"])
    listed = hosta.run([str(paths.COMMAND), "vfs"]).stdout
    test.expect(f"a VF that is owned: {listed}", " owned " in listed)
    _refused(test, idle, "a guest that has not booted", ["has not negotiated failover"])
    test.expect("it runs at the source", idle.runs_in(hosta))
    idle.destroy(hosta)


def _without_vfailover(test: Run, guest: Domain) -> None:
    """libvirt's own migration, with nobody at the destination who gives the VF its address, so that
    the guest's traffic is none to judge by. The source's daemon says so, and cleans up."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    test.finish()
    hosta, hostb = test.lab.hosts
    contender.stop_daemon(hosta)
    hosta.run(["rm", HOOK])
    known = contender.job_ids(hostb)
    arrived = contender.domain(test.lab, hosta, None)
    arrived.expect()
    guest.virsh(*contender.migration(guest.name, hosta))
    test.expect("the guest at the destination, on a VF", domain.opened_vfs(hosta) != [])
    nothing_left(test, guest, "a migration to a host without vfailover")
    warning = f"VM {guest.name} is being migrated, and no job hands it over"
    log = (hostb.directory / "vfailoverd.log").read_text(errors="replace")
    test.expect(f"'{warning}' in the log of {hostb.name}'s daemon", warning in log)
    test.expect("no job of it", contender.job_ids(hostb) == known)
    arrived.quit()


def _refused(
    test: Run,
    guest: Domain | Idle,
    what: str,
    words: list[str],
    spoil: Callable[[], None] = lambda: None,
    mend: Callable[[], None] = lambda: None,
) -> None:
    """virsh fails and says why; once `mend` has undone what `spoil` did, both hosts are as before."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    hostb = test.lab.host("hostb")
    before = {host.name: _state(host) for host in test.lab.hosts}
    spoil()
    hosta = test.lab.host("hosta")
    result = hosta.run(
        ["virsh", *contender.migration(guest.name, hostb)], check=False, seconds=END_SECONDS
    )
    said = result.stderr.strip()
    test.note(f"virsh, {what}", said.replace("\n", " | "))
    mend()
    test.expect(f"virsh that fails, with {words}: {said}", result.status != 0)
    missing = [word for word in words if word not in said]
    test.expect(f"virsh's message has {missing}: {said}", not missing)
    contender.wait_idle()
    wrong: list[str] = []
    for host in test.lab.hosts:
        wrong += state.differences(before[host.name], _state(host))
    test.expect(f"both hosts as before: {'; '.join(wrong)}", not wrong)
    test.expect("the guest on its VF", domain.opened_vfs(hosta) == [hosta.vfs[0]])
    test.observe()


def _state(host: Host) -> state.State:
    found = state.read(host)
    for link in found.parts["link"]:
        # What the daemon says of them is compared.
        link.pop("vfinfo_list", None)
    for part in ("list", "vfs"):
        for entry in found.parts[part] or []:
            # A VF that was leased for a moment keeps the parking address that it was given; a
            # daemon that was restarted counts from 0.
            for member in ("mac", "parked", "generation", "job"):
                if not entry.get("owner"):
                    entry.pop(member, None)
    return found
