# SPDX-License-Identifier: GPL-2.0-or-later
"""There and back under traffic."""

from ..contenders import ALL
from ..run import Run

DESCRIPTION = "vfailover migrates a guest from hosta to hostb and back, under traffic"
CONTENDERS = ("vfailover", *sorted(ALL.keys() - {"vfailover"}))


def run(test: Run) -> None:
    guest = test.start_guest("hosta")
    test.start_traffic(guest)
    guest = test.migrate(guest, "hostb")
    test.migrate(guest, "hosta")
