# SPDX-License-Identifier: GPL-2.0-or-later
"""A host's clock, seen from the client's.

All results are on the client's clock, CLOCK_MONOTONIC of this machine; what a host (or its QEMU, or
its daemon) reports is on the host's CLOCK_REALTIME. An emulated host's clock may drift, so it is
read before and after what is measured.
"""

import socket
import struct
import time
from dataclasses import dataclass

from .errors import LabError

PORT = 7002
EXCHANGES = 100
EXCHANGE_SECONDS = 0.5


@dataclass(frozen=True)
class Reading:
    """What a host's clock showed at one time of ours."""

    client_us: int
    host_us: int
    uncertainty_us: int


def now_us() -> int:
    """The client's clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def read(address: str) -> Reading:
    """Read a host's clock: of many exchanges the quickest, as it leaves the least doubt."""
    best: Reading | None = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(EXCHANGE_SECONDS)
        connection.connect((address, PORT))
        for number in range(EXCHANGES):
            request = struct.pack("=I", number)
            sent = now_us()
            connection.send(request)
            try:
                answer = connection.recv(64)
            except (TimeoutError, ConnectionRefusedError):
                continue
            received = now_us()
            if answer[:4] != request:
                continue  # a late one
            (host_us,) = struct.unpack("=Q", answer[4:12])
            doubt = (received - sent + 1) // 2
            if best is None or doubt < best.uncertainty_us:
                best = Reading((sent + received) // 2, host_us, doubt)
    if best is None:
        raise LabError(f"the clock at {address} does not answer")
    return best


class Clock:
    """Turns a host's times into the client's."""

    def __init__(self, before: Reading, after: Reading) -> None:
        self._before = before
        elapsed = after.host_us - before.host_us
        self._rate = (after.client_us - before.client_us) / elapsed if elapsed > 0 else 1.0
        self.uncertainty_us = max(before.uncertainty_us, after.uncertainty_us)

    def client_us(self, host_us: int) -> int:
        """When that was, on the client's clock."""
        return self._before.client_us + round((host_us - self._before.host_us) * self._rate)
