# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain's life in one host: what its VF, the filters and dumpxml are after each thing that a user
may do to it."""

import signal
from collections.abc import Callable

from .. import state, wait
from ..contenders import Libvirt, LibvirtVfailover
from ..contenders.libvirt_vfailover import occupy, vacate
from ..errors import DeadlineError, LabError
from ..libvirt import Domain, Form, Idle, domain, xml
from ..run import Run
from .libvirt_ways import DISK, DISK_MB, with_disk

DESCRIPTION = (
    "virsh start, reboot, reset, suspend, snapshot, save, detach, destroy, a crash, libvirtd and host again"
)
CONTENDERS = (
    "libvirt-hostdev-vfailover",
    "libvirt-interface-vfailover",
    "libvirt-hostdev",
    "libvirt-interface",
)
VFS = 2

SECONDS = 90
SETTLE_SECONDS = 15
IMAGE = "/run/lab/saved"
DEVICE = "/run/lab/vf.xml"
# All that a host that has started anew no longer has; its VFs are made and bound to vfio-pci again.
_REBOOTED = f"""
kill -KILL "$(cat /run/libvirt/qemu/guest.pid)"
timeout 10 sh -c 'while ls /sys/class/net | grep -q vnet; do sleep 0.1; done'
rm -rf /run/libvirt/* /run/vfailover/*
device=/sys/class/net/pf0/device
echo 0 >$device/sriov_numvfs
ip link set pf0 nomaster
ip link set pf0 master br0
echo {VFS} >$device/sriov_numvfs
for vf in $device/virtfn*; do
    echo vfio-pci >$vf/driver_override
    basename "$(readlink $vf)" >/sys/bus/pci/drivers_probe
done
"""


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, Libvirt)
    hosta = test.lab.host("hosta")
    hosta.sh(f"mkdir -p /run/lab; truncate -s {DISK_MB}M {DISK}")
    contender.alter = with_disk
    guest = contender.domain(test.lab, hosta, hosta.vfs[0])

    guest.define()
    guest.wait_ready(primary=True)
    _on_vf(test, guest, "start")

    for how in ("reboot -f", "echo c >/proc/sysrq-trigger", "virsh reset"):
        times = guest.times_on_primary()
        if how == "virsh reset":
            guest.virsh("reset", guest.name)
        else:
            _boot_anew(guest, how)
        guest.wait_on_primary(times + 1, SECONDS)
        _on_vf(test, guest, how)

    guest.virsh("suspend", guest.name)
    guest.virsh("resume", guest.name)
    _on_vf(test, guest, "suspend and resume")

    overlay = f"vda,snapshot=external,file={IMAGE}.qcow2"
    guest.virsh("snapshot-create-as", guest.name, "--no-metadata", "--disk-only", "--diskspec", overlay)
    _on_vf(test, guest, "a snapshot of its disk")

    libvirtd = contender.libvirtds[hosta.name]
    libvirtd.stop()
    libvirtd.start()
    _on_vf(test, guest, "a new libvirtd")

    if isinstance(contender, LibvirtVfailover):
        for number in (signal.SIGTERM, signal.SIGKILL):
            contender.stop_daemon(hosta, number)
            contender.start_daemon(hosta)
            _on_vf(test, guest, f"a new vfailoverd after signal {int(number)}")

    _save_in_vain(test, guest)

    device = xml.device(guest.form, hosta.vfs[0], guest.mac, managed=False)
    hosta.write(DEVICE, device)
    times = guest.times_on_primary()
    _attach(test, guest)
    guest.wait_on_primary(times + 1, SECONDS)
    _on_vf(test, guest, "attach")

    for save, restore in (
        (["save", guest.name, IMAGE], ["restore", IMAGE]),
        (["managedsave", guest.name], ["start", guest.name]),
    ):
        guest.virsh("detach-device", guest.name, DEVICE, "--live")
        _on_standby(test, guest, "detach-device")
        guest.virsh(*save)
        guest.quit()
        nothing_left(test, guest, save[0])
        guest.virsh(*restore)
        guest = contender.domain(test.lab, hosta, hosta.vfs[0])
        guest.expect()
        _on_standby(test, guest, f"{restore[0]} after {save[0]}", opened=False)
        _attach(test, guest)
        guest.wait_on_primary(1, SECONDS)
        _on_vf(test, guest, f"attach after {restore[0]}")

    guest.virsh("destroy", guest.name)
    guest.quit()
    nothing_left(test, guest, "destroy")

    if isinstance(contender, LibvirtVfailover):
        guest = _restore_elsewhere(test, contender.domain(test.lab, hosta, hosta.vfs[0]))
    else:
        guest = contender.domain(test.lab, hosta, hosta.vfs[0])
        guest.virsh("start", guest.name)
        guest.expect()
        guest.wait_ready(primary=True)
        _on_vf(test, guest, "start again")
    hosta.sh("kill -SEGV $(cat /run/libvirt/qemu/guest.pid)")
    guest.quit()
    nothing_left(test, guest, "a crash of QEMU")

    if isinstance(contender, LibvirtVfailover):
        _boot(test, guest)


def _restore_elsewhere(test: Run, guest: Domain) -> Domain:
    """It is saved before its guest has booted, as one on its VF cannot be. When it is restored, its VF
    is another domain's, which QEMU has not opened either: it gets the other VF, if that is free."""
    host = guest.host
    taken, other = host.vfs
    guest.virsh("start", "--paused", guest.name)
    guest.virsh("save", guest.name, IMAGE)
    nothing_left(test, guest, "save of a guest that has not booted")
    second = Idle(test.lab, "second", guest.form, taken)
    said = second.create(host)
    test.expect(f"a second domain on {taken}: {said}", not said)
    second.wait_known(host)

    occupy(host, other)
    before = state.read(host)
    result = host.run(["virsh", "-q", "restore", IMAGE, "--running"], check=False)
    test.note("restore without a free VF", result.stderr.strip().replace("\n", " | "))
    words = f"domain {guest.name}: its VF {taken} is taken: no VF of network 'lan' is free"
    test.expect(f"a restore that is refused: {words}", result.status != 0 and words in result.stderr)
    wrong = state.differences(before, state.read(host))
    test.expect(f"no change by it: {wrong}", not wrong)
    vacate(host, other)

    contender = test.contender
    assert isinstance(contender, Libvirt)
    guest = contender.domain(test.lab, host, other)
    guest.virsh("restore", IMAGE, "--running")
    guest.expect()
    guest.wait_ready(primary=True)
    _on_vf(test, guest, "restore without its VF")
    found = {vf["pci"]: (vf["owner"], vf["mac"]) for vf in state.read(host).vfs}
    wanted = {taken: (second.name, second.mac), other: (guest.name, guest.mac)}
    test.expect(f"owners and addresses {wanted}, not {found}", found == wanted)
    second.destroy(host)
    return guest


def _boot(test: Run, guest: Domain) -> None:
    """Its host ends at once, with the guest, and starts again: vfailoverd, then libvirtd, which starts
    the domain."""
    contender = test.contender
    assert isinstance(contender, LibvirtVfailover)
    libvirtd = contender.libvirtds[guest.host.name]
    guest.virsh("autostart", guest.name)
    guest = contender.domain(test.lab, guest.host, guest.host.vfs[0])
    guest.virsh("start", guest.name)
    guest.expect()
    guest.wait_ready(primary=True)
    contender.stop_daemon(guest.host, signal.SIGKILL)
    libvirtd.stop(signal.SIGKILL)
    guest.host.sh(_REBOOTED)
    guest.quit()
    guest = contender.domain(test.lab, guest.host, guest.host.vfs[0])
    contender.start_daemon(guest.host)
    libvirtd.start()
    guest.expect()
    guest.wait_ready(primary=True)
    _on_vf(test, guest, "a boot of the host")


def _boot_anew(guest: Domain, command: str) -> None:
    """Have the guest run a command that ends its kernel; it is booted again after a panic, too."""
    with guest.shell() as shell:
        try:
            shell.run(command)
        except LabError:
            pass  # it does not answer any more


def _attach(test: Run, guest: Domain) -> None:
    """Give the VF back. A <hostdev> must have its address before the guest sees it, and libvirt tells
    of an attach-device when it has happened."""
    contender = test.contender
    if guest.form is Form.HOSTDEV and isinstance(contender, LibvirtVfailover):
        contender.command(guest.host, "attach", guest.name)
    else:
        guest.virsh("attach-device", guest.name, DEVICE, "--live")


def _save_in_vain(test: Run, guest: Domain) -> None:
    """libvirt stops the guest, then QEMU waits for it to release its VF. When that is aborted, QEMU
    waits for 30 s more, libvirt resumes the guest, and that releases its VF."""
    before = len(guest.qmp.events)
    command = guest.host.start(["virsh", "save", guest.name, IMAGE], "virsh.log")
    guest.qmp.wait_event(
        "MIGRATION", SECONDS, lambda data: data["status"] == "wait-unplug", after=before
    )
    guest.virsh("domjobabort", guest.name)
    test.expect("save that fails when it is aborted", command.wait(SECONDS) != 0)
    guest.qmp.wait_event("DEVICE_DELETED", SECONDS, after=before)
    _on_standby(test, guest, "a save that was aborted")


def _on_vf(test: Run, guest: Domain, after: str) -> None:
    """The guest on its VF: owner, address, filters, XML."""

    def wrong() -> list[str]:
        if not isinstance(test.contender, LibvirtVfailover):
            return []
        return state.arrived(state.read(guest.host), guest.name, guest.mac)

    _expect(test, f"after {after}", wrong)
    found = domain.opened_vfs(guest.host)
    said = xml.vf_of(guest.description())
    test.expect(f"after {after}: dumpxml with {found}, not {said}", found == [said])
    test.lab.say(f"{after}: on its VF")


def _on_standby(test: Run, guest: Domain, after: str, opened: bool = True) -> None:
    """The guest on its standby. One that starts there has a VF's address nowhere, and is reached
    without an entry in the PF's filter (not `opened`)."""

    def wrong() -> list[str]:
        if not isinstance(test.contender, LibvirtVfailover):
            return domain.opened_vfs(guest.host)
        now = state.read(guest.host)
        found = [] if now.side_of(guest.name) == "standby" else ["side standby"]
        if now.vf_of(guest.name) or any(vf["mac"] == guest.mac for vf in now.vfs):
            found.append("no VF of the guest's")
        if opened and not now.lets_in(guest.mac):
            found.append("the guest's address in the PF's filter")
        return found

    _expect(test, f"after {after}", wrong)
    test.lab.say(f"{after}: on its standby")


def nothing_left(test: Run, guest: Domain, after: str) -> None:
    """Nothing of the guest is left in its host but its definition."""

    def wrong() -> list[str]:
        if not isinstance(test.contender, LibvirtVfailover):
            return domain.opened_vfs(guest.host)
        now = state.read(guest.host)
        found = [f"{vf['pci']} parked" for vf in now.vfs if vf["mac"] == guest.mac]
        found += [f"{vf['pci']} free" for vf in now.vfs if vf["owner"] or vf["lease"] or vf["opened"]]
        if now.lets_in(guest.mac) or now.bridge_port(guest.mac):
            found.append("no entries of the guest's address")
        return found

    _expect(test, f"after {after}", wrong)
    test.lab.say(f"{after}: nothing is left")


def _expect(test: Run, when: str, wrong: Callable[[], list[str]]) -> None:
    """The daemon hears of what libvirt does a moment later."""
    try:
        wait.until(when, lambda: not wrong(), SETTLE_SECONDS, 0.5)
    except DeadlineError:
        found = "; ".join(wrong())
        test.expect(f"{when}: {found}", not found)
