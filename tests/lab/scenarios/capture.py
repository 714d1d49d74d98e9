# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in the guest each frame is seen while it changes between VF and standby."""

from .. import sightings
from ..contenders import ALL
from ..fabric import CLIENT_ADDRESS
from ..probe import Control
from ..run import Run

DESCRIPTION = "there and back; what became of each frame in the guest, by a capture of its interfaces"
TEST = False  # For whoever asks why a frame was lost or came twice.
CONTENDERS = ("vfailover", *sorted(ALL.keys() - {"vfailover", "virtio-net"}))


def run(test: Run) -> None:
    guest = test.start_guest("hosta")
    test.start_traffic(guest)
    with Control(guest.address) as control:
        control.watch(CLIENT_ADDRESS)
    guest = test.migrate(guest, "hostb")
    test.migrate(guest, "hosta")
    with Control(guest.address) as control:
        fates = sightings.fates(control.watched())
    test.finish()
    report = []
    sent = test.record().sent
    for migration, phases in test.borders():
        for phase in phases[:-1]:
            part = sightings.stretches(sent, fates, phase, migration.start_us)
            print(f"{migration.source} to {migration.destination}, {phase.name}:")
            print("\n".join(sightings.show(part)))
            report.append(
                {
                    "from": migration.source,
                    "phase": phase.name,
                    "stretches": sightings.as_json(part),
                }
            )
    test.add("capture", report)
