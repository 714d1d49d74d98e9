# SPDX-License-Identifier: GPL-2.0-or-later
"""Captured frames: what of a replayed trace has arrived."""

import struct
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

FILE_HEADER = 24
FRAME_HEADER = struct.Struct("<IIII")
MAGIC = (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")
"""Little-endian, with times in micro- or nanoseconds."""

ETHERNET_HEADER = 14
IP_LENGTH = slice(16, 18)
IP_HEADER = slice(14, 34)
TTL = 22
IP_CHECKSUM = slice(24, 26)
TTLS = range(32, 64)


@dataclass(frozen=True)
class Delivery:
    """What became of a trace."""

    sent: int
    lost: int
    duplicated: int
    reordered: int
    """Frames that came after one that was sent later."""
    foreign: int
    """Frames that nobody has sent: altered ones."""


def read(path: Path) -> list[bytes]:
    """The frames of a file in tcpdump's old format, each without its padding."""
    data = path.read_bytes()
    return [_without_padding(data[frame]) for frame in _frames(path, data)]


def number(path: Path) -> None:
    """Give each frame of a file another TTL than the one before it.

    On its way TCP segments of the same connection are made one, at every kernel that receives them,
    unless their TTLs differ: they would not be what was sent.
    """
    data = bytearray(path.read_bytes())
    for place, frame in enumerate(_frames(path, data)):
        packet = data[frame]
        packet[TTL] = TTLS[place % len(TTLS)]
        packet[IP_CHECKSUM] = bytes(2)
        total = sum(struct.unpack(">10H", packet[IP_HEADER]))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        packet[IP_CHECKSUM] = (~total & 0xFFFF).to_bytes(2, "big")
        data[frame] = packet
    path.write_bytes(data)


def _frames(path: Path, data: bytes | bytearray) -> Iterator[slice]:
    """Where they are."""
    if data[:4] not in MAGIC:
        raise LabError(f"{path}: it is not a capture in pcap format")
    position = FILE_HEADER
    while position + FRAME_HEADER.size <= len(data):
        _seconds, _fraction, captured, length = FRAME_HEADER.unpack_from(data, position)
        position += FRAME_HEADER.size
        if min(captured, len(data) - position) < length:
            raise LabError(f"{path}: a frame of {length} bytes was captured in part")
        yield slice(position, position + captured)
        position += captured


def _without_padding(frame: bytes) -> bytes:
    """An IP packet says how long it is; the card may have made a short frame longer."""
    return frame[: ETHERNET_HEADER + int.from_bytes(frame[IP_LENGTH], "big")]


def delivery(sent: list[bytes], received: list[bytes]) -> Delivery:
    """Compare what was sent with what has arrived, byte by byte."""
    waiting: dict[bytes, deque[int]] = defaultdict(deque)
    for number, frame in enumerate(sent):
        waiting[frame].append(number)
    duplicated = reordered = foreign = arrived = 0
    latest = -1
    for frame in received:
        if frame not in waiting:
            foreign += 1
        elif not waiting[frame]:
            duplicated += 1
        else:
            number = waiting[frame].popleft()
            arrived += 1
            reordered += number < latest
            latest = max(latest, number)
    return Delivery(len(sent), len(sent) - arrived, duplicated, reordered, foreign)
