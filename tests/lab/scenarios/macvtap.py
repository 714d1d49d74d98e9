# SPDX-License-Identifier: GPL-2.0-or-later
"""Standbys on macvtaps: there and back under traffic."""

from ..guest import Guest
from ..host import Host
from ..run import Run

DESCRIPTION = "a guest whose standby is a macvtap (bridge in hosta, vepa in hostb), and back"
CONTENDERS = ("vfailover",)
VFS = 2

STANDBY = "macvtap0"


def run(test: Run) -> None:
    hosta, hostb = test.lab.host("hosta"), test.lab.host("hostb")
    for host, mode in ((hosta, "bridge"), (hostb, "vepa")):
        _create(host, mode)
    hosta.sh(f"ip link set {STANDBY} up")

    guest = test.start_guest("hosta")
    traffic = test.start_traffic(guest)
    _refused(test, hosta, guest)
    before = _received(hosta)
    traffic.observe(2)
    test.note(
        "frames that the macvtap got within 2 s while the guest was on its VF",
        str(_received(hosta) - before),
    )
    guest = test.migrate(guest, "hostb")
    # What the source's QEMU leaves behind when it ends is a macvtap that is down.
    guest = test.migrate(guest, "hosta")
    job = test.migrations[-1].outcome.job or {"steps": []}
    details = [step["detail"] for step in job["steps"] if step["name"] == "hold"]
    test.expect("a job that says why nothing was held", any(STANDBY in str(d) for d in details))


def _create(host: Host, mode: str) -> None:
    """A macvtap on the PF, which cannot be in a bridge then; down."""
    host.sh(
        "modprobe macvtap; ip link set pf0 nomaster; "
        f"ip link add link pf0 name {STANDBY} address {Guest.mac} type macvtap mode {mode}; "
        # As tap0: what the guest does not take at once must not be dropped.
        f"ip link set {STANDBY} txqueuelen 10000"
    )
    host.standby = STANDBY
    host.uplink = None


def _received(host: Host) -> int:
    return int(host.read(f"/sys/class/net/{STANDBY}/statistics/rx_packets") or 0)


def _refused(test: Run, host: Host, guest: Guest) -> None:
    """A macvtap that would not get the guest's frames."""
    host.sh(f"ip link set {STANDBY} address 02:00:00:00:00:99")
    answer = test.contender.command(host, "migrate", guest.name, "hostb", check=False)
    host.sh(f"ip link set {STANDBY} address {guest.mac}")
    wanted = f"ip link set {STANDBY} address {guest.mac}"
    test.expect("a refusal with the command that helps", wanted in str(answer))
