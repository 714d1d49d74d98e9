# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of this machine that live no longer than the lab."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent goes, however it goes."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def unshare(flags: int) -> None:
    """Move this process (for a PID namespace: its children) into new namespaces."""
    if _LIBC.unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"unshare: {os.strerror(error)}")


def spawn(argv: list[str], log: Path, stdout: int | None = None) -> subprocess.Popen[str]:
    """Start a program whose messages go to a file, out of reach of the terminal's Ctrl-C."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            text=True,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[str], seconds: float = 5) -> int:
    """End a program, gently if it can; its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def processor_seconds(pid: int) -> float:
    """How much processor time a process has had so far, in all its threads."""
    # Not from /proc: that has the numbers of another PID namespace.
    clock = ctypes.c_int()
    if error := _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, f"processor time of process {pid}: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def enter_network(namespace: int) -> None:
    """Move this process into the network namespace of that file descriptor."""
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
