# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever else is in the two hosts and talks to the guest, while the guest moves between them."""

from typing import Any

from .. import phases
from ..analysis import TO_CLIENT
from ..neighbours import HOST_MEMORY_MB, SPACING_US, Neighbours
from ..run import Run

__all__ = ["CONTENDERS", "DESCRIPTION", "HOST_MEMORY_MB", "run"]

DESCRIPTION = "neighbours on VFs, on the bridge and in guests, in both hosts, and what the VF gets"
CONTENDERS = ("vfailover", "stock")
IN_A_RING = 2


def run(test: Run) -> None:
    test.neighbours = Neighbours(test.lab)
    test.lab.say("neighbours are there")
    guest = test.start_guest("hosta")
    test.start_traffic(guest, SPACING_US)
    test.migrate(guest, "hostb")
    test.observe()
    test.finish()
    seen = test.neighbours.foreign_if_let_in(test.lab.host("hostb"))
    test.judge(f"foreign frames on a VF that is given them: {seen}", seen > 0)
    report = test.report()
    isolation = report["isolation"]
    test.judge(f"that the guest's VF got frames and all were looked at: {isolation}",
               isolation["frames"] > 0 and isolation["missed"] == 0)  # fmt: skip
    test.judge(f"no foreign frame on the guest's VF: {isolation}", isolation["foreign"] == 0)
    if test.contender.name == "vfailover":
        for neighbour in report["neighbours"]:
            _judge(test, neighbour)


def _judge(test: Run, neighbour: dict[str, Any]) -> None:
    who = f"{neighbour['kind']} in {neighbour['host']}"
    for flow in neighbour["phases"]:
        if flow["name"] in (phases.STOP_AND_COPY, phases.WHOLE):
            continue
        what = f"{who}, {flow['direction']}, {flow['name']}: {flow['sent']} sent, {flow['lost']} lost"
        # What igbvf has in its ring when it is closed it throws away.
        most = IN_A_RING if flow["direction"] == TO_CLIENT else 0
        test.judge(f"at most {most} lost: {what}", flow["lost"] <= most)
