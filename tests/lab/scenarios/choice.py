# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VF a guest gets: one of the PF of which less is in use, or one at the guest's NUMA node."""

from .. import state, wait
from ..contenders import Vfailover
from ..guest import Guest
from ..host import Host
from ..run import Run
from .libvirt_pairs import prepare_second_pf

DESCRIPTION = "two PFs in one network: a VF of the PF with more free, or of the guest's NUMA node"
CONTENDERS = ("vfailover",)
VFS = 2
PFS = 2

FOUND_SECONDS = 60


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    host = test.lab.host("hosta")
    guest = test.start_guest("hosta")
    first, second = host.vfs, prepare_second_pf(host, "br0")
    # Of two that are as good as each other, the one of pf0 is taken.
    vfailover.reconfigure(test.lab, host, {"network lan": {"pf": "pf0; pf1", "bridge": "br0"}})
    wait.until("the daemon finds guest and VFs", lambda: _is_ready(host, guest), FOUND_SECONDS)

    vfailover.command(host, "detach", guest.name)
    _set_bound(host, first[1], False)
    _expect_attached(test, guest, second, "half of pf0 in use, nothing of pf1")

    vfailover.command(host, "detach", guest.name)
    _set_bound(host, first[1], True)
    _set_bound(host, second[1], False)
    _expect_attached(test, guest, first, "half of pf1 in use, nothing of pf0")

    vfailover.command(host, "detach", guest.name)
    host.sh(f"echo 0 >/sys/bus/pci/devices/{second[0]}/numa_node")
    _expect_attached(test, guest, [second[0]], "the same, and one of pf1 at the guest's NUMA node")


def _is_ready(host: Host, guest: Guest) -> bool:
    now = state.read(host)
    return (
        now.side_of(guest.name) == "vf"
        and len(now.vfs) == 2 * VFS
        and all(vf["usable"] for vf in now.vfs)
    )


def _set_bound(host: Host, pci: str, bound: bool) -> None:
    """A VF without vfio-pci counts as one in use."""
    host.sh(
        f"echo {pci} >/sys/bus/pci/drivers_probe"
        if bound
        else f"echo {pci} >/sys/bus/pci/drivers/vfio-pci/unbind"
    )


def _expect_attached(test: Run, guest: Guest, expected: list[str], what: str) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    job = vfailover.command(guest.host, "attach", guest.name)[-1]
    test.expect(f"{what}: an attach that completed: {job}", job["state"] == "completed")
    vf = state.read(guest.host).vf_of(guest.name)
    test.expect(f"{what}: one of {expected}, not {vf}", vf is not None and vf["pci"] in expected)
    assert vf is not None
    test.note(what, f"{vf['pci']} of {vf['pf']}, node {vf['numa-node']}")
