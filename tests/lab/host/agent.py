#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs inside an emulated host, as its first process, and does what the lab asks.

One TCP connection per request: a line of JSON in, a line of JSON back. It stays running because
starting Python takes most of a second in there.
"""

import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading

PORT = 7700
END_OF_INPUT = b"\x04"  # Ctrl-D, as a terminal has no other way to say so

background: dict[int, subprocess.Popen] = {}


def run(request: dict) -> dict:
    """Run a command to its end."""
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **request["env"]},
        start_new_session=True,
    )
    timed_out = False
    try:
        out, err = process.communicate(request["stdin"].encode(), request["timeout"])
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, 9)
        out, err = process.communicate()
    return {
        "status": process.returncode,
        "stdout": out.decode(errors="replace"),
        "stderr": err.decode(errors="replace"),
        "timed_out": timed_out,
    }


def start(request: dict) -> dict:
    """Start a command that goes on; its output goes to a file."""
    with open(request["log"], "ab", buffering=0) as log:
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **request["env"]},
            start_new_session=True,
        )
    background[process.pid] = process
    return {"pid": process.pid}


def poll(request: dict) -> dict:
    """Say whether a started command has ended, waiting for that if asked to."""
    process = background[request["pid"]]
    try:
        return {"status": process.wait(request["timeout"])}
    except subprocess.TimeoutExpired:
        return {"status": None}


def send_signal(request: dict) -> dict:
    """Send a signal to a started command, if it has not ended."""
    background[request["pid"]].send_signal(request["signal"])
    return {}


def read(request: dict) -> dict:
    """Read a file; null if there is none."""
    try:
        with open(request["path"], encoding="utf-8", errors="replace") as file:
            return {"data": file.read()}
    except FileNotFoundError:
        return {"data": None}


def exists(request: dict) -> dict:
    """Say whether there is such a file (or socket)."""
    return {"exists": os.path.exists(request["path"])}


def write(request: dict) -> dict:
    """Write a file and the directories above it."""
    os.makedirs(os.path.dirname(request["path"]), exist_ok=True)
    with open(request["path"], "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), request["mode"])
        file.write(request["data"])
    return {}


def shell(connection: socket.socket, argv: list[str]) -> None:
    """Join the connection and a command on a terminal of its own until either ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    sources = [connection, terminal]
    try:
        while True:
            ready, _, _ = select.select(sources, [], [])
            if terminal in ready:
                connection.sendall(os.read(terminal, 4096))
            if connection in ready:
                data = connection.recv(4096)
                os.write(terminal, data or END_OF_INPUT)
                if not data:
                    sources.remove(connection)
    except OSError:
        pass  # how a terminal says that its last user has gone
    os.close(terminal)
    os.waitpid(pid, 0)


OPERATIONS = {
    "run": run,
    "start": start,
    "poll": poll,
    "signal": send_signal,
    "read": read,
    "exists": exists,
    "write": write,
}


def serve(connection: socket.socket) -> None:
    """Answer one request."""
    # Unbuffered, because what follows the request of a shell is input for that shell.
    with connection, connection.makefile("rb", buffering=0) as lines:
        try:
            request = json.loads(lines.readline())
            if request["operation"] == "shell":
                shell(connection, request["argv"])
                return
            answer = OPERATIONS[request["operation"]](request)
        except Exception as error:  # whatever it is, the lab must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # the lab gave up waiting


def main(address: str) -> None:
    """Serve for ever, in a process of its own.

    Process 1 inherits what others leave behind, and must see it end: who waits for a daemon of his
    to be gone (libvirt does) would wait for ever.
    """
    server = os.fork()
    while server:
        if os.wait()[0] == server:
            sys.exit("lab: the agent has ended")
    with socket.create_server((address, PORT), backlog=16) as server:
        print("lab: agent ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
