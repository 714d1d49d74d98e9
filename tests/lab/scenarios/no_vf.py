# SPDX-License-Identifier: GPL-2.0-or-later
"""A destination that has no VF to give, and takes the guest all the same."""

from .. import clock, state
from ..contenders import Outcome, Vfailover
from ..guest import Guest
from ..run import Run

DESCRIPTION = "a destination without a free VF takes the guest standby-only; then one is free"
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

    there = test.migrate(guest, "hostb", drive, with_vf=False)
    freed_us = clock.now_us()
    hostb.sh(f"echo {hostb.vfs[1]} >/sys/bus/pci/drivers_probe")
    since_us = test.wait_vf("guest on the VF that has become free", freed_us)
    test.note("from a VF that becomes free to its use", f"{(since_us - freed_us) / 1000:.0f} ms")
    owner = state.read(hostb).vf(hostb.vfs[1])["owner"]
    test.expect(f"{hostb.vfs[1]} with {there.name}, not {owner}", owner == there.name)
