# SPDX-License-Identifier: GPL-2.0-or-later
"""What vfailoverd sees of a real libvirt, and does through it, without vfailoverd.

tests/unit/libvirt-steps.c calls the ops of the daemon's VM one after the other.
"""

import re

from .. import paths, wait
from ..contenders.libvirt import Libvirt
from ..errors import LabError
from ..host import Host
from ..libvirt import Domain, xml
from ..run import Run

DESCRIPTION = "vfailoverd's half of libvirt: detach, attach, an abandoned migration, one that completes"
CONTENDERS = ("libvirt-hostdev", "libvirt-interface")

STEPS = str(paths.BUILD / "tests" / "unit" / "libvirt-steps")
STEP_SECONDS = 25  # an answer of the agent takes no longer
MIGRATE_SECONDS = 120
# Of QEMU's own: memory moves for long enough to be stopped.
SLOW = 1 << 20
FAST = 200 << 20


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, Libvirt)
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    source, destination = test.lab.hosts
    _lend(guest)
    _abandon(test, guest, destination)
    _restart(test, guest)
    _complete(guest, source, destination)
    test.expect("no domain is tainted by it", not _tainted(guest))


class Steps:
    """libvirt-steps under way in a host."""

    def __init__(self, guest: Domain, host: Host, *steps: str) -> None:
        name = f"libvirt-steps-{guest.host.name}-{steps[0]}.log"
        self.log = host.directory / name
        argv = [STEPS, "qemu:///system", guest.name, "wait", *steps]
        self.process = host.start(argv, name)

    def said(self, text: str) -> None:
        """Wait until it has printed that."""

        def done() -> bool:
            if text in self.text():
                return True
            if self.process.poll() is not None:
                raise LabError(f"{self.process.host.name}: {self.last()}")
            return False

        wait.until(text, done, STEP_SECONDS)

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text() if self.log.exists() else ""

    def last(self) -> str:
        """The last line of that."""
        return self.text().strip().rpartition("\n")[2]

    def done(self) -> None:
        """Wait for its end; a step that failed is an error."""
        if self.process.wait(STEP_SECONDS) != 0:
            raise LabError(f"{self.process.host.name}: a step failed: {self.last()}")


def _lend(guest: Domain) -> None:
    """The VF is taken from the running domain, and another is given to it."""
    host, (old, new) = guest.host, guest.host.vfs[:2]
    go = "/run/lab/go"
    steps = Steps(guest, host, "inspect", "unplug", f"file={go}", f"plug={new}", "inspect")
    steps.said("unplug: ok")
    if (vf := xml.vf_of(guest.description())) is not None:
        raise LabError(f"dumpxml has {vf} after {old} was detached")
    host.set_vf_mac(0, host.parking_mac(0))
    host.set_vf_mac(1, guest.mac)
    host.write(go, "")
    steps.done()
    if (found := xml.vf_of(guest.description())) != new:
        raise LabError(f"dumpxml has {found} after {new} was attached")
    guest.wait_ready(primary=True)


def _abandon(test: Run, guest: Domain, destination: Host) -> None:
    """A migration under way is abandoned; QEMU gives the guest its VF again."""
    contender = test.contender
    assert isinstance(contender, Libvirt)
    guest.qmp.command("migrate-set-parameters", **{"max-bandwidth": SLOW})
    steps = Steps(guest, guest.host, "unplugging", "unplugged", "cancel", "replugged")
    steps.said("wait: ok")
    argv = ["virsh", "-q", *contender.migration(guest.name, destination), "--bandwidth", "1"]
    result = guest.host.run(argv, check=False, seconds=MIGRATE_SECONDS)
    test.note("virsh of an abandoned migration", result.stderr.strip())
    test.expect("virsh says that it was", result.status != 0)
    steps.done()
    guest.qmp.command("migrate-set-parameters", **{"max-bandwidth": FAST})


def _restart(test: Run, guest: Domain) -> None:
    """libvirtd is started anew, and the domain is known again."""
    contender = test.contender
    assert isinstance(contender, Libvirt)
    steps = Steps(guest, guest.host, "lost", "wait", "inspect")
    steps.said("wait: ok")
    libvirtd = contender.libvirtds[guest.host.name]
    libvirtd.stop()
    libvirtd.start()
    steps.done()


def _complete(guest: Domain, source: Host, destination: Host) -> None:
    """A migration, seen from both ends; virsh itself drives it, not the source's libvirtd."""
    there = Steps(guest, destination, "resumed", "inspect")
    here = Steps(guest, source, "unplugging", "unplugged", "stopped", "completed", "ended")
    here.said("wait: ok")
    guest.virsh("migrate", "--live", guest.name, f"qemu+tcp://{destination.name}/system")
    here.done()
    there.done()


def _tainted(guest: Domain) -> list[str]:
    """What libvirt has noted in the logs of the domain about commands that it does not know."""
    text = guest.log.read_text(errors="replace")
    return re.findall(r"tainted: custom-monitor", text)
