# SPDX-License-Identifier: GPL-2.0-or-later
"""A VF leaves its guest and comes back, and goes to another guest and comes back: no migration.

What the VF was like is known to a daemon that was not there when it left.
"""

import signal
import subprocess
from typing import Any

from .. import clock, paths, phases, state, wait
from ..analysis import Phase
from ..contenders import Vfailover
from ..guest import Guest
from ..run import Run
from .bad_input import expect_refusal

DESCRIPTION = "detach, attach, attach from another guest, daemons that end in between, under traffic"
CONTENDERS = ("vfailover",)
VFS = 2
HOST_MEMORY_MB = 1100  # for two guests

VF_SECONDS = 180
OTHER_TAP = "tap1"
ABSENCES = "/run/vfailover/absences.json"


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    guest = test.start_guest("hosta")
    other = _start_other(test)
    test.start_traffic(guest)
    host = guest.host
    # As no VF is that nothing is known of.
    host.sh("ip link set pf0 vf 0 spoofchk off")
    before = state.read(host)

    lend(test, guest, "detach", guest.name)
    after = state.read(host)
    lent = _expect_lent(test, guest, before, after)
    _expect_refused(test, 1, "already", "detach", guest.name)
    _expect_refused(test, 1, "none to give", "attach", other.name, "--from", guest.name)

    vfailover.stop_daemon(host)
    _start_daemon(test, guest, other)
    get_back(test, guest, "attach", guest.name, "--vf", lent)
    _expect_as_before(test, guest, lent)
    _expect_refused(test, 1, "a VF already", "attach", guest.name)
    _expect_refused(test, 2, "itself", "attach", guest.name, "--from", guest.name)
    _expect_refused(test, 2, "--from", "detach", guest.name, "--from", other.name)

    before = state.read(host)
    lend(test, guest, "attach", other.name, "--from", guest.name)
    other.wait_on_primary(1, VF_SECONDS)
    after = state.read(host)
    vf = after.vf(lent)
    test.expect(f"{lent} with {other.name}: {vf}", vf["owner"] == other.name and vf["opened"])
    test.expect(f"{lent} with {other.mac}: {vf}", vf["mac"] == other.mac and not vf["lease"])
    _expect_on_standby(test, guest, after)
    _expect_answers(test, other)

    get_back(test, guest, "attach", guest.name, "--from", other.name)
    after = state.read(host)
    test.expect(f"{guest.name} on the VF it had", after.vf(lent)["owner"] == guest.name)
    _expect_on_vf(test, guest, after)
    _expect_on_standby(test, other, after, OTHER_TAP)
    kinds = [(job["kind"], job["vm"], job["from"]) for job in vfailover.command(host, "jobs")]
    test.expect(
        f"jobs that say what they were: {kinds}",
        kinds[0] == ("attach", guest.name, None)
        and kinds[-1] == ("attach", guest.name, other.name),
    )

    start_us = clock.now_us()
    _kill_daemon(test, guest)
    _start_daemon(test, guest, other)
    test.apart.append(Phase(phases.CANCELLED, ((start_us, clock.now_us()),)))
    get_back(test, guest, "attach", guest.name, "--vf", lent)
    _expect_as_before(test, guest, lent)
    # What leads to it was opened by the daemon before.
    _expect_gone(test, other)


def _start_daemon(test: Run, *guests: Guest) -> None:
    """Start the daemon anew, and wait until it has found the guests."""
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    host = test.lab.host("hosta")
    vfailover.start_daemon(host)
    for guest in guests:
        wait.until(
            f"the daemon finds {guest.name}",
            lambda name=guest.name: state.read(host).side_of(name) is not None,
            VF_SECONDS,
        )


def _kill_daemon(test: Run, guest: Guest) -> None:
    """The daemon is killed when it has asked the guest for its VF; the guest lets go all the same."""
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    host = guest.host
    known = f'"vm":"{guest.name}"'
    test.expect(f"nothing known of {guest.name}", known not in (host.read(ABSENCES) or ""))
    command = host.start([str(paths.COMMAND), "detach", guest.name], "detach.log")
    wait.until(
        f"{guest.name} is written down",
        lambda: known in (host.read(ABSENCES) or ""),
        VF_SECONDS,
        interval=0.02,
    )
    vfailover.stop_daemon(host, signal.SIGKILL)
    test.expect("a detach that nobody ended", command.wait(VF_SECONDS) != 0)
    wait.until(f"{guest.name} on its standby", lambda: "primary=none" in guest.links(), VF_SECONDS)


def _start_other(test: Run) -> Guest:
    """A second guest on the first host, on its standby."""
    host = test.lab.host("hosta")
    host.sh(
        f"ip tuntap add {OTHER_TAP} mode tap\nip link set {OTHER_TAP} txqueuelen 10000\n"
        f"ip link set {OTHER_TAP} master br0\nip link set {OTHER_TAP} up"
    )

    def on_its_tap(arguments: list[str]) -> list[str]:
        return [argument.replace("ifname=tap0", f"ifname={OTHER_TAP}") for argument in arguments]

    other = test.lab.start_guest(host, None, alter=on_its_tap, number=2)
    other.wait_ready(primary=False)
    test.lab.say(f"{other.name} runs in {host.name}, without a VF")
    return other


def _command(test: Run, *arguments: str) -> dict[str, Any]:
    """A command that starts a job, which completes; the job."""
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    job = vfailover.command(test.lab.host("hosta"), *arguments)[-1]
    test.expect(f"{arguments} completed: {job}", job["state"] == "completed")
    took_ms = sum(step["duration-us"] for step in job["steps"]) / 1000
    test.lab.say(f"{' '.join(arguments)}: {took_ms:.0f} ms")
    return job


def lend(test: Run, guest: Guest, *arguments: str) -> None:
    """The guest's VF goes; what is lost is counted until the guest has been on its standby."""
    start_us = clock.now_us()
    _command(test, *arguments)
    test.observe()
    test.expect(f"a guest without a primary: {guest.links()}", "primary=none" in guest.links())
    test.apart.append(Phase(phases.TO_STANDBY, ((start_us, clock.now_us()),)))


def get_back(test: Run, guest: Guest, *arguments: str) -> None:
    start_us = clock.now_us()
    _command(test, *arguments)
    test.wait_vf(f"{guest.name} on its VF again", start_us)
    test.observe()
    test.apart.append(Phase(phases.TO_VF, ((start_us, clock.now_us()),)))


def _expect_refused(test: Run, status: int, word: str, *arguments: str) -> None:
    """One line that has this word, and that exit status."""
    result = test.lab.host("hosta").run([str(paths.COMMAND), *arguments], check=False)
    expect_refusal(
        test, " ".join(arguments), result.status, result.stderr, status, (word,)
    )


def _expect_lent(test: Run, guest: Guest, before: state.State, after: state.State) -> str:
    """The VF that the guest had is free, as if it had never been anybody's; its address."""
    old = before.vf_of(guest.name)
    assert old is not None
    vf = after.vf(old["pci"])
    test.expect(f"a parked VF: {vf}", vf["parked"] and vf["mac"] != guest.mac)
    test.expect(f"a VF that is nobody's: {vf}", not vf["owner"] and not vf["lease"])
    test.expect(f"a VF that nobody has open: {vf}", not vf["opened"])
    test.expect(f"a generation more: {vf}", vf["generation"] == old["generation"] + 1)
    _expect_on_standby(test, guest, after)
    return str(old["pci"])


def _expect_on_standby(
    test: Run, guest: Guest, after: state.State, tap: str = "tap0"
) -> None:
    name, mac = guest.name, guest.mac
    test.expect(f"{name} on its standby", after.side_of(name) == "standby")
    test.expect(f"{mac} in the PF's filter", after.lets_in(mac))
    test.expect(f"the bridge's entry for {mac} at {tap}", after.bridge_port(mac) == tap)
    test.expect(f"no VF with {mac}", all(vf["mac"] != mac for vf in after.vfs))
    # A plug that lets frames through may stay in the tap: what counts is that they come.
    _expect_answers(test, guest)


def _expect_on_vf(test: Run, guest: Guest, after: state.State) -> None:
    wrong = state.arrived(after, guest.name, guest.mac)
    test.expect(f"{guest.name} on its VF: {'; '.join(wrong)}", not wrong)


def _expect_as_before(test: Run, guest: Guest, pci: str) -> None:
    """The guest is on that VF, which has what it had when the guest was started on it."""
    after = state.read(guest.host)
    _expect_on_vf(test, guest, after)
    vf = after.vf(pci)
    test.expect(f"spoof check as it was: {vf}", not vf["spoofchk"])
    test.expect(f"nothing known of {guest.name}: it has its VF",
                f'"vm":"{guest.name}"' not in (guest.host.read(ABSENCES) or ""))  # fmt: skip


def _expect_gone(test: Run, guest: Guest) -> None:
    """A guest that ends on its standby leaves nothing behind that draws its frames."""
    guest.quit()

    def shut() -> bool:
        return not state.read(guest.host).lets_in(guest.mac)

    wait.until(f"{guest.mac} to leave the PF's filter", shut, 10)


def _expect_answers(test: Run, guest: Guest) -> None:
    """Nobody takes the guest's frames away."""
    command = ["ping", "-q", "-c", "10", "-i", "0.1", "-W", "2", guest.address]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    test.expect(f"{guest.name} answers: {result.stdout}", " 0% packet loss" in result.stdout)
