# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that run side by side, at the client's end."""

import sys
from pathlib import Path

import pytest

from lab import end
from lab.end import Client
from lab.errors import DeadlineError, LabError


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(end.probe, "program", lambda: Path("/nowhere/probe"))
    return Client(tmp_path)


def test_result(client: Client) -> None:
    task = client.start("greeting", ["/bin/echo", "hello"])
    task.wait_for("hell")
    assert task.result(10) == "hello\n"
    assert task.status(0) == 0


def test_failure(client: Client) -> None:
    task = client.start("failure", ["/bin/sh", "-c", "echo no; exit 3"])
    with pytest.raises(LabError, match="client: failure: exit status 3: no"):
        task.result(10)
    with pytest.raises(LabError, match="it has ended: no"):
        task.wait_for("yes")


def test_terminate(client: Client) -> None:
    task = client.start("sleeper", [sys.executable, "-c", "import signal; signal.pause()"])
    with pytest.raises(DeadlineError, match="not done within"):
        task.result(0.05)
    task.terminate()
    assert task.status(10) == -15


def test_checksum(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert client.checksum("a").startswith("ba7816bf8f01cfea")
