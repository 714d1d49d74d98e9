# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a guest stands still at the end of a migration, with a pair and without, by memory."""

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .. import clock
from ..contenders.monitor import DOWNTIME_LIMIT_MS, MAX_BANDWIDTH, MIGRATION_SECONDS, PORT
from ..guest import Guest
from ..guest.guest import without_pair
from ..run import Run

DESCRIPTION = "patched QEMU: time without a running guest, by memory and by when the VF is opened"
CONTENDERS = ("stock",)
PATCHED = True
VFS = 2
HOST_MEMORY_MB = 2040
SIZES_MB = (256, 512, 1024)
PLUG_SECONDS = 60


@dataclass(frozen=True)
class Way:
    """A way to have a VF at the destination."""

    name: str
    pair: bool = True
    stock: bool = False
    standby: str = ""
    replug: bool = False
    """The VF is asked for when the guest runs."""


WAYS = (
    Way("virtio-net only", pair=False, stock=True),
    Way("stock: opened while the guest is stopped", stock=True),
    Way("patched: opened after the guest runs", standby="failover-replug=manual", replug=True),
    Way("patched: prepared before", standby="failover-prepare=on"),
)


def run(test: Run) -> None:
    # All of them take twenty minutes: what everybody runs is the smallest guest, once.
    times = int(os.environ.get("VFAILOVER_BENCH", "0"))
    for memory_mb in SIZES_MB if times else SIZES_MB[:1]:
        seen: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
        for _ in range(times or 1):
            for way in WAYS:
                seen[way.name].append(_migrate(test, way, memory_mb))
        for name, values in seen.items():
            blackouts, pauses = zip(*values)
            text = f"stopped for {_median_and_worst(blackouts)}"
            if any(pauses):
                text += f", then held up by the plug for {_median_and_worst(pauses)}"
            test.note(f"{memory_mb} MB, {name}", text)


def _median_and_worst(values: tuple[float, ...]) -> str:
    if len(values) == 1:
        return f"{values[0]:.0f} ms"
    return f"{statistics.median(values):.0f} ms (worst {max(values):.0f}, n={len(values)})"


def _migrate(test: Run, way: Way, memory_mb: int) -> tuple[float, float]:
    """Migrate a guest once; from STOP to RESUME, and how long plugging took after that, in ms."""
    hosta, hostb = test.lab.hosts
    before = [clock.read(host.mgmt) for host in test.lab.hosts]
    source = test.lab.start_guest(
        hosta,
        hosta.vfs[0] if way.pair else None,
        memory_mb=memory_mb,
        alter=_alter(way, incoming=False),
        stock=way.stock,
    )
    source.wait_ready(primary=way.pair)
    destination = test.lab.start_guest(
        hostb,
        hostb.vfs[0] if way.pair else None,
        incoming=True,
        memory_mb=memory_mb,
        alter=_alter(way, incoming=True),
        stock=way.stock,
    )
    for guest in (source, destination):
        guest.qmp.command(
            "migrate-set-parameters",
            **{"max-bandwidth": MAX_BANDWIDTH, "downtime-limit": DOWNTIME_LIMIT_MS},
        )
    uri = f"tcp:{hostb.mgmt}:{PORT}"
    destination.qmp.command("migrate-incoming", uri=uri)
    source.qmp.command("migrate", uri=uri)
    resume = destination.qmp.wait_event("RESUME", MIGRATION_SECONDS)
    stop = source.qmp.wait_event("STOP", MIGRATION_SECONDS)
    pause = 0.0
    if way.replug:
        asked_us = clock.now_us()
        destination.qmp.command("virtio-net-failover-replug", standby=Guest.standby_id)
        # The command holds the lock that every exit of the guest needs.
        pause = (clock.now_us() - asked_us) / 1000
    if way.pair and not way.stock:
        destination.qmp.wait_event(
            "VIRTIO_NET_FAILOVER_STATE",
            PLUG_SECONDS,
            lambda data: data["reason"] == "bus-master-on",
        )
    after = [clock.read(host.mgmt) for host in test.lab.hosts]
    there, here = (clock.Clock(*pair) for pair in zip(before, after))
    blackout = (here.client_us(resume.host_us) - there.client_us(stop.host_us)) / 1000
    test.lab.say(f"{memory_mb} MB, {way.name}: {blackout:.0f} ms")
    source.quit()
    destination.quit()
    return blackout, pause


def _alter(way: Way, incoming: bool) -> Callable[[list[str]], list[str]]:
    """Memory that is had when it is touched, as anybody's guests; the properties at hand."""

    def alter(argv: list[str]) -> list[str]:
        argv = [word.removesuffix(",prealloc=on") for word in argv]
        if not way.pair:
            return without_pair(argv)
        return [
            f"{word},{way.standby}"
            if incoming and way.standby and word.startswith("virtio-net-pci,")
            else word
            for word in argv
        ]

    return alter
