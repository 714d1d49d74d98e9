# SPDX-License-Identifier: GPL-2.0-or-later
"""A place of its own for each lab.

A network namespace, so that labs and this machine's network cannot meet; and a PID namespace, whose
first process is the lab: when that ends, in whatever way, the kernel ends everything it started,
and with the last process the network namespace goes too. Nothing has to be cleaned up.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable

from .process import die_with_parent, unshare

_CLONE_NEWNET = 0x40000000
_CLONE_NEWPID = 0x20000000
_ENDINGS = (signal.SIGINT, signal.SIGTERM)


def run(function: Callable[[], int]) -> int:
    """Call the function as a child process in namespaces of its own; what it returned."""
    # Before the fork: a signal in between must not end this process and leave the child.
    child = 0

    def forward(number: int, _frame: object) -> None:
        if child:
            os.kill(child, number)

    previous = {number: signal.signal(number, forward) for number in _ENDINGS}
    sys.stdout.flush()
    sys.stderr.flush()
    # A first child, because unshare() leaves its caller's own future children in the new namespace.
    helper = os.fork()
    if helper == 0:
        _enter(function)
    child = helper
    _, status = os.waitpid(helper, 0)
    for number, handler in previous.items():
        signal.signal(number, handler)
    return os.waitstatus_to_exitcode(status)


def _enter(function: Callable[[], int]) -> None:
    die_with_parent()
    # The terminal sends Ctrl-C to its whole group; it is to arrive once, forwarded.
    os.setpgid(0, 0)
    unshare(_CLONE_NEWNET | _CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        die_with_parent()
        for number in _ENDINGS:
            signal.signal(number, _interrupt)
        os._exit(_call(function))
    for number in _ENDINGS:
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _call(function: Callable[[], int]) -> int:
    try:
        return function()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
