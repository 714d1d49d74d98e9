# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing of a lab stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import wait

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

PROGRAM = """
import os, subprocess, sys
from lab import isolation
def inside():
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    links = subprocess.check_output(["ip", "-br", "link"], text=True).splitlines()
    numbers = open(f"/proc/self/task/{os.readlink('/proc/self')}/children").read().split()
    print(os.getpid(), len(links), *numbers, flush=True)
    if sys.argv[1] == "return":
        return 7
    sleeper.wait()
    return 0
sys.exit(isolation.run(inside))
"""


def start(how: str) -> tuple[subprocess.Popen[str], list[int]]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    return program, [int(word) for word in program.stdout.readline().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_namespaces_and_exit_status() -> None:
    program, (pid, links, _sleeper) = start("return")
    assert program.wait(10) == 7
    assert pid == 1
    assert links == 1  # the loopback interface


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signal_leaves_nothing(number: signal.Signals) -> None:
    program, (_pid, _links, sleeper) = start("wait")
    assert alive(sleeper)
    program.send_signal(number)
    status = program.wait(10)
    assert status == (-number if number == signal.SIGKILL else 130)
    wait.until("end of the sleeper", lambda: not alive(sleeper), 5, 0.01)


def test_crash_leaves_nothing() -> None:
    """The middle process is killed: the one that holds the namespaces together."""
    program, (_pid, _links, sleeper) = start("wait")
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert program.wait(10) != 0
    wait.until("end of the sleeper", lambda: not alive(sleeper), 5, 0.01)
