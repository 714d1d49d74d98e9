# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands over a serial line, whose other end is played here."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from lab.errors import DeadlineError, LabError
from lab.guest.shell import Shell


@pytest.fixture
def line() -> Iterator[Callable[[list[bytes]], Shell]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened: list[socket.socket] = []

        def answer(parts: list[bytes]) -> Shell:
            def play() -> None:
                connection, _ = server.accept()
                opened.append(connection)
                connection.recv(4096)
                for part in parts:
                    connection.sendall(part)

            threading.Thread(target=play, daemon=True).start()
            return Shell("guest", server.getsockname())

        yield answer
        for connection in opened:
            connection.close()


def test_output_in_pieces(line: Callable[[list[bytes]], Shell]) -> None:
    with line([b"a\r\nb", b"\r\nlab-sta", b"tus 0\r\n"]) as shell:
        assert shell.run("true", 5) == "a\nb\n"


def test_failure(line: Callable[[list[bytes]], Shell]) -> None:
    with line([b"no such thing\nlab-status 3\n"]) as shell:
        with pytest.raises(LabError, match="guest: x: exit status 3: no such thing"):
            shell.run("x", 5)


def test_deadline(line: Callable[[list[bytes]], Shell]) -> None:
    with line([b"half an answer\n"]) as shell:
        with pytest.raises(DeadlineError, match="half an answer"):
            shell.run("x", 0.2)
