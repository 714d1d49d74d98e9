# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C, at three moments of a migration; then a migration that is let be."""

import signal
from collections.abc import Callable
from typing import Any

from .. import clock, paths, phases, state, wait
from ..analysis import Phase
from ..contenders import Vfailover
from ..errors import DeadlineError, LabError
from ..guest import Guest
from ..host.host import Background
from ..run import Run

DESCRIPTION = "Ctrl-C while a connection is made, during the unplug, and while memory moves"
CONTENDERS = ("vfailover",)
VFS = 2

# Of QEMU's own, so that no daemon has to be restarted for another.
SLOW = 1 << 20
FAST = 200 << 20
MOMENT_SECONDS = 30
END_SECONDS = 120


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    # 0: the daemon leaves the bandwidth as it is in QEMU.
    vfailover.reconfigure(
        test.lab, test.lab.host("hosta"), {"migration": {"max-bandwidth": "0"}}
    )
    guest = test.start_guest("hosta")
    test.start_traffic(guest)

    def memory_moves() -> None:
        before = len(guest.qmp.events)
        guest.qmp.wait_event(
            "MIGRATION", MOMENT_SECONDS, lambda data: data["status"] == "active", after=before
        )

    guest.qmp.command("migrate-set-parameters", **{"max-bandwidth": SLOW})
    # The other daemon does not listen: else the reservation is made before Ctrl-C comes.
    deaf = vfailover.daemons["hostb"]
    _cancel(test, guest, "reserve", _after_step(guest, "lease"), deaf)
    _cancel(test, guest, "unplug", _after_step(guest, "hold"))
    _cancel(test, guest, "migrate", memory_moves)
    guest.qmp.command("migrate-set-parameters", **{"max-bandwidth": FAST})
    test.migrate(guest, "hostb")


def _after_step(guest: Guest, step: str) -> Callable[[], None]:
    """A wait for the command line to say that a step is done; the next one has just begun."""

    def done() -> None:
        wait.until(f"step {step} done", lambda: f" {step}: ok" in _printed(guest), MOMENT_SECONDS, 0.01)

    return done


def _printed(guest: Guest) -> str:
    """What the command line of the present attempt has printed."""
    log = guest.host.directory / "cancelled.log"
    return log.read_text(errors="replace").rpartition("$ migrate\n")[2] if log.exists() else ""


def _cancel(
    test: Run,
    guest: Guest,
    step: str,
    moment: Callable[[], None],
    deaf: Background | None = None,
) -> None:
    """Start a migration, cancel it when `moment` returns, in that step.

    `deaf` is a daemon that stands still until then.
    """
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    destination = vfailover.start_destination(test.lab, test.lab.host("hostb"))
    test.observe()
    before = {host.name: state.read(host) for host in test.lab.hosts}
    start_us = clock.now_us()
    if deaf is not None:
        deaf.signal(signal.SIGSTOP)
    command = guest.host.start(
        ["/bin/sh", "-c", 'echo "$ migrate"; exec "$@"', "sh",
         str(paths.COMMAND), "migrate", guest.name, "hostb"],
        "cancelled.log",
    )  # fmt: skip
    try:
        moment()
    except DeadlineError as error:
        raise LabError(f"{error}: {_printed(guest)}") from error
    command.signal(signal.SIGINT)
    if deaf is not None:
        deaf.signal(signal.SIGCONT)
    status = command.wait(END_SECONDS)
    printed = _printed(guest)
    test.expect(f"exit status 1 after Ctrl-C, not {status}: {printed}", status == 1)
    job = vfailover.command(guest.host, "job", guest.name)[0]
    results = {entry["name"]: entry["result"] for entry in job["steps"]}
    test.expect(f"a job that was cancelled, not {job['state']}", job["state"] == "cancelled")
    test.expect(f"{step} as the last step: {results}", _last(job["steps"]) == step)
    # The guest's answer to the unplug is waited for.
    ended = "ok" if step == "unplug" else "cancelled"
    test.expect(f"step {step} {ended}: {results}", results[step] == ended)
    failed = [entry for entry in job["steps"] if entry["result"] == "undo-failed"]
    test.expect(f"all undone: {failed}", not failed)
    complaints = [line for line in printed.splitlines() if line.startswith("vfailover: job ")]
    test.expect(
        f"one line that names job and VM: {complaints}",
        len(complaints) == 1 and job["id"] in complaints[0] and guest.name in complaints[0],
    )
    since_us = test.wait_vf(f"guest on its VF after a Ctrl-C in {step}", start_us)
    test.apart.append(
        Phase(phases.CANCELLED, ((start_us, max(since_us, clock.now_us())),))
    )
    test.lab.say(f"cancelled in {step}: guest on its VF, {_undone(results)}")
    expect_as_before(test, guest, before, opened=step != "reserve")
    destination.quit()


def _last(steps: list[dict[str, Any]]) -> str:
    """The last step of the source that was begun."""
    return [s["name"] for s in steps if s["host"] == "hosta" and "undo" not in s["name"]][-1]


def _undone(results: dict[str, str]) -> str:
    names = [name for name, result in results.items() if result == "undone"]
    return ", ".join(names) if names else "nothing to undo"


def expect_as_before(
    test: Run, guest: Guest, before: dict[str, state.State], opened: bool
) -> None:
    """Nothing is left of the attempt; `opened`: it has opened the source's PF side."""
    wrong: list[str] = []
    for host in test.lab.hosts:
        after = state.read(host)
        old, new = before[host.name], after
        if host is guest.host and opened:
            # The entry of the bridge, which stays at the PF's port, is in here.
            wrong += state.arrived(new, guest.name, guest.mac)
        else:
            wrong += state.differences(old.parts["fdb"], new.parts["fdb"], f"{host.name} fdb")
        # QEMU ends at the destination when its memory stops to come, and the tap has no carrier.
        for part in ("tap", "held", "drivers") if host is guest.host else ("held", "drivers"):
            wrong += state.differences(old.parts[part], new.parts[part], f"{host.name} {part}")
        vfs = [old.vfs, new.vfs]
        if host is not guest.host:
            vfs = [_but_parked(each) for each in vfs]
            if any(vf["mac"] == guest.mac for vf in new.vfs):
                wrong.append(f"{host.name}: a VF has {guest.mac}")
        wrong += state.differences(*vfs, f"{host.name} vfs")
    test.expect(f"both hosts as before: {'; '.join(wrong)}", not wrong)


def _but_parked(vfs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A VF that a destination has leased keeps the parking address that it was given."""
    return [{k: v for k, v in vf.items() if k not in ("mac", "parked")} for vf in vfs]
