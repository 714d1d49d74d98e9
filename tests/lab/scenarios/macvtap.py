# SPDX-License-Identifier: GPL-2.0-or-later
"""Standbys on macvtaps, in each mode that can be handed over: there and back under traffic."""

import signal

from .. import clock, paths, phases, wait
from ..analysis import Phase
from ..contenders import Vfailover
from ..fabric import CLIENT_ADDRESS
from ..guest import Guest
from ..host import Host
from ..probe import Control
from ..run import Run
from .bad_input import Cases, wait_known, waiting
from .lend import ABSENCES

DESCRIPTION = "a guest whose standby is a macvtap: mode bridge, to vepa, back to private; not passthru"
CONTENDERS = ("vfailover",)
VFS = 2

STANDBY = "macvtap0"
SECONDS = 20
_GIVEN = {"network lan": {"datapath": "macvtap", "bridge": None}}
_PLUGS = """
ip -o link show type ifb | grep vfo-hold || true
for macvtap in $(ls /sys/class/net | grep macvtap); do tc filter show dev $macvtap ingress; done
"""


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    hosta, hostb = test.lab.host("hosta"), test.lab.host("hostb")
    _create(hosta, "bridge")
    _create(hostb, "passthru")
    hosta.sh(f"ip link set {STANDBY} up")
    vfailover.reconfigure(test.lab, hosta, _GIVEN)
    vfailover.reconfigure(test.lab, hostb, {"network lan": {"datapath": "bridge"}})

    guest = test.start_guest("hosta")
    traffic = test.start_traffic(guest)
    _refused(test, hosta, guest)
    _refused_there(test, guest, hostb)
    hostb.sh(f"ip link del {STANDBY}")
    _create(hostb, "vepa")
    before = _received(hosta)
    traffic.observe(2)
    test.note(
        "frames that the macvtap got within 2 s while the guest was on its VF",
        str(_received(hosta) - before),
    )
    guest = test.migrate(guest, "hostb")
    # What the source's QEMU leaves behind when it ends is a macvtap that is down.
    hosta.sh(f"ip link set {STANDBY} type macvtap mode private")
    guest = test.migrate(guest, "hosta")
    for migration in test.migrations:
        job = migration.outcome.job or {"steps": []}
        held = [step["result"] for step in job["steps"] if step["name"] == "hold"]
        test.expect(f"a job that held frames: {held}", held == ["ok"])
    for host in test.lab.hosts:
        expect_unplugged(test, host)
    _killed_while_mute(test, hosta, guest)
    _killed(test, hosta, guest)


def _kill_at(test: Run, host: Host, arguments: list[str], *marks: str) -> None:
    """Kill the daemon when the command has led to all of that, which stays until there is another
    daemon."""
    look = f"{_PLUGS}cat {ABSENCES} || true"
    contender = test.contender
    assert isinstance(contender, Vfailover)
    command = host.start([str(paths.COMMAND), *arguments], f"{arguments[0]}.log")

    def shown() -> bool:
        seen = host.sh(look).stdout
        return all(mark in seen for mark in marks)

    wait.until(f"{marks}", shown, SECONDS)
    contender.stop_daemon(host, signal.SIGKILL)
    command.wait(SECONDS)
    test.expect(f"{marks} without a daemon", shown())
    contender.start_daemon(host)
    expect_unplugged(test, host)


def _killed_while_mute(test: Run, host: Host, guest: Guest) -> None:
    """The guest has its VF again, and the daemon ends before its standby may hear again."""
    contender = test.contender
    assert isinstance(contender, Vfailover)
    start_us = clock.now_us()
    contender.command(host, "detach", guest.name)
    test.observe()
    test.apart.append(Phase(phases.TO_STANDBY, ((start_us, clock.now_us()),)))
    start_us = clock.now_us()
    _kill_at(test, host, ["attach", guest.name], "gact")
    test.wait_vf("guest on its VF again", start_us)
    test.observe()
    test.apart.append(Phase(phases.TO_VF, ((start_us, clock.now_us()),)))


def _killed(test: Run, host: Host, guest: Guest) -> None:
    """The daemon ends while frames wait: the next one lets in what comes then."""
    start_us = clock.now_us()
    # What is written down is written just before the guest is asked for its VF.
    _kill_at(test, host, ["detach", guest.name], "vfo-hold", "mirred", f'"vm":"{guest.name}"')
    wait.until("guest alone on its standby", lambda: "primary=none" in guest.links(), SECONDS)
    test.apart.append(Phase(phases.CANCELLED, ((start_us, clock.now_us()),)))
    with Control(guest.address) as control:
        sent = len(control.record(CLIENT_ADDRESS))
        test.observe()
        heard = len(control.record(CLIENT_ADDRESS)) - sent
    test.expect(f"a guest that hears its client: {heard} frames", heard > 100)


def expect_unplugged(test: Run, host: Host) -> None:
    """Nothing is left of what held the frames, or dropped them."""
    wait.until("a macvtap that hears", lambda: "gact" not in host.sh(_PLUGS).stdout, SECONDS)
    left = host.sh(_PLUGS).stdout
    test.expect(f"no plug left in {host.name}: {left}", not left)


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


def _refused_there(test: Run, guest: Guest, host: Host) -> None:
    """A destination whose macvtap is not what its network has, and then one that nobody can have."""
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    cases = Cases(test, guest)
    with waiting(cases, host) as there:
        cases.refused(
            "a datapath that it is not",
            "peer hostb", STANDBY, "datapath 'macvtap'", "'datapath = bridge'",
        )  # fmt: skip
        vfailover.reconfigure(test.lab, host, _GIVEN)
        wait_known(there)
        cases.touched()
        cases.refused("a macvtap in mode passthru", "peer hostb", STANDBY, "mode passthru", "vepa")
