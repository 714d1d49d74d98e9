# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a condition that offers no event of its own."""

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import DeadlineError

Result = TypeVar("Result")


def until(
    what: str,
    condition: Callable[[], Result | None],
    seconds: float,
    interval: float = 0.1,
) -> Result:
    """Return the first true value of `condition`; DeadlineError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise DeadlineError(f"{what}: not within {seconds:g} s")
        time.sleep(interval)
