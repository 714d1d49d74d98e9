# SPDX-License-Identifier: GPL-2.0-or-later
"""What `virsh migrate` says when the destination cannot take the guest; then one that works."""

import signal
from collections.abc import Callable

from .. import state
from ..contenders import LibvirtVfailover
from ..contenders.libvirt_vfailover import occupy, vacate
from ..host import Host
from ..libvirt import Domain, daemon, domain
from ..run import Run

DESCRIPTION = "virsh migrate to a full pool, without a daemon at either end, to one that hangs, past a user's hook"
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
    test.migrate(guest, "hostb")


def _refused(
    test: Run,
    guest: Domain,
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
    result = guest.host.run(
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
    test.expect("the guest on its VF", domain.opened_vfs(guest.host) != [])
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
