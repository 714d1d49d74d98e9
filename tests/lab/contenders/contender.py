# SPDX-License-Identifier: GPL-2.0-or-later
"""What a way of migrating has to offer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..guest import Guest
from ..host import Host
from ..lab import HOST_MEMORY_MB, Lab


@dataclass(frozen=True)
class Outcome:
    """What driving a migration gave; its times come from QEMU's events."""

    job: dict[str, Any] | None = None
    """The daemon's account of it, if there is a daemon."""
    returning_us: int | None = None
    """When it began to give the guest a VF again, on the client's clock, if that is known."""
    returning_step: str | None = None
    """The step of the job that does."""


class Contender(ABC):
    """A way to migrate."""

    name: str
    has_vf = True
    """Whether its guests have a VF at all."""
    memory_mb = HOST_MEMORY_MB
    """What its hosts need."""

    def check(self) -> None:
        """LabError if something that it needs is not on this machine."""

    def layer(self) -> Path | None:
        """What its hosts lay over their root."""
        return None

    def prepare(self, lab: Lab) -> None:
        """Set up the hosts, before any guest is there."""

    def give_vf(self, host: Host, vf: int) -> None:
        """Make a VF the guest's, as whoever starts a guest on it has to."""
        host.set_vf_mac(vf, Guest.mac)

    def let_in(self, host: Host) -> None:
        """Have the PF take what is for the guest, whatever its VFs do."""
        host.run(["bridge", "fdb", "add", Guest.mac, "dev", "pf0", "self"])

    def start_source(self, lab: Lab, host: Host) -> Guest:
        """Start the guest, and wait until it uses what it is to have."""
        guest = lab.start_guest(host, host.vfs[0])
        guest.wait_ready(primary=True)
        return guest

    @abstractmethod
    def start_destination(self, lab: Lab, host: Host) -> Guest:
        """Start a QEMU that waits for the guest to come in."""

    @abstractmethod
    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        """Migrate, from the first change to the moment at which the destination runs the guest."""

    def verify(self, lab: Lab, source: Guest, destination: Guest, with_vf: bool) -> None:
        """LabError if a migration has left a host otherwise than it should."""

    def figures(self, lab: Lab) -> dict[str, Any] | None:
        """What it costs, if there is something to say."""
        return None
