# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a process."""

import os
import subprocess
import time

import pytest

from lab import process


def test_processor_seconds() -> None:
    busy = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"])
    idle = subprocess.Popen(["/bin/sleep", "100"])
    try:
        deadline = time.monotonic() + 20
        while process.processor_seconds(busy.pid) < 0.2:
            assert time.monotonic() < deadline
        assert process.processor_seconds(idle.pid) < 0.1
        assert process.processor_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)
    finally:
        for each in (busy, idle):
            each.kill()
            each.wait()
    with pytest.raises(OSError, match="processor time of process"):
        process.processor_seconds(idle.pid)
