# SPDX-License-Identifier: GPL-2.0-or-later
"""Into a running lab, from outside."""

import json
import os
import select
import socket
import sys
import termios
import tty

from .host.agent import PORT
from .process import enter_network


def enter(pid: int) -> None:
    """Join the network of the lab with this process."""
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        enter_network(namespace.fileno())


def shell(address: str, argv: list[str]) -> int:
    """Run a command in a host, or a shell on a terminal if there is none to run."""
    with socket.create_connection((address, PORT), timeout=10) as connection:
        if argv:
            return _run(connection, argv)
        request = {"operation": "shell", "argv": ["/bin/bash", "-i"]}
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.settimeout(None)
        saved = termios.tcgetattr(0) if sys.stdin.isatty() else None
        try:
            if saved is not None:
                tty.setraw(0)
            _join(connection)
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return 0


def _run(connection: socket.socket, argv: list[str]) -> int:
    request = {"operation": "run", "argv": argv, "stdin": "", "timeout": 3600, "env": {}}
    connection.settimeout(None)
    connection.sendall(json.dumps(request).encode() + b"\n")
    with connection.makefile("rb") as lines:
        answer = json.loads(lines.readline() or b'{"error": "the host is gone"}')
    if "error" in answer:
        print(f"lab: {answer['error']}", file=sys.stderr)
        return 1
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    return answer["status"] if answer["status"] >= 0 else 128 - answer["status"]


def _join(connection: socket.socket) -> None:
    """Terminal and host, until either ends."""
    sources = [connection.fileno(), 0]
    while connection.fileno() in sources:
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready:
            typed = os.read(0, 4096)
            if typed:
                connection.sendall(typed)
            else:
                connection.shutdown(socket.SHUT_WR)
                sources.remove(0)
        if connection.fileno() in ready:
            shown = connection.recv(4096)
            if not shown:
                return
            os.write(1, shown)
