# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the guest's end of the probe, see guest.c."""

import array
import socket
from types import TracebackType

from ..errors import LabError

PORT = 7000
SECONDS = 20


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
        count = int(self._ask(f"record {address}"))
        data = self._answers.read(4 * count)
        if len(data) != 4 * count:
            raise LabError(f"the probe of the guest at {self._guest}: half a record of {address}")
        return array.array("I", data).tolist()

    def capture(self) -> None:
        """Begin to look at what the guest's primary receives."""
        self._ask("capture")

    def captured(self) -> dict[str, int]:
        """End it: how many frames, how many of them foreign, how many were not looked at, and how
        many were the guest's own, returned by the card."""
        counts = map(int, self._ask("captured").split())
        return dict(zip(("frames", "foreign", "missed", "returned"), counts, strict=True))
