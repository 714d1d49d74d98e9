# SPDX-License-Identifier: GPL-2.0-or-later
"""Since when a guest's link is what it is; and the probe's two ends, on this machine."""

import os
import subprocess
from pathlib import Path

import pytest

from lab import isolation, paths
from lab.probe import Control, program
from lab.probe.probe import shown_since
from lab.run import load


def test_shown_since() -> None:
    changes = [(10, 3), (20, 7), (30, 15), (40, 7), (50, 15)]
    assert shown_since(changes, 12, 0) == 50
    assert shown_since(changes[:3], 12, 0) == 30
    assert shown_since(changes[:4], 12, 0) is None
    assert shown_since(changes, 3, 0) == 10
    assert shown_since(changes, 12, 70) == 70
    assert shown_since([], 1, 0) is None


CLIENT, NEIGHBOUR = "10.0.0.1", "10.0.0.2"
"""Whoever sends to an address of its own machine has it as well."""
PORT = 7003


def _ends(directory: Path) -> int:
    """A guest with two clients; runs in a network of its own."""
    probe = str(program())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (CLIENT, NEIGHBOUR):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    with subprocess.Popen([probe, "guest"], stdout=subprocess.PIPE) as guest:
        assert guest.stdout is not None
        while b"ready" not in guest.stdout.readline():
            pass
        with Control(NEIGHBOUR) as control:
            control.expect(NEIGHBOUR, PORT)
            ends = [
                subprocess.Popen(
                    [probe, kind, address, "1000", str(directory / kind)], stdout=subprocess.PIPE
                )
                for kind, address in (("client", CLIENT), ("neighbour", NEIGHBOUR))
            ]
            for end in ends:
                assert end.stdout is not None
                assert end.stdout.readline().strip() in (b"started", b"listens")
            control.send(NEIGHBOUR, 1000)
            for end in ends:
                with pytest.raises(subprocess.TimeoutExpired):
                    end.wait(0.3)
            sent = control.stop(NEIGHBOUR)
            for end in ends:
                end.terminate()
                assert end.wait(20) == 0
            delivered = control.record(NEIGHBOUR)
        guest.terminate()
    client = load(directory / "client")
    assert client.tcp_alive
    assert client.delivered == list(range(len(client.sent)))
    assert [arrival.sequence for arrival in client.arrivals] == list(range(client.guest_sent))
    assert len(client.sent) > 100 and client.guest_sent > 100
    # The neighbour's frames are in a record of their own, as many as it has sent.
    rows = (directory / "neighbour" / "sent.csv").read_text().splitlines()
    assert delivered == list(range(len(rows)))
    assert len(rows) > 100
    rows = (directory / "neighbour" / "received.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows] == list(range(sent))
    return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network namespace")
def test_a_record_for_each_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    for kind in ("client", "neighbour"):
        (tmp_path / kind).mkdir()
    assert isolation.run(lambda: _ends(tmp_path)) == 0


FILE_BYTES = 3_000_000
FILE_SECONDS = 0.5


def _file(directory: Path) -> int:
    """A file from one end to the other; runs in a network of its own."""
    probe = str(program())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    original, copy = directory / "original", directory / "copy"
    original.write_bytes(os.urandom(FILE_BYTES))
    receive = [probe, "receive", str(PORT), str(copy)]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        rate = str(int(FILE_BYTES / FILE_SECONDS))
        send = [probe, "send", "127.0.0.1", str(PORT), str(original), rate]
        sent = subprocess.run(send, capture_output=True, text=True, check=True, timeout=20)
        size, stall_us = map(int, receiver.stdout.readline().split())
    assert receiver.returncode == 0
    assert copy.read_bytes() == original.read_bytes()
    assert size == FILE_BYTES
    total, _, _, took_us, unacknowledged_us = map(int, sent.stdout.split())
    assert total == FILE_BYTES
    # At that rate, but for the first ten segments, which go at once.
    assert took_us > FILE_SECONDS * 1e6 / 4
    assert 0 < stall_us < took_us and unacknowledged_us < took_us
    return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network namespace")
def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    assert isolation.run(lambda: _file(tmp_path)) == 0
