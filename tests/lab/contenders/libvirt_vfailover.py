# SPDX-License-Identifier: GPL-2.0-or-later
"""`virsh migrate`, with vfailoverd beside libvirt in both hosts."""

from typing import Any

from .. import paths, state, wait
from ..errors import LabError
from ..guest import Guest
from ..host import Host
from ..lab import Lab
from ..libvirt import Form, daemon as libvirtd
from .contender import Outcome
from .libvirt import POSTCOPY, Libvirt
from .vfailover import Changes, Vfailover, own_of

HOOK = f"{libvirtd.HOOKS}/vfailover"
HOOK_PROGRAM = "/usr/sbin/vfailover-hook"
JOB_SECONDS = 180
ENDED = ("completed", "degraded", "failed", "cancelled")


class LibvirtVfailover(Libvirt, Vfailover):
    """libvirt's own migration; the daemons follow it, and choose the VF of the destination."""

    def __init__(self) -> None:
        Vfailover.__init__(self)
        Libvirt.__init__(self)

    def check(self) -> None:
        Vfailover.check(self)
        if not paths.HOOK.exists():
            raise LabError(f"{paths.HOOK} is not there: build it first with scripts/build")

    def prepare(self, lab: Lab) -> None:
        for host in lab.hosts:
            # As it is installed.
            host.sh(
                f"mkdir -p {libvirtd.HOOKS}; cp {paths.HOOK} {HOOK_PROGRAM}; "
                f"ln -s {HOOK_PROGRAM} {HOOK}"
            )
        Libvirt.prepare(self, lab)
        self.prepare_daemons(lab)
        # The guest's VF is to have another address here than there. Of a pool libvirt takes the first.
        if self.form is not Form.NETWORK:
            occupy(lab.hosts[1], lab.hosts[1].vfs[0])

    def prepare_host(self, lab: Lab, host: Host) -> None:
        """Nothing: the hook gives the VF its address."""

    def config(self, lab: Lab, host: Host, changes: Changes | None = None) -> str:
        groups: dict[str, dict[str, str | None]] = {"libvirt": {"uri": "qemu:///system"}}
        for peer in lab.hosts:
            if peer is not host:
                groups[f"peer {peer.name}"] = {"libvirt-uri": f"qemu+tcp://{peer.name}/system"}
        for group, settings in (changes or {}).items():
            groups.setdefault(group, {}).update(settings)
        return Vfailover.config(self, lab, host, groups)

    def start_destination(self, lab: Lab, host: Host) -> Guest:
        self._before = {each.name: state.read(each) for each in lab.hosts}
        return Libvirt.start_destination(self, lab, host)

    def migrate(self, lab: Lab, source: Guest, destination: Guest) -> Outcome:
        known = self.job_ids(source.host)
        Libvirt.migrate(self, lab, source, destination)
        job = self.ended_job(source.host, source.name, known)
        if job["state"] != "completed":
            raise LabError(f"job {job['state']} instead of completed: {job['error']}")
        self._own.append(own_of(job, source.host.name))
        return Outcome(job, returning_step="configure")

    def job_ids(self, host: Host) -> set[str]:
        """Of the jobs that a daemon knows."""
        return {job["id"] for job in self.command(host, "jobs")}

    def wait_idle(self) -> None:
        """Wait until no daemon has a job under way."""

        def idle() -> bool:
            jobs = [job for d in self.daemons.values() for job in self.command(d.host, "jobs")]
            return all(job["state"] in ENDED for job in jobs)

        wait.until("no job under way", idle, JOB_SECONDS)

    def handles(self) -> list[int]:
        """How many files each daemon has open."""
        return [
            len(daemon.host.run(["ls", f"/proc/{daemon.pid}/fd"]).stdout.split())
            for daemon in self.daemons.values()
        ]

    def ended_job(self, host: Host, vm: str, known: set[str]) -> dict[str, Any]:
        """The job of a VM that was not known before, once it has ended."""

        def ended() -> dict[str, Any] | None:
            for job in self.command(host, "jobs"):
                if job["id"] not in known and job["vm"] == vm and job["state"] in ENDED:
                    return self.command(host, "job", job["id"])[0]
            return None

        return wait.until(f"{host.name}: a job of {vm} that has ended", ended, JOB_SECONDS)

    def verify(self, lab: Lab, source: Guest, destination: Guest, with_vf: bool) -> None:
        Vfailover.verify(self, lab, source, destination, with_vf)


def occupy(host: Host, vf: str) -> None:
    """Have the host itself use a VF, so that it is nobody else's."""
    device = f"/sys/bus/pci/devices/{vf}"
    host.sh(
        f"modprobe igbvf; echo {vf} >{device}/driver/unbind; "
        f"echo igbvf >{device}/driver_override; echo {vf} >/sys/bus/pci/drivers_probe; "
        f"[ -e /sys/bus/pci/drivers/igbvf/{vf} ]"
    )


def vacate(host: Host, vf: str) -> None:
    """Undo occupy()."""
    device = f"/sys/bus/pci/devices/{vf}"
    host.sh(
        f"echo {vf} >{device}/driver/unbind; echo vfio-pci >{device}/driver_override; "
        f"echo {vf} >/sys/bus/pci/drivers_probe"
    )


class LibvirtHostdevVfailover(LibvirtVfailover):
    """With <hostdev>."""

    name = "libvirt-hostdev-vfailover"
    form = Form.HOSTDEV


class LibvirtPostcopyVfailover(LibvirtHostdevVfailover):
    """With <hostdev> and post-copy."""

    name = "libvirt-postcopy-vfailover"
    options = POSTCOPY


class LibvirtInterfaceVfailover(LibvirtVfailover):
    """With <interface type='hostdev'>."""

    name = "libvirt-interface-vfailover"
    form = Form.INTERFACE


class LibvirtNetworkVfailover(LibvirtVfailover):
    """With <interface type='network'> and a pool."""

    name = "libvirt-network-vfailover"
    form = Form.NETWORK
