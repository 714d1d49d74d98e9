# SPDX-License-Identifier: GPL-2.0-or-later
"""How much slower an emulated host's processor runs the daemon's code than this machine's.

The measure is the processor time of a unit test of the control socket's server: sockets, JSON and
the main loop, as in the daemon.
"""

import subprocess

from . import paths
from .errors import LabError
from .host import Host

SCRIPT = (
    "for i in 1 2 3 4 5; do "
    f"{paths.BUILD}/tests/unit/test-qmp-server --tap >/dev/null 2>&1 || exit 1; "
    "done; times"
)
"""Several times, as one alone takes too little to be told from noise."""

SECONDS = 60


def measure(host: Host) -> float:
    """The factor."""
    here = subprocess.run(
        ["/bin/bash", "-c", SCRIPT], check=False, capture_output=True, text=True, timeout=SECONDS
    )
    if here.returncode != 0:
        raise LabError(f"{paths.BUILD}/tests/unit/test-qmp-server fails on this machine")
    there = host.run(["/bin/bash", "-c", SCRIPT], seconds=SECONDS)
    return _of_children_s(there.stdout) / _of_children_s(here.stdout)


def _of_children_s(times: str) -> float:
    """User and system time of the shell's children: the second line of what `times` prints."""
    words = times.split("\n")[1].split()
    return sum(float(m) * 60 + float(s) for m, s in (word.rstrip("s").split("m") for word in words))
