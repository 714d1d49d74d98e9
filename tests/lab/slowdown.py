# SPDX-License-Identifier: GPL-2.0-or-later
"""How much slower an emulated host's processor runs the daemon's code than this machine's.

The measure is the daemon's kind of work, timed by the daemon's own stopwatch (tests/unit/pace.c):
messages and jobs, one every few milliseconds, in a process that sleeps in between. Both sides run
it in turns; what counts is the lower quartile. Whatever else runs on this machine makes an emulated
processor slower still, and the daemon's figures higher: it must not make the factor higher as well.
"""

import statistics
import subprocess

from . import paths
from .errors import LabError
from .host import Host

PACE = paths.BUILD / "tests" / "unit" / "pace"
TURNS = 3
SECONDS = 60


def measure(host: Host) -> float:
    """The factor."""
    here: list[int] = []
    there: list[int] = []
    for _ in range(TURNS):
        native = subprocess.run(
            [str(PACE)], check=False, capture_output=True, text=True, timeout=SECONDS
        )
        if native.returncode != 0:
            raise LabError(f"{PACE} fails on this machine: {native.stderr.strip()}")
        here += batches(native.stdout)
        there += batches(host.run([str(PACE)], seconds=SECONDS).stdout)
    return factor(here, there)


def batches(printed: str) -> list[int]:
    """What each batch took, in microseconds, without the first of the process."""
    return [int(line) for line in printed.split()][1:]


def factor(here: list[int], there: list[int]) -> float:
    """Of the lower quartiles."""
    return _quartile(there) / _quartile(here)


def _quartile(times: list[int]) -> float:
    return statistics.quantiles(times, n=4, method="inclusive")[0]
