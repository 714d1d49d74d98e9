# SPDX-License-Identifier: GPL-2.0-or-later
"""A destination that has no VF to give, and takes the guest all the same."""

from ..contenders import Outcome, Vfailover
from ..guest import Guest
from ..run import Run

DESCRIPTION = "the destination has no free VF and takes the guest standby-only"
CONTENDERS = ("vfailover",)
VFS = 2


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    hostb = test.lab.host("hostb")
    vfailover.reconfigure(test.lab, hostb, {"migration": {"no-vf": "standby-only"}})
    unbind = (f"echo {pci} >/sys/bus/pci/drivers/vfio-pci/unbind" for pci in hostb.vfs)
    hostb.sh("\n".join(unbind))
    guest = test.start_guest("hosta")
    test.start_traffic(guest)

    def drive(source: Guest, destination: Guest) -> Outcome:
        outcome = vfailover.migrate_to(source, destination, "degraded")
        assert outcome.job is not None
        error = outcome.job["error"]
        test.expect(
            f"an error that says what is missing, and where: {error}",
            all(word in error for word in ("hostb", "no VF", "'lan'", "vfio-pci")),
        )
        by_name = {(step["host"], step["name"]): step for step in outcome.job["steps"]}
        for name in ("configure", "plug", "use"):
            test.expect(f"step {name} skipped", by_name["hostb", name]["result"] == "skipped")
        return outcome

    test.migrate(guest, "hostb", drive, with_vf=False)
