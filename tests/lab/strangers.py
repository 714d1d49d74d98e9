# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames on the fabric that are none of the guest's business: to another address, in a VLAN."""

import socket
import struct
import threading

from . import fabric
from .guest import Guest

MAC = "52:54:00:00:0c:01"
OTHER_MAC = "52:54:00:00:0c:02"
"""Nobody sends from it, so that every switch floods what goes there."""
BROADCAST = "ff:ff:ff:ff:ff:ff"
SPACING_SECONDS = 0.05
VLAN = 7
ETH_P_8021Q = 0x8100
ETH_P_EXPERIMENTAL = 0x88B5


def _frame(destination: str, vlan: int | None) -> bytes:
    addresses = bytes.fromhex((destination + MAC).replace(":", ""))
    tag = struct.pack("!HH", ETH_P_8021Q, vlan) if vlan is not None else b""
    return (addresses + tag + struct.pack("!H", ETH_P_EXPERIMENTAL)).ljust(60, b"\0")


FRAMES = (_frame(OTHER_MAC, None), _frame(BROADCAST, VLAN), _frame(Guest.mac, VLAN))


class Strangers:
    """Sends them from the client's place, from start() to stop()."""

    def __init__(self) -> None:
        self.sent = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
            link.bind((fabric.TOR, 0))
            while not self._ended.wait(SPACING_SECONDS):
                for frame in FRAMES:
                    self.sent += link.send(frame) == len(frame)
