# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces, read and compared."""

import struct
from pathlib import Path

import pytest

from lab import trace
from lab.errors import LabError
from lab.trace import Delivery


def _frame(payload: bytes) -> bytes:
    return bytes(12) + b"\x08\x00" + b"\x45\x00" + struct.pack(">H", 4 + len(payload)) + payload


def _write(path: Path, frames: list[bytes], cut: int = 0) -> Path:
    data = b"\xd4\xc3\xb2\xa1" + bytes(20)
    for frame in frames:
        data += struct.pack("<IIII", 1, 2, len(frame) - cut, len(frame))
        data += frame[: len(frame) - cut]
    path.write_bytes(data)
    return path


def test_read(tmp_path: Path) -> None:
    frames = [_frame(b"one"), _frame(b"two, longer")]
    padded = [frame + bytes(60 - len(frame)) for frame in frames]
    assert trace.read(_write(tmp_path / "pcap", padded)) == frames


def test_number(tmp_path: Path) -> None:
    # With a TTL of 64 its checksum is b861.
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    frame = bytes(12) + b"\x08\x00" + header + bytes(0x73 - len(header))
    path = _write(tmp_path / "pcap", [frame] * 3)
    trace.number(path)
    found = trace.read(path)
    assert [one[22] for one in found] == [32, 33, 34]
    # 64 - 32 less in the upper byte of that word is as much more in the checksum.
    assert found[0][24:26] == bytes.fromhex("d861")
    assert [one[:22] + one[23:24] + one[26:] for one in found] == [
        frame[:22] + frame[23:24] + frame[26:]
    ] * 3


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="captured in part"):
        trace.read(_write(tmp_path / "cut", [_frame(b"some bytes")], cut=2))
    (tmp_path / "text").write_text("no capture")
    with pytest.raises(LabError, match="not a capture"):
        trace.read(tmp_path / "text")


def test_delivery() -> None:
    a, b, c, d = (bytes([n]) for n in range(4))
    assert trace.delivery([a, b, c], [a, b, c]) == Delivery(3, 0, 0, 0, 0)
    assert trace.delivery([a, b, c], [a, c]) == Delivery(3, 1, 0, 0, 0)
    assert trace.delivery([a, b, c], [a, c, b]) == Delivery(3, 0, 0, 1, 0)
    assert trace.delivery([a, b, c], [a, b, b, c]) == Delivery(3, 0, 1, 0, 0)
    assert trace.delivery([a, b, c], [a, b, d, c]) == Delivery(3, 0, 0, 0, 1)
    # Twice the same bytes are two frames.
    assert trace.delivery([a, b, a], [a, b, a]) == Delivery(3, 0, 0, 0, 0)
    assert trace.delivery([a, b, a], [a, b]) == Delivery(3, 1, 0, 0, 0)
