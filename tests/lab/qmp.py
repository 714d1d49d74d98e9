# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP client that keeps the events it sees, with QEMU's own times."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import DeadlineError, LabError

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Event:
    """An event as QEMU sent it."""

    name: str
    host_us: int
    """When, on the clock of the host that QEMU runs on."""
    data: dict[str, Any] = field(default_factory=dict)


class Qmp:
    """A connection to one QEMU. QEMU serves one client per socket at a time."""

    def __init__(self, name: str, address: tuple[str, int] | Path, log: Path) -> None:
        self.name = name
        self.events: list[Event] = []
        self._log = log.open("a", encoding="utf-8")
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(ANSWER_SECONDS)
            self._socket.connect(str(address))
        else:
            self._socket = socket.create_connection(address, timeout=ANSWER_SECONDS)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._changed = threading.Condition()
        self._answer: dict[str, Any] | None = None
        self._closed = False
        # The greeting, before the reader thread takes over.
        self._socket_line()
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.command("qmp_capabilities")

    def _socket_line(self) -> dict[str, Any] | None:
        line = self._lines.readline()
        if not line:
            return None
        self._log.write(f"{time.monotonic():.6f} {self.name} < {line}")
        self._log.flush()
        return json.loads(line)

    def _read(self) -> None:
        try:
            while (message := self._socket_line()) is not None:
                with self._changed:
                    if "event" in message:
                        stamp = message["timestamp"]
                        host_us = stamp["seconds"] * 1_000_000 + stamp["microseconds"]
                        event = Event(message["event"], host_us, message.get("data", {}))
                        self.events.append(event)
                    else:
                        self._answer = message
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass  # closed by us, or cut off in the middle of a line
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def command(self, execute: str, **arguments: Any) -> Any:
        """Run a command; what it returns."""
        request: dict[str, Any] = {"execute": execute}
        if arguments:
            request["arguments"] = arguments
        line = json.dumps(request) + "\n"
        with self._changed:
            self._answer = None
        self._log.write(f"{time.monotonic():.6f} {self.name} > {line}")
        try:
            self._socket.sendall(line.encode())
        except OSError as error:
            raise LabError(f"{self.name}: {execute}: {error}") from error
        with self._changed:
            self._changed.wait_for(lambda: self._answer or self._closed, ANSWER_SECONDS)
            answer = self._answer
        if answer is None:
            reason = "QEMU closed the connection" if self._closed else "no answer"
            raise LabError(f"{self.name}: {execute}: {reason}")
        if "error" in answer:
            raise LabError(f"{self.name}: {execute}: {answer['error']['desc']}")
        return answer["return"]

    def wait_event(
        self,
        name: str,
        seconds: float,
        matches: Callable[[dict[str, Any]], bool] = lambda data: True,
        after: int = 0,
    ) -> Event:
        """The first such event among those from number `after` on, now or when it comes."""

        def find() -> Event | None:
            for event in self.events[after:]:
                if event.name == name and matches(event.data):
                    return event
            return None

        with self._changed:
            self._changed.wait_for(lambda: find() or self._closed, seconds)
            event = find()
        if event is None:
            what = f"{self.name}: event {name}"
            if self._closed:
                raise LabError(f"{what}: QEMU closed the connection")
            raise DeadlineError(f"{what}: not within {seconds:g} s")
        return event

    @property
    def closed(self) -> bool:
        """Whether QEMU has gone, or has closed the connection."""
        return self._closed

    def close(self) -> None:
        """Let another client have the socket."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # QEMU was first
        self._reader.join(ANSWER_SECONDS)
        self._lines.close()
        self._socket.close()
        self._log.close()
