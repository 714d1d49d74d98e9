# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain with two pairs: one migration of which one job is cancelled, and one that takes both VFs along."""

from typing import Any

from .. import clock, state, wait
from ..contenders import LibvirtVfailover, Outcome
from ..guest import Guest
from ..guest.shell import Shell
from ..host import Host
from ..libvirt import Domain, Form, domain, xml
from ..run import Run
from .cancel import expect_as_before

DESCRIPTION = "virsh migrate of a domain with a <hostdev> and an <interface> of two PFs: both VFs"
CONTENDERS = ("libvirt-hostdev-vfailover",)

PFS = 2

NETWORK = "storage"
MAC = "52:54:00:aa:00:20"
STANDBY = "ua-net2"
PRIMARY = "ua-vf1"
GUEST_SECONDS = 60
CANCEL_SECONDS = 60

BRIDGE = "br1"
_PREPARE = """
ip link set pf1 up
device=/sys/class/net/pf1/device
echo 0 >$device/sriov_drivers_autoprobe
echo 2 >$device/sriov_numvfs
[ -e /sys/class/net/$1 ] || ip link add $1 type bridge stp_state 0 forward_delay 0
ip link set pf1 master $1
ip link set $1 up
for vf in $device/virtfn*; do
    pci=$(basename "$(readlink $vf)")
    echo vfio-pci >$vf/driver_override
    echo $pci >/sys/bus/pci/drivers_probe
    echo $pci
done
"""

# Of each pair: its MAC, and its VF's driver and carrier. A command is one line.
_MASTERS = "for lower in /sys/class/net/eth*/lower_*; do master=${lower%/*}; mac=$(cat $master/address)"
_PAIRS = (
    f"{_MASTERS}; driver=$(readlink $lower/device/driver); "
    "echo $mac ${driver##*/} $(cat $lower/carrier 2>/dev/null || echo 0); done"
)
_UP = f"{_MASTERS}; [ $mac != {MAC} ] || ip link set ${{master##*/}} up; done"


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    hosta, hostb = test.lab.hosts
    vfs = [prepare_second_pf(host, BRIDGE) for host in test.lab.hosts]
    for host in test.lab.hosts:
        contender.reconfigure(
            test.lab, host, {f"network {NETWORK}": {"pf": "pf1", "bridge": BRIDGE}}
        )
    # hostb gives the first one.
    contender.alter = lambda text: xml.add_pair(
        text, Form.INTERFACE, vfs[0][1], MAC, STANDBY, PRIMARY, BRIDGE
    )
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    with guest.shell() as shell:
        shell.run(_UP)
        _wait_pairs(test, shell)
    # Few frames: hosts that are busy with them take twice as long for all.
    test.start_traffic(guest, spacing_us=10000)
    _cancel(test, guest, hostb)
    before = _described(test, guest)

    def migrate(source: Guest, destination: Guest) -> Outcome:
        outcome = contender.migrate(test.lab, source, destination)
        contender.wait_idle()
        return outcome

    there = test.migrate(guest, "hostb", migrate)
    assert isinstance(there, Domain)
    with there.shell() as shell:
        _wait_pairs(test, shell)
    after = _described(test, there)
    test.note("VFs", f"{before} -> {after}")
    test.expect(f"other VFs at the destination: {before}, {after}", not {*before} & {*after})
    _free(test, hosta, before)
    jobs = contender.command(hosta, "job", guest.name)
    test.expect(
        f"two jobs that have completed: {_said(jobs)}",
        [job["state"] for job in jobs] == ["completed"] * 2
        and {job["pair"] for job in jobs} == {xml.STANDBY, STANDBY},
    )


def prepare_second_pf(host: Host, bridge: str) -> list[str]:
    """The second PF in a bridge, which need not be there, and its VFs with vfio-pci."""
    return host.run(["sh", "-euc", _PREPARE, "prepare", bridge]).stdout.split()


def _cancel(test: Run, guest: Domain, hostb: Host) -> None:
    """The job of one pair is cancelled while memory moves: both VFs are back."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    before = {host.name: state.read(host) for host in test.lab.hosts}
    start_us = clock.now_us()
    events = len(guest.qmp.events)
    command = guest.host.start(
        ["virsh", *contender.migration(guest.name, hostb), "--bandwidth", "1"], "virsh.log"
    )
    guest.qmp.wait_event(
        "MIGRATION", CANCEL_SECONDS, lambda data: data["status"] == "active", after=events
    )
    jobs = contender.command(guest.host, "jobs")
    second = next(job["id"] for job in jobs if job["pair"] == STANDBY)
    contender.command(guest.host, "cancel", second)
    status = command.wait(CANCEL_SECONDS)
    test.expect(f"virsh that fails after one job was cancelled, not {status}", status != 0)
    with guest.shell() as shell:
        _wait_pairs(test, shell)
    test.wait_vf("guest on its VF after one job was cancelled", start_us)
    contender.wait_idle()
    jobs = contender.command(guest.host, "job", guest.name)
    failed = [step for job in jobs for step in job["steps"] if step["result"] == "undo-failed"]
    test.expect(
        f"two jobs that are undone: {_said(jobs)}, {failed}",
        not failed
        and {job["pair"]: job["state"] for job in jobs}
        == {xml.STANDBY: "failed", STANDBY: "cancelled"},
    )
    expect_as_before(test, guest, before, opened=True)
    there = [vf["mac"] for vf in state.read(hostb).vfs]
    test.expect(f"no VF with {MAC} in {hostb.name}: {there}", MAC not in there)


def _wait_pairs(test: Run, shell: Shell) -> None:
    """Wait until the guest has a VF with a carrier in both pairs."""

    def both() -> bool:
        seen = sorted(line.split() for line in shell.run(_PAIRS).splitlines())
        return [line for line in seen if line[1] == "igbvf"] == [
            [mac, "igbvf", "1"] for mac in (Domain.mac, MAC)
        ]

    wait.until("the guest has a VF with a carrier in both pairs", both, GUEST_SECONDS)


def _described(test: Run, guest: Domain) -> list[str]:
    """The VFs of a running domain: those in its XML, which must be those that QEMU has."""
    said = xml.vfs_of(guest.description())
    found = domain.opened_vfs(guest.host)
    test.expect(f"QEMU with the VFs of dumpxml, {said}, not {found}", sorted(said) == sorted(found))
    test.expect(f"two VFs: {said}", len(said) == 2)
    return said


def _free(test: Run, host: Host, vfs: list[str]) -> None:
    """Nobody has them any more."""
    now = state.read(host)
    for pci in vfs:
        vf = now.vf(pci)
        test.expect(
            f"a VF that is parked, closed, and nobody's: {vf}",
            vf["parked"] and not vf["opened"] and not vf["owner"] and not vf["lease"],
        )
    left = [entry for entry in now.parts["fdb"] if entry["mac"] in (Domain.mac, MAC)]
    test.expect(f"nothing of the guest in {host.name}'s filters and bridges: {left}", not left)


def _said(jobs: list[dict[str, Any]]) -> list[str]:
    return [f"{job['pair']} {job['state']}: {job['error']}" for job in jobs]
