# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the guest's end of the probe, see guest.c."""

import array
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

from ..errors import LabError

PORT = 7000
SECONDS = 20

AT_PRIMARY, AT_STANDBY, AT_MASTER = 0, 1, 2
_SIGHTING = struct.Struct("=QII")


@dataclass(frozen=True)
class Sighting:
    """A frame of a client at an interface of the guest."""

    us: int
    """The guest's clock, when its kernel was given the frame."""
    sequence: int
    place: int
    """AT_*."""


class Control:
    """A control connection; use as a context manager."""

    def __init__(self, guest_address: str) -> None:
        self._guest = guest_address
        try:
            self._socket = socket.create_connection((guest_address, PORT), timeout=SECONDS)
        except OSError as error:
            raise LabError(f"the probe of the guest at {guest_address}: {error}") from error
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._answers.close()
        self._socket.close()

    def _ask(self, command: str) -> str:
        try:
            self._socket.sendall(command.encode() + b"\n")
            answer = self._answers.readline().decode()
        except OSError as error:
            raise LabError(f"the probe of the guest at {self._guest}: {command}: {error}") from error
        if not answer.endswith("\n") or answer.startswith(("unknown", "too many")):
            raise LabError(f"the probe of the guest at {self._guest}: {command}: {answer!r}")
        return answer.strip()

    def expect(self, address: str, port: int) -> None:
        """Record that client's frames."""
        self._ask(f"expect {address} {port}")

    def send(self, address: str, spacing_us: int) -> None:
        """Send frames to that client."""
        self._ask(f"send {spacing_us} {address}")

    def stop(self, address: str) -> int:
        """Send no more to that client; how many frames were sent."""
        return int(self._ask(f"stop {address}").split()[0])

    def record(self, address: str) -> list[int]:
        """The sequence numbers of the frames received from that client."""
        data = self._raw(f"record {address}", 4)
        return array.array("I", data).tolist()

    def _raw(self, command: str, size: int) -> bytes:
        """What follows an answer that begins with a count: as many items of that size. A second
        number is of those that are missing."""
        count, *missed = map(int, self._ask(command).split())
        if any(missed):
            raise LabError(f"the probe of the guest at {self._guest}: {command}: {missed[0]} missed")
        data = self._answers.read(size * count)
        if len(data) != size * count:
            raise LabError(f"the probe of the guest at {self._guest}: {command}: half of it")
        return data

    def watch(self, address: str) -> None:
        """Begin to note where in the guest that client's frames are seen."""
        self._ask(f"watch {address}")

    def watched(self) -> list[Sighting]:
        """End it; the sightings in their order."""
        data = self._raw("watched", _SIGHTING.size)
        return [Sighting(*fields) for fields in _SIGHTING.iter_unpack(data)]

    def capture(self) -> None:
        """Begin to look at what the guest's primary receives."""
        self._ask("capture")

    def captured(self) -> dict[str, int]:
        """End it: how many frames, how many of them foreign, how many were not looked at, and how
        many were the guest's own, returned by the card."""
        counts = map(int, self._ask("captured").split())
        return dict(zip(("frames", "foreign", "missed", "returned"), counts, strict=True))
