# SPDX-License-Identifier: GPL-2.0-or-later
"""What the failover interface costs a guest, next to the bare interface of the same VF.

In one boot of the guests, in turns: the address is on the failover master, or, once the standby's
driver has been taken away in the guest, on the VF's own interface, which the guest's kernel then
treats as any other.

Besides what a user sees, throughput and round trips, which tell about an emulated host that has a
processor of this machine for itself, there is the processor time that the emulation of the hosts
took for it, which is less disturbed by what else runs.

What an emulated card takes for a frame changes from second to second by more than what is looked
for. So there are round trips, too, that go through the failover interface and through the VF's own by
turns, one by one, while the VF is in the pair: see probe/turns.c.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import fabric, isolation, probe, qemus, ratio, runs, setup
from ..errors import LabError
from ..guest import Guest, Shell
from ..lab import Lab
from . import number

DESCRIPTION = "throughput and latency of a guest's failover interface and of the bare VF"

FAILOVER = "failover"
BARE = "bare"
TO_GUEST = "client to guest"
TO_CLIENT = "guest to client"
BETWEEN = "guest to guest"
DIRECTIONS = (TO_GUEST, TO_CLIENT, BETWEEN)
THROUGHPUT = "throughput"
LATENCY = "latency"
THROUGHPUT_COST = "cost of data"
LATENCY_COST = "cost of a trip"
TURNS = "trips by turns"
FULL_TURNS = "full, by turns"
UNITS = {
    THROUGHPUT: "Mbit/s",
    LATENCY: "us",
    THROUGHPUT_COST: "ms/MB",
    LATENCY_COST: "us",
    TURNS: "us",
    FULL_TURNS: "us",
}
SMALL_BYTES = 64
TRIPS_OF_BLOCK = 32
"""See ROUNDS_OF_BLOCK in probe/turns.c: trips of each side."""
TOLERANCE = 0.03
HOST_MTU = 9000
SIDE_SECONDS = 60
FRAMES_MIN = 200
"""What goes through the VF in any case, if all that is measured goes there."""



@dataclass(frozen=True)
class Measurement:
    """One of them; of the throughput `retransmits`, of the latency `missing` answers."""

    mtu: int
    round: int
    side: str
    direction: str
    what: str
    value: float
    retransmits: int = 0
    missing: int = 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE")
    parser.add_argument("--rounds", type=number, default=5, help="rounds of each (5)")
    parser.add_argument("--seconds", type=number, default=5, help="of each measurement (5)")
    parser.add_argument(
        "--mtu", type=int, nargs="+", default=[1500, 9000], choices=(1500, 9000),
        help="the guests' MTU (1500 9000)",
    )  # fmt: skip
    parser.add_argument(
        "--direction", nargs="+", default=list(DIRECTIONS), choices=DIRECTIONS, help="(all)"
    )


def run(given: argparse.Namespace) -> int:
    """Measure, and say what came of it."""
    if not setup.ready():
        return 1
    directory = runs.new("steady")
    code = isolation.run(lambda: _measure_and_write(given, directory))
    found = directory / "steady.json"
    if not found.exists():
        print(runs.last_lines(directory), file=sys.stderr)
        print(f"bench: steady failed; all logs: {directory}", file=sys.stderr)
        return code or 1
    report = json.loads(found.read_text())
    print(table(report))
    if given.json:
        given.json.write_text(found.read_text())
    return code


def _measure_and_write(given: argparse.Namespace, directory: Path) -> int:
    started = time.monotonic()
    try:
        measurements = _measure(given, directory)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report = {
        "bench": "steady",
        "qemu": qemus.usual().kind,
        "rounds": given.rounds,
        "seconds_each": given.seconds,
        "tolerance": TOLERANCE,
        "summary": summary(measurements),
        "measurements": [asdict(measurement) for measurement in measurements],
        "seconds": round(time.monotonic() - started, 1),
        "logs": str(directory),
    }
    (directory / "steady.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _measure(given: argparse.Namespace, directory: Path) -> list[Measurement]:
    found: list[Measurement] = []
    with Lab(directory, vfs=1, programs=("iperf3",)) as lab:
        lab.say("hosts are up")
        _widen(lab)
        with contextlib.ExitStack() as stack:
            ends = _start_guests(lab, stack, given.direction)
            for mtu in given.mtu:
                fabric.ip("link", "set", fabric.TOR, "mtu", str(mtu))
                for turn in range(given.rounds):
                    # Whoever comes second in one round comes first in the next.
                    order = (FAILOVER, BARE) if turn % 2 == 0 else (BARE, FAILOVER)
                    for side in order:
                        with _on(side, mtu, ends):
                            for direction in given.direction:
                                values = _one(direction, ends, given.seconds)
                                for what, value in values.items():
                                    found.append(
                                        Measurement(mtu, turn, side, direction, what, **value)
                                    )
                    lab.say(f"MTU {mtu}: round {turn + 1} of {given.rounds}")
                found += _by_turns(ends, mtu, given)
                lab.say(f"MTU {mtu}: by turns")
    return found


def _widen(lab: Lab) -> None:
    """Let frames of any size through. Before there are guests: it resets the card."""
    for host in lab.hosts:
        host.sh(f"for i in pf0 tap0 br0; do ip link set $i mtu {HOST_MTU}; done")
        fabric.ip("link", "set", host.fabric_tap, "mtu", str(HOST_MTU))


@dataclass(frozen=True)
class _End:
    """A guest, and how to tell it what to do."""

    guest: Guest
    shell: Shell


def _start_guests(lab: Lab, stack: contextlib.ExitStack, directions: list[str]) -> list[_End]:
    """The guest, and another one on the other host if it takes one."""
    count = 2 if BETWEEN in directions else 1
    guests = []
    for n, host in enumerate(lab.hosts[:count], start=1):
        mac = Guest.mac_of(n)
        host.run(["ip", "link", "set", "pf0", "vf", "0", "mac", mac])
        guests.append(lab.start_guest(host, host.vfs[0], number=n))
    for guest in guests:
        guest.wait_ready(primary=True)
        stack.callback(guest.kill)
    ends = [_End(guest, stack.enter_context(guest.shell())) for guest in guests]
    for end in ends:
        end.shell.run("iperf3 -s -D && (vflab-probe clock >/dev/null 2>&1 &)")
    own = subprocess.Popen([str(probe.program()), "clock"])
    stack.callback(own.kill)
    iperf = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
    stack.callback(iperf.kill)
    lab.say(f"{count} guests run and use their VFs")
    return ends


@contextlib.contextmanager
def _on(side: str, mtu: int, ends: list[_End]) -> Iterator[list[tuple[str, str]]]:
    """Have the guests use that side; LabError if their frames have gone another way.

    Of each guest the VF's interface, and the one that has the address.
    """

    def enter(end: _End) -> tuple[tuple[str, str], int]:
        others = [(fabric.CLIENT_ADDRESS, fabric.CLIENT_MAC)]
        others += [(o.guest.address, o.guest.mac) for o in ends if o is not end]
        peers = " ".join(",".join(other) for other in others)
        vf, address_of = end.shell.run(f"side {side} {mtu} {peers}", SIDE_SECONDS).split()
        return (vf, address_of), _frames(end, vf)

    def leave(end: _End, before: tuple[tuple[str, str], int]) -> None:
        (vf, _), count = before
        seen = _frames(end, vf) - count
        if seen < FRAMES_MIN:
            raise LabError(f"{end.guest.name}: only {seen} frames went through its VF")

    with ThreadPoolExecutor() as pool:
        entered = list(pool.map(enter, ends))
    yield [interfaces for interfaces, _ in entered]
    for end, before in zip(ends, entered):
        leave(end, before)


def _frames(end: _End, interface: str) -> int:
    directory = f"/sys/class/net/{interface}/statistics"
    both = end.shell.run(f"cat {directory}/rx_packets {directory}/tx_packets")
    return sum(map(int, both.split()))


def _one(direction: str, ends: list[_End], seconds: int) -> dict[str, dict[str, Any]]:
    """All that is measured in one direction, as the fields of a measurement."""
    target = ends[-1].guest.address if direction == BETWEEN else ends[0].guest.address
    stream = f"iperf3 -c {target} -J -i 0 -t {seconds}"
    ask = f"vflab-probe pingpong {target} {max(seconds // 2, 1)}"
    limit = seconds + 30
    in_guest = ends[0].shell
    if direction == BETWEEN:
        streamed, work = _timed(ends, lambda: in_guest.run(f"{stream} | tr -d '\\t\\n'", limit))
    else:
        reverse = ["-R"] if direction == TO_CLIENT else []
        streamed, work = _timed(ends, lambda: _run([*stream.split(), *reverse], limit))
    data, megabytes = throughput(streamed)
    if direction == TO_GUEST:
        argv = [str(probe.program()), *ask.split()[1:]]
        asked, trip_work = _timed(ends, lambda: _run(argv, limit))
    else:
        ask = ask if direction == BETWEEN else ask.replace(target, fabric.CLIENT_ADDRESS)
        asked, trip_work = _timed(ends, lambda: in_guest.run(ask, limit))
    trip, trips = latency(asked)
    return {
        THROUGHPUT: data,
        THROUGHPUT_COST: {"value": work * 1e3 / megabytes},
        LATENCY: trip,
        LATENCY_COST: {"value": trip_work * 1e6 / trips},
    }


def _by_turns(ends: list[_End], mtu: int, given: argparse.Namespace) -> list[Measurement]:
    """Trips of the guest to others; those of others to it are the same for it, in another order."""
    found = []
    with _on(FAILOVER, mtu, ends) as interfaces:
        vf, failover = interfaces[0]
        for direction in given.direction:
            if direction == TO_GUEST:
                continue
            address, mac = fabric.CLIENT_ADDRESS, fabric.CLIENT_MAC
            if direction == BETWEEN:
                address, mac = ends[-1].guest.address, ends[-1].guest.mac
            for what, size in ((TURNS, SMALL_BYTES), (FULL_TURNS, mtu)):
                seconds = given.seconds * given.rounds
                ask = f"vflab-probe turns {address} {mac} {seconds} {failover} {vf} {size}"
                by_side = turns(ends[0].shell.run(ask, seconds + 30))
                for side, (means, missing) in zip((FAILOVER, BARE), by_side):
                    for block, us in enumerate(means):
                        # Those without an answer count at the first block.
                        value = {"value": us, "missing": 0 if block else missing}
                        found.append(Measurement(mtu, block, side, direction, what, **value))
    return found


def _timed(ends: list[_End], function: Callable[[], str]) -> tuple[str, float]:
    """What the function returns, and the processor time that the guests' hosts took meanwhile."""
    hosts = [end.guest.host for end in ends]
    before = sum(host.processor_seconds() for host in hosts)
    result = function()
    return result, sum(host.processor_seconds() for host in hosts) - before


def _run(argv: list[str], seconds: float) -> str:
    found = subprocess.run(argv, capture_output=True, text=True, timeout=seconds)
    if found.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {found.stderr.strip() or found.stdout.strip()}")
    return found.stdout


def throughput(text: str) -> tuple[dict[str, Any], float]:
    """Of what iperf3 wrote: what arrived per time, in Mbit/s, and in all, in MB."""
    try:
        end = json.loads(text)["end"]
        received = end["sum_received"]
        rate, size = received["bits_per_second"] / 1e6, received["bytes"] / 1e6
        return {"value": rate, "retransmits": end["sum_sent"].get("retransmits", 0)}, size
    except (ValueError, KeyError) as error:
        raise LabError(f"iperf3 gave no figures: {text[:300]}") from error


def latency(text: str) -> tuple[dict[str, Any], int]:
    """Of what the probe's ping-pong wrote: the mean round trip in us, and how many there were.

    The mean, as there is just one frame on its way: the rate is the mean's reciprocal.
    """
    trips, missing, total_us, _median_ns, _late_ns = map(int, text.split())
    return {"value": total_us / trips, "missing": missing}, trips


def turns(text: str) -> list[tuple[list[float], int]]:
    """Of what the probe's turns wrote, of both sides: each block's mean trip in us, and how many trips
    had no answer."""
    missing, *blocks = [tuple(map(int, line.split())) for line in text.splitlines()]
    return [
        ([block[side] / TRIPS_OF_BLOCK / 1e3 for block in blocks], missing[side])
        for side in range(2)
    ]


def summary(measurements: list[Measurement]) -> list[dict[str, Any]]:
    """A row for each MTU, direction and kind: both sides, their ratio, and what that shows."""
    rows = []
    keys = dict.fromkeys((m.mtu, m.direction, m.what) for m in measurements)
    order = list(UNITS)
    for mtu, direction, what in sorted(keys, key=lambda key: (order.index(key[2]), key[0])):
        own = [m for m in measurements if (m.mtu, m.direction, m.what) == (mtu, direction, what)]
        by_side = {
            side: {m.round: m for m in own if m.side == side} for side in (FAILOVER, BARE)
        }
        pairs = [
            (by_side[FAILOVER][n].value, by_side[BARE][n].value) for n in by_side[FAILOVER]
        ]
        found = ratio.of_pairs(pairs)
        rows.append(
            {
                "what": what,
                "unit": UNITS[what],
                "mtu": mtu,
                "direction": direction,
                "failover_median": statistics.median(first for first, _ in pairs),
                "bare_median": statistics.median(second for _, second in pairs),
                "ratio": found.ratio,
                "low": found.low,
                "high": found.high if len(pairs) > 1 else None,
                "pairs": len(pairs),
                "within": found.worse_than(TOLERANCE, what == THROUGHPUT),
                "retransmits": {
                    side: sum(m.retransmits for m in of.values()) for side, of in by_side.items()
                },
                "missing": {
                    side: sum(m.missing for m in of.values()) for side, of in by_side.items()
                },
            }
        )
    return rows


def table(report: dict[str, Any]) -> str:
    """The summary, for people."""
    lines = [
        f"{'':<16}{'MTU':>5}  {'':<16}{'failover':>10}{'bare VF':>10}  {'unit':<8}{'ratio':>7}"
        f"  {'95 %':^15}  {report['tolerance']:.0%}"
    ]
    for row in report["summary"]:
        reach = f"{row['low']:.3f}..{row['high']:.3f}" if row["high"] else "one pair"
        lines.append(
            f"{row['what']:<16}{row['mtu']:>5}  {row['direction']:<16}"
            f"{row['failover_median']:>10.1f}{row['bare_median']:>10.1f}  {row['unit']:<8}"
            f"{row['ratio']:>7.3f}  {reach:^15}  {row['within']}"
        )
    return "\n".join(lines)
