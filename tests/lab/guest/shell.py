# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in a guest, over a serial line."""

import re
import socket
import time
from types import TracebackType

from ..errors import DeadlineError, LabError

_STATUS = re.compile(rb"(.*?)lab-status (\d+)\r?\n", re.DOTALL)
OUTPUT_MAX = 1 << 20


class Shell:
    """The guest's shell; one command at a time. The line has one user at a time."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        self._name = name
        self._line = socket.create_connection(address, timeout=10)

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the line to others."""
        self._line.close()

    def run(self, command: str, seconds: float = 30) -> str:
        """What a command writes; LabError if its exit status is not 0."""
        what = f"{self._name}: {command}"
        deadline = time.monotonic() + seconds
        try:
            self._line.sendall(command.encode() + b"\n")
            output = b""
            while not (ended := _STATUS.fullmatch(output)):
                self._line.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._line.recv(65536)
                if not data:
                    raise LabError(f"{what}: the guest's serial line has ended")
                output += data
                if len(output) > OUTPUT_MAX:
                    raise LabError(f"{what}: it writes too much")
        except TimeoutError as error:
            text = output.decode(errors="replace")
            raise DeadlineError(f"{what}: not done within {seconds:g} s: {text}") from error
        text = ended[1].decode(errors="replace").replace("\r\n", "\n")
        if ended[2] != b"0":
            raise LabError(f"{what}: exit status {ended[2].decode()}: {text.strip()}")
        return text
