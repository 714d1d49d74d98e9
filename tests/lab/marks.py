# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that carry a mark, sent to a guest in several VLANs: which of them does it get, and in
which VLANs do its answers come?"""

import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass

from . import fabric
from .guest import Guest

# As in probe/marks.c.
ETHERTYPE = 0x88B6  # IEEE 802: local experiments
_ANSWER = 0x80
_TYPE = struct.pack(">H", ETHERTYPE)
_FILE = "/marks"
_OWN_MAC = bytes.fromhex("020000007701")
_BROADCAST = b"\xff" * 6
_SECONDS = 0.02
_FRAME_MAX = 64

# Of the kernel's packet sockets, which the socket module does not know. One of a single protocol
# would not be told of a tag.
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")
_HAS_VLAN = 0x10


@dataclass(frozen=True)
class Tally:
    """What has become of the frames so far."""

    sent: Counter[int]
    delivered: Counter[int]
    """To the guest, by mark."""
    answered: Counter[tuple[int, int]]
    """By the guest, by mark and by the VLAN of the answer."""

    def since(self, earlier: "Tally") -> "Tally":
        """What has come about since then."""
        return Tally(
            self.sent - earlier.sent,
            self.delivered - earlier.delivered,
            self.answered - earlier.answered,
        )


class Marks:
    """A stranger on the switch that sends each mark of `vlans` (mark to VLAN, 0: untagged) to the
    guest's address and to all, by turns, 50 times a second. The guest answers each."""

    def __init__(self, vlans: dict[int, int]) -> None:
        self._vlans = vlans
        self._sent: Counter[int] = Counter()
        self._answered: Counter[tuple[int, int]] = Counter()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, guest: Guest) -> None:
        """Begin to count in the guest, and to send."""
        with guest.shell() as shell:
            shell.run(f"vflab-probe marks {_FILE} >/dev/null 2>&1 &")
        fabric.ip("link", "add", "marks", "type", "veth", "peer", "name", "marks-tor")
        fabric.ip("link", "set", "marks-tor", "master", fabric.TOR, "up")
        fabric.ip("link", "set", "marks", "up")
        self._thread = threading.Thread(target=self._run, args=(guest.mac,), daemon=True)
        self._thread.start()

    def change(self, vlans: dict[int, int]) -> None:
        """Send these from here on."""
        self._vlans = vlans

    def _run(self, mac: str) -> None:
        guest = bytes.fromhex(mac.replace(":", ""))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
            line.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            line.bind(("marks", _ETH_P_ALL))
            turn = 0
            while not self._end.wait(_SECONDS):
                self._take(line)
                self._send(line, (guest, _BROADCAST)[turn % 2])
                turn += 1

    def _send(self, line: socket.socket, to: bytes) -> None:
        for mark, vlan in self._vlans.items():
            tag = struct.pack(">HH", 0x8100, vlan) if vlan else b""
            line.send(to + _OWN_MAC + tag + _TYPE + bytes([mark]) + bytes(45))
            self._sent[mark] += 1

    def _take(self, line: socket.socket) -> None:
        """The answers that have come; the kernel has taken their tags off."""
        while True:
            try:
                frame, extra, _, _ = line.recvmsg(
                    _FRAME_MAX, socket.CMSG_SPACE(_AUXDATA.size), socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            if frame[12:14] != _TYPE or not frame[14] & _ANSWER:
                continue  # of others, or what this socket has sent
            status, _, _, _, _, tci, _ = _AUXDATA.unpack(extra[0][2])
            self._answered[frame[14] - _ANSWER, tci & 0xFFF if status & _HAS_VLAN else 0] += 1

    def tally(self, guest: Guest) -> Tally:
        """How it is now."""
        with guest.shell() as shell:
            counts = map(int, shell.run(f"cat {_FILE}").split())
        return Tally(Counter(self._sent), Counter(dict(enumerate(counts))), Counter(self._answered))

    def stop(self) -> None:
        """End it."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
