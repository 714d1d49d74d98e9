# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that carry a mark, sent to a guest in several VLANs: which of them does it get?"""

import socket
import struct
import threading

from . import fabric
from .guest import Guest

ETHERTYPE = 0x88B6  # IEEE 802: local experiments; as in probe/marks.c
_FILE = "/marks"
_OWN_MAC = bytes.fromhex("020000007701")
_BROADCAST = b"\xff" * 6
_SECONDS = 0.02


class Marks:
    """A stranger on the switch that sends each mark of `vlans` (mark to VLAN, 0: untagged) to the
    guest's address and to all, by turns, 50 times a second."""

    def __init__(self, vlans: dict[int, int]) -> None:
        self._vlans = vlans
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, guest: Guest) -> None:
        """Begin to count in the guest, and to send."""
        with guest.shell() as shell:
            shell.run(f"vflab-probe marks {_FILE} >/dev/null 2>&1 &")
        fabric.ip("link", "add", "marks", "type", "veth", "peer", "name", "marks-tor")
        fabric.ip("link", "set", "marks-tor", "master", fabric.TOR, "up")
        fabric.ip("link", "set", "marks", "up")
        self._thread = threading.Thread(target=self._send, args=(guest.mac,), daemon=True)
        self._thread.start()

    def _send(self, mac: str) -> None:
        guest = bytes.fromhex(mac.replace(":", ""))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
            line.bind(("marks", 0))
            turn = 0
            while not self._end.wait(_SECONDS):
                to = (guest, _BROADCAST)[turn % 2]
                turn += 1
                for mark, vlan in self._vlans.items():
                    tag = struct.pack(">HH", 0x8100, vlan) if vlan else b""
                    payload = struct.pack(">HB", ETHERTYPE, mark) + bytes(45)
                    line.send(to + _OWN_MAC + tag + payload)

    def stop(self, guest: Guest) -> dict[int, int]:
        """End it; how many frames of each mark the guest has got."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        with guest.shell() as shell:
            counts = list(map(int, shell.run(f"cat {_FILE}").split()))
        return {mark: counts[mark] for mark in self._vlans}
